"""Pictures by the million, as they are stored: files below a folder, tar shards (WebDataset), tables (Parquet).

A source is listed once, sorted, as entries: a picture file, a shard, or a row group of a table. What is listed can be
read anywhere else, entry by entry.
"""

import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple

from maskwright.data.image_files import IMAGE_SUFFIXES, MOST_BYTES
from maskwright.data.threads import in_threads
from maskwright.errors import InputError, MissingExtraError
from maskwright.inference.claims import leaves_no_room
from maskwright.scale.places import Place, find_files

Kind = Literal["pictures", "tar", "parquet"]

# Files of a store that are fetched at a time, and how many wait to be computed.
_READERS, _AHEAD = 8, 16
# Rows of a table that are held at a time.
_ROWS = 16
# Columns that hold what a picture is called, the first of them that is there; the row's number is its name otherwise.
NAME_COLUMNS = ("path", "file_name", "filename", "name", "key", "__key__", "id")
# What names must not hold, where files are to be called by them.
_FORBIDDEN = re.compile(r"[\x00-\x1f\\]")


class Entry(NamedTuple):
    """A line of the list: what is read as one.

    Attributes:
        name: The file's path below the source, posix.
        size: Bytes that are read for it, by which progress is measured.
        rows: Pictures in it; None for a shard, which does not say.
        group: Of a table, the row group; None of one that cannot be read.
        first_row: Of a table, the number of the group's first row.
    """

    name: str
    size: int
    rows: int | None = 1
    group: int | None = None
    first_row: int = 0


@dataclass(frozen=True)
class Source:
    """Where the pictures lie and how.

    Attributes:
        kind: Picture files, tar shards or Parquet tables.
        place: What entries are named below.
        columns: Of tables: the column of encoded pictures, and the one of names, where there is one.
    """

    kind: Kind
    place: Place
    columns: tuple[str, str | None] | None = None


@dataclass(frozen=True)
class Picture:
    """A picture to be predicted, or why it cannot be.

    Attributes:
        name: What its source calls it.
        shard: The shard or table that it lies in; empty for a file of its own.
        content: Its file, or the content of that.
        problem: Why there is no content.
        row: Its number in a table.
    """

    name: str
    shard: str = ""
    content: Path | bytes | None = None
    problem: str | None = None
    row: int | None = None

    @property
    def title(self) -> str:
        """What sentences call it."""
        return f"{self.shard}: {self.name}" if self.shard else self.name

    @property
    def target(self) -> str:
        """Folder and stem of its results' names: its own, below those of its shard.

        Of a table it is the row's number: what rows are called may be missing, stand there twice or lead elsewhere.
        """
        stem = _without_suffix(self.name, IMAGE_SUFFIXES) if self.row is None else f"{self.row:07}"
        return f"{_without_suffix(self.shard, {'.tar', '.parquet'})}/{stem}" if self.shard else stem


def list_source(address: str) -> tuple[Source, list[Entry]]:
    """What is to be predicted.

    Args:
        address: A folder, file or pattern, in words of `places`. It holds tables, shards or pictures, not several of
            these; of anything else there, nothing is taken.

    Returns:
        The source and its entries, sorted by name.

    Raises:
        InputError: There is nothing of that kind, or several kinds.
        MissingExtraError: It holds tables, and pyarrow is not installed.
    """
    place, sizes = find_files(address)
    of_kind: dict[Kind, dict[str, int]] = {"pictures": {}, "tar": {}, "parquet": {}}
    for name, size in sizes.items():
        kind = _kind_of(name)
        if kind and not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
            of_kind[kind][name] = size
    kinds = [kind for kind, files in of_kind.items() if files]
    if not kinds:
        raise InputError(f"There are no pictures, .tar shards or .parquet tables in {address}; name another place.")
    if len(kinds) > 1:
        raise InputError(f"{address} holds {' and '.join(kinds)}; name one kind, by a pattern such as '*.tar'.")
    (kind,) = kinds
    files = of_kind[kind]
    match kind:
        case "pictures":
            return Source(kind, place), [Entry(name, size) for name, size in files.items()]
        case "tar":
            return Source(kind, place), [Entry(name, size, rows=None) for name, size in files.items()]
        case "parquet":
            return _list_tables(place, files)


def pictures_of(source: Source, entries: Sequence[Entry]) -> Iterator[Picture]:
    """The pictures of some entries, in their order, a few of them read ahead.

    What a store does not give because of the way to it is no problem of a picture.

    Raises:
        OSError: The store cannot be reached.
    """
    match source.kind:
        case "pictures" if source.place.is_local:
            yield from (Picture(entry.name, content=source.place.local_path(entry.name)) for entry in entries)
        case "pictures":
            yield from in_threads(partial(_fetch, source.place), entries, threads=_READERS, ahead=_AHEAD)
        case "tar":
            for entry in entries:
                yield from _in_shard(source.place, entry)
        case "parquet":
            for entry in entries:
                yield from _in_table(source, entry)


def refuse_collisions(entries: Iterable[Entry]) -> None:
    """Raise an InputError for two picture files whose results would have one name.

    What lies in shards is not listed: there the second one is a problem of its own when it is met. Rows of tables have
    numbers.
    """
    owners: dict[str, str] = {}
    for entry in entries:
        target = Picture(entry.name).target
        if target in owners:
            raise InputError(
                f"{owners[target]} and {entry.name} would both be written to {target}_mask.png; rename one of them."
            )
        owners[target] = entry.name


def problem_of_name(name: str) -> str | None:
    """Why no file can be called so, below a folder; None where one can."""
    parts = name.split("/")
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8; rename it"
    if _FORBIDDEN.search(name) or not all(part.strip() and part not in (".", "..") for part in parts):
        return "has a name that no file below a folder can have; rename it"
    return "has too long a name; rename it" if any(map(leaves_no_room, parts)) else None


def _kind_of(name: str) -> Kind | None:
    suffix = PurePosixPath(name).suffix.lower()
    kinds: dict[str, Kind] = {".tar": "tar", ".parquet": "parquet"}
    return "pictures" if suffix in IMAGE_SUFFIXES else kinds.get(suffix)


def _without_suffix(name: str, suffixes: Iterable[str]) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in suffixes else name


# --- Files of a store


def _fetch(place: Place, entry: Entry) -> Picture:
    if entry.size > MOST_BYTES:
        return Picture(entry.name, problem=_too_many_bytes(entry.name))
    try:
        return Picture(entry.name, content=place.read(entry.name))
    except (FileNotFoundError, PermissionError) as error:
        return Picture(entry.name, problem=f"{entry.name} cannot be read ({error}); was it removed?")


def _too_many_bytes(title: str) -> str:
    return f"{title} is larger than {MOST_BYTES // 10**6} MB; cut it up or make it smaller."


# --- Tar shards


def _in_shard(place: Place, entry: Entry) -> Iterator[Picture]:
    names: set[str] = set()
    try:
        with place.open(entry.name) as file, tarfile.open(fileobj=file, mode="r|") as shard:
            for member in shard:
                if not member.isfile() or _kind_of(member.name) != "pictures" or _is_hidden(member.name):
                    continue
                name = member.name.removeprefix("./")
                yield _read_member(shard, member, Picture(name, entry.name), names)
    except (tarfile.TarError, EOFError) as error:
        sentence = f"{entry.name} is damaged after {len(names)} pictures ({error}); copy it again."
        yield Picture("", entry.name, problem=sentence)


def _is_hidden(name: str) -> bool:
    return PurePosixPath(name).name.startswith(".")


def _read_member(shard: tarfile.TarFile, member: tarfile.TarInfo, picture: Picture, names: set[str]) -> Picture:
    if picture.target in names:
        sentence = f"{picture.title} would be written where another picture of its shard is; rename it."
        return Picture(picture.name, picture.shard, problem=sentence)
    names.add(picture.target)
    if member.size > MOST_BYTES:
        return Picture(picture.name, picture.shard, problem=_too_many_bytes(picture.title))
    file = shard.extractfile(member)
    assert file is not None  # noqa: S101 - it is an ordinary file
    return Picture(picture.name, picture.shard, file.read())


# --- Tables


def _list_tables(place: Place, sizes: dict[str, int]) -> tuple[Source, list[Entry]]:
    found = list(in_threads(partial(_list_table, place), sizes.items(), threads=_READERS))
    columns = [some for some, _ in found if some]
    if not columns:
        raise InputError(f"{place.address}: no column of its tables holds the bytes of encoded pictures.")
    if len(set(columns)) > 1:
        raise InputError(f"The tables of {place.address} have different columns; name those of one kind by a pattern.")
    return Source("parquet", place, columns[0]), [entry for _, entries in found for entry in entries]


def _list_table(place: Place, named: tuple[str, int]) -> tuple[tuple[str, str | None] | None, list[Entry]]:
    """The columns of a table, and its row groups; one entry that cannot be read for a table that cannot."""
    name, size = named
    try:
        with place.open(name) as file:
            table = _open_table(file)
            columns = _choose_columns(table.schema_arrow)
            facts = [table.metadata.row_group(group) for group in range(table.metadata.num_row_groups)]
    except _damages() as error:
        if not _is_damage(error):
            raise
        return None, [Entry(name, size, rows=0)]
    if columns is None:
        raise InputError(f"No column of {place.path(name)} holds the bytes of encoded pictures.")
    entries, first = [], 0
    for group, fact in enumerate(facts):
        stored = sum(fact.column(column).total_compressed_size for column in range(fact.num_columns))
        entries.append(Entry(name, stored, fact.num_rows, group, first))
        first += fact.num_rows
    return columns, entries


def _open_table(file: IO[bytes]) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale") from error
    return parquet.ParquetFile(file)


def _damages() -> tuple[type[Exception], ...]:
    """What pyarrow raises for a damaged table, and, alas, for others too: see `_is_damage`."""
    try:
        import pyarrow as arrow
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale") from error
    return arrow.ArrowException, OSError


def _is_damage(error: Exception) -> bool:
    """Whether it is the table and not the way to it: errors of the system have numbers, or types of their own."""
    return not isinstance(error, OSError) or (type(error) is OSError and error.errno is None)


def _choose_columns(schema: Any) -> tuple[str, str | None] | None:  # noqa: ANN401
    """The first column of bytes, or of structures with such a field as other programs write them; and that of names."""
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:  # noqa: ANN401
        if types.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    images = [field.name for field in schema if holds_bytes(field.type)]
    if not images:
        return None
    return images[0], next((name for name in NAME_COLUMNS if name in schema.names and name != images[0]), None)


def _in_table(source: Source, entry: Entry) -> Iterator[Picture]:
    assert source.columns is not None  # noqa: S101 - a table has them
    image_column, name_column = source.columns
    place, row = source.place, entry.first_row
    if entry.group is None:
        yield Picture("", entry.name, problem=f"{entry.name} is no whole Parquet file; copy it again.")
        return
    try:
        with place.open(entry.name) as file:
            table = _open_table(file)
            wanted = [column for column in source.columns if column]
            for batch in table.iter_batches(batch_size=_ROWS, row_groups=[entry.group], columns=wanted):
                for stored in batch.to_pylist():
                    yield _picture_of_row(stored[image_column], name_column and stored[name_column], entry.name, row)
                    row += 1
    except _damages() as error:
        if not _is_damage(error):
            raise
        sentence = f"{entry.name} is damaged from row {row} on ({error}); copy it again."
        yield Picture("", entry.name, problem=sentence)


def _picture_of_row(stored: Any, name: object, table: str, row: int) -> Picture:  # noqa: ANN401
    content = stored
    if isinstance(stored, dict):
        content, name = stored["bytes"], name or stored.get("path")
    picture = Picture(f"{row:07}" if name in (None, "") else str(name), table, content, row=row)
    if not content:
        return replace(picture, content=None, problem=f"{picture.title} has no picture; fill in its row or remove it.")
    if len(content) > MOST_BYTES:
        return replace(picture, content=None, problem=_too_many_bytes(picture.title))
    return picture
