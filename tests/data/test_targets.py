import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.data.labels import IGNORED
from maskwright.data.targets import pack_target, unpack_target


def unpack(packed: NDArray[np.uint8], num_classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shape = packed.shape[:2]
    target = np.full((1 if num_classes == 2 else num_classes, *shape), np.nan, np.float32)
    weight = np.full((1, *shape), np.nan, np.float32)
    unpack_target(packed, num_classes, target, weight)
    return target, weight


def averages(mask: NDArray[np.uint8], num_classes: int, side: int) -> NDArray[np.float64]:
    """The share of each class, and last of what is ignored, in squares of so many pixels; ``(K + 1, h, w)``."""
    rows, columns = mask.shape[0] // side, mask.shape[1] // side
    result = np.zeros((num_classes + 1, rows, columns))
    for row in range(rows):
        for column in range(columns):
            square = mask[side * row : side * (row + 1), side * column : side * (column + 1)]
            for index in range(num_classes):
                result[index, row, column] = (square == index).mean()
            result[-1, row, column] = (square == IGNORED).mean()
    return result


def blobs(num_classes: int, *, ignored: bool, seed: int = 0) -> NDArray[np.uint8]:
    """Rectangles of all classes over each other, 48x64."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((48, 64), np.uint8)
    classes = [*range(num_classes), *([IGNORED] if ignored else [])]
    for index in [*classes, *rng.choice(classes, 12)]:
        top, left = rng.integers(0, 40), rng.integers(0, 56)
        mask[top : top + rng.integers(3, 20), left : left + rng.integers(3, 25)] = index
    return mask


def test_two_classes_take_a_byte_and_are_exact() -> None:
    mask = blobs(2, ignored=False)
    packed = pack_target(mask, 2, 12, 16)
    target, weight = unpack(packed, 2)
    assert packed.shape == (12, 16, 1)
    np.testing.assert_allclose(target[0], averages(mask, 2, 4)[1], atol=1 / 255)
    assert (weight == 1).all()


def test_of_two_classes_ignored_pixels_have_no_say() -> None:
    mask = blobs(2, ignored=True)
    packed = pack_target(mask, 2, 12, 16)
    target, weight = unpack(packed, 2)
    _, foreground, ignored = averages(mask, 2, 4)
    counts = ignored <= 0.5
    assert packed.shape == (12, 16, 2)
    np.testing.assert_allclose(target[0][counts], (foreground / np.maximum(1 - ignored, 1e-9))[counts], atol=0.01)
    np.testing.assert_allclose(weight[0], np.where(counts, 1 - ignored, 0), atol=1 / 255)
    assert 0 < counts.sum() < counts.size
    assert not target[0][~counts].any()


@pytest.mark.parametrize("num_classes", [3, 20])
def test_more_classes_take_three_bytes_and_are_exact_where_two_meet(num_classes: int) -> None:
    mask = blobs(num_classes, ignored=False)
    packed = pack_target(mask, num_classes, 12, 16)
    target, weight = unpack(packed, num_classes)
    exact = averages(mask, num_classes, 4)[:-1]
    at_most_two = (exact > 0).sum(0) <= 2
    assert packed.shape == (12, 16, 3)
    assert at_most_two.mean() > 0.8
    np.testing.assert_allclose(target[:, at_most_two], exact[:, at_most_two], atol=0.01)
    np.testing.assert_allclose(target.sum(0), 1, atol=1e-6)
    assert (weight == 1).all()


def test_where_three_classes_meet_the_two_largest_share_the_pixel() -> None:
    mask = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 2, 2]], np.uint8)
    target, _ = unpack(pack_target(mask, 3, 1, 1), 3)
    np.testing.assert_allclose(target[:, 0, 0], [0.6, 0.4, 0], atol=0.01)


def test_of_many_classes_ignored_pixels_have_no_say() -> None:
    mask = blobs(4, ignored=True)
    packed = pack_target(mask, 4, 12, 16)
    target, weight = unpack(packed, 4)
    *exact, ignored = averages(mask, 4, 4)
    shares = np.array(exact)
    clear = ((shares > 0).sum(0) <= 2) & (ignored <= 0.5)
    assert packed.shape == (12, 16, 4)
    np.testing.assert_allclose(target[:, clear], (shares / np.maximum(1 - ignored, 1e-9))[:, clear], atol=0.015)
    np.testing.assert_allclose(weight[0], np.where(ignored <= 0.5, 1 - ignored, 0), atol=1 / 255)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_a_mask_that_is_ignored_whole_has_no_weight(num_classes: int) -> None:
    packed = pack_target(np.full((8, 8), IGNORED, np.uint8), num_classes, 4, 4)
    target, weight = unpack(packed, num_classes)
    assert not weight.any()
    assert np.isfinite(target).all()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_enlarging_repeats_pixels(num_classes: int) -> None:
    mask = np.array([[0, 1], [1, num_classes - 1]], np.uint8)
    target, _ = unpack(pack_target(mask, num_classes, 6, 6), num_classes)
    for index in range(num_classes):
        plane = target[index - 1 if num_classes == 2 else index]
        if index or num_classes > 2:
            assert np.array_equal(plane, np.kron(mask == index, np.ones((3, 3))))


def test_hard_masks_at_their_own_size_stay_hard() -> None:
    mask = blobs(7, ignored=False)
    target, _ = unpack(pack_target(mask, 7, 48, 64), 7)
    assert np.array_equal(target.argmax(0), mask)
    assert set(np.unique(target)) == {0.0, 1.0}
