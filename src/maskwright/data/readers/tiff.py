"""TIFF files of many channels, or of more bits than Pillow keeps, through tifffile."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags

from maskwright.data.readers.refusals import MOST_BYTES, refuse_large_array, refuse_odd_numbers
from maskwright.data.readers.stored import TURNS, Stored, array_mode, turn
from maskwright.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from tifffile import TiffPage

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def open_page(path: Path, *, is_large: bool = False) -> Iterator["TiffPage"]:
    """Open the first page of a TIFF file, if it is one that can be read, as a whole or with ``is_large`` in bands."""
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtraError("tifffile", "tiff") from error
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        if is_large:
            _refuse_large_bands(page, path)
        else:
            refuse_large_array(path, page.imagelength, page.imagewidth, page.nbytes)
        refuse_odd_numbers(path, page.dtype)
        if page.axes not in ("YX", "YXS", "SYX"):
            raise InputError(f"{path} has more than height, width and channels; save one plane of it.")
        if page.photometric not in (0, 1, 2):
            kind = getattr(page.photometric, "name", page.photometric)
            raise InputError(
                f"{path} is a TIFF file of kind {kind} with these bits, which is not read; save it as RGB."
            )
        if page.compression not in (1, 8, 32946):
            kind = getattr(page.compression, "name", page.compression)
            raise InputError(
                f"{path} is compressed with {kind}, which is not read for these bits and channels; "
                "save it uncompressed or with Deflate."
            )
        refuse_large_array(path, 1, 1, _segment_bytes(page))
        yield page


def _segment_bytes(page: "TiffPage") -> int:
    """Bytes of one strip or tile, which are decoded as a whole and may be larger than the picture."""
    return prod(page.chunks) * np.dtype(page.dtype).itemsize


def _alpha_samples(page: "TiffPage") -> list[int]:
    first = page.samplesperpixel - len(page.extrasamples)
    return [first + place for place, kind in enumerate(page.extrasamples) if kind in (1, 2)]


def tiff_bands(page: "TiffPage", path: Path) -> Iterator[NDArray[Any]]:
    """The channels without alpha, ``(n, W, C)``, a row of tiles or a strip at a time."""
    planes = page.samplesperpixel if page.axes == "SYX" else 1
    rows, across = page.chunks[0], page.chunked[-1] if page.axes == "SYX" else page.chunked[1]
    samples = page.samplesperpixel
    alphas = _alpha_samples(page)
    dtype = np.dtype(page.dtype).newbyteorder("=")
    segments_of_plane = len(page.dataoffsets) // planes
    for top in range(0, page.imagelength, rows):
        band = np.zeros((min(rows, page.imagelength - top), page.imagewidth, samples), dtype)
        first = top // rows * across
        for plane in range(planes):
            for index in range(first, first + across):
                segment, left = _decode(page, plane * segments_of_plane + index, path)
                part = band[:, left : left + segment.shape[1]]
                channels = slice(plane, plane + 1) if planes > 1 else slice(None)
                part[..., channels] = segment[: part.shape[0], : part.shape[1]]
        yield np.delete(band, alphas, axis=2) if alphas else band


def _decode(page: "TiffPage", index: int, path: Path) -> tuple[NDArray[Any], int]:
    """A strip or tile ``(n, m, S)``, and the column in which it begins."""
    file = page.parent.filehandle
    file.seek(page.dataoffsets[index])
    packed = file.read(page.databytecounts[index])
    if page.compression != 1:
        _refuse_inflated(packed, page, path)
    segment, place, shape = page.decode(packed, index)
    if segment is None:  # nothing is stored of it
        segment = np.zeros(shape, page.dtype)
    return segment[0], place[3]


def _refuse_large_bands(page: "TiffPage", path: Path) -> None:
    """Refuse what cannot be read upright in bands, or only in bands that take too much memory."""
    if _tiff_orientation(page) != 1:
        raise InputError(f"{path} is stored turned, and is too large to be turned here; save it upright.")
    if page.photometric == 0:
        raise InputError(f"{path} stores white as 0; save it with black as 0.")
    rows = min(page.imagelength, page.chunks[0] if page.axes != "SYX" else page.chunks[-2])
    band = rows * page.imagewidth * page.samplesperpixel * np.dtype(page.dtype or np.uint8).itemsize
    if band > MOST_BYTES:
        raise InputError(f"{path} is stored in strips of {band // 10**6} MB; save it in tiles.")


def describe_tiff(page: "TiffPage") -> Stored:
    """What a page holds."""
    dtype = np.dtype(page.dtype)
    orientation = _tiff_orientation(page)
    height, width = page.imagelength, page.imagewidth
    if orientation >= 5:
        height, width = width, height
    alphas = _alpha_samples(page)
    channels = page.samplesperpixel - len(alphas)
    has_alpha = bool(alphas) and dtype.name in ("uint8", "uint16")
    return Stored(height, width, orientation, array_mode(channels), channels, dtype.name, has_alpha)


def _tiff_orientation(page: "TiffPage") -> int:
    value = page.tags.valueof(ExifTags.Base.Orientation.value)
    return value if value in TURNS else 1


def read_tiff(page: "TiffPage", path: Path) -> NDArray[Any]:
    """The upright channels without alpha, ``(H, W, C)``."""
    samples = _tiff_samples(page, path)
    alphas = _alpha_samples(page)
    return np.delete(samples, alphas, axis=2) if alphas else samples


def read_tiff_alpha(page: "TiffPage", path: Path) -> NDArray[np.uint8] | None:
    """The upright alpha channel, ``(H, W)``; None where there is none of whole numbers."""
    if not describe_tiff(page).has_alpha:
        return None
    alpha = _tiff_samples(page, path)[..., _alpha_samples(page)[0]]
    return (alpha >> 8 if alpha.dtype == np.uint16 else alpha).astype(np.uint8)


def _tiff_samples(page: "TiffPage", path: Path) -> NDArray[Any]:
    """All upright channels, ``(H, W, S)``."""
    if page.compression != 1:
        _refuse_inflation(page, path)
    samples = page.asarray(maxworkers=1)
    if page.axes == "YX":
        samples = samples[..., None]
    elif page.axes == "SYX":
        samples = np.moveaxis(samples, 0, 2)
    return np.ascontiguousarray(turn(samples, _tiff_orientation(page)), dtype=samples.dtype.newbyteorder("="))


def _refuse_inflation(page: "TiffPage", path: Path) -> None:
    """Refuse a strip or tile that unpacks to more than its size, a thousandfold at worst; tifffile would not stop."""
    with path.open("rb") as file:
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.seek(offset)
            _refuse_inflated(file.read(length), page, path)


def _refuse_inflated(packed: bytes, page: "TiffPage", path: Path) -> None:
    most = _segment_bytes(page)
    inflater = zlib.decompressobj()
    size = 0
    while packed and size <= most and not inflater.eof:
        size += len(inflater.decompress(packed, 2**20))
        packed = inflater.unconsumed_tail
    if size > most:
        raise InputError(f"{path} unpacks to more than it claims to hold; copy it again or remove it.")
