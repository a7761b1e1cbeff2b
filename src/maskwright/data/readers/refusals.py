"""What is not read, and why: limits, and a sentence that names the file for everything that goes wrong."""

import logging
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maskwright.errors import InputError, too_large

# No picture may take more than 1 GB while it is read. Decoders hold 4 bytes for each pixel, those of progressive JPEG
# 12 and of WebP 16, beside up to 6 of the result while it is turned; so WebP gets a limit of its own. Pillow's limit,
# 179 million pixels, would let a WebP file take 4 GB.
MOST_PIXELS = 64_000_000
MOST_WEBP_PIXELS = 40_000_000
# Of a file, and of the array that it becomes: decoders may read the one as a whole, and hold the other three times.
MOST_BYTES = 300_000_000

# Named one by one: left to itself, Pillow tries every format it knows by content, whatever the suffix says, and its EPS
# reader starts another program.
READ_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA")


class TooManyPixelsError(InputError):
    """A picture that is too large to be held, by what its header says."""


NO_PIXELS = "has no pixels; copy it again or remove it"
_BY_ROWS = "predict it with --large as a TIFF file in tiles"


@contextmanager
def explained(path: Path, *, is_large: bool = False) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into a sentence; with ``is_large`` the file may be of any size."""
    with in_words(str(path)):
        _refuse_other_things(path)
        if not is_large and path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES // 10**6} MB; cut it up, or {_BY_ROWS}.")
        try:
            yield
        except UnidentifiedImageError as error:
            if _has_no_pixels(path):
                raise InputError(f"{path} {NO_PIXELS}.") from error
            raise


@contextmanager
def in_words(name: str) -> Iterator[None]:
    """Turn whatever goes wrong while pictures are decoded into a sentence, and keep decoders quiet."""
    _silence_decoders()
    try:
        with warnings.catch_warnings():
            # Remarks on odd metadata, and on pictures half as large as the limit. Only Pillow's are silenced, because
            # between threads the filter may outlive this block.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except InputError:
        raise
    except MemoryError as error:
        raise too_large(name) from error
    # Damaged bytes make decoders raise almost anything: SyntaxError, struct.error, zlib.error, IndexError ...
    except Exception as error:
        raise InputError(f"{name} {_why_unreadable(error)}.") from error


@cache
def _silence_decoders() -> None:
    """Once: they log their remarks on damaged files, and those that matter become sentences."""
    for library in ("PIL", "tifffile"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _refuse_other_things(path: Path) -> None:
    """Refuse what is no ordinary file (opening a pipe would wait for ever), and what is empty."""
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
        Image.DecompressionBombError: too_many_pixels(MOST_PIXELS),
        UnidentifiedImageError: "is not a picture in a known format "
        f"({', '.join(READ_FORMATS)}, NPY); replace or remove it",
        Exception: "is damaged or cut short; copy it again or remove it",
    }
    return next(why for kind, why in reasons.items() if isinstance(error, kind))


def too_many_pixels(most: int) -> str:
    """The end of a sentence that begins with a name."""
    return f"has more than {most // 10**6} million pixels; cut it up, make it smaller, or {_BY_ROWS}"


def refuse_large_array(path: Path, height: int, width: int, num_bytes: int) -> None:
    """Called with what a header claims, before memory is taken for it."""
    if min(height, width) < 1:
        raise InputError(f"{path} {NO_PIXELS}.")
    if height * width > MOST_PIXELS:
        raise TooManyPixelsError(f"{path} {too_many_pixels(MOST_PIXELS)}.")
    if num_bytes > MOST_BYTES:
        raise InputError(f"{path} holds more than {MOST_BYTES // 10**6} MB of numbers; cut it up or make it smaller.")


def refuse_odd_numbers(path: Path, dtype: np.dtype[Any] | None) -> None:
    """Refuse what is no integer or float, such as texts and objects."""
    if dtype is None or dtype.kind not in "buif" or dtype.itemsize > 8:
        raise InputError(f"{path} does not hold plain numbers; save it as integers or floats of at most 64 bits.")


def finite(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """The pixels, where all of them are numbers."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError(f"{path} holds numbers that are not finite (NaN or infinity); replace them.")
    return pixels
