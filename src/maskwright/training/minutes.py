"""The minutes of a command: what each part of it may take, and how that is kept while the clock runs.

Everything here asks a clock that is handed in, so that it can be tested without one.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from maskwright.training.schedules import Length
from maskwright.training.state import Position

Item = TypeVar("Item")

# Of what is left when each of them begins: looking at masks, finding out what sizes do to them, measuring steps, and
# reading may take these shares. What is not looked at or read by then is left out of the run.
LOOKING_SHARE = 0.15
OUTLINING_SHARE = 0.03
PROBING_SHARE = 0.05
READING_SHARE = 0.35
# A pilot run, and reading all pictures again at the size that it speaks for, where that is possible.
PILOT_SHARE = 0.05
READING_AGAIN_SHARE = 0.05
# Of the minutes, one validation may take this share; of more held-out pictures a sample is validated.
ONE_VALIDATION_SHARE = 0.02
# Of the minutes, scoring at the end may take this share; of more held-out pictures a sample is scored.
SCORING_SHARE = 0.15
# What was measured once is set aside with so much more: not all pictures are alike, nor is the machine always as free.
RESERVE = 1.25
# Seconds for the end of the process, which nobody can measure from inside.
ENDING_SECONDS = 1.0
# State and model files are written at least this fast.
BYTES_PER_SECOND = 100e6
# Training gets at least so much, however little is left: a step, without which there would be no model.
LEAST_SECONDS = 1e-3


@dataclass(frozen=True)
class Minutes:
    """A promise of so many seconds, counted from the beginning of the command.

    Attributes:
        seconds: Until the process has ended.
        started: What ``now`` said at the beginning.
        now: The clock, in seconds.
    """

    seconds: float
    started: float
    now: Callable[[], float] = time.monotonic

    def used(self) -> float:
        """Seconds so far."""
        return self.now() - self.started

    def left(self) -> float:
        """Seconds that may still be used; below zero where the promise is broken."""
        return self.seconds - ENDING_SECONDS - self.used()

    def part(self, share: float) -> Callable[[], float]:
        """A function that says which share is over of a part that begins now and may take a share of what is left.

        >>> clock = iter([0, 0, 19, 59]).__next__
        >>> spent = Minutes(ENDING_SECONDS + 100, started=0, now=clock).part(0.4)
        >>> spent(), spent()
        (0.475, 1.475)
        """
        began = self.now()
        lasts = max(0.0, share * (self.seconds - ENDING_SECONDS - (began - self.started)))
        return lambda: (self.now() - began) / lasts if lasts else 1.0

    def after(self, earlier: float) -> "Minutes":
        """What a resumed command may take, after earlier ones used so many seconds."""
        return dataclasses.replace(self, seconds=max(0.0, self.seconds - earlier))


@dataclass(frozen=True)
class Closing:
    """What comes after the last step: one validation, saving, drawing, scoring.

    Attributes:
        part: The part that is scored: ``test`` or ``val``.
        scored: How many pictures of it.
        available: How many it has.
        validated: How many pictures of ``val`` each validation looks at.
        validation_seconds: What one validation is expected to take.
        saving_seconds: What drawing the curves and writing the state and the model files is expected to take.
        scoring_seconds: What scoring is expected to take.
    """

    part: str
    scored: int
    available: int
    validated: int
    validation_seconds: float = 0.0
    saving_seconds: float = 0.0
    scoring_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """All that is set aside."""
        measured_once = self.validation_seconds + self.saving_seconds
        return RESERVE * measured_once + self.scoring_seconds


@dataclass(frozen=True)
class Costs:
    """Seconds that were measured before the first step.

    Attributes:
        validating: One picture at training size.
        scoring: One picture at its own size.
        saving: All files, once, and the curves.
    """

    validating: float
    scoring: float
    saving: float

    def shared_by(self, processes: int) -> "Costs":
        """The same where several processes share the pictures out."""
        return Costs(self.validating / processes, self.scoring / processes, self.saving)


def plan_closing(
    costs: Costs, seconds: float, *, part: str, available: int, held_out: int, validated: int | None = None
) -> Closing:
    """Decide how many pictures are validated and scored within so many seconds for the whole command.

    Args:
        costs: As measured.
        seconds: Of the whole command.
        part: What is scored.
        available: Pictures of that part.
        held_out: Pictures of ``val``.
        validated: How many of them an earlier part of this run validated, since scores of other samples could not be
            compared.
    """
    if validated is None:
        validated = _affordable(held_out, ONE_VALIDATION_SHARE * seconds, costs.validating)
    scored = _affordable(available, SCORING_SHARE * seconds, RESERVE * costs.scoring)
    return Closing(
        part=part,
        scored=scored,
        available=available,
        validated=validated,
        validation_seconds=validated * costs.validating,
        saving_seconds=costs.saving,
        scoring_seconds=RESERVE * costs.scoring * scored,
    )


def pace(length: Length, position: Position, end: float, closing: Closing) -> Length:
    """The length of a run that must have closed when its clock says ``end``; its progress goes on from where it is.

    Called before the first step, and after each validation with what that has taken: a machine that has become slower,
    or faster, changes how many steps are left, and the schedule still falls to zero with the last.

    Args:
        length: So far.
        position: Where the run stands; gets the new pace, so that it is saved.
        end: Seconds on the run's clock at which the command must have ended.
        closing: What comes after the last step.
    """
    measured = position.validation_seconds or closing.validation_seconds
    closing = dataclasses.replace(closing, validation_seconds=measured)
    position.paced_progress = length.paced(position.seconds) if length.seconds is not None else 0.0
    position.paced_seconds = position.seconds
    position.budget = max(end - closing.seconds, position.seconds + LEAST_SECONDS)
    return Length(length.epochs, position.budget, position.paced_seconds, position.paced_progress)


def in_time(items: Sequence[Item], left: Callable[[], float]) -> Iterator[Item]:
    """Items for as long as there is time for one more, as long as the slowest so far took; the first one always.

    >>> list(in_time("abcdef", iter([10, 8, 5, 2]).__next__))
    ['a', 'b', 'c']
    """
    slowest, before = 0.0, left()
    for place, item in enumerate(items):
        if place and before < slowest:
            return
        yield item
        after = left()
        slowest, before = max(slowest, before - after), after


def drawn(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """So many of the items, in an order that the seed decides.

    Drawn, since every n-th picture may be the same view of each car.
    """
    return [items[index] for index in np.random.default_rng(seed).permutation(len(items))[:count]]


def _affordable(available: int, seconds: float, each: float) -> int:
    """How many of the pictures so many seconds buy; at least one, where there is one."""
    return max(1, int(min(available, seconds / each))) if each > 0 else available
