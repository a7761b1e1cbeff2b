"""Picture files to arrays and back: the only module that decodes or encodes pictures.

The same file gives the same array wherever it is read, in training, evaluation and prediction: upright (EXIF
orientation applied once) and with the values that are stored, never scaled by its own content. What cannot be read so
is refused with a sentence that names the file, and before it takes much memory. Of files with several frames or pages
the first one is read.

Three readers share the work, which lie in `readers`: Pillow has photographs and masks; tifffile has TIFF files of many
channels or of more bits than Pillow keeps; numpy has `.npy` files.
"""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maskwright.data.readers.mask_values import array_mask, palette_of, picture_mask
from maskwright.data.readers.npy import describe_npy, is_npy, read_npy
from maskwright.data.readers.pillow import (
    decoded,
    deep_grey,
    describe_picture,
    is_deep_grey,
    loses_samples,
    open_picture,
    refuse_lost_bits,
)
from maskwright.data.readers.refusals import MOST_BYTES, MOST_PIXELS, explained, finite, in_words, too_many_pixels
from maskwright.data.readers.stored import Mode, Stored, turn
from maskwright.data.readers.tiff import TIFF_MAGIC, describe_tiff, open_page, read_tiff, read_tiff_alpha
from maskwright.data.resizing import fit_size, resize_classes, resize_image, resize_mask, resize_plane
from maskwright.errors import InputError
from maskwright.files import replacing

__all__ = [
    "IMAGE_SUFFIXES",
    "MOST_BYTES",
    "MOST_PIXELS",
    "UNREAD_FORMATS",
    "Mode",
    "Stored",
    "describe",
    "encode_png",
    "fit_size",
    "read_alpha",
    "read_mask_bytes",
    "read_mask_values",
    "read_palette",
    "read_pixels",
    "resize_classes",
    "resize_image",
    "resize_mask",
    "resize_plane",
    "turn",
    "write_image",
]

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".npy"),
    }
)

# Pictures that cameras and archives make and nothing here reads, by their suffixes: what they are, and what to save
# them as.
UNREAD_FORMATS = {
    ".heic": ("HEIC", "JPEG"),
    ".heif": ("HEIF", "JPEG"),
    ".avif": ("AVIF", "PNG"),
    ".jp2": ("JPEG 2000", "TIFF"),
    ".dng": ("a raw photograph", "JPEG"),
}

_WRITE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def describe(path: Path) -> Stored:
    """Say what a picture file holds, from its header.

    Pixels are decoded only for PNG files that store their orientation after the pixels.

    Args:
        path: As for `read_pixels`.

    Raises:
        InputError: The file is missing, no picture, or too large.
        MissingExtraError: It is a TIFF file that needs tifffile, which is not installed.
    """
    with explained(path):
        match _reader(path):
            case "npy":
                return describe_npy(path)
            case "tifffile":
                with open_page(path) as page:
                    return describe_tiff(page)
            case "pillow":
                with open_picture(path) as picture:
                    return describe_picture(picture, path)


def read_pixels(path: Path) -> NDArray[Any]:
    """Read a picture upright, with the values it stores.

    Grey, palette, CMYK and 1-bit pictures of up to 8 bits become RGB; an alpha channel is dropped, not blended.

    Args:
        path: A picture, TIFF or `.npy` file; its content decides which, not its suffix. Arrays are ``(H, W)``,
            ``(H, W, C)``, or ``(C, H, W)`` where the first axis has at most 16 entries and both others have more.

    Returns:
        ``(H, W, C)`` in native byte order: uint8 with 3 channels for everyday pictures, 1 channel for deep grey ones,
        and otherwise the channels and the type that the file stores (bool, integers or finite floats).

    Raises:
        InputError: The file is missing, damaged, no picture, too large, holds numbers that are not finite, or stores
            16-bit colours in a format of which only 8 bits can be read.
        MissingExtraError: It is a TIFF file that needs tifffile, which is not installed.
    """
    with explained(path):
        match _reader(path):
            case "npy":
                pixels = read_npy(path)
            case "tifffile":
                with open_page(path) as page:
                    pixels = read_tiff(page, path)
            case "pillow":
                with open_picture(path) as picture:
                    refuse_lost_bits(picture, path)
                    pixels = deep_grey(picture) if is_deep_grey(picture) else decoded(picture, "RGB")
        return finite(pixels if pixels.ndim == 3 else pixels[..., None], path)


def read_mask_values(path: Path, *, in_colour: bool = False) -> NDArray[Any]:
    """Read the values stored in a mask, as far as they can be one channel.

    A palette says what its indices look like: where every colour it stores is a grey, the greys are returned, so that a
    GIF reads the same however its two entries are ordered. A coloured palette marks classes: its indices are returned.
    The whole palette decides and not the colours in use, so that all masks of a folder read alike. Colour channels that
    are equal everywhere are one grey channel.

    Args:
        path: As for `read_pixels`.
        in_colour: Return the colours of a coloured palette, where those stand for classes and the indices for nothing.

    Returns:
        ``(H, W)``: 0/1 for 1-bit files, uint8 for 8-bit grey and palette, else the type that is stored; or
        ``(H, W, 3)`` or ``(H, W, 4)`` uint8 where the channels differ.

    Raises:
        InputError: As for `read_pixels`, or the mask has several channels that are not 8-bit colours.
        MissingExtraError: As for `read_pixels`.
    """
    with explained(path):
        match _reader(path):
            case "npy":
                return array_mask(read_npy(path), path)
            case "tifffile":
                with open_page(path) as page:
                    return array_mask(read_tiff(page, path), path)
            case "pillow":
                with open_picture(path) as picture:
                    refuse_lost_bits(picture, path)
                    return finite(picture_mask(picture, in_colour=in_colour), path)


def read_mask_bytes(content: bytes, name: str) -> NDArray[Any]:
    """Read the values of a mask that is a PNG file within another file, as `read_mask_values` does.

    Args:
        content: The PNG file.
        name: What to call it in a sentence.

    Raises:
        InputError: It is damaged, no PNG file, or too large.
    """
    with in_words(name), Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise InputError(f"{name} {too_many_pixels(MOST_PIXELS)}.")
        return picture_mask(picture)


def read_palette(path: Path) -> tuple[tuple[int, int, int], ...] | None:
    """Read the colours that a palette picture stores, without its pixels.

    Args:
        path: As for `read_pixels`.

    Returns:
        RGB colour of each index, or None for other pictures. Formats that fill up their palettes do so with black: of
        blacks at the end, one is given.

    Raises:
        InputError: The file is missing, no picture, or too large.
    """
    with explained(path):
        if _reader(path) != "pillow":
            return None
        with open_picture(path) as picture:
            if picture.mode not in ("P", "PA"):
                return None
            return tuple((red, green, blue) for red, green, blue in palette_of(picture).tolist())


def read_alpha(path: Path) -> NDArray[np.uint8] | None:
    """Read the upright alpha channel.

    A colour that is marked as transparent counts as one. Alpha channels of 16 bits keep the upper 8. Arrays have none:
    their fourth channel is a channel like any other.

    Args:
        path: As for `read_pixels`.

    Returns:
        ``(H, W)``, 0 for transparent and 255 for opaque; None where the picture has none.

    Raises:
        InputError: The file is missing, damaged, no picture, or too large.
    """
    with explained(path):
        match _reader(path):
            case "npy":
                return None
            case "tifffile":
                with open_page(path) as page:
                    return read_tiff_alpha(page, path)
            case "pillow":
                with open_picture(path) as picture:
                    return decoded(picture, "A") if picture.has_transparency_data else None


def alpha_varies(path: Path) -> bool:
    """Whether a picture has an alpha channel, and some pixels of it are more transparent than others."""
    alpha = read_alpha(path)
    return alpha is not None and bool(alpha.min() < alpha.max())


def write_image(path: Path, array: NDArray[np.uint8], *, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Write a PNG or JPEG file that is whole or not there at all.

    It is written under another name in the same folder, which is made where it is missing, and
    renamed.

    Args:
        path: Its suffix decides the format; a file of that name is replaced.
        array: ``(H, W, 3)`` colours, ``(H, W)`` greys, or ``(H, W)`` indices into `palette`.
        palette: RGB colour of each index, at most 256; PNG only.

    Raises:
        InputError: The suffix is neither PNG nor JPEG, or the file cannot be written.
    """
    file_format = _WRITE_FORMATS.get(path.suffix.lower())
    if file_format is None or (palette is not None and file_format != "PNG"):
        raise InputError(f"{path} cannot be written in that format; choose a name ending in .png.")
    try:
        with replacing(path) as unfinished, unfinished.open("xb") as file:
            _save(file, file_format, array, palette)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error


def encode_png(array: NDArray[np.uint8], *, palette: Sequence[tuple[int, int, int]] | None = None) -> bytes:
    """The content of the PNG file that `write_image` writes."""
    file = io.BytesIO()
    _save(file, "PNG", array, palette)
    return file.getvalue()


def _save(
    file: BinaryIO, file_format: str, array: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]] | None
) -> None:
    picture = Image.fromarray(array)
    if palette is not None:
        picture.putpalette([channel for colour in palette for channel in colour])
    picture.save(file, format=file_format, **_save_options(file_format, array))


def _save_options(file_format: str, array: NDArray[np.uint8]) -> dict[str, int]:
    if file_format == "JPEG":
        return {"quality": 95}
    # Masks are runs of equal values: looking for nothing else takes half the time, and the files are smaller too.
    return {"compress_type": zlib.Z_RLE} if array.ndim == 2 else {}


def _reader(path: Path) -> Literal["npy", "tifffile", "pillow"]:
    with path.open("rb") as file:
        magic = file.read(6)
    if is_npy(magic):
        return "npy"
    if magic.startswith(TIFF_MAGIC):
        try:
            with open_picture(path) as picture:
                return "tifffile" if loses_samples(picture) else "pillow"
        except UnidentifiedImageError:  # its way to say that it cannot read this kind of TIFF
            return "tifffile"
    return "pillow"
