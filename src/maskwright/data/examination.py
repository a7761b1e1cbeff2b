"""What the doctor keeps of a picture: each is read once, on all cores, and leaves some numbers and a thumbnail."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.data import image_files
from maskwright.data.duplicates import thumbnail
from maskwright.data.image_files import Stored
from maskwright.data.input_format import read_image
from maskwright.data.labels import IGNORED, MaskError
from maskwright.data.pairs import AlphaChannel, Drawing, Mask, Pair, Problem, mask_files
from maskwright.data.reading import Formats, fingerprint_of, read_mask
from maskwright.data.resolution import SIDES, resolution_bound
from maskwright.data.threads import in_threads, limit_pixels
from maskwright.errors import InputError

# Masks that the resolution bound is measured on, evenly spaced. A mask costs as much as reading four pictures, and the
# mean of so many is settled in its third digit.
MOST_MEASURED = 32


@dataclass(frozen=True, eq=False)
class Picture:
    """What is kept of a picture that can be used.

    Attributes:
        pair: Its files.
        stored: What the image file holds.
        mask_size: Height and width that its mask is stored at.
        counts: Pixels of each class and, last, of those that do not count; at the image's size.
        thumbnail: ``(64, 64, 3)``.
        fingerprint: Of the image file's content.
        mask_print: Of the classes; equal for equal masks.
        has_varying_alpha: Whether some pixels are more transparent than others.
        bound: The best Dice that its mask could reach, by longer side; empty where it was not measured.
    """

    pair: Pair
    stored: Stored
    mask_size: tuple[int, int]
    counts: tuple[int, ...]
    thumbnail: NDArray[np.uint8]
    fingerprint: str
    mask_print: bytes
    has_varying_alpha: bool = False
    bound: Mapping[int, float] = field(default_factory=dict)

    @property
    def counted(self) -> int:
        """Pixels that count."""
        return sum(self.counts[:-1])

    def share_of(self, classes: Iterable[int]) -> float:
        """Share of these classes in the pixels that count."""
        return sum(self.counts[index] for index in classes) / max(1, self.counted)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""
        return self.stored.height, self.stored.width


def examine(
    pairs: Sequence[Pair], formats: Formats, *, size: int, advance: Callable[[], None]
) -> tuple[tuple[Picture, ...], tuple[Problem, ...]]:
    """Read every pair.

    Args:
        pairs: What was found.
        formats: How they are read.
        size: Longer side of training, one of those that the resolution bound is measured for.
        advance: Called after each pair, for a progress bar.

    Returns:
        The pictures that can be used, and the problems of the others.
    """
    measured = set(np.linspace(0, len(pairs) - 1, min(MOST_MEASURED, len(pairs))).astype(int).tolist())
    decoding = limit_pixels()

    def look(index: int) -> Picture | Problem:
        try:
            return _examine(pairs[index], formats, decoding, size if index in measured else None)
        finally:
            advance()

    found = list(in_threads(look, range(len(pairs))))
    pictures = tuple(entry for entry in found if isinstance(entry, Picture))
    return pictures, tuple(entry for entry in found if isinstance(entry, Problem))


def _examine(
    pair: Pair,
    formats: Formats,
    decoding: Callable[[int], AbstractContextManager[None]],
    measured_size: int | None,
) -> Picture | Problem:
    try:
        stored = image_files.describe(pair.image)
        with decoding(stored.height * stored.width):
            small = thumbnail(read_image(pair.image, formats.input))
            varies = (
                stored.has_alpha and not isinstance(pair.mask, AlphaChannel) and image_files.alpha_varies(pair.image)
            )
        fingerprint = fingerprint_of(pair.image)
    except InputError as error:
        return Problem(pair.image, str(error))
    try:
        with decoding(stored.height * stored.width):
            mask = read_mask(pair, formats.labels, stored.height, stored.width)
            return Picture(
                pair,
                stored,
                _size_of_mask(pair.mask) or (stored.height, stored.width),
                _count_classes(mask, formats.labels.num_classes),
                small,
                fingerprint,
                hashlib.sha1(np.ascontiguousarray(mask).data, usedforsecurity=False).digest(),
                varies,
                _bound_of(mask, measured_size) if measured_size else {},
            )
    except MaskError as error:
        return Problem(_subject(pair), str(error), error.kind)
    except InputError as error:
        return Problem(_subject(pair), str(error))


def _subject(pair: Pair) -> Path:
    """The file to name: of an annotation file, which may describe many pictures, the picture."""
    return pair.image if isinstance(pair.mask, Drawing) else pair.mask_path


def _count_classes(mask: NDArray[np.uint8], num_classes: int) -> tuple[int, ...]:
    # One comparison for each class: of few classes that is many times faster than a histogram.
    return tuple(int(np.count_nonzero(mask == index)) for index in (*range(num_classes), IGNORED))


def _size_of_mask(mask: Mask) -> tuple[int, int] | None:
    """Height and width, upright as the file itself says."""
    if isinstance(mask, Drawing):
        return mask.size
    stored = image_files.describe(mask_files(mask)[0])
    return stored.height, stored.width


def _bound_of(mask: NDArray[np.uint8], size: int) -> dict[int, float]:
    """Empty where the mask shows nothing that could be scored."""
    bound = resolution_bound(mask, sorted({*SIDES, size}))
    return {} if math.isnan(bound[size]) else bound
