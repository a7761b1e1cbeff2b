"""What one mask holds: black and white, numbers or colours, and how many pixels of each.

Values alone do not tell: 0 to 200 may be shades of grey or the numbers of classes. What tells is where they lie, in
areas as classes do, or along outlines as soft edges do.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskwright.data import labels as lb
from maskwright.data.labels import MOST_COLOURS
from maskwright.data.pairs import Colour
from maskwright.data.readers.lossy import has_lost_detail

# Black and white in 8 bits, which wider types hold as well.
BYTE_ENDS = frozenset({0, 255})
# What covers less of the pixels is no class where there are more shades or colours than classes.
LEAST_SHARE = 1e-3
# Areas whose greys lie nearer together are told apart by their numbers, not by how they look.
LEAST_CONTRAST = 16

Storage = Literal["empty", "grey", "levels", "indices", "colours"]


@dataclass(frozen=True)
class MaskFacts:
    """What one mask holds.

    Attributes:
        path: The file.
        storage: ``empty`` (nothing but zeros), ``grey`` (black and white, perhaps with soft edges), ``levels`` (grey
            with flat areas of a middle shade), ``indices`` or ``colours``.
        counts: Pixels of each raw value or colour.
        light: Share of light pixels, for ``grey`` and for masks of nothing but 0 and 255 in any type.
        light_border: The same along the picture's border.
        palette: The colours of a palette file.
        is_mixed: For ``colours``: there are too many of them for classes; neighbours are counted as one.
        outlines: For ``colours``: those that cover nowhere two pixels by two, as outlines do that were resized.
    """

    path: Path
    storage: Storage
    counts: dict[int | Colour, int] = field(repr=False)
    light: float = 0.0
    light_border: float = 0.0
    palette: tuple[Colour, ...] | None = field(default=None, repr=False)
    is_mixed: bool = False
    outlines: frozenset[int | Colour] = field(default=frozenset(), repr=False)

    @property
    def has_coloured_palette(self) -> bool:
        """Whether the values are places in a palette; one of greys has been resolved by the reader."""
        return _is_coloured(self.palette)


def look_at(values: NDArray[Any], path: Path, palette: tuple[Colour, ...] | None = None) -> MaskFacts:
    """Say what one mask holds; ``values`` as `image_files.read_mask_values` gives them."""
    is_lossy = has_lost_detail(path)
    if values.ndim == 3 and lb.is_cutout(values):
        values = values[..., 3]
    if values.ndim == 3 and is_lossy and lb.is_nearly_grey(values):
        values = lb.as_grey(values, path)
    if values.ndim == 3:
        colours = lb.as_colours(values)
        counts, is_mixed = _count_colours(colours)
        if is_mixed:
            return MaskFacts(path, "colours", counts, is_mixed=True)
        return MaskFacts(path, "colours", counts, outlines=frozenset(counts) - _colours_in_areas(colours))
    present = lb.distinct(values)
    full = lb.full_scale(values.dtype)
    counts = _count_values(values)
    is_scale = lb.is_grey_scale(present, full) and not _are_numbers(values, counts, full)
    is_plain = (not is_lossy and lb.is_zero_or_one(present)) or is_scale or is_lossy
    if len(present) == 1 and present[0] == 0:
        return MaskFacts(path, "empty", counts, palette=palette)
    if _is_coloured(palette):
        is_plain = is_plain and counts.keys() <= {0, 1, 255}
    if not is_plain and not counts.keys() <= BYTE_ENDS:
        return MaskFacts(path, "indices", counts, palette=palette)
    is_bit = lb.is_zero_or_one(present) and not is_lossy
    light = values >= 1 if is_bit or not is_plain else values > lb.middle(values.dtype)
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    storage: Storage = "indices"
    if is_plain:
        storage = "levels" if not is_lossy and _has_flat_middle(values, present) else "grey"
    return MaskFacts(path, storage, counts, float(light.mean()), float(border.mean()), palette)


def is_grey(colour: int | Colour) -> bool:
    """Whether a raw value is a grey, as every number is."""
    return isinstance(colour, int) or len(set(colour)) == 1


def _is_coloured(palette: tuple[Colour, ...] | None) -> bool:
    return palette is not None and not all(is_grey(colour) for colour in palette)


def _count_values(values: NDArray[Any]) -> dict[int | Colour, int]:
    if values.dtype.kind == "f":
        present, counts = np.unique(values.round(3), return_counts=True)
        # Zeros and ones among floats are the zeros and ones of other files.
        keys = [int(value) if value.is_integer() else value for value in present.tolist()]
        return dict(zip(keys, counts.tolist(), strict=True))
    if values.dtype != np.uint8:
        present, counts = np.unique(values, return_counts=True)
    else:  # nearly all masks, and counting is faster than sorting
        counts = lb.count_bytes(values)
        present = np.flatnonzero(counts)
        counts = counts[present]
    return dict(zip(present.tolist(), counts.tolist(), strict=True))


def _count_colours(colours: NDArray[np.uint8]) -> tuple[dict[int | Colour, int], bool]:
    codes, counts = np.unique(lb.colour_codes(colours), return_counts=True)
    is_mixed = len(codes) > MOST_COLOURS
    if is_mixed:
        # Neighbours are counted as one, so that no file takes more than some thousand entries.
        rough = np.asarray(colours & 0xF8 | 4, np.uint8)
        codes, counts = np.unique(lb.colour_codes(rough), return_counts=True)
    return dict(zip(lb.colours_of(codes.tolist()), counts.tolist(), strict=True)), is_mixed


def _colours_in_areas(colours: NDArray[np.uint8]) -> frozenset[Colour]:
    """The colours that cover two pixels by two somewhere."""
    codes = lb.colour_codes(colours)
    return frozenset(lb.colours_of(np.unique(codes[:-1, :-1][_is_area(codes)]).tolist()))


def _is_area(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels ``(H - 1, W - 1)`` are like those to the right, below, and between these."""
    corner = values[:-1, :-1]
    same = (corner == values[1:, :-1]) & (corner == values[:-1, 1:]) & (corner == values[1:, 1:])
    return np.asarray(same, np.bool_)


def _has_flat_middle(values: NDArray[Any], present: NDArray[Any]) -> bool:
    """Whether shades between black and white lie in areas, as classes do, and not along outlines, as soft edges do."""
    if len(present) > 16 or len(present) < 3:
        return False
    middle = (values > present[0]) & (values < present[-1])
    same = middle[:, 1:] & (values[:, 1:] == values[:, :-1])
    return bool(same.sum() > 0.75 * middle.sum() and middle.mean() > LEAST_SHARE)


def _are_numbers(values: NDArray[Any], counts: dict[int | Colour, int], full: int) -> bool:
    """Whether what could be shades of grey by its values lies in areas, as the numbers of classes do.

    Shades of soft edges and of compression lie in no areas. Where they do, as in a mask that was enlarged, there are
    many, some are nearly white, and white covers more than all that are neither.
    """
    shades = {value: count for value, count in counts.items() if isinstance(value, int) and 0 < value < full}
    if not 3 <= len(counts) <= MOST_COLOURS or max(shades, default=full) > full * 7 / 8 or min(values.shape) < 2:
        return False
    in_areas = _count_values(np.where(_is_area(values), values[:-1, :-1], 0))
    flat = sorted(value for value, count in shades.items() if 3 * in_areas.get(value, 0) >= count)
    middle = sum(count for value, count in shades.items() if value > full / 8)
    if 2 * len(flat) <= len(shades) or middle <= counts.get(full, 0):
        return False
    has_light = full in counts or max(shades) > full // 2
    return not has_light or any(high - low < LEAST_CONTRAST for low, high in pairwise(flat))
