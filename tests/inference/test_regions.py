"""Runs and outlines: whatever a mask holds, drawing them gives it back."""

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.data.pairs import Polygons
from maskwright.data.shapes import rasterise
from maskwright.inference.regions import Outline, find_outlines, find_runs

RING = np.array(
    [
        [1, 1, 1, 1, 1],
        [1, 0, 0, 0, 1],
        [1, 0, 1, 0, 1],
        [1, 0, 0, 0, 1],
        [1, 1, 1, 1, 1],
    ],
    np.bool_,
)


def drawn(ring: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return rasterise(Polygons((tuple((x, y) for x, y in ring.tolist()),)), *shape)


def redrawn(outline: Outline, shape: tuple[int, int]) -> NDArray[np.bool_]:
    region = drawn(outline.outer, shape)
    for hole in outline.holes:
        inner = drawn(hole, shape)
        assert (region | ~inner).all()
        region &= ~inner
    return region


def noise(seed: int) -> NDArray[np.bool_]:
    random = np.random.default_rng(seed)
    return np.asarray(random.random(random.integers(1, 14, 2)) < random.random())


@pytest.mark.parametrize("seed", range(40))
def test_outlines_drawn_again_are_the_mask_each_pixel_in_one_of_them(seed: int) -> None:
    mask = noise(seed)
    times = sum(
        (redrawn(outline, mask.shape).astype(int) for outline in find_outlines(mask)), np.zeros(mask.shape, int)
    )
    assert np.array_equal(times, mask.astype(int))


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_runs_drawn_again_are_the_mask(seed: int, by_rows: bool) -> None:
    mask = noise(seed)
    runs = find_runs(mask, by_rows=by_rows)
    assert np.array_equal(rasterise(runs, *mask.shape), mask)
    ends = runs.starts + runs.lengths
    assert (ends[:-1] < runs.starts[1:]).all()  # as few as there can be


def test_an_island_in_a_hole_is_a_region_of_its_own() -> None:
    outlines = find_outlines(RING)
    assert [len(outline.holes) for outline in outlines] == [1, 0]


def test_a_bent_hole_belongs_to_the_region_around_it() -> None:
    mask = np.ones((7, 9), np.bool_)
    mask[1:6, 2] = mask[1, 2:7] = mask[5, 2:7] = False  # a C, open to the right
    mask[3, 4] = False  # and a hole between its arms
    (outline,) = find_outlines(mask)
    assert len(outline.holes) == 2


def test_pixels_that_touch_at_a_corner_are_two_regions() -> None:
    assert len(find_outlines(np.eye(2, dtype=np.bool_))) == 2


def test_slopes_are_straight_and_corners_are_cut() -> None:
    (outline,) = find_outlines(np.tri(5, dtype=np.bool_))
    assert sorted(map(tuple, outline.outer.tolist())) == [(0, 0.5), (0, 4.5), (0.5, 0), (0.5, 5), (4.5, 5), (5, 4.5)]


def test_outlines_go_clockwise_and_holes_the_other_way() -> None:
    first = find_outlines(RING)[0]

    def turning(ring: NDArray[np.float64]) -> float:
        x, y = ring.T
        return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())

    assert turning(first.outer) > 0
    assert turning(first.holes[0]) < 0


def test_nothing_has_no_outline() -> None:
    assert find_outlines(np.zeros((3, 4), np.bool_)) == []
