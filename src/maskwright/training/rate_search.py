"""A learning rate for these pictures and this network, found before the run.

A copy of the network learns real batches while the rate rises geometrically from far too low to far too high. Where the
loss falls steepest, the rate is good; a tenth of where it diverges is as high as it should get.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3, and the finder of fastai,
from which it deviates in that the weights are never touched and that the lower of its two suggestions is taken.
"""

import copy
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from torch.utils.data import DataLoader

from maskwright.config import Settings
from maskwright.data.dataset import Batch, EpochBatches, endless
from maskwright.training.out_of_memory import retrying
from maskwright.training.state import Learner, build_learner, random_apart, set_rate
from maskwright.training.step import add_gradients, move_weights

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 60
# With fewer steps the rates lie too far apart.
LEAST_STEPS = 24
# Of the minutes, the search may take this share.
SHARE_OF_RUN = 0.1
SMOOTHING = 0.8
# A smoothed loss this many times the lowest, or above the first, has diverged.
DIVERGED = 2.0
# A loss that falls to no less than this share of the first one shows no rate.
FALLEN = 0.95
# Of the first losses this share is not looked at: a mean over so few batches leaps, whatever the rate.
UNSETTLED = 0.1


@dataclass(frozen=True)
class Search:
    """What a search met.

    Attributes:
        rates: Rising.
        losses: Of the batch learnt at each.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """What a search found.

    Attributes:
        rate: To be used.
        steepest: Where the smoothed loss fell fastest.
        diverged: Where it rose again; None where it did not.
    """

    rate: float
    steepest: float
    diverged: float | None


def search_rates(
    learner: Learner,
    loader: DataLoader[Batch],
    order: EpochBatches,
    settings: Settings,
    *,
    class_weights: Sequence[float] = (),
    device: str,
    show: Callable[[float], None],
) -> Search:
    """Let a copy of the network learn at rising rates until the loss diverges.

    Args:
        learner: At the start of its run; stays as it is.
        loader: Training batches.
        order: Theirs; starts at the first epoch, at the size that the run starts with.
        settings: Of the run: its optimizer, loss, decay and clipping.
        class_weights: How much a pixel of each class counts.
        device: Where the network lies.
        show: Called with the share that is done.

    Returns:
        The rates and losses; empty where the minutes leave no time for a search.
    """
    steps = STEPS
    rates: list[float] = []
    losses: list[float] = []
    with random_apart(device):
        network, known = copy.deepcopy((learner.network, learner.held + learner.pretrained))
        alone = dataclasses.replace(settings, ema=0.0)
        trial = build_learner(network, alone, precision=learner.precision, pretrained=known)
        trial.begin_to_learn()
        started = time.monotonic()
        order.is_half = lambda _: settings.small_first > 0
        found = endless(loader, order)
        for step in itertools.count():
            batches = [next(found).to(device) for _ in range(settings.accumulate or 1)]
            if step == 1 and settings.minutes is not None:
                affordable = SHARE_OF_RUN * settings.minutes * 60 / (time.monotonic() - started)
                steps = min(STEPS, int(affordable))
                if steps < LEAST_STEPS:
                    return Search((), ())
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))
            set_rate(trial.optimizer, rate)
            rates.append(rate)
            try:
                losses.append(_learn(trial, batches, settings, class_weights))
            except FloatingPointError:
                losses.append(math.nan)
            show((step + 1) / steps)
            if step + 1 >= steps or not math.isfinite(losses[-1]) or diverged_at(smoothed(losses)) is not None:
                break
    return Search(tuple(rates), tuple(losses))


def choose_rate(search: Search) -> Choice | None:
    """The rate of the steepest descent, at most a tenth of the one where the loss diverges; None where it never falls.

    >>> falling = Search((1e-4, 1e-3, 1e-2, 1e-1), (1.0, 0.9, 0.1, 99.0))
    >>> choose_rate(falling).rate
    0.01
    """
    finite = [loss for loss in search.losses if math.isfinite(loss)]
    first = int(UNSETTLED * len(finite))
    rates, smooth = search.rates[first:], smoothed(finite)[first:]
    if len(smooth) < 3 or min(smooth) > FALLEN * smooth[0]:
        return None
    place = diverged_at(smooth)
    if place is None and len(finite) < len(search.losses):
        place = len(smooth)
    lowest = smooth.index(min(smooth))
    steepest = min(range(1, lowest + 1), key=lambda step: smooth[step] - smooth[step - 1])
    diverged = None if place is None else rates[place]
    rate = min(rates[steepest], math.inf if diverged is None else diverged / 10)
    return Choice(rate, rates[steepest], diverged)


def smoothed(losses: Sequence[float]) -> list[float]:
    """A moving average that forgets exponentially, without the lean to zero at its start."""
    found, mean = [], 0.0
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return found


def diverged_at(smooth: Sequence[float]) -> int | None:
    """The first step whose smoothed loss is far above the lowest before it, and above the first."""
    lowest = math.inf
    for step, loss in enumerate(smooth):
        lowest = min(lowest, loss)
        if loss > DIVERGED * lowest and loss > smooth[0]:
            return step
    return None


def _learn(learner: Learner, batches: Sequence[Batch], settings: Settings, class_weights: Sequence[float]) -> float:
    """Make one step of as many batches as the run's steps have; returns their mean loss."""

    def attempt() -> float:
        losses = [
            add_gradients(
                learner, batch, settings, class_weights=class_weights, together=len(batches), last=batch is batches[-1]
            ).loss
            for batch in batches
        ]
        move_weights(learner, settings.clip_norm)
        return fmean(losses)

    return retrying(learner, len(batches[0].images), settings, attempt)
