"""Arrays of numpy, from `.npy` files."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.readers.refusals import NO_PIXELS, refuse_large_array, refuse_odd_numbers
from maskwright.data.readers.stored import Stored, array_mode
from maskwright.errors import InputError


def _npy_layout(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type, and whether the first axis is channels."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # later ones are for tables
            raise InputError(f"{path} does not hold plain numbers; save it as integers or floats of at most 64 bits.")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    refuse_odd_numbers(path, dtype)
    if len(shape) not in (2, 3):
        raise InputError(
            f"{path} has {len(shape)} axes, where a picture has height, width and channels; take it apart."
        )
    is_channels_first = len(shape) == 3 and shape[0] <= 16 < min(shape[1:])
    height, width = shape[1:] if is_channels_first else shape[:2]
    refuse_large_array(path, height, width, prod(shape) * dtype.itemsize)
    if 0 in shape:
        raise InputError(f"{path} {NO_PIXELS}.")
    return shape, dtype, is_channels_first


def describe_npy(path: Path) -> Stored:
    """What an array holds."""
    shape, dtype, is_channels_first = _npy_layout(path)
    *_, height, width, channels = (1, *shape[1:], shape[0]) if is_channels_first else (*shape, 1)[:3]
    return Stored(height, width, 1, array_mode(channels), channels, dtype.name)


def read_npy(path: Path) -> NDArray[Any]:
    """``(H, W, C)``, in native byte order."""
    _, dtype, is_channels_first = _npy_layout(path)
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if is_channels_first:
        stored = np.moveaxis(stored, 0, 2)
    return np.array(stored if stored.ndim == 3 else stored[..., None], dtype=dtype.newbyteorder("="), order="C")
