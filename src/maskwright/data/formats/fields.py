"""What a text file says, each value checked before it is used: whatever is wrong becomes a sentence that names it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.data import shapes
from maskwright.errors import InputError

# COCO's own list of 118,000 pictures has 450 MB.
MOST_BYTES = 512 * 2**20
_HEAD_BYTES = 2**20
# Parsing takes more memory than the text: 25 times as much for a file of brackets. What it takes at least is counted
# before, and more than this is granted only as far as there are regions to account for it.
_MOST_MEMORY = 512 * 2**20
_MEMORY_OF_REGION = 20_000
_REGIONS = (b'"segmentation"', b'"points"', b'"original_width"')
_BYTES_PER_MARK = {b"{": 64, b"[": 64, b",": 8, b".": 24, b'"': 25}
# Of a coordinate, in pixels: beyond this, fractions of a pixel are lost.
MOST_PIXELS_ACROSS = 10**6


@dataclass(frozen=True)
class Entry:
    """An object of a JSON file, and the words to name it by."""

    path: Path
    place: str
    """Such as ``annotations[3]``; empty for the whole file."""
    fields: Mapping[str, object]

    def __contains__(self, key: str) -> bool:
        return self.fields.get(key) is not None

    def refuse(self, what: str) -> InputError:
        """The error that names this entry."""
        return InputError(f"{self.path}: {self.place}{' ' if self.place else ''}{what}.")

    def text(self, key: str) -> str:
        """A string that is not empty."""
        value = self.fields.get(key)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "a text")
        return value

    def number(self, key: str, *, least: float = -MOST_PIXELS_ACROSS, most: float = MOST_PIXELS_ACROSS) -> float:
        """A finite number within bounds."""
        return self.checked_number(self.fields.get(key), key, least=least, most=most)

    def size(self, height: str, width: str) -> tuple[int, int]:
        """Height and width in whole pixels, of a picture that can be read."""
        rows, columns = (int(self.number(key, least=1)) for key in (height, width))
        try:
            shapes.check_size(rows, columns)
        except InputError as error:
            raise InputError(f"{self.path}: {self.place}: {error}") from error
        return rows, columns

    def points(self, key: str) -> tuple[tuple[float, float], ...]:
        """A list of ``[x, y]``."""
        points = []
        for point in self.items(key):
            if not isinstance(point, Sequence) or isinstance(point, str) or len(point) < 2:
                raise self._wrong(key, "a list of [x, y]")
            points.append((self.checked_number(point[0], key), self.checked_number(point[1], key)))
        return tuple(points)

    def items(self, key: str) -> list[object]:
        """A list."""
        value = self.fields.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def entries(self, key: str) -> Iterator["Entry"]:
        """A list of objects."""
        yield from entries_of(self.items(key), self.path, f"{self.place}{'.' if self.place else ''}{key}")

    def entry(self, key: str) -> "Entry":
        """An object."""
        value = self.fields.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Entry(self.path, f"{self.place}{'.' if self.place else ''}{key}", value)

    def checked_number(
        self, value: object, key: str, *, least: float = -MOST_PIXELS_ACROSS, most: float = MOST_PIXELS_ACROSS
    ) -> float:
        """A value found under `key`, as a finite number within bounds."""
        # Compared before it is converted: an integer of 400 digits is no float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self._wrong(key, f"a number from {least:g} to {most:g}", value)
        return float(value)

    def _wrong(self, key: str, expected: str, value: object = None) -> InputError:
        found = self.fields.get(key) if value is None else value
        return self.refuse(f"should have {expected} as {key!r}, not {_shown(found)}")


def entries_of(items: Sequence[object], path: Path, place: str) -> Iterator[Entry]:
    """The objects of a list."""
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise InputError(f"{path}: {place}[{index}] should be an object, not {_shown(item)}.")
        yield Entry(path, f"{place}[{index}]", item)


def read_bytes(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Read a file that is not too large.

    Raises:
        InputError: It is missing, empty, too large, or cannot be read.
    """
    content = _read(path, most, None)
    if not content.strip():
        raise _empty(path)
    return content


def read_head(path: Path) -> bytes:
    """Read the beginning of a file that `read_bytes` would read."""
    head = _read(path, MOST_BYTES, _HEAD_BYTES)
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise _empty(path)
    return head


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """Read a text file in UTF-8, with or without a byte order mark."""
    return _decode(read_bytes(path, most=most), path)


def read_json(path: Path) -> object:
    """Read a JSON file; `Entry` checks what it holds."""
    content = read_bytes(path)
    granted = _MOST_MEMORY + _MEMORY_OF_REGION * sum(map(content.count, _REGIONS))
    if sum(content.count(mark) * taken for mark, taken in _BYTES_PER_MARK.items()) > granted:
        raise InputError(f"{path} holds too many values for the regions in it; split it or export it again.")
    text = _decode(content, path)
    del content  # both and the result together are twice as much
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply; export it again.") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        what = error.msg.removesuffix(" at")
        raise InputError(f"{path} is no valid JSON ({what} at {where}); export it again.") from error
    except ValueError as error:  # an integer of more than 4300 digits
        raise InputError(f"{path} holds a number that is too long; export it again.") from error


def read_object(path: Path) -> Entry:
    """Read a JSON file that holds an object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} should hold a JSON object, not {_shown(content)}; export it again.")
    return Entry(path, "", content)


def _read(path: Path, most: int, length: int | None) -> bytes:
    try:
        # A pipe has no size and no end.
        if not path.is_file():
            raise InputError(f"{path} is not a file; check the name.")
        if path.stat().st_size > most:
            raise InputError(f"{path} has more than {most / 2**20:g} MB; split it.")
        with path.open("rb") as file:
            return file.read(length)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); change its permissions.") from error


def _empty(path: Path) -> InputError:
    return InputError(f"{path} is empty; copy it again or remove it.")


def _decode(content: bytes, path: Path) -> str:
    # Python keeps a text at the width of its widest letter.
    widest = int(np.frombuffer(content, np.uint8).max(initial=0))
    bytes_per_letter = 4 if widest >= 0xF0 else 2 if widest >= 0xC4 else 1
    if len(content) * bytes_per_letter > MOST_BYTES:
        raise InputError(
            f"{path} has more than {MOST_BYTES // bytes_per_letter / 2**20:g} MB and letters that take "
            f"{bytes_per_letter} bytes each, such as {'emoji' if bytes_per_letter == 4 else 'Chinese ones'}; split it."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def _shown(value: object) -> str:
    """A value as a sentence can hold it: short, and printable."""
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
