from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.config import Architecture, Settings
from maskwright.data.labels import LabelMap
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats
from maskwright.training import measuring
from maskwright.training.measuring import LEAST_OUTLINED, look_at_masks, measure_speed, perfect_logits, usual_shape
from maskwright.training.minutes import drawn
from maskwright.training.recipe import LADDER

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(folder: Path, count: int, *, stripes: int) -> list[Pair]:
    """Wide pictures whose masks are stripes of so many pixels."""
    mask = np.zeros((200, 800), np.uint8)
    mask[:, ::40] = 255
    for column in range(stripes):
        mask[:, column::40] = 255
    pairs = []
    for index in range(count):
        pair = Pair(f"{index}", folder / f"{index}.png", folder / f"{index}_mask.png", None)
        Image.fromarray(np.zeros((200, 800, 3), np.uint8)).save(pair.image)
        Image.fromarray(mask).save(pair.mask_path)
        pairs.append(pair)
    return pairs


def test_thin_masks_need_more_pixels_than_thick_ones(tmp_path: Path) -> None:
    found = {}
    for stripes in (2, 20):
        folder = tmp_path / str(stripes)
        folder.mkdir()
        pairs = pictures(folder, 3, stripes=stripes)
        found[stripes], extent = look_at_masks(pairs, Formats(), (100, *LADDER), seed=0)
        assert extent == pytest.approx((760 + stripes) / 800)
        assert usual_shape(pairs, seed=0) == (200, 800)
    assert list(found[2]) == [100, *LADDER]
    assert found[2][256] < 0.9 < found[20][256]
    assert found[2][100] < found[2][256]
    assert found[2][960] == 1.0


def test_where_foreground_is_rare_more_masks_are_looked_at(tmp_path: Path) -> None:
    pairs = pictures(tmp_path, 60, stripes=5)
    for pair in drawn(pairs, 59, seed=0):
        Image.fromarray(np.zeros((200, 800), np.uint8)).save(pair.mask_path)
    assert look_at_masks(pairs, Formats(), LADDER, seed=0) == look_at_masks(
        drawn(pairs, 60, seed=0)[59:], Formats(), LADDER, seed=0
    )
    assert look_at_masks(drawn(pairs, 59, seed=0), Formats(), LADDER, seed=0) == ({}, 1.0)


def test_the_extent_is_that_of_all_foreground_together_and_ignored_pixels_are_none(tmp_path: Path) -> None:
    (pair,) = pictures(tmp_path, 1, stripes=1)
    mask = np.zeros((200, 800), np.uint8)
    mask[10:20, 100:110] = mask[150:160, 310:320] = 1
    mask[:, 700:] = 7
    Image.fromarray(mask).save(pair.mask_path)
    for ignore, extent in (((7,), 220 / 800), ((), 700 / 800)):
        values = ((0,), (1,)) if ignore else ((0,), (1, 7))
        labels = LabelMap("indices", ("background", "car"), values, ignore)
        assert look_at_masks([pair], Formats(labels), LADDER, seed=0)[1] == pytest.approx(extent)


def test_short_of_time_a_few_masks_must_do(tmp_path: Path) -> None:
    pairs = pictures(tmp_path, 9, stripes=5)
    for pair in pairs[:]:
        pair.mask_path.unlink()  # one that is opened says nothing
    opened = []
    bounds, _ = look_at_masks(pairs, Formats(), LADDER, seed=0, spent=lambda: opened.append(1) or 1.0)  # type: ignore[func-returns-value]
    assert bounds == {}
    assert len(opened) == 9 - LEAST_OUTLINED


def test_pictures_that_cannot_be_read_are_left_to_those_who_refuse_them(tmp_path: Path) -> None:
    pairs = pictures(tmp_path, 3, stripes=5)
    pairs[0].image.write_text("no picture")
    pairs[1].mask_path.write_text("no picture")
    assert usual_shape(pairs, seed=0) == (200, 800)
    assert look_at_masks(pairs, Formats(), LADDER, seed=0)[0]


def test_costs_are_those_of_pictures_of_the_mean_size() -> None:
    areas = dict(enumerate([1.0, 100.0, 90.0, 60.0, 99.0]))
    assert measuring._usual(list(areas), 1, areas.__getitem__) == ([3], 70 / 60)
    assert measuring._usual(list(areas), 2, areas.__getitem__) == ([3, 2], 70 / 75)
    assert measuring._usual([1], 4, areas.__getitem__) == ([1], 1.0)


@pytest.mark.parametrize(("costs", "seconds", "times"), [([9.0, 1.0], 9.0, 1), ([2.0, 1.0, 0.5, 0.7], 0.5, 3)])
def test_what_takes_long_is_measured_once(costs: list[float], seconds: float, times: int) -> None:
    done: list[float] = []
    found = measuring._second_time(lambda: done.append(costs[len(done)]), lambda: sum(done), times=2)
    assert found == pytest.approx(seconds)
    assert len(done) == times


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_measuring_leaves_the_random_state_alone_and_finds_a_speed(
    num_classes: int, ema: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SMALL_PROBE", (2, 32))
    monkeypatch.setattr(measuring, "LARGE_PROBE", (4, 64))
    architecture = Architecture(base_channels=8, depth=1, num_classes=num_classes)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    speed = measure_speed(Settings(ema=ema), architecture, "cpu", "fp32")
    assert torch.equal(torch.rand(4), expected)
    assert speed.per_megapixel > 0
    assert speed.per_step >= 0


def test_short_of_time_the_speed_comes_from_small_steps_alone() -> None:
    architecture = Architecture(base_channels=8, depth=1)
    speed = measure_speed(Settings(), architecture, "cpu", "fp32", spent=lambda: 1.0)
    assert speed.per_step == 0
    assert speed.per_megapixel > 0


@pytest.mark.parametrize("names", [("background", "car"), ("background", "car", "road")])
def test_perfect_logits_say_the_mask(names: tuple[str, ...]) -> None:
    mask = np.random.default_rng(0).integers(0, len(names), (7, 9)).astype(np.uint8)
    labels = LabelMap("indices", names, values=tuple((index,) for index in range(len(names))))
    logits = perfect_logits(mask, labels)
    assert len(logits) == labels.logit_channels
    said = (logits[0] >= 0) if len(logits) == 1 else logits.argmax(0)
    np.testing.assert_array_equal(said, mask)
