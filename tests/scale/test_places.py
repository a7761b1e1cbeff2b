"""Files of this machine and of a store: found, and written whole or not at all."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from maskwright.errors import InputError
from maskwright.scale.places import Place, find_files, open_place


@pytest.fixture
def store() -> Iterator[str]:
    """A store in memory, as fsspec has it."""
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["local", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, store: str) -> Place:
    return open_place(str(tmp_path / "out") if request.param == "local" else f"{store}/out")


def test_what_is_written_is_read_again_whole_or_in_part(place: Place) -> None:
    place.write("a/b.txt", b"0123456789")
    assert (place.read("a/b.txt"), place.read("a/b.txt", 2, 5)) == (b"0123456789", b"234")
    assert place.below() == ["a/b.txt"]
    assert place.below("elsewhere") == []
    for remove in (place.remove_file, place.remove):
        place.write("a/b.txt", b"")
        remove("a/b.txt" if remove == place.remove_file else "a")
        remove("a/b.txt" if remove == place.remove_file else "a")
        assert place.below() == []


def test_a_place_goes_to_other_processes(place: Place) -> None:
    place.write("a.txt", b"a")
    assert pickle.loads(pickle.dumps(place)).read("a.txt") == b"a"  # noqa: S301 - our own


def test_a_write_that_fails_leaves_what_was_there(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place(f"{store}/out")  # of files on this machine `files` has its own tests
    # A store that shows what has arrived so far: as on SFTP, say.
    monkeypatch.setattr(type(place.files), "protocol", "plain")
    place.write("a.txt", b"before")
    assert place.below() == ["a.txt"]

    write_whole = place.files.pipe_file

    def break_off(path: str, content: bytes) -> None:
        write_whole(path, content[:2])
        raise ConnectionError

    monkeypatch.setattr(place.files, "pipe_file", break_off)
    with pytest.raises(ConnectionError):
        place.write("a.txt", b"after")
    assert place.read("a.txt") == b"before"
    (half,) = {*place.below()} - {"a.txt"}
    assert half.startswith(".")  # so nobody takes it for a picture


def test_files_are_found_below_a_folder_by_a_pattern_and_alone(place: Place) -> None:
    for name in ("b/2.tar", "a.tar", "b/1.jpg"):
        place.write(name, b"x" * len(name))
    address = f"{'memory:/' if not place.is_local else ''}{place.root}"
    assert find_files(address)[1] == {"a.tar": 5, "b/1.jpg": 7, "b/2.tar": 7}
    below, found = find_files(f"{address}/b/*.tar")
    assert found == {"2.tar": 7}
    assert below.read("2.tar") == b"x" * 7
    assert find_files(f"{address}/*")[1] == {"a.tar": 5}
    below, found = find_files(f"{address}/b/1.jpg")
    assert (found, below.read("1.jpg")) == ({"1.jpg": 7}, b"x" * 7)


def test_a_name_that_is_there_is_no_pattern(place: Place) -> None:
    for name in ("a[1]/b?.jpg", "a1/bc.jpg"):
        place.write(name, b"x")
    address = f"{'memory:/' if not place.is_local else ''}{place.root}"
    assert find_files(f"{address}/a[1]")[1] == {"b?.jpg": 1}
    below, found = find_files(f"{address}/a[1]/b?.jpg")
    assert (found, below.root) == ({"b?.jpg": 1}, place.path("a[1]"))
    assert find_files(f"{address}/a1/b?.jpg")[1] == {"bc.jpg": 1}


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nowhere/at/all", "does not exist"),
        ("nowhere/*.jpg", "does not exist"),
        ("carrier-pigeon://coop", "no address that fsspec knows"),
    ],
)
def test_what_is_not_there_is_said(address: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_files(address)
