"""Pictures that end processes: found out, given up, and nobody else blamed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from maskwright.scale.attempts import watched
from maskwright.scale.manifest import Part
from maskwright.scale.places import Place, open_place
from maskwright.scale.sources import Picture

PART = Part(0, 0, 0, 1, 5)


@pytest.fixture
def out(tmp_path: Path) -> Place:
    return open_place(str(tmp_path))


def attempt(out: Place) -> Iterator[Picture]:
    return watched(out, PART, [Picture(f"{number}.jpg", content=b"") for number in range(5)])


def dies_at(out: Place, number: int, dead: list[Iterator[Picture]]) -> None:
    """An attempt that stops at a picture and says nothing; what is kept is not closed, as a dead process is not."""
    dead.append(attempt(out))
    for _ in range(number + 1):
        next(dead[-1])


def problems(out: Place) -> list[str]:
    return [picture.name for picture in attempt(out) if picture.problem]


def test_a_picture_at_which_two_processes_in_a_row_ended_is_given_up(out: Place) -> None:
    dead: list[Iterator[Picture]] = []
    dies_at(out, 2, dead)  # the first says nothing of pictures
    for _ in range(2):
        dies_at(out, 2, dead)
    assert problems(out) == ["2.jpg"]
    assert problems(out) == []  # a part that was done leaves no note


def test_two_such_pictures_are_both_found(out: Place) -> None:
    dead: list[Iterator[Picture]] = []
    for number in (1, 1, 1, 3, 3):
        dies_at(out, number, dead)
    assert problems(out) == ["1.jpg", "3.jpg"]


def test_machines_that_end_at_different_pictures_blame_none(out: Place) -> None:
    dead: list[Iterator[Picture]] = []
    for number in (1, 2, 3, 2, 4):
        dies_at(out, number, dead)
    assert problems(out) == []


def test_an_error_that_is_told_leaves_no_note(out: Place) -> None:
    for _ in range(4):
        pictures = attempt(out)
        next(pictures)
        pictures.close()  # type: ignore[attr-defined]
    assert out.below() == []
    assert problems(out) == []
