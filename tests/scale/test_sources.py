"""What a source holds: picture files, shards and tables, whole and damaged."""

import io
import tarfile
from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import parquet

from maskwright.errors import InputError
from maskwright.scale.sources import Entry, list_source, pictures_of, problem_of_name, refuse_collisions


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


def write_files(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_pictures_of_a_folder_come_sorted_without_hidden_ones(tmp_path: Path) -> None:
    write_files(tmp_path, ["b/2.PNG", "a.jpg", ".a.jpg", "b/.cache/1.png", "notes.txt", "__MACOSX/a.jpg"])
    source, entries = list_source(str(tmp_path))
    assert source.kind == "pictures"
    assert entries == [Entry("a.jpg", 5), Entry("b/2.PNG", 7)]
    pictures = list(pictures_of(source, entries))
    assert [(picture.name, picture.target, picture.content) for picture in pictures] == [
        ("a.jpg", "a", tmp_path / "a.jpg"),
        ("b/2.PNG", "b/2", tmp_path / "b/2.PNG"),
    ]


def test_pictures_of_a_store_are_fetched_and_one_that_is_gone_is_a_problem() -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe({"/in/a.jpg": b"a", "/in/b.jpg": b"b"})
    source, entries = list_source("memory://in")
    store.rm("/in/b.jpg")
    found = list(pictures_of(source, entries))
    store.store.clear()
    assert (found[0].content, found[1].content) == (b"a", None)
    assert found[1].problem is not None
    assert "b.jpg" in found[1].problem


def test_a_shard_gives_its_pictures_and_leaves_the_rest(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "s.tar",
        {"x/1.jpg": b"one", "x/1.json": b"{}", "./2.png": b"two", "2.webp": b"twice", "x/._1.jpg": b""},
    )
    source, entries = list_source(str(tmp_path))
    assert entries == [Entry("s.tar", (tmp_path / "s.tar").stat().st_size, None)]
    pictures = list(pictures_of(source, entries))
    assert [(picture.name, picture.target, picture.content) for picture in pictures] == [
        ("x/1.jpg", "s/x/1", b"one"),
        ("2.png", "s/2", b"two"),
        ("2.webp", "s/2", None),
    ]
    assert pictures[2].problem == "s.tar: 2.webp would be written where another picture of its shard is; rename it."


def test_of_a_damaged_shard_the_pictures_before_the_damage_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    write_shard(path, {"1.jpg": b"one", "2.jpg": b"2" * 4000})
    path.write_bytes(path.read_bytes()[:2000])
    *whole, last = pictures_of(*list_source(str(path)))
    assert [picture.content for picture in whole] == [b"one"]
    assert last.problem is not None
    assert last.problem.startswith("s.tar is damaged after 2 pictures")


def write_table(path: Path, columns: dict[str, object], group: int = 2) -> None:
    parquet.write_table(arrow.table(columns), path, row_group_size=group)


def test_a_table_is_read_by_row_groups(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"id": ["x", "y", "z"], "jpeg": [b"1", b"2", None], "n": [1, 2, 3]})
    source, entries = list_source(str(tmp_path))
    assert source.columns == ("jpeg", "id")
    assert [(entry.rows, entry.group, entry.first_row) for entry in entries] == [(2, 0, 0), (1, 1, 2)]
    assert [(picture.name, picture.target, picture.content) for picture in pictures_of(source, entries)] == [
        ("x", "t/0000000", b"1"),
        ("y", "t/0000001", b"2"),
        ("z", "t/0000002", None),
    ]
    assert [picture.name for picture in pictures_of(source, entries[1:])] == ["z"]


def test_a_table_may_hold_structures_of_bytes_and_path(tmp_path: Path) -> None:
    images = [{"bytes": b"1", "path": "../a.jpg"}, {"bytes": b"2", "path": None}]
    write_table(tmp_path / "t.parquet", {"image": images})
    pictures = list(pictures_of(*list_source(str(tmp_path))))
    assert [(picture.name, picture.target) for picture in pictures] == [
        ("../a.jpg", "t/0000000"),
        ("0000001", "t/0000001"),
    ]


def test_a_damaged_table_is_a_problem_and_keeps_no_other_back(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", {"image": [b"1"]})
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    pictures = list(pictures_of(*list_source(str(tmp_path))))
    assert pictures[0].content == b"1"
    assert pictures[1].problem == "b.parquet is no whole Parquet file; copy it again."


def test_a_row_group_that_is_damaged_is_a_problem_from_the_damaged_row_on(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, {"image": [b"1", b"2", b"3"]}, group=1)
    place = parquet.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 16] = b"\xff" * 16
    path.write_bytes(content)
    first, damaged, last = pictures_of(*list_source(str(path)))
    assert (first.content, last.content) == (b"1", b"3")
    assert damaged.problem is not None
    assert damaged.problem.startswith("t.parquet is damaged from row 1 on")


def test_a_table_that_cannot_be_reached_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.parquet", {"image": [b"1"]})
    source, entries = list_source(str(tmp_path))

    def time_out(*_arguments: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(source.place.files, "open", time_out)
    with pytest.raises(TimeoutError):
        list(pictures_of(source, entries))
    with pytest.raises(TimeoutError):
        list_source(str(tmp_path))


def test_tables_of_different_columns_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", {"image": [b"1"]})
    write_table(tmp_path / "b.parquet", {"jpeg": [b"1"]})
    with pytest.raises(InputError, match="have different columns"):
        list_source(str(tmp_path))


def test_rows_without_a_name_are_called_by_their_number(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"name": ["x", None, ""], "image": [b"1", b"2", b"3"]})
    pictures = pictures_of(*list_source(str(tmp_path)))
    assert [picture.name for picture in pictures] == ["x", "0000001", "0000002"]


@pytest.mark.parametrize("kind", ["store", "shard", "table"])
def test_a_picture_of_too_many_bytes_is_not_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwright.scale.sources.MOST_BYTES", 3)
    address = str(tmp_path)
    match kind:
        case "store":
            import fsspec

            address = "memory://large"
            fsspec.filesystem("memory").pipe({"/large/1.jpg": b"four", "/large/2.jpg": b"two"})
        case "shard":
            write_shard(tmp_path / "s.tar", {"1.jpg": b"four", "2.jpg": b"two"})
        case "table":
            write_table(tmp_path / "t.parquet", {"name": ["1.jpg", "2.jpg"], "image": [b"four", b"two"]})
    large, small = pictures_of(*list_source(address))
    assert (large.content, small.content) == (None, b"two")
    assert large.problem is not None
    assert "1.jpg is larger than" in large.problem


@pytest.mark.parametrize(
    ("names", "sentence"), [(["notes.txt"], "There are no pictures"), (["a.jpg", "b.tar"], "holds pictures and tar")]
)
def test_a_source_is_of_one_kind(tmp_path: Path, names: list[str], sentence: str) -> None:
    write_files(tmp_path, names)
    with pytest.raises(InputError, match=sentence):
        list_source(str(tmp_path))


def test_a_table_without_pictures_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"number": [1, 2]})
    with pytest.raises(InputError, match=r"t\.parquet holds the bytes of encoded pictures"):
        list_source(str(tmp_path))


def test_two_files_whose_masks_would_have_one_name_are_refused() -> None:
    refuse_collisions([Entry("a/x.jpg", 1), Entry("x.jpg", 1)])
    with pytest.raises(InputError, match=r"x\.jpg and x\.png would both be written to x_mask\.png"):
        refuse_collisions([Entry("x.jpg", 1), Entry("y.jpg", 1), Entry("x.png", 1)])


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/a.jpg", "a//b.jpg", "a\\b.jpg", "a\n.jpg", "\udcff.jpg", "a" * 300, ".."]
)
def test_names_that_lead_elsewhere_are_no_names_for_files(name: str) -> None:
    assert problem_of_name(name) is not None
    assert problem_of_name("ä b/c.d.jpg") is None
