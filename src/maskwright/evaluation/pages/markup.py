"""HTML that is escaped by construction, and the look that all pages share.

A page is one file that needs no network: its style stands in it, and pictures are data URLs. The browser is told to
load nothing else, and to run no script but the page's own, which is known by its hash.
"""

import base64
import hashlib
import html
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_EMPTY_ELEMENTS = frozenset({"br", "img", "input", "meta", "rect"})


class Html(str):
    """Text that is markup already; any other text is escaped when it is put into an element."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Html:
    """One element; an attribute called ``class_`` stands for ``class``, and one that is None is left out.

    >>> tag("p", "a < b ", tag("b", "c"), class_="x")
    '<p class="x">a &lt; b <b>c</b></p>'
    """
    written = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY_ELEMENTS:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Elements and texts one after the other."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def page(title: str, *body: str, style: str = "", script: str = "") -> str:
    """A whole document.

    Args:
        title: In the browser's tab.
        body: What stands in it.
        style: What it needs beyond `STYLE`.
        script: What runs when all is there. The page must be whole without it.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE + style)),
    )
    ending = tag("script", Html(script)) if script else ""
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body), ending), lang='en')}\n"


def _policy(script: str) -> str:
    """What the page may load and run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    runs = f"; script-src 'sha256-{digest}'" if script else ""
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'{runs}"


def picture_url(pixels: NDArray[np.uint8]) -> str:
    """A picture ``(H, W, 3)``, or a transparent one ``(H, W, 4)``, as a data URL."""
    content, kind = io.BytesIO(), "JPEG" if pixels.shape[2] == 3 else "PNG"
    Image.fromarray(pixels).save(content, kind, quality=82, optimize=True)  # a PNG file has no quality to choose
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def bar(share: float, colour: str | None = None) -> Html:
    """A bar that is filled to this share of its width."""
    style = f"width:{100 * min(1.0, max(0.0, share)):.2f}%" + (f";background:{colour}" if colour else "")
    return tag("div", tag("div", style=style), class_="bar")


STYLE = """
:root {
  --paper: #f7f6f3; --card: #fff; --ink: #23262b; --soft: #6a6f78; --line: #e4e1da; --fill: #3d6b8e; --track: #eeebe4;
  --accent: #b4540a;
  --problem: #b3261e; --question: #6f4bb0; --warning: #96660a; --note: #4c6b73; --clean: #2c7a4b;
}
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #16181b; --card: #1f2226; --ink: #e7e5e1; --soft: #a0a5ad; --line: #31353b; --fill: #7fb0d3;
  --accent: #f0a050; --track: #2b2f35; --problem: #ff8a80; --question: #c3a6ff; --warning: #f0bd58;
  --note: #9cc0c9; --clean: #7fd3a1;
} }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1080px; margin: 0 auto; padding: clamp(1rem, 4vw, 3rem); }
h1 { margin: 0; font-size: clamp(1.7rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; font-weight: 650;
  overflow-wrap: anywhere; }
h2 { margin: 3rem 0 1rem; font-size: 1.2rem; font-weight: 650; letter-spacing: -.01em; }
p { margin: .35rem 0; max-width: 68ch; }
.eyebrow, .soft, figcaption, th, footer { color: var(--soft); font-size: .84rem; }
.eyebrow { margin: 0 0 .4rem; letter-spacing: .04em; }
.verdict { display: inline-flex; align-items: baseline; gap: .55rem; margin: 1rem 0 0; font-weight: 600; }
.verdict::before { content: ""; width: .7rem; height: .7rem; border-radius: 50%; background: currentColor; flex: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: .75rem; margin-top: 1.75rem; }
.card, .finding, .panel { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.card { padding: .85rem .95rem; }
.card b { display: block; font-size: 1.25rem; font-weight: 650; letter-spacing: -.02em; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.panel { padding: 1.1rem 1.25rem; }
.finding { padding: 1rem 1.25rem 1.1rem; margin-bottom: .75rem; border-left: 4px solid var(--level); }
.finding .level { color: var(--level); font-size: .78rem; font-weight: 650; letter-spacing: .05em;
  text-transform: uppercase; }
.finding .sentence { font-weight: 550; overflow-wrap: anywhere; }
.problem { --level: var(--problem); } .question { --level: var(--question); }
.warning { --level: var(--warning); } .note { --level: var(--note); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(148px, 1fr)); gap: .9rem; margin-top: .9rem; }
.finding .sheet { grid-template-columns: repeat(auto-fill, minmax(124px, 1fr)); }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: contain; border-radius: 8px;
  background: var(--track); }
figcaption { margin-top: .3rem; font-size: .78rem; line-height: 1.35; overflow-wrap: anywhere; }
figcaption b { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
  color: var(--ink); font-weight: 500; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; padding: 0 .75rem .4rem 0; }
td { padding: .32rem .75rem .32rem 0; border-top: 1px solid var(--line); vertical-align: middle;
  overflow-wrap: anywhere; }
td.figure, th.figure { text-align: right; white-space: nowrap; width: 1%; overflow-wrap: normal; }
td.name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; max-width: 11rem; }
td.wide { width: 45%; }
th:last-child, td:last-child { padding-right: 0; }
.bar { height: .55rem; min-width: 3rem; border-radius: 99px; background: var(--track); overflow: hidden; }
.bar div { height: 100%; min-width: 2px; background: var(--fill); border-radius: 99px; }
.swatch { display: inline-block; width: .75rem; height: .75rem; margin-right: .55rem; border-radius: 3px;
  border: 1px solid var(--line); vertical-align: -1px; }
.stack { display: flex; gap: 3px; height: 1rem; margin-bottom: .8rem; border-radius: 6px; overflow: hidden; }
.stack div { min-width: 3px; background: var(--fill); } .stack div + div { opacity: .6; }
.stack div + div + div { opacity: .3; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 0 1.5rem; }
.two > section { min-width: 0; }
svg { display: block; width: 100%; height: auto; } svg rect { fill: var(--fill); }
.axis { display: flex; justify-content: space-between; }
details { margin-top: .7rem; font-size: .88rem; } summary { cursor: pointer; color: var(--soft); }
details ul { margin: .5rem 0 0; padding-left: 1.1rem; columns: 20rem 2; column-gap: 2rem; }
details li { overflow-wrap: anywhere; break-inside: avoid; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #555; --line: #ccc; --fill: #3d6b8e;
    --accent: #b4540a; --track: #eee; }
  body { font-size: 10.5pt; } p { orphans: 3; widows: 3; }
  main { max-width: none; padding: 0 1px; } /* a border at the very edge would be cut off */
  h2 { margin-top: 1.6rem; break-after: avoid; }
  .card, .finding, .panel, tr { break-inside: avoid; } .sheet { grid-template-columns: repeat(6, 1fr); }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
