import json
from pathlib import Path

import pytest

from maskwright.files import dated_folder, replacing, write_json, write_text


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
