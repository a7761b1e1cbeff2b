"""The documentation as a web site: `make site` makes it of the Markdown files as they stand, without a network.

Sphinx reads conf.py from here and pages from the root of the repository, so that links are the same in both. What
stands beside what is the list of docs/README.md.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
CONTENTS, DECISIONS = "docs/README", "docs/decisions/README"
FOR_PAGES_THAT_NO_LIST_NAMES = "Look up"

project = "Maskwright"
html_title = "Maskwright"
author = "The Maskwright authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = CONTENTS
include_patterns = ["*.md", "docs/**.md", "benchmarks/README.md"]
exclude_patterns = [".*", "build", "dataset", "dist", "runs"]
templates_path: list[str] = []

myst_heading_anchors = 4
# Docstrings are written for people who read them in the source: `code` has one backtick or two.
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "../../src/maskwright/serving/page/icon.svg"
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"


def turn_lists_into_navigation(_: Sphinx, docname: str, source: list[str]) -> None:
    """Each list under a heading of docs/README.md becomes a part of the navigation; decisions are listed by number."""
    if docname == CONTENTS:
        parts = {
            heading: linked_pages(text)
            for heading, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", source[0], re.M)
        }
        listed = {page for pages in parts.values() for page in pages} | {f"/{CONTENTS}.md"}
        others = sorted(f"/docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
        parts[FOR_PAGES_THAT_NO_LIST_NAMES] += [page for page in others if page not in listed]
        source[0] += "".join(toctree(pages, f":hidden:\n:caption: {heading}") for heading, pages in parts.items())
    elif docname == DECISIONS:
        source[0] += toctree(["/docs/decisions/0*"], ":glob:")


def linked_pages(text: str) -> list[str]:
    """The pages that a part of docs/README.md links to, from the root of the repository."""
    links = re.findall(r"\]\((\S+?\.md)\)", text)
    return [f"/{(ROOT / 'docs' / link).resolve().relative_to(ROOT)}" for link in links]


def toctree(pages: list[str], options: str) -> str:
    """What MyST makes navigation of."""
    return "\n\n```{toctree}\n" + options + "\n\n" + "\n".join(pages) + "\n```\n"


def put_an_index_at_the_front(app: Sphinx, error: Exception | None) -> None:
    """The address of the site alone shows the README, under its own name as well."""
    if error is None:
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", turn_lists_into_navigation)
    app.connect("build-finished", put_an_index_at_the_front)
