import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.image_files import fit_size, resize_mask, resize_plane
from maskwright.data.resolution import SIDES, resolution_bound


def discs(height: int, width: int, num_classes: int, seed: int = 0) -> NDArray[np.uint8]:
    """Discs of several classes over each other."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for number in range(3 * (num_classes - 1)):
        row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, height / 3)
        mask[np.hypot(rows - row, columns - column) < radius] = 1 + number % (num_classes - 1)
    return mask


def plain_bound(mask: NDArray[np.uint8], side: int, num_classes: int) -> float:
    """The same from its definition: float32 shares of every class, normalised, enlarged, the largest taken."""
    height, width = mask.shape
    small = [resize_mask(mask == value, *fit_size(height, width, side)) for value in range(num_classes)]
    shares = np.stack([resize_plane(plane.astype(np.float32), height, width) for plane in small])
    predicted = shares.argmax(0)
    counted = mask != 255
    scores = []
    for value in range(1, num_classes):
        truth, found = (mask == value) & counted, (predicted == value) & counted
        if truth.any():
            scores.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    return float(np.mean(scores))


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("is_partly_ignored", [False, True])
def test_bounds_equal_their_definition(num_classes: int, is_partly_ignored: bool) -> None:
    mask = discs(150, 211, num_classes)
    if is_partly_ignored:
        mask[40:70, 30:160] = 255
    for side, bound in resolution_bound(mask, (16, 33, 64, 128, 200)).items():
        assert bound == pytest.approx(plain_bound(mask, side, num_classes), abs=2e-3), side


def test_a_network_of_more_pixels_can_be_better() -> None:
    bounds = list(resolution_bound(discs(300, 450, 3), (16, 32, 64, 128, 256, 450)).values())
    assert bounds == sorted(bounds)
    assert bounds[0] < 0.97
    assert bounds[-2] > 0.995


@pytest.mark.parametrize("side", [90, 91, 4000])
def test_nothing_is_lost_where_nothing_is_shrunk(side: int) -> None:
    assert resolution_bound(discs(60, 90, 4), (side,)) == {side: 1.0}


def test_what_is_thinner_than_half_a_pixel_is_lost() -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[:, 101] = 1
    bounds = resolution_bound(mask, (32, 256))
    assert bounds == {32: 0.0, 256: 1.0}


@pytest.mark.parametrize("value", [0, 255])
def test_without_foreground_there_is_no_bound(value: int) -> None:
    bounds = resolution_bound(np.full((30, 40), value, np.uint8), (16, 64))
    assert list(bounds) == [16, 64]
    assert all(math.isnan(bound) for bound in bounds.values())


@pytest.mark.parametrize("value", [1, 7])
def test_a_mask_that_is_all_foreground_is_no_problem(value: int) -> None:
    assert resolution_bound(np.full((300, 200), value, np.uint8), (16,)) == {16: 1.0}


def test_classes_weigh_the_same_whatever_their_size() -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[:128] = 1
    mask[200, 50:200] = 2
    assert resolution_bound(mask, (32,))[32] == pytest.approx(0.5, abs=0.01)


def test_ignored_pixels_hide_what_goes_wrong_in_them() -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[:128] = 1
    mask[120:136] = 255
    assert resolution_bound(mask, (32,)) == {32: 1.0}


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_any_shape_has_a_bound(shape: tuple[int, int]) -> None:
    assert resolution_bound(np.ones(shape, np.uint8)) == dict.fromkeys(SIDES, 1.0)


@pytest.mark.realdata
def test_real_cars_fit_into_small_pictures_and_real_cracks_do_not(real_data: Path) -> None:
    def worst(pattern: str, side: int) -> float:
        bounds = []
        for path in sorted(real_data.glob(pattern))[::12]:
            with Image.open(path) as picture:
                mask = np.array(picture.convert("L")) > 127
            bounds.append(resolution_bound(mask.astype(np.uint8), (side,))[side])
        return min(bounds)

    assert worst("carvana/train_masks/*.gif", 512) > 0.998
    assert worst("cracks/masks/*.png", 128) < 0.9
