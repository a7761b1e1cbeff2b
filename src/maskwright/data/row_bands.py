"""Pictures that come a band of rows at a time, from top to bottom, so that nobody holds all of them."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.data.resizing import resize_part

# Numbers in a band that is made here.
BAND_NUMBERS = 2**23


class Source(Protocol):
    """A picture whose rows can be had one after the other."""

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    def bands(self) -> Iterator[NDArray[Any]]:
        """Its rows ``(n, W, C)`` from top to bottom, as many at a time as are at hand together."""
        ...


class Rows:
    """Rows of bands, asked for from top to bottom; those above the last that were asked for are let go."""

    def __init__(self, bands: Iterable[NDArray[Any]]) -> None:
        self._bands = iter(bands)
        self._held: list[NDArray[Any]] = []
        self._top = 0

    def take(self, start: int, stop: int) -> NDArray[Any]:
        """Rows ``start`` to ``stop``, which must be there; ``start`` is never less than it was before."""
        while self._held and self._top + len(self._held[0]) <= start:
            self._top += len(self._held.pop(0))
        while self._top + sum(map(len, self._held)) < stop:
            band = next(self._bands)
            if not self._held and self._top + len(band) <= start:
                self._top += len(band)
            else:
                self._held.append(band)
        parts, left, top = [], [], self._top
        for band in self._held:
            cut = max(0, stop - top)
            parts.append(band[max(0, start - top) : cut])
            left.append(band[cut:])
            top += len(band)
        parts = [part for part in parts if len(part)]
        if len(parts) == 1:
            return parts[0]
        taken = np.concatenate(parts)
        # It takes the place of its parts, which would be held beside it.
        self._held, self._top = [taken, *(rest for rest in left if len(rest))], start
        return taken


def _rows_of_band(numbers: int) -> int:
    """Rows of so many numbers that make a band."""
    return max(1, BAND_NUMBERS // numbers)


def resize_bands(
    bands: Iterable[NDArray[Any]], shape: tuple[int, int], new_shape: tuple[int, int]
) -> Iterator[NDArray[Any]]:
    """Resize a picture or logits ``(H, W, C)`` that come in bands, to what `resizing.resize_image` makes of the whole.

    Args:
        bands: Of uint8 or float32.
        shape: Height and width.
        new_shape: Of the result.

    Yields:
        Bands of the result. Bytes may differ by 1 from those of the whole, where one falls on the edge of rounding.
    """
    if shape == new_shape:
        yield from bands
        return
    rows = Rows(bands)
    (height, width), (new_height, new_width) = shape, new_shape
    scale = height / new_height
    reach = max(1.0, scale)  # of a triangle filter, in rows of the picture
    top = 0
    while top < new_height:
        # The width of what is read counts as well as that of what is made.
        step = max(1, min(_rows_of_band(3 * new_width), int(_rows_of_band(3 * width) / reach)))
        bottom = min(top + step, new_height)
        first = max(0, math.floor((top + 0.5) * scale - reach))
        last = min(height, math.ceil((bottom - 0.5) * scale + reach) + 1)
        yield resize_part(
            rows.take(first, last), (top * scale - first, bottom * scale - first), bottom - top, new_width
        )
        top = bottom
