"""Plots as parts of a page: SVG of matplotlib, whose text is text and whose colours are those of the page.

matplotlib draws in colours that stand for others; in what it wrote they become the page's variables. So one drawing is
right in light, in dark and on paper. It comes with the extra `train`: without it there are no plots.
"""

import importlib.util
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from maskwright.evaluation.certainty import Calibration, Sweep
from maskwright.evaluation.compare import Difference
from maskwright.evaluation.evaluate import PictureScore
from maskwright.evaluation.pages.markup import Html, tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Inches, at 72 points each: a plot is drawn for the width of a phone, and put beside others where there is more room.
WIDTH, HEIGHT = 4.6, 3.1
ROW_HEIGHT = 0.23
# Around the axes, for labels of the usual size; measured by matplotlib, they would take as long as the drawing itself,
# and a page has another font. A label beside the axis, and each character of its numbers or names, come on top.
LEFT, RIGHT, BOTTOM, TOP = 0.18, 0.15, 0.55, 0.12
LABEL, CHARACTER = 0.2, 0.085
# Groups that get a row of their own; more are a histogram.
MOST_ROWS = 40
BINS = 20
# Colours that stand for variables of the page's style.
INK, SOFT, LINE, FILL, ACCENT = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", FILL: "fill", ACCENT: "accent"}

STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 1rem; }
.plots > figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .8rem .9rem; }
.plots figcaption { margin: 0 0 .4rem; font-size: .88rem; }
.plots svg { max-width: 560px; margin: 0 auto; overflow: visible; stroke-linejoin: round; stroke-linecap: butt; }
.plots svg text { font-family: inherit; }
"""


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_curves(lines: Sequence[Mapping[str, float]]) -> list[Html]:
    """Loss, Dice and learning rate of a run, from the lines of its metrics."""
    loss, dice = (
        _of_epochs(lines, {"train": (f"train_{of}", ACCENT, "--"), "validation": (f"val_{of}", FILL, "-")})
        for of in ("loss", "dice")
    )
    rate = _of_epochs(lines, {"": ("learning_rate", FILL, "-")})
    plots = []
    for title, series, scale in (
        ("Loss", loss, "log"),
        ("Dice at training size", dice, "linear"),
        ("Learning rate", rate, "linear"),
    ):
        if series:
            plots.append(_plot(title, f"{title} over epochs", partial(_draw_lines, series=series, scale=scale)))
    return plots


def plot_pictures(pictures: Sequence[PictureScore]) -> Html | None:
    """Dice of each picture: a row of dots for each group where these are few, else a histogram; None without any."""
    scored = [picture for picture in pictures if not np.isnan(picture.dice)]
    if not scored:
        return None
    by_group: dict[str, list[float]] = {}
    for picture in scored:
        by_group.setdefault(picture.group, []).append(picture.dice)
    if len(by_group) <= MOST_ROWS and (len(by_group) < len(scored) or len(scored) <= BINS):
        ordered = sorted(by_group.items(), key=lambda group: -float(np.mean(group[1])))
        rows = [(name.rpartition("/")[2], dices) for name, dices in ordered]
        said = "Dice of each picture, a row for each group" if len(rows) < len(scored) else "Dice of each picture"
        names = [_shortened(name) for name, _ in rows]
        return _plot(
            said,
            said,
            lambda axes: _draw_rows(axes, names, [dices for _, dices in rows]),
            height=max(1.2, 0.6 + ROW_HEIGHT * len(rows)),
            longest=max(map(len, names)),
        )
    said = "Dice of pictures: how many there are of each"
    return _plot(said, said, lambda axes: _draw_histogram(axes, [picture.dice for picture in scored]))


def plot_gains(pictures: Sequence[Difference]) -> Html:
    """Dice of two models on the same pictures, a dot for each."""
    said = "Dice of each picture: where B is better, its dot lies above the line"

    def draw(axes: "Axes") -> None:
        first, second = [picture.first for picture in pictures], [picture.second for picture in pictures]
        ends = [min(first + second), max(first + second)]
        axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=":")
        axes.scatter(first, second, s=22, color=FILL, alpha=0.55, linewidths=0)
        axes.set(xlabel="A", ylabel="B")

    return _plot(said, said, draw)


def plot_calibration(calibration: Calibration) -> Html:
    """How often probabilities come true."""
    said = "Probabilities, and how often they come true"

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":")
        bins = calibration.bins
        most = max(of.share for of in bins)
        axes.plot([of.probability for of in bins], [of.frequency for of in bins], color=FILL, linewidth=1.4)
        sizes = [12 + 90 * of.share / most for of in bins]
        axes.scatter([of.probability for of in bins], [of.frequency for of in bins], s=sizes, color=FILL, linewidths=0)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="probability", ylabel="came true")

    return _plot(said, f"{said}; a perfect model stays on the diagonal. Larger dots stand for more pixels.", draw)


def plot_thresholds(sweep: Sweep, threshold: float) -> Html:
    """Mean Dice over thresholds."""
    said = "Dice at other thresholds"
    series: list[_Line] = []
    for label, dices, colour, line in (
        ("validation", sweep.on_validation, FILL, "-"),
        ("other pictures" if not np.isnan(sweep.on_validation).all() else "", sweep.on_others, ACCENT, "--"),
    ):
        if not np.isnan(dices).all():
            series.append((label, sweep.thresholds, dices, colour, line))

    def draw(axes: "Axes") -> None:
        _draw_lines(axes, series, "linear", xlabel="threshold")
        axes.axvline(threshold, color=SOFT, linewidth=1, linestyle=":")

    return _plot(said, f"{said}; the dotted line is the model's threshold, {threshold:g}", draw)


# --- Drawing


_Line: TypeAlias = tuple[str, Sequence[float], Sequence[float], str, str]
"""Its label, its points, a colour and a kind of line."""


def _of_epochs(lines: Sequence[Mapping[str, float]], names: Mapping[str, tuple[str, str, str]]) -> list[_Line]:
    """What was measured: lines by their labels, of which each names what it shows, its colour and its kind."""
    series: list[_Line] = []
    for label, (name, colour, line) in names.items():
        known = [(entry["epoch"], entry[name]) for entry in lines if name in entry]
        if known:
            series.append((label, [x for x, _ in known], [y for _, y in known], colour, line))
    return series


def _draw_lines(axes: "Axes", series: Sequence[_Line], scale: str, *, xlabel: str = "epoch") -> None:
    from matplotlib.ticker import MaxNLocator

    for label, xs, ys, colour, line in series:
        marker = "o" if len(xs) < 25 else None
        axes.plot(xs, ys, color=colour, linestyle=line, label=label, marker=marker, markersize=3.5, linewidth=1.6)
    axes.set(xlabel=xlabel, yscale=scale)
    if scale == "log":
        label_sparsely(axes.yaxis)
    if xlabel == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if any(label for label, *_ in series):
        axes.legend(frameon=False, loc="best")


def label_sparsely(axis: "Axis") -> None:
    """Give a logarithmic axis ticks at 1, 2 and 5 alone, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _shortened(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:8]}…{name[-8:]}"


def _draw_rows(axes: "Axes", names: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    for place, dices in enumerate(rows):
        axes.scatter(dices, [place] * len(dices), s=22, color=FILL, alpha=0.55, linewidths=0)
        if len(dices) > 1:
            mean = float(np.mean(dices))
            axes.plot([mean, mean], [place - 0.32, place + 0.32], color=INK, linewidth=1.6)
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlabel="Dice", ylim=(-0.6, len(rows) - 0.4))
    axes.tick_params(axis="y", length=0)


def _draw_histogram(axes: "Axes", dices: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.hist(dices, bins=BINS, color=FILL, rwidth=0.88)
    axes.axvline(float(np.mean(dices)), color=ACCENT, linewidth=1.6, label="mean")
    axes.set(xlabel="Dice", ylabel="pictures")
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.legend(frameon=False, loc="upper left")


def _plot(
    title: str, described: str, draw: "Callable[[Axes], object]", *, height: float = HEIGHT, longest: int = 6
) -> Html:
    """A figure with a title: what ``draw`` puts into empty axes.

    Args:
        title: Above the plot.
        described: For readers who cannot see it.
        draw: Gets the axes.
        height: In inches.
        longest: Characters of the longest label beside the vertical axis.
    """
    from matplotlib.figure import Figure

    with _styled(title):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.subplots()
        draw(axes)
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        left = LEFT + (LABEL if axes.get_ylabel() else 0) + CHARACTER * longest
        figure.subplots_adjust(left / WIDTH, BOTTOM / height, 1 - RIGHT / WIDTH, 1 - TOP / height)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True)
    return tag("figure", tag("figcaption", title), _as_part(written.getvalue(), described))


@contextmanager
def _styled(salt: str) -> Iterator[None]:
    """Settings of matplotlib, whatever the user's own are; ids in the SVG depend on the salt and what they name."""
    import matplotlib as mpl

    # Any: mypy knows each setting's name as a literal, of which a dictionary of strings says nothing.
    settings: Any = {
        **dict.fromkeys(("text.color", "legend.labelcolor"), INK),
        **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), SOFT),
        **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), LINE),
        **dict.fromkeys(("axes.linewidth", "grid.linewidth"), 0.8),
        "font.size": 10.5,
        "legend.fontsize": 10,
        "svg.fonttype": "none",
        "text.parse_math": False,  # a $ in a name is a $
        "svg.hashsalt": salt,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def _as_part(svg: str, described: str) -> Html:
    """A drawing as an element of a page: in its colours and its font, and without what only a file needs."""
    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    view_box = re.search(r'viewBox="[^"]*"', drawing)
    drawing = re.sub(r"^<svg[^>]*>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r" ?font-family: [^;\"]*;?", "", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var(--{variable})")
    label = str(tag("title", described))
    return Html(f'<svg {view_box[0] if view_box else ""} role="img">{label}{drawing}')
