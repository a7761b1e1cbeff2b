"""A list, cut into parts; marks; and what is refused to be mixed."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from maskwright.errors import InputError
from maskwright.scale.manifest import (
    FAILURES,
    LIST,
    MANIFEST,
    Mark,
    Plan,
    begin,
    cut,
    entries_of,
    gather_failures,
    mark_done,
    read_marks,
)
from maskwright.scale.parts import files_of_parts
from maskwright.scale.places import Place, open_place
from maskwright.scale.sources import Entry, Source

ENTRIES = [Entry(f"{number}.jpg", 10 + number) for number in range(7)]


@pytest.fixture
def out(tmp_path: Path) -> Place:
    return open_place(str(tmp_path / "out"))


def start(
    out: Place,
    entries: list[Entry] = ENTRIES,
    *,
    makers: Mapping[str, object] | None = None,
    pictures: int = 3,
    renew: bool = False,
) -> Plan:
    source = Source("pictures", open_place("/photos"))
    makers = makers or {"model": "abc"}
    return begin(out, source, entries, makers, pictures=pictures, renew=renew, old=files_of_parts(out))


def test_parts_are_numbered_and_hold_each_entry_once(out: Place) -> None:
    plan = start(out)
    assert [(part.number, part.pictures, part.size) for part in plan.parts] == [(0, 3, 33), (1, 3, 42), (2, 1, 16)]
    assert [entry for part in plan.parts for entry in entries_of(out, part)] == ENTRIES


def test_row_groups_and_shards_are_not_divided() -> None:
    entries = [Entry("t", 1, rows, group) for group, rows in enumerate((2, 2, 9, 1))]
    entries += [Entry("s1", 1, None), Entry("s2", 1, None)]
    lines = [json.dumps(entry).encode() + b"\n" for entry in entries]
    assert [part.pictures for part in cut(lines, 3)] == [4, 9, None, None]


def test_a_run_that_goes_on_leaves_marked_parts_out(out: Place) -> None:
    plan = start(out)
    assert mark_done(out, plan.parts[1], 3, []) == Mark(1, 3, 0)
    again = start(out)
    assert again.parts == plan.parts
    assert [part.number for part in again.pending] == [0, 2]
    assert dict(again.marks) == {1: Mark(1, 3, 0)}


def test_a_mark_that_is_written_twice_is_one_mark(out: Place) -> None:
    (part, *_) = start(out).parts
    for _ in range(2):
        mark_done(out, part, 3, [{"path": "0.jpg", "error": "is no picture"}])
    assert read_marks(out) == {0: Mark(0, 3, 1)}
    assert gather_failures(out, read_marks(out).values()) == [{"path": "0.jpg", "error": "is no picture"}]
    assert len(out.read(FAILURES).splitlines()) == 1


def failed_before(out: Place) -> None:
    """A run in which a picture failed."""
    (part, *_) = start(out).parts
    gather_failures(out, [mark_done(out, part, 3, [{"path": "0.jpg", "error": "is no picture"}])])
    assert FAILURES in out.below()


@pytest.mark.parametrize("address", ["{folder}", "memory://failures"])
def test_a_run_that_begins_anew_forgets_what_failed_before(address: str, tmp_path: Path) -> None:
    place = open_place(address.format(folder=tmp_path / "out"))
    failed_before(place)
    start(place, renew=True)
    assert FAILURES not in place.below()
    start(place, renew=True)  # nor is it missed where it is not there


def test_a_run_in_which_nothing_failed_leaves_no_list_of_failures(out: Place) -> None:
    failed_before(out)
    assert gather_failures(out, [Mark(0, 3, 0)]) == []
    assert FAILURES not in out.below()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"makers": {"model": "xyz"}}, r"another model \(abc then, xyz now\)"),
        ({"pictures": 4}, r"another part \(3 then, 4 now\)"),
        ({"entries": [*ENTRIES, Entry("7.jpg", 1)]}, r"another list of pictures: 7\.jpg is new"),
        ({"entries": ENTRIES[:2] + ENTRIES[3:]}, r"another list of pictures: 2\.jpg is gone"),
        ({"entries": [Entry("0.jpg", 11), *ENTRIES[1:]]}, r"another list of pictures: 0\.jpg has changed"),
    ],
)
def test_another_run_is_refused_with_the_difference(out: Place, change: dict[str, object], sentence: str) -> None:
    start(out)
    with pytest.raises(InputError, match=sentence):
        start(out, **change)  # type: ignore[arg-type]


def test_what_was_not_made_here_is_refused(out: Place) -> None:
    out.write("holiday.jpg", b"")
    with pytest.raises(InputError, match="is not empty"):
        start(out)


def test_beginning_anew_forgets_marks_and_numbered_results(out: Place) -> None:
    plan = start(out)
    mark_done(out, plan.parts[0], 3, [])
    out.write("parquet/part-0000000.parquet", b"")
    out.write("a_mask.png", b"")
    anew = start(out, ENTRIES[:2], renew=True)
    assert len(anew.pending) == 1
    assert out.below() == [".predict/" + name for name in ("list.jsonl", "manifest.json")] + ["a_mask.png"]


def test_beginning_anew_removes_nothing_that_no_run_has_written(out: Place) -> None:
    start(out)
    ours = ["parquet/part-0000000.parquet", "shards/part-0000000.tar", "shards/part-12345678.tar"]
    theirs = ["parquet/cars.parquet", "parquet/part-0000000.tar", "parquet/part-1.parquet", "shards/cars-000.tar"]
    theirs += ["shards/more/part-0000000.tar"]
    for name in (*ours, *theirs):
        out.write(name, b"")
    start(out, renew=True)
    assert [name for name in out.below() if not name.startswith(".predict/")] == theirs


def test_a_run_that_died_before_its_manifest_was_written_begins_again(out: Place) -> None:
    start(out)
    out.remove(MANIFEST)
    out.write(LIST, b"half of")
    assert len(start(out).pending) == 3


def test_a_list_that_could_not_be_written_leaves_no_manifest(out: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_paths: str) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(out.files, "put_file", break_off)
        with pytest.raises(ConnectionError):
            start(out)
    assert not any(name.endswith(MANIFEST) for name in out.below())
    assert len(start(out).pending) == 3


def test_other_columns_of_the_same_tables_are_another_run(out: Place) -> None:
    place = open_place("/tables")
    begin(out, Source("parquet", place, ("image", None)), ENTRIES, {}, pictures=3)
    with pytest.raises(InputError, match="another columns"):
        begin(out, Source("parquet", place, ("thumbnail", None)), ENTRIES, {}, pictures=3)
