import math

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.evaluation.outlines import (
    Mask,
    compare_outlines,
    distances,
    gaps_in_columns,
    outline,
    tolerance_of,
)

RNG = np.random.default_rng(0)


def random_mask(share: float = 0.5, shape: tuple[int, int] = (13, 17)) -> Mask:
    return RNG.random(shape) < share


def everywhere(mask: Mask) -> Mask:
    return np.ones_like(mask)


def square(top: int, left: int, side: int = 10, shape: tuple[int, int] = (40, 60)) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def outline_by_a_loop(mask: Mask, counted: Mask) -> Mask:
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        sides = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        found[y, x] = any(0 <= v < height and 0 <= u < width and counted[v, u] and not mask[v, u] for v, u in sides)
    return found


def distances_by_a_loop(target: Mask, points: NDArray[np.intp]) -> list[float]:
    return [min(math.dist(point, pixel) for pixel in np.argwhere(target)) for point in points]


# --- Outlines


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_an_outline_equals_a_plain_loop(share: float) -> None:
    mask, counted = random_mask(share), random_mask(0.8)
    assert np.array_equal(outline(mask & counted, counted), outline_by_a_loop(mask & counted, counted))


def test_the_edge_of_the_picture_is_no_outline() -> None:
    mask = np.zeros((5, 6), np.bool_)
    mask[:, :3] = True
    assert np.argwhere(outline(mask, everywhere(mask))).tolist() == [[row, 2] for row in range(5)]


def test_where_pixels_are_ignored_there_is_no_outline() -> None:
    mask = square(5, 5)
    counted = everywhere(mask)
    counted[:, 15] = False
    assert not outline(mask, counted)[6:14, 14].any()
    assert outline(mask, everywhere(mask))[6:14, 14].all()


# --- Distances


@pytest.mark.parametrize(("shape", "share"), [((13, 17), 0.02), ((13, 17), 0.3), ((9, 150), 0.005), ((150, 9), 0.005)])
def test_distances_equal_a_plain_loop(shape: tuple[int, int], share: float) -> None:
    target = random_mask(share, shape)
    target[1, 2] = True
    points = np.argwhere(np.ones(shape, np.bool_))[::3]
    found = distances(gaps_in_columns(target), (points[:, 0], points[:, 1]))
    assert found == pytest.approx(distances_by_a_loop(target, points))


def test_within_the_limit_distances_are_right_and_beyond_it_they_are_beyond() -> None:
    target = random_mask(0.01, (30, 90))
    target[4, 5] = True
    points = np.argwhere(np.ones((30, 90), np.bool_))
    exact = np.array(distances_by_a_loop(target, points))
    found = distances(gaps_in_columns(target), (points[:, 0], points[:, 1]), limit=4.5)
    assert found[exact <= 4.5] == pytest.approx(exact[exact <= 4.5])
    assert (found[exact > 4.5] > 4.5).all()


def test_far_points_in_parts_equal_far_points_at_once_and_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    target = square(0, 0, 3, (50, 400)) | square(40, 200, 2, (50, 400))
    points = np.nonzero(square(10, 300, 30, (50, 400)))
    at_once = distances(gaps_in_columns(target), points)
    assert at_once == pytest.approx(distances_by_a_loop(target, np.transpose(points)))
    monkeypatch.setattr("maskwright.evaluation.outlines._NUMBERS_AT_ONCE", 7)
    assert np.array_equal(distances(gaps_in_columns(target), points), at_once)


# --- Scores


@pytest.mark.parametrize("tolerance", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_scores_equal_a_plain_loop(share: float, tolerance: float) -> None:
    truth, called, counted = random_mask(share), random_mask(share), random_mask(0.9)
    expect_a_plain_loops_scores(truth & counted, called & counted, counted, tolerance)


@pytest.mark.parametrize("called", [square(7, 5), square(6, 8, 9) | square(25, 30, 5), square(5, 40)])
def test_scores_of_regions_amid_the_picture_equal_a_plain_loop(called: Mask) -> None:
    expect_a_plain_loops_scores(square(5, 5), called, everywhere(called), 1.0)


def expect_a_plain_loops_scores(truth: Mask, called: Mask, counted: Mask, tolerance: float) -> None:
    a, b = outline_by_a_loop(truth, counted), outline_by_a_loop(called, counted)
    missed, strayed = distances_by_a_loop(b, np.argwhere(a)), distances_by_a_loop(a, np.argwhere(b))
    recall = sum(away <= tolerance for away in missed) / len(missed)
    precision = sum(away <= tolerance for away in strayed) / len(strayed)
    wrong = np.argwhere(truth != called)
    at_edge = sum(away <= tolerance for away in distances_by_a_loop(a, wrong))
    union = (truth | called).sum()
    found = compare_outlines(truth, called, counted, tolerance=tolerance)
    assert found.boundary_f == pytest.approx(2 * precision * recall / max(precision + recall, 1e-9))
    assert found.hausdorff_95 == pytest.approx(max(np.percentile(missed, 95), np.percentile(strayed, 95)))
    assert found.edge_error == pytest.approx(at_edge / union)
    assert found.inner_error == pytest.approx((len(wrong) - at_edge) / union)


def test_what_is_ignored_changes_nothing() -> None:
    truth, called, counted = random_mask(), random_mask(), random_mask(0.8)
    found = compare_outlines(truth, called, counted, tolerance=2)
    assert compare_outlines(truth | ~counted, called & counted, counted, tolerance=2) == found


def test_both_errors_make_what_iou_lacks() -> None:
    truth, called = square(5, 5), square(8, 9) | square(30, 45, 5)
    found = compare_outlines(truth, called, everywhere(truth), tolerance=3)
    iou = (truth & called).sum() / (truth | called).sum()
    assert found.edge_error + found.inner_error == pytest.approx(1 - iou)
    assert found.inner_error > 25 / (truth | called).sum()  # the stray square is one


def test_a_shift_within_the_tolerance_is_an_error_at_the_edge_alone() -> None:
    found = compare_outlines(square(5, 5), square(5, 7), everywhere(square(5, 5)), tolerance=2)
    assert (found.boundary_f, found.inner_error) == (1, 0)
    assert found.edge_error == pytest.approx(40 / 120)
    assert found.hausdorff_95 == 2


def test_a_perfect_region_has_no_errors() -> None:
    found = compare_outlines(square(5, 5), square(5, 5), everywhere(square(5, 5)), tolerance=1)
    assert (found.boundary_f, found.hausdorff_95, found.edge_error, found.inner_error) == (1, 0, 0, 0)


@pytest.mark.parametrize("missing", ["truth", "called"])
def test_a_region_that_only_one_of_them_has_is_as_far_as_can_be(missing: str) -> None:
    masks = {"truth": square(5, 5), "called": square(5, 5), missing: np.zeros((40, 60), np.bool_)}
    found = compare_outlines(masks["truth"], masks["called"], np.ones((40, 60), np.bool_), tolerance=2)
    assert found.boundary_f == 0
    assert found.hausdorff_95 == pytest.approx(math.hypot(40, 60))
    assert found.edge_error + found.inner_error == 1


def test_a_region_that_neither_has_has_no_scores() -> None:
    nothing = np.zeros((4, 5), np.bool_)
    found = compare_outlines(nothing, nothing, everywhere(nothing), tolerance=1)
    assert all(map(math.isnan, (found.boundary_f, found.hausdorff_95, found.edge_error, found.inner_error)))


def test_a_region_that_fills_the_picture_has_no_outline_but_errors() -> None:
    full = np.ones((40, 60), np.bool_)
    found = compare_outlines(full, full, full, tolerance=1)
    assert math.isnan(found.boundary_f)
    assert math.isnan(found.hausdorff_95)
    assert (found.edge_error, found.inner_error) == (0, 0)


def test_the_tolerance_is_a_share_of_the_diagonal_and_a_pixel_at_least() -> None:
    assert tolerance_of(1280, 1918) == pytest.approx(0.0075 * math.hypot(1280, 1918))
    assert tolerance_of(48, 64) == 1
