"""The page that sets two models side by side: what one gains on the other, and the pictures where they differ most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.data.labels import LabelMap
from maskwright.evaluation.compare import DEFINITIONS_OF_TWO, Comparison, verdict
from maskwright.evaluation.evaluate import TITLES
from maskwright.evaluation.metrics import Interval
from maskwright.evaluation.pages import gallery, plots, report
from maskwright.evaluation.pages.gallery import VIEWS_OF_TWO, Exhibit, draw_walls
from maskwright.evaluation.pages.markup import Html, page, tag
from maskwright.evaluation.pages.report import draw_definitions, draw_table
from maskwright.files import write_text

# Pictures that get a row in the table.
MOST_ROWS = 400


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Everything that the page says.

    Attributes:
        first: What A is.
        second: What B is.
        comparison: Of their scores.
        exhibits: The pictures where they differ most.
        labels: The classes that these show; None without pictures.
        remarks: What a reader must know.
        missing: Why there are no pictures, where there are none.
    """

    first: str
    second: str
    comparison: Comparison
    exhibits: Sequence[Exhibit] = ()
    labels: LabelMap | None = None
    remarks: Sequence[str] = ()
    missing: str = ""


def write_comparison(path: Path, versus: Versus) -> None:
    """Write the page.

    Raises:
        OSError: It cannot be written.
    """
    write_text(path, draw_comparison(versus))


def draw_comparison(versus: Versus) -> str:
    """The whole document."""
    comparison = versus.comparison
    walls = ""
    if versus.labels is not None:
        walls = draw_walls({"Where they differ most": versus.exhibits}, versus.labels, views=VIEWS_OF_TWO)
    sections = [
        _header(versus),
        _gains(comparison),
        walls,
        tag("p", versus.missing, class_="remark") if versus.missing else "",
        _pictures(comparison),
        draw_definitions(DEFINITIONS_OF_TWO),
    ]
    style = plots.STYLE + gallery.STYLE + report.STYLE
    return page("A and B: comparison", *sections, style=style, script=gallery.SCRIPT)


def _header(versus: Versus) -> Html:
    comparison = versus.comparison
    gain = comparison.dice
    which = verdict("dice", gain, comparison.groups_of["dice"])
    said = "These pictures do not tell A and B apart" if which == "not told apart" else which
    count = f"{comparison.common:,} pictures of {comparison.groups:,} groups"
    mean = "–" if np.isnan(gain.mean) else f"{gain.mean:+.4f}"
    aside = ""
    if comparison.only_first or comparison.only_second:
        aside = f"Left aside: {comparison.only_first:,} pictures that only A scored, {comparison.only_second:,} only B."
    return tag(
        "header",
        tag("p", "maskwright comparison", class_="eyebrow"),
        tag("h1", "B against A"),
        tag("p", f"A: {versus.first}", class_="soft"),
        tag("p", f"B: {versus.second}", class_="soft"),
        tag("p", f"{said}: Dice {mean} on {count}", class_="verdict", style="color:var(--fill)"),
        tag("p", aside, class_="soft") if aside else "",
        *(tag("p", remark, class_="leak" if "LEAK" in remark else "remark") for remark in versus.remarks),
    )


def _gains(comparison: Comparison) -> Html:
    rows = []
    for measure, title in TITLES.items():
        gain: Interval = getattr(comparison, measure)
        mean = "–" if np.isnan(gain.mean) else f"{gain.mean:+.4f}"
        which = verdict(measure, gain, comparison.groups_of[measure])
        rows.append((title, mean, gain.range_in_words(), which))
    table = draw_table(("score", "B - A", "95 % interval", "which"), rows, last_text=True)
    said = "Of Hausdorff 95, edge error and inner error less is better; the last column knows that."
    return tag("section", tag("h2", "B - A"), tag("div", table, tag("p", said, class_="soft"), class_="panel"))


def _pictures(comparison: Comparison) -> Html:
    rows = [
        (picture.name, f"{picture.first:.4f}", f"{picture.second:.4f}", f"{picture.gain:+.4f}")
        for picture in comparison.pictures[:MOST_ROWS]
    ]
    if not rows:
        return Html()
    count = len(comparison.pictures)
    which = f", the {MOST_ROWS} of {count:,} that differ most" if count > MOST_ROWS else ""
    plot = plots.plot_gains(comparison.pictures) if plots.can_plot() else None
    return tag(
        "section",
        tag("h2", "Each picture"),
        tag("div", plot, class_="plots") if plot else "",
        tag(
            "details",
            tag("summary", f"All pictures as a table{which}"),
            draw_table(("picture", "Dice of A", "Dice of B", "B - A"), rows),
        ),
    )
