from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.data import row_bands
from maskwright.data.resizing import resize_image, resize_plane
from maskwright.data.row_bands import Rows, resize_bands

SHAPES = [
    ((300, 200), (77, 51)),
    ((301, 203), (40, 199)),
    ((1000, 30), (3, 1)),
    ((64, 1), (1, 64)),
    ((77, 51), (300, 200)),
    ((5, 7), (64, 64)),
    ((123, 77), (122, 76)),
]


@pytest.fixture(autouse=True)
def _narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_bands, "BAND_NUMBERS", 3000)


def in_bands(pixels: NDArray[Any], rows: int = 13) -> Iterator[NDArray[Any]]:
    return (pixels[top : top + rows] for top in range(0, len(pixels), rows))


def test_rows_come_as_they_are_asked_for_whatever_the_bands() -> None:
    pixels = np.arange(60).reshape(30, 2)
    rows = Rows(in_bands(pixels, 7))
    for start, stop in ((0, 3), (2, 12), (2, 3), (11, 25), (28, 30)):
        assert np.array_equal(rows.take(start, stop), pixels[start:stop])


def test_rows_above_are_let_go() -> None:
    rows = Rows(in_bands(np.zeros((1000, 4)), 10))
    for start in range(0, 990, 5):
        rows.take(start, start + 10)
        assert sum(map(len, rows._held)) <= 30


def test_what_bands_are_put_together_to_is_held_instead_of_them() -> None:
    rows = Rows(in_bands(np.zeros((100, 4)), 10))
    taken = rows.take(5, 38)
    assert sum(map(len, rows._held)) == 35  # up to the end of the fourth band
    assert any(np.shares_memory(taken, band) for band in rows._held)


@pytest.mark.parametrize(("shape", "new_shape"), SHAPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_bands_are_resized_as_the_whole_is(shape: tuple[int, int], new_shape: tuple[int, int], channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=np.uint8)
    bands = list(resize_bands(in_bands(pixels), shape, new_shape))
    whole = resize_image(pixels, *new_shape)
    difference = np.abs(np.concatenate(bands).astype(int) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02
    assert len(bands) > 1 or new_shape[0] < 10


@pytest.mark.parametrize(("shape", "new_shape"), SHAPES)
def test_logits_are_enlarged_as_the_whole_is(shape: tuple[int, int], new_shape: tuple[int, int]) -> None:
    logits = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    found = np.concatenate(list(resize_bands(in_bands(logits), shape, new_shape)))
    planes = [resize_plane(np.ascontiguousarray(logits[..., channel]), *new_shape) for channel in range(2)]
    np.testing.assert_allclose(found, np.stack(planes, axis=-1), atol=1e-5)


def test_bands_of_the_right_size_pass_through() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    assert np.array_equal(np.concatenate(list(resize_bands(in_bands(pixels), (30, 20), (30, 20)))), pixels)
