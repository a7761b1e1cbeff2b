"""What a runner gives back undone is given to it again, and the rest is told."""

from collections.abc import Iterator, Sequence

import pytest

from maskwright.scale.manifest import Mark, Part
from maskwright.scale.rounds import Failure, do_all

PARTS = [Part(number, 0, 0, 1, 1) for number in range(6)]


def marked(number: int) -> Mark:
    return Mark(number, 1, 0)


def test_lost_parts_are_done_in_another_round_and_each_is_told_once() -> None:
    rounds: list[list[int]] = []

    def run(parts: Sequence[Part]) -> Iterator[Mark | Failure]:
        rounds.append([part.number for part in parts])
        done = [part.number for part in parts][:4]  # a machine is lost, and what it had
        yield from map(marked, done)
        yield from map(marked, done[:1])  # done twice on the way

    assert list(do_all(run, PARTS)) == [marked(number) for number in range(6)]
    assert rounds == [[0, 1, 2, 3, 4, 5], [4, 5]]


def test_what_fails_again_and_again_is_told_with_the_last_reason() -> None:
    calls = 0

    def run(parts: Sequence[Part]) -> Iterator[Mark | Failure]:
        nonlocal calls
        calls += 1
        for part in parts:
            if part.number not in (2, 3):
                yield marked(part.number)
            elif part.number == 2:
                yield Failure(2, f"disk full, {calls}")

    *done, full, silent = do_all(run, PARTS)
    assert len(done) == 4
    assert full == Failure(2, "disk full, 3")
    assert silent == Failure(3, "the process that worked on it ended each time")
    assert calls == 3  # one that gets on, and two that do not


def test_of_many_parts_a_runner_is_given_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwright.scale.rounds.PARTS_AT_A_TIME", 4)
    given: list[list[int]] = []

    def run(parts: Sequence[Part]) -> Iterator[Mark | Failure]:
        given.append([part.number for part in parts])
        yield from (marked(part.number) for part in parts)

    assert list(do_all(run, PARTS)) == [marked(number) for number in range(6)]
    assert given == [[0, 1, 2, 3], [4, 5]]


def test_nothing_to_do_asks_nobody() -> None:
    def run(parts: Sequence[Part]) -> Iterator[Mark | Failure]:
        raise AssertionError

    assert list(do_all(run, [])) == []
