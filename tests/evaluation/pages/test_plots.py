"""Plots: whole without a file around them, in the colours of the page, and the same each time."""

import math
import re
import sys
from dataclasses import replace

import matplotlib as mpl
import pytest

from maskwright.evaluation.certainty import Bin, Calibration, Sweep
from maskwright.evaluation.compare import Difference
from maskwright.evaluation.evaluate import TITLES, PictureScore
from maskwright.evaluation.pages import plots
from maskwright.evaluation.pages.markup import STYLE
from tests.parsed_pages import parse

NAN = math.nan
CALIBRATION = Calibration(0.1, (Bin(0.9, 0.02, 0.01), Bin(0.1, 0.7, 0.5)))
LINES = [
    {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 2 / epoch, "train_dice": 0.5, "learning_rate": 1e-3}
    for epoch in (1, 2, 3)
]


def a_picture(name: str, dice: float, group: str = "") -> PictureScore:
    return PictureScore(name=name, group=group or name, classes=(), fingerprint="", **dict.fromkeys(TITLES, dice))


def drawn() -> list[str]:
    sweep = Sweep((0.25, 0.5, 0.75), (0.8, 0.9, 0.8), (0.7, 0.8, 0.75), 0.5)
    few = [a_picture(f"{group}_{view}", 0.9, group) for group in "abc" for view in range(3)]
    many = [a_picture(str(number), number / 100) for number in range(100)]
    found = [plots.plot_pictures(few), plots.plot_pictures(many), plots.plot_calibration(CALIBRATION)]
    return [*map(str, found), plots.plot_thresholds(sweep, 0.5), *plots.plot_curves(LINES)]


def test_every_colour_is_one_of_the_page() -> None:
    variables = set(re.findall(r"--(\w+):", STYLE))
    for plot in drawn():
        painted = re.findall(r"(?:fill|stroke): ([^;\"]+)", plot)
        assert len(painted) > 10
        assert set(painted) <= {"none"} | {f"var(--{name})" for name in variables}


def test_text_is_text_in_the_font_of_the_page() -> None:
    text = parse(str(plots.plot_calibration(CALIBRATION))).text
    assert "probability" in text
    assert "came true" in text
    assert all("font-family" not in plot and "font:" not in plot for plot in drawn())


def test_nothing_reaches_out_of_the_drawing() -> None:
    for plot in drawn():
        found = parse(plot)
        assert all(link.startswith("#") for link in found.links)
        assert "http" not in plot


def test_a_plot_says_what_it_shows_to_those_who_cannot_see_it() -> None:
    for plot in drawn():
        assert re.search(r'<svg [^>]*role="img"[^>]*>\s*<title>\w', plot)


def test_the_same_figures_give_the_same_drawing_whatever_the_users_own_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = drawn()
    monkeypatch.setitem(mpl.rcParams, "axes.labelpad", 30.0)
    monkeypatch.setitem(mpl.rcParams, "lines.linewidth", 9.0)
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "path")
    assert drawn() == first
    assert mpl.rcParams["svg.fonttype"] == "path"


def test_ids_of_two_plots_on_a_page_differ() -> None:
    loss, dice, _ = plots.plot_curves([line | {"val_dice": 0.4} for line in LINES])
    ids = [set(re.findall(r' id="([^"]+)"', plot)) for plot in (loss, dice)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_names_in_a_plot_are_text_whatever_they_hold() -> None:
    pictures = [a_picture(f"<img onerror=x>{place}", 0.5 + place / 10, f"<b>&{place % 2}") for place in range(4)]
    found = parse(str(plots.plot_pictures(pictures)))
    assert "<b>&0" in found.text
    assert not {"img", "b"} & set(found.tags)


# --- Where things are drawn, in the units of the drawing: y grows downwards


def lines_of(plot: str, colour: str) -> list[list[tuple[float, float]]]:
    """The points of each line of a colour."""
    paths = re.findall(rf'<path d="([^"]+)" clip-path="[^"]*" style="[^"]*stroke: var\(--{colour}\)', plot)
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)] for path in paths]


def dots_of(plot: str) -> list[tuple[float, float]]:
    """The dots of pictures or bins: of one size they are used again, of several each is a circle from its bottom."""
    used = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: var\(--fill\)', plot)
    drawn = re.findall(r'<path d="M (\S+) (\S+) \nC[^"]+" clip-path="[^"]*" style="fill: var\(--fill\)', plot)
    return [(float(x), float(y)) for x, y in used or drawn]


def test_curves_are_named_for_what_they_show() -> None:
    known = plots.plot_curves([{"epoch": epoch, "train_loss": 10.0**-epoch} for epoch in (1, 2, 3)])
    assert "train" in parse(known[0]).text
    assert "validation" not in parse(known[0]).text
    ((_, first), (_, second), (_, third)) = lines_of(known[0], "accent")[0]
    assert second - first == pytest.approx(third - second)  # the scale of losses is logarithmic
    assert second > first


def test_groups_have_rows_the_worst_on_top_with_their_mean_as_a_line() -> None:
    pictures = [
        a_picture(f"{group}_{view}", dice + view / 10, group)
        for group, dice in (("b", 0.2), ("a", 0.6))
        for view in (0, 3)
    ]
    plot = str(plots.plot_pictures(pictures))
    text = parse(plot).text
    assert text.index("a\n") < text.index("b\n")  # ticks are written from the bottom
    dots, means = sorted(dots_of(plot)), lines_of(plot, "ink")
    assert [y for _, y in dots[:2]] == [min(y for _, y in dots)] * 2
    assert sorted(mean[0][0] for mean in means) == pytest.approx(
        [(dots[0][0] + dots[1][0]) / 2, (dots[2][0] + dots[3][0]) / 2]
    )


def test_many_pictures_are_a_histogram_with_their_mean() -> None:
    plot = str(plots.plot_pictures([a_picture(str(place), 1.0 if place == 0 else 0.0) for place in range(50)]))
    assert "pictures" in parse(plot).text
    ((mean, _), _) = lines_of(plot, "accent")[0]
    assert mean < 72 * plots.WIDTH / 4


def test_gains_lie_above_the_line_where_b_is_better() -> None:
    plot = str(plots.plot_gains([Difference("a", 0.1, 0.9), Difference("b", 0.1, 0.1), Difference("c", 0.9, 0.9)]))
    (better, same, good) = dots_of(plot)
    assert better[0] == same[0] < good[0]
    assert better[1] == good[1] < same[1]


def test_calibration_has_probabilities_to_the_right_and_their_truth_upwards() -> None:
    plot = str(plots.plot_calibration(Calibration(0.1, (Bin(0.5, 0.4, 0.1), Bin(0.5, 0.4, 0.9)))))
    for (x, y), (other_x, other_y) in (lines_of(plot, "fill")[0], dots_of(plot)):
        assert x == other_x
        assert y > other_y


def test_thresholds_have_the_models_own_as_a_line() -> None:
    plot = str(plots.plot_thresholds(Sweep((0.25, 0.5), (0.8, 0.9), (0.7, 0.8), 0.5), 0.25))
    validation, others = lines_of(plot, "fill")[0], lines_of(plot, "accent")[0]
    assert [y for _, y in validation] < [y for _, y in others]
    assert others[1][1] == pytest.approx(validation[0][1])
    assert lines_of(plot, "soft")[0][0][0] == pytest.approx(validation[0][0])


def test_what_was_not_measured_is_not_drawn() -> None:
    assert plots.plot_pictures([]) is None
    assert plots.plot_pictures([a_picture("a", NAN)]) is None
    assert plots.plot_curves([]) == []
    assert len(plots.plot_curves([{"epoch": 1, "train_loss": 0.5}])) == 1


@pytest.mark.parametrize("dices", [[0.5], [0.5] * 300, [0.0, 1.0], [NAN, 0.3]])
def test_any_pictures_can_be_drawn(dices: list[float]) -> None:
    assert plots.plot_pictures([a_picture(str(place), dice) for place, dice in enumerate(dices)])


def test_dollars_in_names_are_no_formulas() -> None:
    text = parse(str(plots.plot_pictures([a_picture("$x^2$_1", 0.5), a_picture(r"\frac$a", 0.6)]))).text
    assert "$x^2$_1" in text
    assert r"\frac$a" in text


def test_thresholds_without_validation_pictures_show_the_others() -> None:
    sweep = Sweep((0.25, 0.5), (NAN, NAN), (0.7, 0.8), None)
    assert "validation" not in plots.plot_thresholds(sweep, 0.5)
    assert "validation" in plots.plot_thresholds(replace(sweep, on_validation=(0.5, 0.6)), 0.5)


def test_without_matplotlib_nothing_can_be_plotted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plots.can_plot()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not plots.can_plot()
