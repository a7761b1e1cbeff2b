"""The curves of a run, as pictures: loss and Dice over its epochs, and loss over learning rates."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.evaluation.pages.plots import label_sparsely
from maskwright.files import replacing
from maskwright.training.rate_search import Choice, smoothed
from maskwright.training.run_folder import read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_curves(metrics_path: Path, picture_path: Path) -> None:
    """Draw loss, Dice and learning rate from the metrics of a run."""
    from matplotlib.figure import Figure

    lines = read_metrics(metrics_path)
    figure = Figure(figsize=(10, 3.6))
    loss, dice, rate = figure.subplots(1, 3)
    _plot(loss, lines, {"train_loss": "train", "val_loss": "validation"})
    _plot(dice, lines, {"train_dice": "train", "val_dice": "validation"})
    _plot(rate, lines, {"learning_rate": "learning rate"})
    loss.set(title="Loss", xlabel="epoch", yscale="log")
    label_sparsely(loss.yaxis)
    dice.set(title="Dice at training size", xlabel="epoch")
    rate.set(title="Learning rate", xlabel="epoch")
    for axes in (loss, dice):
        if lines:
            axes.legend(frameon=False)
    for axes in (loss, dice, rate):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    # Of the figure, and of a plot's width between two: laid out by matplotlib, all would be measured twice to be drawn.
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.15, top=0.9, wspace=0.3)
    _write(figure, picture_path)


def draw_rates(rates: Sequence[float], losses: Sequence[float], choice: Choice | None, picture_path: Path) -> None:
    """Draw what a search for a learning rate met, and the rate that was chosen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6))
    axes = figure.subplots()
    finite = [loss for loss in losses if math.isfinite(loss)]
    axes.plot(rates[: len(finite)], finite, color="0.8", label="each batch")
    axes.plot(rates[: len(finite)], smoothed(finite), label="smoothed")
    if choice is not None:
        axes.axvline(choice.rate, color="tab:green", linestyle="--", label=f"chosen: {choice.rate:.2g}")
    axes.set(title="Loss at rising learning rates", xlabel="learning rate", ylabel="loss", xscale="log", yscale="log")
    label_sparsely(axes.yaxis)
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(left=0.17, right=0.97, bottom=0.15, top=0.9)
    _write(figure, picture_path)


def _plot(axes: Any, lines: list[dict[str, Any]], names: dict[str, str]) -> None:  # noqa: ANN401 - untyped library
    for name, label in names.items():
        points = [(line["epoch"], line[name]) for line in lines if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 40 else None)


def _write(figure: "Figure", picture_path: Path) -> None:
    with replacing(picture_path) as temporary:
        figure.savefig(temporary, dpi=110)
