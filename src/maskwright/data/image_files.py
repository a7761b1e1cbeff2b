"""Picture files to arrays and back: the only module that decodes or encodes pictures.

The same file gives the same array wherever it is read, in training, evaluation and prediction: upright (EXIF
orientation applied once) and with the values that are stored, never scaled by its own content. What cannot be read so
is refused with a sentence that names the file, and before it takes much memory. Of files with several frames or pages
the first one is read.

Three readers share the work. Pillow has photographs and masks; tifffile has TIFF files of many channels or of more bits
than Pillow keeps; numpy has `.npy` files.
"""

import io
import logging
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImagePalette, TiffImagePlugin, UnidentifiedImageError

from maskwright.errors import InputError, MissingExtraError
from maskwright.files import replacing

if TYPE_CHECKING:
    from tifffile import TiffPage

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".npy"),
    }
)

# No picture may take more than 1 GB while it is read. Decoders hold 4 bytes for each pixel, those of progressive JPEG
# 12 and of WebP 16, beside up to 6 of the result while it is turned; so WebP gets a limit of its own. Pillow's limit,
# 179 million pixels, would let a WebP file take 4 GB.
MOST_PIXELS = 64_000_000
_MOST_WEBP_PIXELS = 40_000_000
# Of a file, and of the array that it becomes: decoders may read the one as a whole, and hold the other three times.
MOST_BYTES = 300_000_000

# Named one by one: left to itself, Pillow tries every format it knows by content, whatever the suffix says, and its EPS
# reader starts another program.
_READ_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA")
_WRITE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_NPY_MAGIC = b"\x93NUMPY"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What brings stored pixels upright, by the EXIF orientation; all of them are views.
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}

Mode = Literal["colour", "grey", "palette", "1 bit", "CMYK", "channels"]


@dataclass(frozen=True)
class Stored:
    """What a picture file holds, as far as that shows without its pixels.

    Attributes:
        height: Upright, in pixels.
        width: Likewise.
        orientation: EXIF orientation that is applied on reading, 1 to 8; 1 is upright already.
        mode: How the pixels are meant; "channels" where the file holds neither grey nor colour.
        channels: As many as `read_pixels` gives.
        dtype: Name of the stored numbers' type, such as "uint8".
        has_alpha: Whether `read_alpha` finds a channel.
    """

    height: int
    width: int
    orientation: int
    mode: Mode
    channels: int
    dtype: str
    has_alpha: bool = False

    @property
    def is_deep(self) -> bool:
        """Whether the numbers need a range to become 0..255."""
        return self.dtype not in ("uint8", "bool")


def describe(path: Path) -> Stored:
    """Says what a picture file holds, from its header.

    Pixels are decoded only for PNG files that store their orientation after the pixels.

    Args:
        path: As for `read_pixels`.

    Raises:
        InputError: The file is missing, no picture, or too large.
        MissingExtraError: It is a TIFF file that needs tifffile, which is not installed.
    """
    with _explained(path):
        match _reader(path):
            case "npy":
                return _describe_npy(path)
            case "tifffile":
                with _tiff_page(path) as page:
                    return _describe_tiff(page)
            case "pillow":
                with _picture(path) as picture:
                    return _describe_picture(picture, path)


def read_pixels(path: Path) -> NDArray[Any]:
    """Reads a picture upright, with the values it stores.

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
    with _explained(path):
        match _reader(path):
            case "npy":
                pixels = _read_npy(path)
            case "tifffile":
                with _tiff_page(path) as page:
                    pixels = _read_tiff(page, path)
            case "pillow":
                with _picture(path) as picture:
                    _refuse_lost_bits(picture, path)
                    pixels = _deep_grey(picture) if _is_deep_grey(picture) else _decoded(picture, "RGB")
        return _finite(pixels if pixels.ndim == 3 else pixels[..., None], path)


def read_mask_values(path: Path) -> NDArray[Any]:
    """Reads the values stored in a mask, as far as they can be one channel.

    A palette says what its indices look like: where every colour it stores is a grey, the greys are returned, so that a
    GIF reads the same however its two entries are ordered. A coloured palette marks classes: its indices are returned.
    The whole palette decides and not the colours in use, so that all masks of a folder read alike. Colour channels that
    are equal everywhere are one grey channel.

    Args:
        path: As for `read_pixels`.

    Returns:
        ``(H, W)``: 0/1 for 1-bit files, uint8 for 8-bit grey and palette, else the type that is stored; or
        ``(H, W, 3)`` or ``(H, W, 4)`` uint8 where the channels differ.

    Raises:
        InputError: As for `read_pixels`, or the mask has several channels that are not 8-bit colours.
        MissingExtraError: As for `read_pixels`.
    """
    with _explained(path):
        match _reader(path):
            case "npy":
                return _array_mask(_read_npy(path), path)
            case "tifffile":
                with _tiff_page(path) as page:
                    return _array_mask(_read_tiff(page, path), path)
            case "pillow":
                with _picture(path) as picture:
                    _refuse_lost_bits(picture, path)
                    return _finite(_picture_mask(picture), path)


def read_mask_bytes(content: bytes, name: str) -> NDArray[Any]:
    """Reads the values of a mask that is a PNG file within another file, as `read_mask_values` does.

    Args:
        content: The PNG file.
        name: What to call it in a sentence.

    Raises:
        InputError: It is damaged, no PNG file, or too large.
    """
    with _in_words(name), Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise InputError(f"{name} {_too_many_pixels(MOST_PIXELS)}.")
        return _picture_mask(picture)


def read_palette(path: Path) -> tuple[tuple[int, int, int], ...] | None:
    """Reads the colours that a palette picture stores, without its pixels.

    Args:
        path: As for `read_pixels`.

    Returns:
        RGB colour of each index, or None for other pictures. Formats that fill up their palettes do so with black: of
        blacks at the end, one is given.

    Raises:
        InputError: The file is missing, no picture, or too large.
    """
    with _explained(path):
        if _reader(path) != "pillow":
            return None
        with _picture(path) as picture:
            if picture.mode not in ("P", "PA"):
                return None
            return tuple((red, green, blue) for red, green, blue in _palette(picture).tolist())


def read_alpha(path: Path) -> NDArray[np.uint8] | None:
    """Reads the upright alpha channel.

    A colour that is marked as transparent counts as one. Alpha channels of 16 bits keep the upper 8. Arrays have none:
    their fourth channel is a channel like any other.

    Args:
        path: As for `read_pixels`.

    Returns:
        ``(H, W)``, 0 for transparent and 255 for opaque; None where the picture has none.

    Raises:
        InputError: The file is missing, damaged, no picture, or too large.
    """
    with _explained(path):
        match _reader(path):
            case "npy":
                return None
            case "tifffile":
                with _tiff_page(path) as page:
                    return _read_tiff_alpha(page, path)
            case "pillow":
                with _picture(path) as picture:
                    return _decoded(picture, "A") if picture.has_transparency_data else None


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Bring a stored picture ``(H, W, ...)`` upright, by its EXIF orientation."""
    turned = _TURNS.get(orientation)
    return pixels if turned is None else np.ascontiguousarray(turned(pixels))


def fit_size(height: int, width: int, longer_side: int) -> tuple[int, int]:
    """The size whose longer side is exactly `longer_side` with the aspect kept.

    Smaller pictures are enlarged: a network sees every picture at the scale it was trained at. The
    shorter side is rounded, and at least 1.

    >>> fit_size(1280, 1918, 384)
    (256, 384)
    """
    longest = max(height, width)
    # In whole numbers, which exported graphs can do as well.
    shorter_side = max(1, (2 * min(height, width) * longer_side + longest) // (2 * longest))
    return (longer_side, shorter_side) if height >= width else (shorter_side, longer_side)


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes with a triangle filter, antialiased when shrinking.

    It is Pillow's BILINEAR: the filter that exported graphs can reproduce (antialiased linear
    interpolation), so that training and every export see the same pixels.

    Args:
        image: ``(H, W, C)`` of any number of channels, or ``(H, W)``.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        The image at the new size; the array itself where the size is right already.
    """
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 2 or image.shape[2] == 3:
        # One direction after the other: left to itself, Pillow takes tall pictures the other way round, and rounds
        # between the two.
        lines = Image.fromarray(image).resize((width, image.shape[0]), Image.Resampling.BILINEAR)
        return np.array(lines.resize((width, height), Image.Resampling.BILINEAR))
    # One by one: Pillow knows no pictures of 5 channels, and would mix 4 by the last of them, as if it were alpha.
    planes = [
        resize_image(np.ascontiguousarray(image[..., channel]), height, width) for channel in range(image.shape[2])
    ]
    return np.stack(planes, axis=-1)


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


# --- What goes wrong


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while a file is read into a sentence."""
    with _in_words(str(path)):
        _refuse_other_things(path)
        try:
            yield
        except UnidentifiedImageError as error:
            if _has_no_pixels(path):
                raise InputError(f"{path} {_NO_PIXELS}.") from error
            raise


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Turns whatever goes wrong while pictures are decoded into a sentence, and keeps decoders quiet."""
    _silence_decoders()
    try:
        with warnings.catch_warnings():
            # Remarks on odd metadata, and on pictures half as large as the limit. Only Pillow's are silenced, because
            # between threads the filter may outlive this block.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except InputError:
        raise
    # Damaged bytes make decoders raise almost anything: SyntaxError, struct.error, zlib.error, IndexError ...
    except Exception as error:
        raise InputError(f"{name} {_why_unreadable(error)}.") from error


@cache
def _silence_decoders() -> None:
    """Once: they log their remarks on damaged files, and those that matter become sentences."""
    for library in ("PIL", "tifffile"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _refuse_other_things(path: Path) -> None:
    """Refuses what is no ordinary file (opening a pipe would wait for ever), and what is empty or too large to read."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise
    except OSError as error:  # such as links that lead in a circle
        raise InputError(f"{path} cannot be opened ({error.strerror or error}); replace or remove it.") from error
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is no ordinary file; replace or remove it.")
    if found.st_size == 0:
        raise InputError(f"{path} is empty; copy it again or remove it.")
    if found.st_size > MOST_BYTES:
        raise InputError(f"{path} is larger than {MOST_BYTES // 10**6} MB; cut it up.")


def _has_no_pixels(path: Path) -> bool:
    """Whether the header of a picture that Pillow does not know says a height or a width of 0."""
    with path.open("rb") as file:
        head = file.read(32)
    for magic, layout, place in ((b"\x89PNG", ">II", 16), (b"BM", "<ii", 18)):
        if head.startswith(magic) and len(head) == 32:
            return 0 in struct.unpack_from(layout, head, place)
    return False


def _why_unreadable(error: Exception) -> str:
    """The most telling of the reasons that hold."""
    if isinstance(error, OSError) and str(error).startswith("image file is truncated"):
        return "ends before its pixels do; copy it again or remove it"
    reasons: dict[type[Exception], str] = {
        FileNotFoundError: "does not exist; check the name",
        IsADirectoryError: "is a folder where a picture was expected; name a file in it",
        PermissionError: "may not be read; change its permissions",
        Image.DecompressionBombError: _too_many_pixels(MOST_PIXELS),
        UnidentifiedImageError: "is not a picture in a known format "
        f"({', '.join(_READ_FORMATS)}, NPY); replace or remove it",
        Exception: "is damaged or cut short; copy it again or remove it",
    }
    return next(why for kind, why in reasons.items() if isinstance(error, kind))


_NO_PIXELS = "has no pixels; copy it again or remove it"


def _too_many_pixels(most: int) -> str:
    return f"has more than {most // 10**6} million pixels; cut it up or make it smaller"


def _refuse_large_array(path: Path, height: int, width: int, num_bytes: int) -> None:
    """Called with what a header claims, before memory is taken for it."""
    if min(height, width) < 1:
        raise InputError(f"{path} {_NO_PIXELS}.")
    if height * width > MOST_PIXELS:
        raise InputError(f"{path} {_too_many_pixels(MOST_PIXELS)}.")
    if num_bytes > MOST_BYTES:
        raise InputError(f"{path} holds more than {MOST_BYTES // 10**6} MB of numbers; cut it up or make it smaller.")


def _refuse_odd_numbers(path: Path, dtype: np.dtype[Any] | None) -> None:
    if dtype is None or dtype.kind not in "buif" or dtype.itemsize > 8:
        raise InputError(f"{path} does not hold plain numbers; save it as integers or floats of at most 64 bits.")


def _finite(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError(f"{path} holds numbers that are not finite (NaN or infinity); replace them.")
    return pixels


# --- Which reader


def _reader(path: Path) -> Literal["npy", "tifffile", "pillow"]:
    with path.open("rb") as file:
        magic = file.read(6)
    if magic == _NPY_MAGIC:
        return "npy"
    if magic.startswith(_TIFF_MAGIC):
        try:
            with _picture(path) as picture:
                return "tifffile" if _loses_samples(picture) else "pillow"
        except UnidentifiedImageError:  # its way to say that it cannot read this kind of TIFF
            return "tifffile"
    return "pillow"


def _raw_modes(picture: Image.Image) -> str:
    """How the pixels lie in the file; asked before decoding, which forgets it."""
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    return " ".join(str(tile.args) for tile in tiles)


def _loses_bits(picture: Image.Image) -> bool:
    """Whether Pillow would keep only 8 of 16 bits: it opens deep colours as 8-bit ones."""
    if len(picture.getbands()) == 1 or picture.format == "BMP":  # whose "16" is that of all three channels
        return False
    return ";16" in _raw_modes(picture) or (_ppm_maximum(picture) or 0) > 255


def _loses_samples(picture: Image.Image) -> bool:
    """Whether Pillow would read a TIFF file as less than it holds."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    tags, channels = picture.tag_v2, len(picture.getbands())
    drops_channels = picture.mode != "P" and tags.get(ExifTags.Base.SamplesPerPixel, 1) > channels
    drops_sign = picture.mode == "L" and 2 in tags.get(ExifTags.Base.SampleFormat, ())
    return _loses_bits(picture) or drops_channels or drops_sign or "I;32N" in _raw_modes(picture)


def _refuse_lost_bits(picture: Image.Image, path: Path) -> None:
    if _loses_bits(picture):
        raise InputError(
            f"{path} has colours of 16 bits, of which this format's reader keeps 8; save it as a TIFF file, "
            "or with 8 bits."
        )


# --- Pillow


@contextmanager
def _picture(path: Path) -> Iterator[Image.Image]:
    """Opens a picture whose header promises a size that can be read."""
    with Image.open(path, formats=_READ_FORMATS) as picture:
        most = _MOST_WEBP_PIXELS if picture.format == "WEBP" else MOST_PIXELS
        # A TIFF file may hold a tile that is larger than the picture, and libtiff decodes tiles as a whole.
        tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
        tile = tags.get(ExifTags.Base.TileWidth, 0) * tags.get(ExifTags.Base.TileLength, 0)
        if max(picture.width * picture.height, tile) > most:
            raise InputError(f"{path} {_too_many_pixels(most)}.")
        _mend_bmp(picture)
        yield picture


def _mend_bmp(picture: Image.Image) -> None:
    """Makes a BMP file of 4 or 8 bits a palette picture again where Pillow ignores its palette.

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


def _describe_picture(picture: Image.Image, path: Path) -> Stored:
    is_deep_grey = _is_deep_grey(picture)
    modes: dict[str, Mode] = {"1": "1 bit", "P": "palette", "PA": "palette", "CMYK": "CMYK"}
    modes |= {"L": "grey", "LA": "grey", "La": "grey"}
    mode: Mode = "grey" if is_deep_grey else modes.get(picture.mode, "colour")
    dtype = _deep_type(picture) if is_deep_grey else np.dtype(np.uint16 if _loses_bits(picture) else np.uint8)
    has_alpha = picture.has_transparency_data
    if picture.format == "PNG" and _has_late_exif(path):
        picture.load()
    orientation = _orientation(picture)
    height, width = picture.height, picture.width
    if orientation >= 5 and picture.format != "TIFF":  # Pillow gives the upright size of TIFF files
        height, width = width, height
    return Stored(height, width, orientation, mode, 1 if is_deep_grey else 3, dtype.name, has_alpha)


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
    return value if value in _TURNS else 1


def _decoded(picture: Image.Image, mode: str | None) -> NDArray[Any]:
    """Decodes the upright pixels, converted a few rows at a time to keep few copies of them.

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
    step = max(1, 2**20 // picture.width)
    for top in range(0, picture.height, step):
        pixels[top : top + step] = rows(top, min(top + step, picture.height))
    return turn(pixels, orientation)


def _is_deep_grey(picture: Image.Image) -> bool:
    return picture.mode.startswith(("I", "F"))


def _deep_grey(picture: Image.Image) -> NDArray[Any]:
    dtype = _deep_type(picture)
    return _decoded(picture, None).astype(dtype, copy=False)


def _deep_type(picture: Image.Image) -> np.dtype[Any]:
    """What the file stores, which Pillow may hold in a wider type."""
    if picture.mode == "F":
        return np.dtype(np.float32)
    if picture.mode.startswith("I;16") or picture.format == "PPM":
        return np.dtype(np.uint16)
    return np.dtype(np.int16 if ";16" in _raw_modes(picture) else np.int32)


def _ppm_maximum(picture: Image.Image) -> int | None:
    """The value that a PPM or PGM file calls white, where it is not all bits set."""
    arguments = picture.tile[0].args if isinstance(picture, ImageFile.ImageFile) and picture.format == "PPM" else None
    return arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else None


# --- Masks


def _picture_mask(picture: Image.Image) -> NDArray[Any]:
    if picture.mode == "1":
        return _decoded(picture, None).astype(np.uint8)
    if picture.mode == "P":
        return _palette_mask(picture)
    if len(picture.getbands()) == 1:
        white = _ppm_maximum(picture)
        values = _deep_grey(picture) if _is_deep_grey(picture) else _decoded(picture, None)
        if white is None:
            return values
        # Pillow stretches to all bits, but a mask may number its classes up to the white it states.
        most = np.iinfo(values.dtype).max
        stated = np.rint(np.arange(most + 1) * (white / most)).astype(values.dtype)
        return np.asarray(stated[values])
    has_alpha = picture.mode.endswith(("A", "a"))
    return _without_equal_channels(_decoded(picture, "RGBA" if has_alpha else "RGB"))


def _palette_mask(picture: Image.Image) -> NDArray[np.uint8]:
    indices: NDArray[np.uint8] = _decoded(picture, None)
    stored = _palette(picture)
    if not _is_grey(stored):
        return indices
    greys = np.zeros(256, dtype=np.uint8)  # files may name fewer colours than their pixels use
    greys[: len(stored)] = stored[:, 0]
    return greys[indices]


def _palette(picture: Image.Image) -> NDArray[np.uint8]:
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


def _array_mask(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    channels = pixels.shape[2]
    values = pixels.astype(np.uint8) if pixels.dtype == np.bool_ else _finite(pixels, path)
    if channels == 1 or (channels == 3 and _is_grey(values)):
        return np.ascontiguousarray(values[..., 0])
    if channels in (3, 4) and values.dtype == np.uint8:
        return _without_equal_channels(values)
    raise InputError(
        f"{path} has {channels} channels of {values.dtype}, where a mask has one, or colours of 8 bits; "
        "save the channel that is the mask."
    )


def _without_equal_channels(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One channel of ``(H, W, 3 | 4)`` where that is all there is."""
    alpha = values[..., 3:]
    is_plain = _is_grey(values[..., :3]) and (alpha.size == 0 or alpha.min() == alpha.max())
    return np.ascontiguousarray(values[..., 0]) if is_plain else values


def _is_grey(colours: NDArray[Any]) -> bool:
    return bool((colours[..., :1] == colours[..., 1:]).all())


# --- tifffile


@contextmanager
def _tiff_page(path: Path) -> Iterator["TiffPage"]:
    """Opens the first page of a TIFF file, if it is one that can be read."""
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtraError("tifffile", "tiff") from error
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        _refuse_large_array(path, page.imagelength, page.imagewidth, page.nbytes)
        _refuse_odd_numbers(path, page.dtype)
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
        _refuse_large_array(path, 1, 1, _segment_bytes(page))
        yield page


def _segment_bytes(page: "TiffPage") -> int:
    """Bytes of one strip or tile, which are decoded as a whole and may be larger than the picture."""
    return prod(page.chunks) * np.dtype(page.dtype).itemsize


def _alpha_samples(page: "TiffPage") -> list[int]:
    first = page.samplesperpixel - len(page.extrasamples)
    return [first + place for place, kind in enumerate(page.extrasamples) if kind in (1, 2)]


def _describe_tiff(page: "TiffPage") -> Stored:
    dtype = np.dtype(page.dtype)
    orientation = _tiff_orientation(page)
    height, width = page.imagelength, page.imagewidth
    if orientation >= 5:
        height, width = width, height
    alphas = _alpha_samples(page)
    channels = page.samplesperpixel - len(alphas)
    has_alpha = bool(alphas) and dtype.name in ("uint8", "uint16")
    return Stored(height, width, orientation, _array_mode(channels), channels, dtype.name, has_alpha)


def _array_mode(channels: int) -> Mode:
    return "grey" if channels == 1 else "colour" if channels == 3 else "channels"


def _tiff_orientation(page: "TiffPage") -> int:
    value = page.tags.valueof(ExifTags.Base.Orientation.value)
    return value if value in _TURNS else 1


def _read_tiff(page: "TiffPage", path: Path) -> NDArray[Any]:
    """The upright channels without alpha, ``(H, W, C)``."""
    samples = _tiff_samples(page, path)
    alphas = _alpha_samples(page)
    return np.delete(samples, alphas, axis=2) if alphas else samples


def _read_tiff_alpha(page: "TiffPage", path: Path) -> NDArray[np.uint8] | None:
    if not _describe_tiff(page).has_alpha:
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
    """Refuses a strip or tile that unpacks to more than its size, a thousandfold at worst; tifffile would not stop."""
    most = _segment_bytes(page)
    with path.open("rb") as file:
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.seek(offset)
            packed = file.read(length)
            inflater = zlib.decompressobj()
            size = 0
            while packed and size <= most and not inflater.eof:
                size += len(inflater.decompress(packed, 2**20))
                packed = inflater.unconsumed_tail
            if size > most:
                raise InputError(f"{path} unpacks to more than it claims to hold; copy it again or remove it.")


# --- numpy


def _npy_layout(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type, and whether the first axis is channels."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # later ones are for tables
            raise InputError(f"{path} does not hold plain numbers; save it as integers or floats of at most 64 bits.")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    _refuse_odd_numbers(path, dtype)
    if len(shape) not in (2, 3):
        raise InputError(
            f"{path} has {len(shape)} axes, where a picture has height, width and channels; take it apart."
        )
    is_channels_first = len(shape) == 3 and shape[0] <= 16 < min(shape[1:])
    height, width = shape[1:] if is_channels_first else shape[:2]
    _refuse_large_array(path, height, width, prod(shape) * dtype.itemsize)
    if 0 in shape:
        raise InputError(f"{path} {_NO_PIXELS}.")
    return shape, dtype, is_channels_first


def _describe_npy(path: Path) -> Stored:
    shape, dtype, is_channels_first = _npy_layout(path)
    *_, height, width, channels = (1, *shape[1:], shape[0]) if is_channels_first else (*shape, 1)[:3]
    return Stored(height, width, 1, _array_mode(channels), channels, dtype.name)


def _read_npy(path: Path) -> NDArray[Any]:
    """``(H, W, C)``, in native byte order."""
    _, dtype, is_channels_first = _npy_layout(path)
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if is_channels_first:
        stored = np.moveaxis(stored, 0, 2)
    return np.array(stored if stored.ndim == 3 else stored[..., None], dtype=dtype.newbyteorder("="), order="C")
