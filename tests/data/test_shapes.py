from pathlib import Path

import numpy as np
import pytest

from maskwright.data.pairs import Drawing, Polygons, Runs, Shape
from maskwright.data.shapes import check_size, draw, rasterise
from maskwright.errors import InputError

FILE = Path("annotations.json")


def box(left: float, top: float, right: float, bottom: float) -> Polygons:
    return Polygons((((left, top), (right, top), (right, bottom), (left, bottom)),))


def runs(starts: list[int], lengths: list[int], height: int, width: int, *, by_rows: bool = True) -> Runs:
    return Runs(np.array(starts, np.int64), np.array(lengths, np.int64), height, width, by_rows)


def test_a_box_covers_the_pixels_between_its_corners() -> None:
    expected = np.zeros((8, 9), bool)
    expected[2:5, 3:7] = True
    np.testing.assert_array_equal(rasterise(box(3, 2, 7, 5), 8, 9), expected)


@pytest.mark.parametrize(("shift", "first"), [(0.4, 3), (0.5, 3), (0.6, 4), (-0.4, 3), (-0.6, 2)])
def test_a_pixel_belongs_where_its_centre_does(shift: float, first: int) -> None:
    mask = rasterise(box(3 + shift, 0, 7 + shift, 1), 1, 20)
    assert np.flatnonzero(mask[0]).tolist() == list(range(first, first + 4))


@pytest.mark.parametrize("size", [4, 20, 200])
def test_areas_are_without_bias(size: int) -> None:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (40, 7)))
    radii = rng.uniform(0.5, 1, (40, 7)) * size
    shares = []
    for ring in np.stack([250 + radii * np.cos(angles), 250 + radii * np.sin(angles)], axis=2):
        x, y = ring.T
        area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
        shares.append(rasterise(Polygons((tuple(map(tuple, ring.tolist())),)), 500, 500).sum() / area - 1)
    assert abs(np.mean(shares)) < 0.3 / size


def test_a_polygon_equals_a_point_in_polygon_test_of_every_pixel() -> None:
    rng = np.random.default_rng(1)
    ring = rng.uniform(-10, 50, (9, 2))  # crosses itself and the borders
    inside = np.zeros((30, 40), bool)
    for row, column in np.ndindex(30, 40):
        for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if (y > row + 0.5) != (next_y > row + 0.5):
                crossing = x + (row + 0.5 - y) / (next_y - y) * (next_x - x)
                inside[row, column] ^= column + 0.5 > crossing
    np.testing.assert_array_equal(rasterise(Polygons((tuple(map(tuple, ring.tolist())),)), 30, 40), inside)


def test_a_polygon_is_close_to_that_of_cocos_rasteriser() -> None:
    mask = pytest.importorskip("faster_coco_eval.core.mask")
    rng = np.random.default_rng(2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    ring = np.stack([100 + 70 * np.cos(angles), 80 + 60 * np.sin(angles)], axis=1)
    theirs = mask.decode(mask.merge(mask.frPyObjects([ring.ravel().tolist()], 160, 200))).astype(bool)
    ours = rasterise(Polygons((tuple(map(tuple, ring.tolist())),)), 160, 200)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.99


def test_rings_add_up() -> None:
    corner = ((0.0, 2.0), (3.0, 2.0), (3.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0))
    mask = rasterise(Polygons((*box(0, 0, 1, 2).rings, corner)), 3, 3)
    assert mask.astype(int).tolist() == [[1, 0, 1], [1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    "ring", [(), ((1.0, 1.0),), ((1.0, 1.0), (5.0, 5.0)), ((-5.0, -5.0), (-1.0, -5.0), (-1.0, -1.0))]
)
def test_what_has_no_area_in_the_picture_covers_nothing(ring: tuple[tuple[float, float], ...]) -> None:
    assert not rasterise(Polygons((ring,)), 10, 10).any()


def test_polygons_are_cut_off_at_the_borders() -> None:
    assert rasterise(box(-1e6, -1e6, 1e6, 1e6), 7, 5).all()


@pytest.mark.parametrize("by_rows", [True, False])
def test_runs_give_back_the_mask_they_came_from(by_rows: bool) -> None:
    mask = np.random.default_rng(3).random((13, 17)) < 0.4
    flat = (mask if by_rows else mask.T).ravel()
    edges = np.diff(np.pad(flat.astype(int), 1))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    back = rasterise(runs(starts.tolist(), (ends - starts).tolist(), 13, 17, by_rows=by_rows), 13, 17)
    np.testing.assert_array_equal(back, mask)


def test_runs_may_overlap_and_come_in_any_order() -> None:
    mask = rasterise(runs([6, 1, 2, 0], [2, 5, 1, 0], 3, 3), 3, 3)
    assert mask.astype(int).ravel().tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 0]


def test_runs_of_another_size_are_resized() -> None:
    assert rasterise(runs([0], [1], 2, 2), 4, 4).astype(int).tolist() == [[1, 1, 0, 0]] * 2 + [[0] * 4] * 2


@pytest.mark.parametrize(
    ("starts", "lengths"),
    [([8], [2]), ([-1], [2]), ([0], [-1]), ([2**62], [2**62]), ([0, 1], [1])],
    ids=["too long", "before the picture", "negative", "overflow", "unequal"],
)
def test_runs_outside_their_picture_are_refused(starts: list[int], lengths: list[int]) -> None:
    with pytest.raises(InputError, match="do not fit"):
        rasterise(runs(starts, lengths, 3, 3), 3, 3)


@pytest.mark.parametrize(("height", "width"), [(0, 5), (-4, -4), (8001, 8000), (10**30, 1)])
def test_absurd_sizes_are_refused(height: int, width: int) -> None:
    with pytest.raises(InputError, match="cannot be"):
        check_size(height, width)
    with pytest.raises(InputError, match="cannot be"):
        rasterise(runs([0], [1], height, width), 5, 5)
    with pytest.raises(InputError, match="cannot be"):
        draw(Drawing(FILE, ()), {}, height, width)


@pytest.mark.parametrize("x", [float("nan"), float("inf"), 1e300])
def test_coordinates_that_are_none_are_refused(x: float) -> None:
    with pytest.raises(InputError, match="no numbers"):
        rasterise(box(0, 0, x, 5), 10, 10)


def test_a_polygon_that_would_take_all_memory_is_refused() -> None:
    zigzag = tuple((float(i), float(i % 2 * 10_000)) for i in range(2_000))
    with pytest.raises(InputError, match="too often"):
        rasterise(Polygons((zigzag,)), 10_000, 10)


def test_small_regions_are_painted_over_large_ones() -> None:
    shapes = (Shape("lamp", box(1, 1, 2, 2)), Shape("car", box(0, 0, 3, 3)))
    mask = draw(Drawing(FILE, shapes), {"car": 1, "lamp": 2}, 3, 4)
    assert mask.tolist() == [[1, 1, 1, 0], [1, 2, 1, 0], [1, 1, 1, 0]]
    assert mask.dtype == np.uint8


def test_of_equally_large_regions_the_later_one_is_seen() -> None:
    shapes = (Shape("a", box(0, 0, 1, 1)), Shape("b", runs([0], [1], 2, 2)))
    assert draw(Drawing(FILE, shapes), {"a": 1, "b": 2}, 2, 2)[0, 0] == 2


def test_regions_follow_the_size_of_the_picture() -> None:
    drawing = Drawing(FILE, (Shape("a", box(1, 0, 2, 1)), Shape("b", runs([3], [1], 2, 2))), (2, 2))
    assert draw(drawing, {"a": 1, "b": 2}, 4, 4).tolist() == [[0, 0, 1, 1]] * 2 + [[0, 0, 2, 2]] * 2


def test_a_class_without_an_index_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match=r"annotations\.json has the class 'car'"):
        draw(Drawing(FILE, (Shape("car", box(0, 0, 1, 1)),)), {}, 2, 2)


def test_errors_of_drawing_name_the_file() -> None:
    with pytest.raises(InputError, match=r"annotations\.json"):
        draw(Drawing(FILE, (Shape("car", box(0, 0, float("nan"), 1)),)), {"car": 1}, 2, 2)
