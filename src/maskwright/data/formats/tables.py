"""CSV files, read as rows of named cells."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maskwright.data.formats import fields
from maskwright.errors import InputError

_HEAD_BYTES = 2**16
_MOST_ROWS = 1_000_000
_MOST_CELLS = 1000
_MOST_LETTERS = 2**24


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        path: The file.
        columns: The names in its first line, in small letters and without blanks and underscores.
        rows: The line that each row ends on, counted from 1, and its cells without blanks around them, as many as
            there are columns.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, names: Sequence[str]) -> int | None:
        """The place of the first of these columns that is there."""
        return next((self.columns.index(name) for name in names if name in self.columns), None)


def read_header(head: bytes) -> tuple[str, ...]:
    """The names of the columns in the first bytes of a file; none where it cannot be a table."""
    line = head[:_HEAD_BYTES].decode("utf-8-sig", errors="replace").lstrip().partition("\n")[0]
    try:
        cells = next(csv.reader([line], delimiter=_delimiter(line)), [])
    except csv.Error:
        return ()
    return tuple(map(_plain, cells))


def read_table(path: Path) -> Table:
    """Read a CSV file whose cells are divided by commas, semicolons or tabs.

    Raises:
        InputError: It cannot be read, or is no table.
    """
    head = fields.read_head(path)
    delimiter = _delimiter(head.decode("utf-8", errors="replace").lstrip("\ufeff \r\n").partition("\n")[0])
    rows: list[tuple[int, tuple[str, ...]]] = []
    # What is not UTF-8 is kept for `_checked`: a decoder refuses many lines at a time, and so could not say which.
    with _any_field_size(), path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(_checked(lines, delimiter, path), delimiter=delimiter, strict=True)
        done = 0
        try:
            columns = tuple(map(_plain, next((row for row in reader if any(row)), [])))
            done = reader.line_num
            for row in reader:
                done = reader.line_num
                if any(row):
                    # Cells may be missing at the end of a line, or be more than there are columns.
                    cells = [*(cell.strip() for cell in row), *[""] * len(columns)]
                    rows.append((reader.line_num, tuple(cells[: len(columns)])))
                if len(rows) > _MOST_ROWS:
                    raise InputError(f"{path} has more than {_MOST_ROWS} rows; split it.")
        except csv.Error as error:
            # A quote that is never closed takes in all that follows.
            where = f"line {done + 1}" if done + 1 >= reader.line_num else f"lines {done + 1} to {reader.line_num}"
            raise InputError(f"{path} is no table ({where}: {error}); export it again.") from error
    return Table(path, columns, tuple(rows))


def _checked(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[str]:
    """UTF-8 lines of a sensible length and number of cells, before the reader takes several times their memory."""
    for number, line in enumerate(lines, 1):
        if len(line) > _MOST_LETTERS:
            raise InputError(f"{path}, line {number} has more than {_MOST_LETTERS} letters; export it again.")
        if line.count(delimiter) > _MOST_CELLS:
            raise InputError(f"{path}, line {number} has more than {_MOST_CELLS} cells; export it again.")
        if not line.isascii() and re.search("[\udc80-\udcff]", line):
            raise InputError(f"{path}, line {number} is not UTF-8 text; save it as UTF-8.")
        yield line


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", "").replace(" ", "")


@contextmanager
def _any_field_size() -> Iterator[None]:
    """Run lengths of one picture exceed what the csv module allows, for the whole process, in a cell."""
    before = csv.field_size_limit(_MOST_LETTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)
