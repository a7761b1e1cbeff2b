"""The rows of `quality_per_minute.py` as a picture and as tables of Markdown."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from goals import ALL_FOLDS, OTHER_SETS, System, dice_of, systems_in

from maskwright.files import replacing

MINUTES = (2.0, 5.0, 20.0)
# Told apart with any colour vision; ours is the darkest. Source: Okabe and Ito, "Color Universal Design" (2008).
COLOURS = {
    "ours-quick": "#0072b2",
    "ours-classic": "#56b4e9",
    "smp-lite0": "#d55e00",
    "smp-resnet34": "#e69f00",
    "classic-common": "#8c8c8c",
}


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """All scores of seed 0, and those of several seeds where there are some."""
    names = [f"{minutes:g} min" for minutes in MINUTES]
    blocks = [
        "Carvana's first fold: mean Dice (95 % over cars)\n",
        *_table(["system", *names, "worst picture, 5 min"], [_by_minutes(rows, system) for system in systems_in(rows)]),
        "\nFive minutes: mean Dice\n",
        *_table(
            ["system", "Carvana, mean of folds", *(f"fold {fold}" for fold in ALL_FOLDS), *OTHER_SETS],
            [_by_set(rows, system) for system in systems_in(rows)],
        ),
        "\nFive minutes on Carvana's first fold, by seed\n",
        *_table(["system", "seed 0", "seed 1", "seed 2"], _by_seed(rows)),
        "",
    ]
    return "\n".join(blocks)


def draw_picture(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Error against minutes on Carvana's first fold, and on the other sets in five minutes.

    Each peer is drawn at its best size. The ground is white, so that the picture reads on dark pages as well.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    lines, bars = figure.subplots(1, 2, width_ratios=(1, 1.2))
    names = list(dict.fromkeys(name for name, _ in systems_in(rows)))
    places = {name: (number - (len(names) - 1) / 2) * 0.8 / len(names) for number, name in enumerate(names)}
    for name in names:
        errors = {minutes: _least_error(rows, name, "carvana", minutes) for minutes in MINUTES}
        _plot_found(lines.plot, errors, marker="o", color=COLOURS.get(name), label=name)
        by_set = {place: _least_error(rows, name, set_name, 5.0) for place, set_name in enumerate(OTHER_SETS)}
        shifted = {place + places[name]: error for place, error in by_set.items()}
        _plot_found(bars.bar, shifted, width=0.8 / len(names), color=COLOURS.get(name), label=name)
    lines.set(title="Carvana, first fold", xlabel="minutes", ylabel="1 − Dice", xscale="log")
    lines.set_xticks(MINUTES, [f"{minutes:g}" for minutes in MINUTES], minor=False)
    lines.set_xticks([], minor=True)
    bars.set(title="Other sets, five minutes", ylabel="1 − Dice")
    bars.set_xticks(range(len(OTHER_SETS)), OTHER_SETS)
    if lines.has_data():
        lines.set_yscale("log")
        # More of them would lie on one another.
        lines.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        lines.yaxis.set_minor_locator(NullLocator())
        lines.yaxis.set_major_formatter(lambda error, _: f"{error:.3g}")
    if not bars.has_data():
        bars.set_yticks([])
        bars.text(1, 0.5, "not measured yet", ha="center", transform=bars.get_xaxis_transform())
    # One legend for both, and all systems in it, whichever they were measured on.
    handles = {
        label: handle for axes in (bars, lines) for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    for axes in (lines, bars):
        axes.grid(alpha=0.25, which="both", axis="y")
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _plot_found(plot: Callable[..., object], errors: Mapping[float, float | None], **style: Any) -> None:  # noqa: ANN401
    """Draw what was measured; nothing where nothing was."""
    found = {place: error for place, error in errors.items() if error is not None}
    if found:
        plot(list(found), list(found.values()), **style)


def _least_error(rows: Sequence[dict[str, Any]], name: str, set_name: str, minutes: float) -> float | None:
    """Of a system at its best size."""
    sizes = [size for system, size in systems_in(rows) if system == name]
    found = [dice_of(rows, (name, size), set_name=set_name, folds=(0,), minutes=minutes) for size in sizes]
    return min((1 - dice for dice in found if dice is not None), default=None)


def _by_minutes(rows: Sequence[dict[str, Any]], system: System) -> list[str]:
    cells = {minutes: _row_of(rows, system, minutes) for minutes in MINUTES}
    return [
        _name(system),
        *(_with_interval(row) for row in cells.values()),
        f"{row['worst_dice']:.4f}" if (row := cells[5.0]) else "",
    ]


def _row_of(rows: Sequence[dict[str, Any]], system: System, minutes: float) -> dict[str, Any] | None:
    wanted = {
        "system": system[0],
        "size": system[1],
        "set_name": "carvana",
        "fold": 0,
        "minutes": minutes,
        "seed": 0,
    }
    return next((row for row in rows if row["cell"] == wanted), None)


def _with_interval(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    dice = row["dice"]
    return f"{dice['mean']:.4f} ({dice['low']:.4f} to {dice['high']:.4f})"


def _by_set(rows: Sequence[dict[str, Any]], system: System) -> list[str]:
    folds = [dice_of(rows, system, set_name="carvana", folds=(fold,), minutes=5.0) for fold in ALL_FOLDS]
    others = [dice_of(rows, system, set_name=set_name, folds=(0,), minutes=5.0) for set_name in OTHER_SETS]
    overall = dice_of(rows, system, set_name="carvana", folds=ALL_FOLDS, minutes=5.0)
    return [_name(system), *(_figure(dice) for dice in (overall, *folds, *others))]


def _by_seed(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Of the systems that were measured with more than one."""
    found = []
    for system in systems_in(rows):
        dice = [dice_of(rows, system, set_name="carvana", folds=(0,), minutes=5.0, seed=seed) for seed in (0, 1, 2)]
        if sum(value is not None for value in dice) > 1:
            found.append([_name(system), *map(_figure, dice)])
    return found


def _name(system: System) -> str:
    return system[0] if system[1] is None else f"{system[0]} at {system[1]}"


def _figure(dice: float | None) -> str:
    return "" if dice is None else f"{dice:.4f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows)]
