"""Arrays of numpy, from `.npy` files."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.readers.refusals import NO_PIXELS, refuse_large_array, refuse_odd_numbers
from maskwright.data.readers.stored import Stored, array_mode
from maskwright.errors import InputError

MAGIC = b"\x93NUMPY"
# Bytes of a band.
BAND_BYTES = 2**25


def is_npy(magic: bytes) -> bool:
    """Whether a file that begins so is an array of numpy."""
    return magic.startswith(MAGIC)


def _npy_layout(path: Path, *, is_large: bool = False) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
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
    if not is_large:
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
    return _native(_map(path, is_channels_first=_npy_layout(path)[2]))


def map_npy(path: Path) -> NDArray[Any]:
    """An array of any size ``(H, W, C)`` as it lies in the file, of which nothing is read."""
    return _map(path, is_channels_first=_npy_layout(path, is_large=True)[2])


def npy_bands(path: Path) -> Iterator[NDArray[Any]]:
    """Its rows in native byte order, some at a time."""
    stored = map_npy(path)
    step = max(1, BAND_BYTES // stored[0].nbytes)
    for top in range(0, len(stored), step):
        yield _native(stored[top : top + step])


def _map(path: Path, *, is_channels_first: bool) -> NDArray[Any]:
    stored: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if is_channels_first:
        stored = np.moveaxis(stored, 0, 2)
    return stored if stored.ndim == 3 else stored[..., None]


def _native(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.array(pixels, dtype=pixels.dtype.newbyteorder("="), order="C")
