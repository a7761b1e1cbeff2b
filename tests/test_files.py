import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from maskwright.files import dated_folder, previous_of, replacing, unfinished_in, write_json, write_text


def test_the_file_is_there_when_the_block_ends_well(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "file.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "file.txt").exists()
    assert (tmp_path / "new" / "file.txt").read_text() == "whole"


def test_a_block_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="power"):
        fail_half_way(path)
    assert path.read_text() == "old"


@pytest.mark.parametrize("fails", [True, False])
def test_no_temporary_file_stays_behind(fails: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    if fails:
        with pytest.raises(RuntimeError):
            fail_half_way(path)
    else:
        write_text(path, "whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if fails else ["file.txt"])


def test_the_temporary_file_lies_beside_and_keeps_the_suffix(tmp_path: Path) -> None:
    with replacing(tmp_path / "curves.png") as temporary:
        temporary.touch()
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")


@pytest.mark.parametrize("lasting", [True, False])
def test_what_was_there_before_is_kept_where_that_is_asked(lasting: bool, tmp_path: Path) -> None:
    path = tmp_path / "state.pth"
    for content in "abc":
        with replacing(path, keep_previous=True, lasting=lasting) as temporary:
            temporary.write_text(content)
    assert (path.read_text(), previous_of(path).read_text()) == ("c", "b")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_block_that_fails_leaves_both_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.pth"
    for content in "ab":
        with replacing(path, keep_previous=True) as temporary:
            temporary.write_text(content)
    with pytest.raises(RuntimeError, match="power"):
        fail_half_way(path)
    assert (path.read_text(), previous_of(path).read_text()) == ("b", "a")


def test_an_error_names_the_file_that_the_user_knows_of(tmp_path: Path, largest_file: Callable[[int], None]) -> None:
    path = tmp_path / "file.txt"
    largest_file(100)
    with pytest.raises(OSError, match="too large") as raised:
        write_text(path, 200 * "x")
    assert raised.value.filename == str(path)
    with pytest.raises(OSError, match="directory") as raised, replacing(path) as temporary:
        (temporary / "below").touch()
    assert "below" in str(raised.value.filename)


def test_a_disk_that_becomes_read_only_is_said_of_the_file_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match="Read-only") as raised:
        write_text(tmp_path / "state.txt", "new")
    assert raised.value.filename == str(tmp_path / "state.txt")


def test_what_a_killed_process_left_is_found_and_nothing_else(tmp_path: Path) -> None:
    with replacing(tmp_path / "state.pth") as temporary:
        temporary.touch()
        for name in ("mine.txt", ".hidden", ".0123.pth", "0123456789abcdef.pth", "state.previous.pth"):
            (tmp_path / name).touch()
        assert unfinished_in(tmp_path) == [temporary]


def test_json_keeps_letters_of_every_language(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"größe": [1, None]})
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert "größe" in text
    assert json.loads(text) == {"größe": [1, None]}


def test_a_dated_folder_is_one_that_nothing_has_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = []
    for _ in range(3):
        folders.append(dated_folder("cars"))
        folders[-1].mkdir(parents=True)
    assert len(set(folders)) == 3
    assert all(folder.parent == Path("runs") for folder in folders)


def fail_half_way(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("ha")
        raise RuntimeError("power cut")
