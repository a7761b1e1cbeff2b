import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from maskwright.config import Settings
from maskwright.data.augmentation import BEYOND, Change, apply_change, draw_change, recolour

pytestmark = pytest.mark.usefixtures("one_thread")

NOTHING = Change(
    mirror=False, degrees=0.0, shift=(0.0, 0.0), scale=1.0, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0
)


def change(**values: object) -> Change:
    return dataclasses.replace(NOTHING, **values)  # type: ignore[arg-type]


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target() -> Tensor:
    return torch.rand(1, 40, 56, generator=torch.Generator().manual_seed(1))


# --- Moving


def test_image_and_mask_move_together(target: Tensor) -> None:
    moved = change(mirror=True, degrees=23.0, shift=(0.1, -0.05), scale=0.9)
    image, mask, weight = apply_change(moved, target.expand(3, -1, -1), target)
    inside = weight[0] > 0
    assert 0.5 < inside.float().mean() < 1
    torch.testing.assert_close(image[:, inside], mask.expand(3, -1, -1)[:, inside], atol=1e-5, rtol=0)


def test_a_change_of_nothing_changes_nothing(image: Tensor, target: Tensor) -> None:
    same_image, same_target, weight = apply_change(NOTHING, image, target)
    torch.testing.assert_close(same_image, image, atol=1e-5, rtol=0)
    torch.testing.assert_close(same_target, target, atol=1e-5, rtol=0)
    assert torch.equal(weight, torch.ones(1, 40, 56))


def test_a_mirror_swaps_left_and_right(image: Tensor, target: Tensor) -> None:
    mirrored, mask, weight = apply_change(change(mirror=True), image, target)
    torch.testing.assert_close(mirrored, image.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(mask, target.flip(-1), atol=1e-5, rtol=0)
    assert weight.all()


def test_a_shift_moves_to_the_right_and_down(image: Tensor, target: Tensor) -> None:
    moved, mask, weight = apply_change(change(shift=(0.125, 0.25)), image, target)
    torch.testing.assert_close(moved[:, 10:, 7:], image[:, :-10, :-7], atol=1e-4, rtol=0)
    torch.testing.assert_close(mask[:, 10:, 7:], target[:, :-10, :-7], atol=1e-4, rtol=0)
    assert weight[:, 10:, 7:].all()
    assert not weight[:, :10].any()
    assert not weight[:, :, :7].any()


def test_a_move_by_half_a_pixel_mixes_neighbours(image: Tensor, target: Tensor) -> None:
    _, mask, _ = apply_change(change(shift=(0.5 / 56, 0.0)), image, target)
    torch.testing.assert_close(mask[..., 2:-2], (target[..., 1:-3] + target[..., 2:-2]) / 2, atol=1e-4, rtol=0)


def test_a_turn_is_clockwise_and_keeps_the_shape_of_things() -> None:
    target = torch.zeros(1, 40, 60)
    target[:, 4:8, 28:32] = 1  # a square above the middle
    _, turned, _ = apply_change(change(degrees=90.0), torch.zeros(3, 40, 60), target)
    expected = torch.zeros(1, 40, 60)
    expected[:, 18:22, 42:46] = 1  # it lies as far to the right now
    torch.testing.assert_close(turned, expected, atol=1e-3, rtol=0)


def test_a_scale_enlarges_around_the_middle() -> None:
    target = torch.zeros(1, 40, 40)
    target[:, 15:25, 15:25] = 1
    _, larger, _ = apply_change(change(scale=2.0), torch.zeros(3, 40, 40), target)
    assert larger.sum() == pytest.approx(400, rel=0.02)
    assert larger[0, 12, 12] == 1
    assert larger[0, 8, 8] == 0


def test_beyond_the_edge_nothing_counts_and_inside_nothing_has_faded() -> None:
    moved = change(degrees=30.0, scale=0.7, shift=(0.1, 0.1))
    image, target, weight = apply_change(moved, torch.ones(3, 40, 56), torch.ones(1, 40, 56))
    inside = weight > 0
    assert torch.equal(weight, inside.float())
    assert image[inside.expand(3, -1, -1)].min() > 0.99
    assert target[inside].min() > 0.99
    assert image[~inside.expand(3, -1, -1)].eq(BEYOND).all()
    assert not target[~inside].any()


def test_a_turned_picture_counts_where_its_corners_still_are() -> None:
    _, _, weight = apply_change(change(degrees=45.0), torch.ones(3, 40, 40), torch.ones(1, 40, 40))
    assert not weight[0, [0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert weight[0, 20, [0, 20, -1]].all()


@pytest.mark.parametrize("classes", [1, 4])
def test_any_number_of_classes_moves(image: Tensor, classes: int) -> None:
    target = torch.rand(classes, 40, 56)
    _, mask, weight = apply_change(change(mirror=True), image, target)
    assert (mask.shape, weight.shape) == ((classes, 40, 56), (1, 40, 56))
    torch.testing.assert_close(mask, target.flip(-1), atol=1e-5, rtol=0)


# --- Colours


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_change_the_image_and_never_the_mask(name: str, image: Tensor, target: Tensor) -> None:
    coloured, mask, weight = apply_change(change(**{name: 0.5}), image, target)
    assert (coloured - image).abs().mean() > 0.02
    assert coloured.min() >= 0
    assert coloured.max() <= 1
    torch.testing.assert_close(mask, target, atol=1e-5, rtol=0)
    assert weight.all()


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_that_are_not_rgb_keep_their_colours(channels: int) -> None:
    image = torch.rand(channels, 8, 8)
    assert torch.equal(recolour(change(brightness=0.5, hue=0.1), image), image)


# --- Drawing


def test_the_generator_alone_decides_the_change() -> None:
    first, again, other = (draw_change(Settings(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    "settings",
    [
        Settings(flip=0.0),
        Settings(rotate=0.0),
        Settings(scale=0.0, shift=0.0),
        Settings(colour=0.0),
        Settings(flip=1.0),
    ],
)
def test_settings_do_not_move_what_is_drawn_afterwards(settings: Settings) -> None:
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    draw_change(Settings(), rng)
    draw_change(settings, other)
    assert rng.random() == other.random()


def test_settings_of_zero_draw_a_change_of_nothing() -> None:
    settings = Settings(flip=0.0, scale=0.0, shift=0.0, rotate=0.0, colour=0.0)
    assert draw_change(settings, np.random.default_rng(0)) == NOTHING


def test_changes_stay_within_the_settings_and_use_them() -> None:
    rng = np.random.default_rng(0)
    settings = Settings(flip=0.25, scale=0.5, shift=0.2, rotate=20.0, colour=0.4)
    drawn = [draw_change(settings, rng) for _ in range(1000)]
    assert np.mean([one.mirror for one in drawn]) == pytest.approx(0.25, abs=0.05)
    for values, low, high in [
        ([one.degrees for one in drawn], -20, 20),
        ([one.shift[0] for one in drawn], -0.2, 0.2),
        ([one.shift[1] for one in drawn], -0.2, 0.2),
        ([one.scale for one in drawn], 1 / 1.5, 1.5),
        ([one.brightness for one in drawn], 1 / 1.4, 1.4),
        ([one.contrast for one in drawn], 1 / 1.4, 1.4),
        ([one.saturation for one in drawn], 1 / 1.4, 1.4),
        ([one.hue for one in drawn], -0.04, 0.04),
    ]:
        assert low <= min(values) <= low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) <= max(values) <= high


def test_pictures_shrink_as_often_as_they_grow() -> None:
    rng = np.random.default_rng(0)
    scales = [draw_change(Settings(scale=0.9), rng).scale for _ in range(2000)]
    assert np.mean(np.array(scales) > 1) == pytest.approx(0.5, abs=0.05)
