"""Parts are given to a runner until all are done, or until it gets no further.

A runner retries by itself what a lost machine was working on. What it still gives back undone is given to it again:
a store may have been out of reach, or a picture may end the process that decodes it, time and again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from maskwright.scale.manifest import Mark, Part

# Rounds in a row that get no part done, after which the rest is left.
_FRUITLESS = 2
# Parts that are given at a time: what a runner keeps of each takes memory.
PARTS_AT_A_TIME = 10_000


@dataclass(frozen=True)
class Failure:
    """A part that could not be done, and why."""

    number: int
    reason: str


Run = Callable[[Sequence[Part]], Iterator[Mark | Failure]]
"""Does parts and says so of each, in any order; of those that it has lost it says nothing."""


def do_all(run: Run, parts: Sequence[Part]) -> Iterator[Mark | Failure]:
    """Have all parts done.

    Yields:
        The marks of parts as they are done, each once, and at the end the failures of those that could not be.
    """
    for first in range(0, len(parts), PARTS_AT_A_TIME):
        yield from _do_some(run, parts[first : first + PARTS_AT_A_TIME])


def _do_some(run: Run, parts: Sequence[Part]) -> Iterator[Mark | Failure]:
    pending = {part.number: part for part in parts}
    reasons: dict[int, str] = {}
    fruitless = 0
    while pending and fruitless < _FRUITLESS:
        before = len(pending)
        for outcome in run(list(pending.values())):
            if isinstance(outcome, Failure):
                reasons[outcome.number] = outcome.reason
            elif pending.pop(outcome.number, None):
                yield outcome
        fruitless = fruitless + 1 if len(pending) == before else 0
    for number in pending:
        yield Failure(number, reasons.get(number, "the process that worked on it ended each time"))
