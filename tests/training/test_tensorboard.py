import dataclasses
import errno
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import Samples
from maskwright.data.labels import BLACK_AND_WHITE
from maskwright.errors import MissingExtraError
from maskwright.inference.outputs import coloured, panel
from maskwright.training.tensorboard import (
    classes_of,
    draw_validation,
    open_events,
    require_tensorboard,
    written_while_it_can,
)

LINES: list[dict[str, float]] = [
    {"epoch": 1, "step": 5, "train_loss": 0.5, "val_loss": 0.75, "val_dice": 0.25},
    {"epoch": 2, "step": 10, "train_loss": 0.25},
]


def read(folder: Path) -> EventAccumulator:
    """What TensorBoard would show of a folder."""
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = read(folder)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_the_figures_are_those_of_the_metrics(tmp_path: Path) -> None:
    events = open_events(tmp_path / "metrics.jsonl")
    for line in LINES:
        events.write_line(line)
    assert scalars(tmp_path) == {
        "epoch": [(5, 1), (10, 2)],
        "loss/train": [(5, 0.5), (10, 0.25)],
        "loss/validation": [(5, 0.75)],
        "dice/validation": [(5, 0.25)],
    }


def test_a_resumed_run_shows_what_its_metrics_say(tmp_path: Path) -> None:
    before = open_events(tmp_path / "metrics.jsonl")
    before.write_line(LINES[0])
    before.write_line({"epoch": 2, "step": 9, "train_loss": 99})  # dropped when the run was resumed
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "step": 5, "train_loss": 0.5}\n')
    open_events(tmp_path / "metrics.jsonl").write_line(LINES[1])
    assert scalars(tmp_path)["loss/train"] == [(5, 0.5), (10, 0.25)]


def test_a_disk_that_is_full_ends_the_event_file_and_not_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = open_events(tmp_path / "metrics.jsonl")
    asked: list[int] = []

    def refuse(*_: object) -> None:
        asked.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(events.writer, "add_scalar", refuse)
    write = written_while_it_can(events)
    for line in LINES:
        write(line)
    assert len(asked) == 1
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_pictures_come_with_the_figures_of_validation(tmp_path: Path) -> None:
    events = open_events(tmp_path / "metrics.jsonl")
    tiles = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    events.draw = lambda: {"images/a": tiles}
    for line in LINES:
        events.write_line(line)
    (image,) = read(tmp_path).Images("validation/images/a")
    assert (image.step, image.height, image.width) == (5, 5, 7)


class Bright(nn.Module):
    """Says that what is bright is foreground."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True) - 0.6


def test_panels_show_picture_truth_and_prediction(ellipse_cache: Cache) -> None:
    samples = Samples(ellipse_cache, Settings(size=32), augment=False)
    drawn = draw_validation(Bright(), samples, [3, 7], BLACK_AND_WHITE, "cpu")
    assert list(drawn) == [ellipse_cache.pairs[index].name for index in (3, 7)]
    image = ellipse_cache.image(7)
    truth = (ellipse_cache.target(7)[..., 0] > 127.5).astype(np.uint8)
    bright = (image.mean(2) > 0.6 * 255).astype(np.uint8)
    assert coloured(truth, BLACK_AND_WHITE).any()
    assert np.array_equal(drawn[ellipse_cache.pairs[7].name], panel(image, bright, truth, labels=BLACK_AND_WHITE))


def test_pixels_that_do_not_count_are_grey(ellipse_cache: Cache) -> None:
    entry = ellipse_cache.entries[0]
    nowhere = dataclasses.replace(entry, path=None, facts=dataclasses.replace(entry.facts, planes=2))
    ignored = np.full((48, 64), 255, np.uint8)
    ignored[:24] = 0
    picture = np.zeros((48, 64, 3), np.uint8)
    facts = dataclasses.replace(nowhere.facts, class_pixels=(24 * 64, 0))
    cache = dataclasses.replace(
        ellipse_cache, entries=(dataclasses.replace(nowhere, facts=facts),), read=lambda _: (picture, ignored)
    )
    samples = Samples(cache, Settings(size=32), augment=False)
    (tiles,) = draw_validation(Bright(), samples, [0], BLACK_AND_WHITE, "cpu").values()
    expected = panel(
        np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32), np.uint8), ignored[::2, ::2], labels=BLACK_AND_WHITE
    )
    assert np.array_equal(tiles, expected)


def test_the_largest_of_several_channels_is_the_class() -> None:
    scores = torch.tensor([[[1.0, 0.0]], [[0.5, 2.0]], [[0.0, 1.0]]])
    assert classes_of(scores).tolist() == [[0, 1]]
    assert classes_of(scores[:1] - 0.5).tolist() == [[1, 0]]


def test_a_missing_package_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", nothing)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[tensorboard\]'"):
        require_tensorboard()
