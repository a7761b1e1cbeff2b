import json
from pathlib import Path

import numpy as np
import pytest

from maskwright.data.input_format import read_image
from maskwright.training.curves import draw_curves, draw_rates
from maskwright.training.rate_search import Choice
from maskwright.training.run_folder import read_metrics


def write_metrics(path: Path, epochs: int) -> None:
    lines = []
    for epoch in range(1, epochs + 1):
        line = {"epoch": epoch, "learning_rate": 1e-3, "train_loss": 1 / epoch, "train_dice": 1 - 1 / epoch}
        lines.append(line | ({"val_loss": 2 / epoch, "val_dice": 0.5} if epoch % 2 else {}))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("epochs", [0, 1, 2, 50])
def test_curves_of_any_count_of_epochs_are_drawn(epochs: int, tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.jsonl", epochs)
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    height, width, _ = read_image(tmp_path / "curves.png").shape
    assert width > 2 * height


def test_the_metrics_are_what_is_drawn(tmp_path: Path) -> None:
    for epochs in (3, 4):
        write_metrics(tmp_path / "metrics.jsonl", epochs)
        draw_curves(tmp_path / "metrics.jsonl", tmp_path / f"{epochs}.png")
    assert not np.array_equal(read_image(tmp_path / "3.png"), read_image(tmp_path / "4.png"))


def test_metrics_are_read_line_by_line(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.jsonl", 3)
    assert [line["epoch"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]


def test_a_run_without_metrics_has_none(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("losses", [(1.0, 0.5, 0.9), (1.0, 0.5, float("nan"))])
def test_a_search_for_a_rate_is_drawn_with_what_was_chosen(losses: tuple[float, ...], tmp_path: Path) -> None:
    rates = (1e-4, 1e-3, 1e-2)
    for name, choice in (("with.png", Choice(1e-3, 1e-3, None)), ("without.png", None)):
        draw_rates(rates, losses, choice, tmp_path / name)
    assert not np.array_equal(read_image(tmp_path / "with.png"), read_image(tmp_path / "without.png"))
