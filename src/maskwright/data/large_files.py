"""Picture files that are too large to be held: read and written a band of rows at a time.

TIFF files in tiles or strips, and arrays of numpy. Others are decoded as a whole, so that a large one cannot be read
without the memory that it takes. The limits of `image_files` keep bombs out, and nothing here is used unless somebody
asks for it; what one band takes is limited all the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskwright.data.readers.npy import is_npy, map_npy, npy_bands
from maskwright.data.readers.refusals import explained, finite
from maskwright.data.readers.tiff import TIFF_MAGIC, open_page, tiff_bands
from maskwright.data.row_bands import Rows
from maskwright.errors import InputError, MissingExtraError
from maskwright.files import replacing

LARGE_SUFFIXES = frozenset({".tif", ".tiff", ".npy"})
# Pixels a side of the tiles that are written.
TILE = 512
# A TIFF file of more bytes needs wider offsets.
MOST_OF_CLASSIC_TIFF = 2**32 - 2**25


@dataclass(frozen=True)
class LargeFile:
    """A picture file whose rows can be had one after the other; see `row_bands.Source`.

    Attributes:
        path: Of the file.
        height: In pixels.
        width: Likewise.
        kind: Which reader it has.
    """

    path: Path
    height: int
    width: int
    kind: Literal["tiff", "npy"]

    def bands(self) -> Iterator[NDArray[Any]]:
        """Its rows ``(n, W, C)``, with the values that are stored.

        Raises:
            InputError: The file is damaged, or holds numbers that are not finite.
        """
        bands = npy_bands(self.path) if self.kind == "npy" else _tiff_bands(self.path)
        while True:
            # Not around the loop, whose body is the caller's.
            with explained(self.path, is_large=True):
                band = next(bands, None)
            if band is None:
                return
            yield finite(band, self.path)


def open_large(path: Path) -> LargeFile:
    """A file of any size, of which no more than a band is ever read at once.

    Raises:
        InputError: The file is missing, no picture, or one that can only be read as a whole.
        MissingExtraError: It is a TIFF file, and tifffile is not installed.
    """
    with explained(path, is_large=True):
        with path.open("rb") as file:
            magic = file.read(6)
        if is_npy(magic):
            height, width = map_npy(path).shape[:2]
            return LargeFile(path, height, width, "npy")
        if magic.startswith(TIFF_MAGIC):
            with open_page(path, is_large=True) as page:
                return LargeFile(path, page.imagelength, page.imagewidth, "tiff")
    raise InputError(f"{path} can only be read as a whole; save it as a TIFF file in tiles, which --large reads.")


def write_large_mask(
    path: Path,
    bands: Iterable[NDArray[np.uint8]],
    height: int,
    width: int,
    *,
    palette: NDArray[np.uint8] | None = None,
) -> None:
    """Write a mask as a TIFF file in compressed tiles, whole or not at all.

    Args:
        path: Of the file; one of that name is replaced.
        bands: The rows ``(n, W)`` from top to bottom.
        height: Of the mask, in pixels.
        width: Likewise.
        palette: RGB colour ``(N, 3)`` of each value; without one, values are greys.

    Raises:
        InputError: It cannot be written.
        MissingExtraError: tifffile is not installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtraError("tifffile", "tiff") from error
    colours = None
    if palette is not None:
        colours = np.zeros((3, 256), np.uint16)
        colours[:, : len(palette)] = palette.T.astype(np.uint16) * 257
    try:
        with replacing(path) as unfinished:
            tifffile.imwrite(
                unfinished,
                _tiles(Rows(bands), height, width),
                shape=(height, width),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression="zlib",
                photometric="minisblack" if colours is None else "palette",
                colormap=colours,
                metadata=None,
                bigtiff=height * width > MOST_OF_CLASSIC_TIFF,
                maxworkers=1,
            )
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error


def _tiff_bands(path: Path) -> Iterator[NDArray[Any]]:
    with open_page(path, is_large=True) as page:
        yield from tiff_bands(page, path)


def _tiles(rows: Rows, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Whole tiles from left to right and from top to bottom, with zeros beyond the edges."""
    for top in range(0, height, TILE):
        strip = rows.take(top, min(top + TILE, height))
        for left in range(0, width, TILE):
            tile = np.zeros((TILE, TILE), np.uint8)
            part = strip[:, left : left + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
