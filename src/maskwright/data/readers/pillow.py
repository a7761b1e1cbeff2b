"""Photographs and masks in everyday formats, through Pillow."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImagePalette, TiffImagePlugin

from maskwright.data.readers.refusals import (
    MOST_PIXELS,
    MOST_WEBP_PIXELS,
    READ_FORMATS,
    TooManyPixelsError,
    too_many_pixels,
)
from maskwright.data.readers.stored import TURNS, Mode, Stored, turn
from maskwright.errors import InputError


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture whose header promises a size that can be read."""
    with Image.open(path, formats=READ_FORMATS) as picture:
        most = MOST_WEBP_PIXELS if picture.format == "WEBP" else MOST_PIXELS
        # A TIFF file may hold a tile that is larger than the picture, and libtiff decodes tiles as a whole.
        tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
        tile = tags.get(ExifTags.Base.TileWidth, 0) * tags.get(ExifTags.Base.TileLength, 0)
        if max(picture.width * picture.height, tile) > most:
            raise TooManyPixelsError(f"{path} {too_many_pixels(most)}.")
        _mend_bmp(picture)
        yield picture


def _mend_bmp(picture: Image.Image) -> None:
    """Make a BMP file of 4 or 8 bits a palette picture again where Pillow ignores its palette.

    It takes a palette of just black and white for the sign of 1 bit, and one of rising greys for that of 8 bits, and
    then reads pixels of the wrong width.
    """
    if not isinstance(picture, ImageFile.ImageFile) or picture.format != "BMP" or picture.fp is None:
        return
    picture.fp.seek(14)
    header = picture.fp.read(16)
    bits = int.from_bytes(header[10:12] if header[0] == 12 else header[14:16], "little")
    if (bits, picture.mode) in ((8, "1"), (4, "1"), (4, "L")):
        greys = (0, 255) if picture.mode == "1" else range(16)
        codec, extents, offset, arguments = picture.tile[0]
        raw_mode = "P;4" if bits == 4 and codec == "raw" else "P"
        rest = arguments[1:] if isinstance(arguments, tuple) else ()
        picture._mode = "P"  # nothing public sets it before the pixels are decoded
        picture.palette = ImagePalette.raw("RGB", bytes(grey for grey in greys for _ in range(3)))
        picture.tile = [ImageFile._Tile(codec, extents, offset, (raw_mode, *rest))]


def describe_picture(picture: Image.Image, path: Path) -> Stored:
    """What an open picture holds."""
    is_grey = is_deep_grey(picture)
    modes: dict[str, Mode] = {"1": "1 bit", "P": "palette", "PA": "palette", "CMYK": "CMYK"}
    modes |= {"L": "grey", "LA": "grey", "La": "grey"}
    mode: Mode = "grey" if is_grey else modes.get(picture.mode, "colour")
    dtype = _deep_type(picture) if is_grey else np.dtype(np.uint16 if _loses_bits(picture) else np.uint8)
    has_alpha = picture.has_transparency_data
    if picture.format == "PNG" and _has_late_exif(path):
        picture.load()
    orientation = _orientation(picture)
    height, width = picture.height, picture.width
    if orientation >= 5 and picture.format != "TIFF":  # Pillow gives the upright size of TIFF files
        height, width = width, height
    return Stored(height, width, orientation, mode, 1 if is_grey else 3, dtype.name, has_alpha)


def _has_late_exif(path: Path) -> bool:
    """Whether a PNG file may store its orientation after the pixels, where an open file does not know it yet."""
    is_late = False
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            start = b""
            if kind == b"IDAT":
                is_late = True
            elif is_late:
                start = file.read(min(length, 24))
                if kind == b"eXIf" or start.startswith((b"Raw profile type", b"XML:com.adobe.xmp")):
                    return True
            file.seek(length - len(start) + 4, 1)
    return False


def _orientation(picture: Image.Image) -> int:
    # PNG's own method would decode the pixels.
    value = Image.Image.getexif(picture).get(ExifTags.Base.Orientation)
    return value if value in TURNS else 1


def decoded(picture: Image.Image, mode: str | None) -> NDArray[Any]:
    """Decode the upright pixels, converted a few rows at a time to keep few copies of them.

    Args:
        picture: Just opened.
        mode: Pillow's name of what comes out; "A" for the alpha channel, None for what is stored.
    """
    picture.load()
    # Pillow turns TIFF files while it decodes them.
    orientation = 1 if picture.format == "TIFF" else _orientation(picture)

    def rows(top: int, bottom: int) -> NDArray[Any]:
        part = picture.crop((0, top, picture.width, bottom))
        if mode == "A":
            return np.asarray(part.convert("RGBA").getchannel("A"))
        return np.asarray(part.convert(mode) if mode else part)

    first = rows(0, 1)
    pixels = np.empty((picture.height, picture.width, *first.shape[2:]), first.dtype.newbyteorder("="))
    # So few that the allocator uses the same memory again: fresh pages cost more than decoding.
    step = max(1, 2**17 // picture.width)
    for top in range(0, picture.height, step):
        pixels[top : top + step] = rows(top, min(top + step, picture.height))
    return turn(pixels, orientation)


def is_deep_grey(picture: Image.Image) -> bool:
    """Whether it is one channel of more than 8 bits."""
    return picture.mode.startswith(("I", "F"))


def deep_grey(picture: Image.Image) -> NDArray[Any]:
    """The upright pixels of such a picture, in the type that the file stores."""
    dtype = _deep_type(picture)
    return decoded(picture, None).astype(dtype, copy=False)


def _deep_type(picture: Image.Image) -> np.dtype[Any]:
    """What the file stores, which Pillow may hold in a wider type."""
    if picture.mode == "F":
        return np.dtype(np.float32)
    if picture.mode.startswith("I;16") or picture.format == "PPM":
        return np.dtype(np.uint16)
    return np.dtype(np.int16 if ";16" in _raw_modes(picture) else np.int32)


def ppm_maximum(picture: Image.Image) -> int | None:
    """The value that a PPM or PGM file calls white, where it is not all bits set."""
    arguments = picture.tile[0].args if isinstance(picture, ImageFile.ImageFile) and picture.format == "PPM" else None
    return arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else None


def _raw_modes(picture: Image.Image) -> str:
    """How the pixels lie in the file; asked before decoding, which forgets it."""
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    return " ".join(str(tile.args) for tile in tiles)


def _loses_bits(picture: Image.Image) -> bool:
    """Whether Pillow would keep only 8 of 16 bits: it opens deep colours as 8-bit ones."""
    if len(picture.getbands()) == 1 or picture.format == "BMP":  # whose "16" is that of all three channels
        return False
    return ";16" in _raw_modes(picture) or (ppm_maximum(picture) or 0) > 255


def loses_samples(picture: Image.Image) -> bool:
    """Whether Pillow would read a TIFF file as less than it holds."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    tags, channels = picture.tag_v2, len(picture.getbands())
    drops_channels = picture.mode != "P" and tags.get(ExifTags.Base.SamplesPerPixel, 1) > channels
    drops_sign = picture.mode == "L" and 2 in tags.get(ExifTags.Base.SampleFormat, ())
    return _loses_bits(picture) or drops_channels or drops_sign or "I;32N" in _raw_modes(picture)


def refuse_lost_bits(picture: Image.Image, path: Path) -> None:
    """Refuse colours of which Pillow would keep half the bits."""
    if _loses_bits(picture):
        raise InputError(
            f"{path} has colours of 16 bits, of which this format's reader keeps 8; save it as a TIFF file, "
            "or with 8 bits."
        )
