"""What a run is made of, so that each picture's result is written once: a list, cut into numbered parts, and marks.

The source is listed once. Lines of the list, in their order, make parts, which are numbered; what a part's results are
called follows from its number and its pictures' names alone, so that a part that is done again writes the same files
with the same bytes. When all of them are written, a mark is; a run that goes on leaves marked parts out. All of it lies
in `.predict` below the results:

    manifest.json            what makes the results; written last, so that a list is whole where there is one
    list.jsonl               a line for each entry of the source
    done/0000012.100.2       a mark: part 12 has 100 pictures, of which 2 could not be predicted
    failed/0000012.jsonl     which, and why
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from maskwright.errors import InputError
from maskwright.inference.claims import NOTES
from maskwright.scale.places import Place
from maskwright.scale.sources import Entry, Source

FORMAT = 1
MANIFEST, LIST, DONE, FAILED = (f"{NOTES}/{name}" for name in ("manifest.json", "list.jsonl", "done", "failed"))
FAILURES = "failed.jsonl"
"""Below the results: every picture that could not be predicted, and why."""

_MARK = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class Part:
    """Some lines of the list.

    Attributes:
        number: From 0.
        start: Where its lines begin in the list, in bytes.
        stop: Where they end.
        size: Bytes of its pictures, by which progress is measured.
        pictures: How many; None where shards do not say.
    """

    number: int
    start: int
    stop: int
    size: int
    pictures: int | None

    @property
    def name(self) -> str:
        """What its files are called by."""
        return f"{self.number:07}"


@dataclass(frozen=True)
class Mark:
    """That a part is done: how many pictures it has, and how many of them could not be predicted."""

    number: int
    pictures: int
    failed: int


@dataclass(frozen=True)
class Plan:
    """The parts of a run, and the marks of those that are done."""

    parts: tuple[Part, ...]
    marks: Mapping[int, Mark]

    @property
    def pending(self) -> list[Part]:
        """The parts that are to be done."""
        return [part for part in self.parts if part.number not in self.marks]


def begin(
    out: Place,
    source: Source,
    entries: Iterable[Entry],
    makers: Mapping[str, object],
    *,
    pictures: int,
    renew: bool = False,
    old: Iterable[str] = (),
) -> Plan:
    """Begin a run, or go on with the one that is there.

    Args:
        out: Where results go.
        source: What is to be predicted.
        entries: Its entries.
        makers: What else the results depend on, by the names of options.
        pictures: How many make a part. Shards and row groups are not divided.
        renew: Begin anew, whatever is there.
        old: Files that are called by parts' numbers, to be removed then: another list may not replace them all.

    Raises:
        InputError: There is a run of something else, or there are files and no run.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list"
        digest, number = _write_list(file, entries)
        facts = {
            "format": FORMAT,
            **makers,
            "source": source.place.address,
            "kind": source.kind,
            "columns": source.columns,
            "part": pictures,
            "list": digest,
            "entries": number,
        }
        facts = json.loads(json.dumps(facts))
        noted = _read_manifest(out)
        if renew:
            out.remove(NOTES)
            for name in (FAILURES, *old):
                out.remove_file(name)
        elif noted is not None:
            _compare(out, facts, noted, file)
        elif not all(name.startswith(f"{NOTES}/") for name in out.below()):
            raise InputError(f"{out.address} is not empty; choose another --out, or replace results with --overwrite.")
        if renew or noted is None:
            out.upload(LIST, file)
            out.write(MANIFEST, f"{json.dumps(facts, indent=2)}\n".encode())
        with file.open("rb") as lines:
            return Plan(tuple(cut(lines, pictures)), read_marks(out))


def cut(lines: Iterable[bytes], pictures: int) -> Iterator[Part]:
    """The parts of a list: as many lines as it takes to have so many pictures, or one that has more or does not say."""
    number = start = stop = size = count = 0
    is_known = True
    for line in lines:
        entry = _entry(line)
        stop += len(line)
        size += entry.size
        is_known = is_known and entry.rows is not None
        count += pictures if entry.rows is None else entry.rows
        if count >= pictures:
            yield Part(number, start, stop, size, count if is_known else None)
            number, start, size, count, is_known = number + 1, stop, 0, 0, True
    if stop > start:
        yield Part(number, start, stop, size, count if is_known else None)


def entries_of(out: Place, part: Part) -> list[Entry]:
    """The entries of a part, read from the list."""
    return [_entry(line) for line in out.read(LIST, part.start, part.stop).splitlines()]


def read_marks(out: Place) -> dict[int, Mark]:
    """The marks of all parts that are done. Their names say everything, so no file is read."""
    found = (_MARK.fullmatch(name.rpartition("/")[2]) for name in out.below(DONE))
    marks = (Mark(*map(int, match.groups())) for match in found if match)
    return {mark.number: mark for mark in marks}


def mark_done(out: Place, part: Part, pictures: int, failures: list[dict[str, Any]]) -> Mark:
    """Write a part's mark, after everything else of it: from now on it is done.

    Args:
        out: Where results go.
        part: Which.
        pictures: How many there were.
        failures: What is to be said of each that could not be predicted.
    """
    if failures:
        out.write(f"{FAILED}/{part.name}.jsonl", "".join(f"{json.dumps(row)}\n" for row in failures).encode())
    out.write(f"{DONE}/{part.name}.{pictures}.{len(failures)}", b"")
    return Mark(part.number, pictures, len(failures))


def gather_failures(out: Place, marks: Iterable[Mark]) -> list[dict[str, Any]]:
    """Write one file of all pictures that could not be predicted; where there are none, none is left.

    Returns:
        What it holds.
    """
    texts = [out.read(f"{FAILED}/{mark.number:07}.jsonl") for mark in marks if mark.failed]
    if texts:
        out.write(FAILURES, b"".join(texts))
    else:
        out.remove_file(FAILURES)
    return [json.loads(line) for text in texts for line in text.splitlines()]


def _write_list(file: Path, entries: Iterable[Entry]) -> tuple[str, int]:
    digest, number = hashlib.blake2b(digest_size=16), 0
    with file.open("wb") as lines:
        for entry in entries:
            line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
            lines.write(line)
            digest.update(line)
            number += 1
    return digest.hexdigest(), number


def _entry(line: bytes) -> Entry:
    return Entry(*json.loads(line))


def _read_manifest(out: Place) -> dict[str, Any] | None:
    try:
        content = out.read(MANIFEST)
    except FileNotFoundError:
        return None
    noted: dict[str, Any] = json.loads(content)
    return noted


def _compare(out: Place, facts: Mapping[str, object], noted: Mapping[str, object], file: Path) -> None:
    """Raise an InputError that names the first difference between what is asked for and what was."""
    advice = "choose another --out, or replace them with --overwrite"
    for name, value in facts.items():
        if noted.get(name) == value:
            continue
        if name == "list":
            difference = _first_difference(out.read(LIST).splitlines(), file)
            raise InputError(f"{out.address} holds results of another list of pictures: {difference}; {advice}.")
        words = f"{name.replace('_', '-')} ({noted.get(name)} then, {value} now)"
        raise InputError(f"{out.address} holds results made with another {words}; {advice}.")


def _first_difference(before: Iterable[bytes], file: Path) -> str:
    with file.open("rb") as lines:
        for old, new in zip_longest(before, map(bytes.rstrip, lines)):
            if old != new:
                return _difference(_entry(old) if old else None, _entry(new) if new else None)
    return "the same one, which is damaged"


def _difference(old: Entry | None, new: Entry | None) -> str:
    if new is None or (old is not None and old.name < new.name):
        assert old is not None  # noqa: S101 - one of them is there
        return f"{old.name} is gone"
    if old is None or new.name < old.name:
        return f"{new.name} is new"
    return f"{new.name} has changed"
