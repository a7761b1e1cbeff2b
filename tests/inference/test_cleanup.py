from collections import deque

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.inference.cleanup import NOTHING, Cleanup, clean, find_regions

ROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
BESIDE = [(-1, 0), (0, -1), (0, 1), (1, 0)]


def flooded(inside: NDArray[np.bool_], *, corners: bool) -> NDArray[np.intp]:
    """The number of each pixel's region from 1, found by walking from pixel to pixel."""
    found = np.zeros(inside.shape, np.intp)
    for start in zip(*np.nonzero(inside), strict=True):
        if found[start]:
            continue
        found[start] = found.max() + 1
        waiting = deque([start])
        while waiting:
            row, column = waiting.popleft()
            for down, right in ROUND if corners else BESIDE:
                beside = (row + down, column + right)
                is_there = all(0 <= at < side for at, side in zip(beside, inside.shape, strict=True))
                if is_there and inside[beside] and not found[beside]:
                    found[beside] = found[start]
                    waiting.append(beside)
    return found


def drawn(*rows: str) -> NDArray[np.uint8]:
    return np.array([[int(char) if char != "." else 0 for char in row] for row in rows], np.uint8)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9, 1.0, 0.0])
@pytest.mark.parametrize("shape", [(40, 53), (1, 30), (30, 1)])
def test_regions_are_those_that_a_walk_finds(shape: tuple[int, int], share: float, corners: bool) -> None:
    inside = np.random.default_rng(0).random(shape) < share
    regions = find_regions(inside, corners=corners)
    found = np.zeros(shape, np.intp)
    for row, start, stop, region in zip(regions.rows, regions.starts, regions.stops, regions.region, strict=True):
        found[row, start:stop] = region + 1
    expected = flooded(inside, corners=corners)
    assert np.array_equal(found, expected)
    assert np.array_equal(regions.areas, np.bincount(expected.ravel())[1:])


def test_a_region_that_winds_is_one() -> None:
    snake = np.zeros((61, 20), bool)
    snake[::2] = True
    snake[1::4, -1] = True
    snake[3::4, 0] = True
    assert len(find_regions(snake, corners=False).areas) == 1
    assert len(find_regions(snake.T, corners=False).areas) == 1


def test_a_mask_stays_as_it_is_where_nothing_is_asked() -> None:
    mask = drawn("1.1")
    assert clean(mask, NOTHING) is mask


def test_the_largest_region_stays() -> None:
    mask = drawn("11..1", "1...1", "....1", ".1..1")
    assert np.array_equal(clean(mask, Cleanup(largest=True)), drawn("....1", "....1", "....1", "....1"))


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = drawn("1...", ".1..", "..1.")
    assert np.array_equal(clean(mask, Cleanup(largest=True)), mask)


def test_small_regions_go() -> None:
    mask = drawn("11..1", "1....", "...11")
    assert np.array_equal(clean(mask, Cleanup(min_area=2)), drawn("11...", "1....", "...11"))
    assert not clean(mask, Cleanup(min_area=4)).any()


def test_holes_are_filled_and_bays_are_not() -> None:
    mask = drawn(".111.", "1...1", "1..11", ".11..", "11.11")
    filled = clean(mask, Cleanup(fill_holes=True))
    assert np.array_equal(filled, drawn(".111.", "11111", "11111", ".11..", "11.11"))


def test_classes_are_cleaned_by_themselves() -> None:
    mask = drawn("111..", "1.1.2", "111.2", "..2..", "1....")
    cleaned = clean(mask, Cleanup(fill_holes=True, largest=True))
    assert np.array_equal(cleaned, drawn("111..", "111.2", "111.2", ".....", "....."))


def test_another_class_in_a_hole_stays() -> None:
    mask = drawn("11111", "1...1", "1.2.1", "1...1", "11111")
    assert np.array_equal(clean(mask, Cleanup(fill_holes=True)), drawn("11111", "11111", "11211", "11111", "11111"))


def test_the_mask_given_is_left_as_it_was() -> None:
    mask = drawn("1.1")
    clean(mask, Cleanup(largest=True))
    assert np.array_equal(mask, drawn("1.1"))


@pytest.mark.parametrize("value", [0, 1])
def test_masks_of_one_value_survive(value: int) -> None:
    mask = np.full((5, 4), value, np.uint8)
    assert np.array_equal(clean(mask, Cleanup(fill_holes=True, largest=True, min_area=3)), mask)
