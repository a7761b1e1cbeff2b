"""Picture files to arrays and back: the only module that decodes or encodes pictures.

The same file gives the same array wherever it is read, in training, evaluation and prediction:
upright (EXIF orientation applied once), three channels, 8 bit, never scaled by its own content.
What cannot be read so is refused with a sentence that names the file. Of files with several frames
or pages the first one is read.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from maskwright.errors import InputError
from maskwright.files import replacing

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
    }
)

# Named one by one: left to itself, Pillow tries every format it knows by content, whatever the
# suffix says, and its EPS reader starts another program.
_READ_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA")
_WRITE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

# What brings a stored picture upright, by its EXIF orientation; 1 is upright already.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads a picture as upright RGB.

    Grey, palette, CMYK and 1-bit pictures become RGB; an alpha channel is dropped, not blended.

    Args:
        path: A file in one of the common formats; its content decides, not its suffix.

    Returns:
        ``(H, W, 3)`` in 0..255.

    Raises:
        InputError: The file is missing, damaged, no picture, too large, or has more than 8 bits per
            channel.
    """
    with _opened(path) as picture:
        if _is_deep(picture):
            raise InputError(
                f"{path} has more than 8 bits per channel, which is not understood so far; convert it to 8 bit."
            )
        return np.array(_upright(picture).convert("RGB"))


def read_mask_values(path: Path) -> NDArray[Any]:
    """Reads the values stored in a mask, as far as they can be one channel.

    A palette says what its indices look like: where every colour in use is a grey, the greys are
    returned, so that a GIF reads the same however its two entries are ordered. A coloured palette
    marks classes: its indices are returned. Colour channels that are equal everywhere are one grey
    channel.

    Args:
        path: As for `read_image`.

    Returns:
        ``(H, W)``: 0/1 for 1-bit files, uint8 for 8-bit grey and palette, wider types for deeper
        grey files; or ``(H, W, 3)`` or ``(H, W, 4)`` uint8 where the channels differ.

    Raises:
        InputError: The file is missing, damaged, no picture, too large, or in colour with more than
            8 bits.
    """
    with _opened(path) as picture:
        if _is_deep(picture) and len(picture.getbands()) > 1:
            raise InputError(f"{path} is a colour mask of 16 bits; save it as 8-bit grey.")
        return _mask_values(_upright(picture))


def read_size(path: Path) -> tuple[int, int]:
    """Reads the upright ``(height, width)``.

    Pixels are decoded only for PNG files, whose orientation may come after the pixels.

    Raises:
        InputError: The file is missing, no picture, or too large.
    """
    with _opened(path) as picture:
        # Pillow turns TIFF files itself and gives their upright size, but keeps the orientation
        # until the pixels are decoded.
        if picture.format != "TIFF" and _orientation(picture) >= 5:
            return picture.width, picture.height
        return picture.height, picture.width


def fit_size(height: int, width: int, longer_side: int) -> tuple[int, int]:
    """The size whose longer side is exactly `longer_side` with the aspect kept.

    Smaller pictures are enlarged: a network sees every picture at the scale it was trained at. The
    shorter side is rounded, and at least 1.

    >>> fit_size(1280, 1918, 384)
    (256, 384)
    """
    scale = longer_side / max(height, width)
    shorter_side = max(1, round(min(height, width) * scale))
    return (longer_side, shorter_side) if height >= width else (shorter_side, longer_side)


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes with a triangle filter, antialiased when shrinking.

    It is Pillow's BILINEAR: the filter that exported graphs can reproduce (antialiased linear
    interpolation), so that training and every export see the same pixels.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)``.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        The image at the new size; the array itself where the size is right already.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def resize_plane(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resizes one channel of logits or probabilities, ``(H, W)``, with the same filter."""
    if plane.shape == (height, width):
        return plane
    return np.array(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))


def resize_classes(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes class indices, ``(H, W)``; each new pixel takes its nearest old one, unmixed."""
    if mask.shape == (height, width):
        return mask
    return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def resize_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Averages a mask over the area of each new pixel.

    The share is kept instead of a decision per pixel, because thin parts survive it. Where the mask
    is enlarged, each new pixel takes its nearest old one.

    Args:
        mask: ``(H, W)`` of 0 and 1.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        Foreground share, ``(height, width)``, 0 for none and 255 for all.
    """
    share = mask.astype(np.uint8) * np.uint8(255)
    if share.shape == (height, width):
        return share
    return np.array(Image.fromarray(share).resize((width, height), Image.Resampling.BOX))


def write_image(path: Path, array: NDArray[np.uint8], *, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Writes a PNG or JPEG file that is whole or not there at all.

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
    picture = Image.fromarray(array)
    if palette is not None:
        picture.putpalette([channel for colour in palette for channel in colour])
    try:
        with replacing(path) as unfinished:
            picture.save(unfinished, format=file_format, **({"quality": 95} if file_format == "JPEG" else {}))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens a picture and turns whatever goes wrong inside into a sentence."""
    try:
        with warnings.catch_warnings():
            # Remarks on odd metadata, and on pictures half as large as the limit. Only Pillow's are
            # silenced, because between threads the filter may outlive this block.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(path, formats=_READ_FORMATS) as picture:
                yield picture
    except InputError:
        raise
    # Damaged bytes make decoders raise almost anything: SyntaxError, struct.error, zlib.error,
    # IndexError ...
    except Exception as error:
        raise InputError(_why_unreadable(path, error)) from error


def _why_unreadable(path: Path, error: Exception) -> str:
    """One sentence, the most telling of those that hold."""
    most_pixels = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6  # Pillow refuses at twice its limit
    reasons: dict[type[Exception], str] = {
        FileNotFoundError: "does not exist; check the name",
        IsADirectoryError: "is a folder where a picture was expected; name a file in it",
        PermissionError: "may not be read; change its permissions",
        Image.DecompressionBombError: f"has more than {most_pixels} million pixels; cut it up",
        UnidentifiedImageError: "is not a picture in a known format "
        f"({', '.join(_READ_FORMATS)}); replace or remove it",
        Exception: "is damaged or cut short; copy it again or remove it",
    }
    if path.is_file() and path.stat().st_size == 0:
        return f"{path} is empty; copy it again or remove it."
    return f"{path} {next(why for kind, why in reasons.items() if isinstance(error, kind))}."


def _is_deep(picture: Image.Image) -> bool:
    """Whether more than 8 bits per channel are stored; asked before decoding, which forgets it.

    The mode alone does not tell: Pillow opens 16-bit colour as RGB and drops the lower half.
    """
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    raw_modes = " ".join(str(tile.args) for tile in tiles)
    return picture.mode.startswith(("I", "F")) or ";16" in raw_modes


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(ExifTags.Base.Orientation)
    return value if value in _TURNS else 1


def _upright(picture: Image.Image) -> Image.Image:
    # Decoding comes first: it turns a TIFF file and forgets its orientation, which is not to be
    # applied twice.
    picture.load()
    turn = _TURNS.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _mask_values(picture: Image.Image) -> NDArray[Any]:
    if picture.mode == "1":
        return np.array(picture, dtype=np.uint8)
    if picture.mode == "P":
        return _palette_values(picture)
    if len(picture.getbands()) == 1:
        values = np.array(picture)
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    has_alpha = picture.mode.endswith(("A", "a"))
    return _without_equal_channels(np.array(picture.convert("RGBA" if has_alpha else "RGB")))


def _palette_values(picture: Image.Image) -> NDArray[np.uint8]:
    """The greys of a palette picture, or its indices where a colour is in use."""
    indices = np.array(picture, dtype=np.uint8)
    colours = np.zeros((256, 3), dtype=np.uint8)  # files may name fewer colours than their pixels use
    stored = np.array(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[:256]
    colours[: len(stored)] = stored
    used = colours[np.bincount(indices.ravel(), minlength=256) > 0]
    return colours[indices, 0] if _is_grey(used) else indices


def _without_equal_channels(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One channel of ``(H, W, 3 | 4)`` where that is all there is."""
    alpha = values[..., 3:]
    is_plain = _is_grey(values[..., :3]) and (alpha.size == 0 or alpha.min() == alpha.max())
    return values[..., 0] if is_plain else values


def _is_grey(colours: NDArray[np.uint8]) -> bool:
    return bool((colours[..., :1] == colours[..., 1:]).all())
