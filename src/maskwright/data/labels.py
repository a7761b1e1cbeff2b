"""Raw mask values to class indices; for now background 0 and foreground 1.

The same two classes are stored in many ways: 0/1, 0/255, 1 bit, grey with soft edges, JPEG with
noise around its edges. Files of 0 and 1 are taken as they are; others are a grey scale, whose
foreground begins at the middle of what its type can hold. The scale is never the file's own
maximum: a mask without foreground would become all foreground.

What would be read wrongly without a word is refused instead. A file of 0, 1, 2 holds class indices,
and on a scale to 255 all of it would be background; so would 0 and 127, or 0 and 255 in a file of
16 bits. Index files that mark ignored pixels with 255 would come out as masks of just those pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InputError

_MOST_LISTED = 6


def foreground(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Says which pixels are foreground.

    Args:
        values: As stored, ``(H, W)`` or ``(H, W, 3 | 4)``; see `image_files.read_mask_values`.
        path: Where they come from, for the message.

    Returns:
        ``(H, W)`` of 0 and 1.

    Raises:
        InputError: The mask has colours, class indices or another scale.
    """
    if values.ndim == 3:
        raise _refusal(path, "colours", [str(tuple(colour)) for colour in _some_colours(values)])
    present = _present(values)
    if values.dtype.kind != "f" and present[0] >= 0 and present[-1] <= 1:
        return values.astype(np.uint8)
    full = _full_scale(values.dtype)
    if not _is_grey_scale(present, full):
        raise _refusal(path, "values", [f"{value:g}" for value in present.tolist()])
    return (values > full / 2).astype(np.uint8)


def _full_scale(dtype: np.dtype[Any]) -> int:
    """White in a file of this type; what is wider than 16 bits comes from 16-bit files."""
    if dtype.kind == "f":
        return 1
    return 255 if dtype.itemsize == 1 else 65535


def _is_grey_scale(present: NDArray[Any], full: int) -> bool:
    """Whether sorted distinct values can be shades from 0 to `full`.

    Shades that are neither black nor white reach beyond the darkest eighth (32 of 255, more than
    the classes that index files have), and a single shade on black reaches the middle.
    """
    if not (present[0] >= 0 and present[-1] <= full):
        return False
    shades = present[(present > 0) & (present < full)]
    is_dark = len(shades) > 0 and shades[-1] <= full / 8
    is_undecided = len(present) <= 2 and 0 < present[-1] <= full / 2
    return not (is_dark or is_undecided)


def _present(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct values, sorted."""
    if values.dtype == np.uint8:  # nearly all masks, and counting is faster than sorting
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def _some_colours(values: NDArray[Any]) -> list[list[int]]:
    colours: list[list[int]] = np.unique(values.reshape(-1, values.shape[-1]), axis=0).tolist()
    return colours


def _refusal(path: Path, kind: str, found: Sequence[str]) -> InputError:
    listed = ", ".join(found[:_MOST_LISTED]) + (" ..." if len(found) > _MOST_LISTED else "")
    return InputError(
        f"{path} holds the {kind} {listed}, but only background/foreground masks (0 and 1, or 0 "
        "and 255) are understood so far; save it as one of these."
    )
