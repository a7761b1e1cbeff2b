"""The values stored in a mask, as far as they can be one channel."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.readers.pillow import decoded, deep_grey, is_deep_grey, ppm_maximum
from maskwright.data.readers.refusals import finite
from maskwright.errors import InputError


def picture_mask(picture: Image.Image, *, in_colour: bool = False) -> NDArray[Any]:
    """The values of a mask that Pillow has opened; ``in_colour`` gives the colours of a coloured palette."""
    if picture.mode == "1":
        return decoded(picture, None).astype(np.uint8)
    if picture.mode == "P":
        return _palette_mask(picture, in_colour=in_colour)
    if len(picture.getbands()) == 1:
        white = ppm_maximum(picture)
        values = deep_grey(picture) if is_deep_grey(picture) else decoded(picture, None)
        if white is None:
            return values
        # Pillow stretches to all bits, but a mask may number its classes up to the white it states.
        most = np.iinfo(values.dtype).max
        stated = np.rint(np.arange(most + 1) * (white / most)).astype(values.dtype)
        return np.asarray(stated[values])
    has_alpha = picture.mode.endswith(("A", "a"))
    return _without_equal_channels(decoded(picture, "RGBA" if has_alpha else "RGB"))


def _palette_mask(picture: Image.Image, *, in_colour: bool) -> NDArray[np.uint8]:
    indices: NDArray[np.uint8] = decoded(picture, None)
    stored = palette_of(picture)
    colours = np.zeros((256, 3), dtype=np.uint8)  # files may name fewer colours than their pixels use
    colours[: len(stored)] = stored
    if _is_grey(stored):
        return np.asarray(colours[indices, 0])
    return np.asarray(colours[indices]) if in_colour else indices


def palette_of(picture: Image.Image) -> NDArray[np.uint8]:
    """Stored colours, ``(N, 3)``, without the blacks that fill up the end."""
    # On a picture of one pixel, because asking this one would decode all of its pixels.
    swatch = Image.new("P", (1, 1))
    if picture.palette is not None:
        swatch.palette = picture.palette.copy()
        swatch.palette.dirty = 1
    entries = swatch.getpalette("RGB") or []
    colours = np.array(entries[: len(entries) // 3 * 3], dtype=np.uint8).reshape(-1, 3)[:256]
    lit = np.flatnonzero(colours.any(axis=1))
    return colours[: lit[-1] + 2 if lit.size else 1]


def array_mask(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """The values of a mask ``(H, W, C)`` that another reader has read."""
    channels = pixels.shape[2]
    values = pixels.astype(np.uint8) if pixels.dtype == np.bool_ else finite(pixels, path)
    if channels == 1 or (channels == 3 and _is_grey(values)):
        return np.ascontiguousarray(values[..., 0])
    if channels in (3, 4) and values.dtype == np.uint8:
        return _without_equal_channels(values)
    raise InputError(
        f"{path} has {channels} channels of {values.dtype}, where a mask has one, or colours of 8 bits; "
        "save the channel that is the mask."
    )


def _without_equal_channels(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One channel of ``(H, W, 3 | 4)`` where that is all there is.

    A cutout that shows nothing is black: what is transparent is background in other cutouts, whatever lies under it.
    """
    alpha = values[..., 3:]
    if alpha.size and alpha.max() < 128 and alpha.min() == alpha.max():
        return np.zeros(values.shape[:2], np.uint8)
    is_plain = _is_grey(values[..., :3]) and (alpha.size == 0 or alpha.min() == alpha.max())
    return np.ascontiguousarray(values[..., 0]) if is_plain else values


def _is_grey(colours: NDArray[Any]) -> bool:
    return bool((colours[..., :1] == colours[..., 1:]).all())
