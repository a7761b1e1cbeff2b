"""What can be said of a mask without looking at its picture."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.data.dataset import Draw, Samples

# Pictures of each part that are looked at, and the side of the grid that their masks are brought to.
SAMPLED = 32
GRID = 32
# Where the average mask is cut: an object that is seldom at one place is found best by calling more than half of it.
CUTS = tuple(cut / 20 for cut in range(1, 11))


def chance_dice(
    samples: Samples, train: Sequence[int], val: Sequence[int], scored_classes: tuple[int, ...], *, seed: int
) -> float:
    """Dice on held-out masks of the average training mask, or of calling everything foreground; NaN without any.

    Counted as validations count: what is called where there is nothing scores nothing.
    """
    rng = np.random.default_rng(seed)
    known, held_out = (
        torch.stack([_on_grid(samples, int(index)) for index in rng.permutation(indices)[:SAMPLED]])
        for indices in (train, val)
    )
    mean = known.mean(0)  # (C, GRID, GRID)
    if not (held_out if len(mean) == 1 else held_out[:, list(scored_classes)]).any():
        return math.nan
    if len(mean) > 1:
        called = F.one_hot(mean.argmax(0), len(mean)).movedim(-1, 0)[list(scored_classes)].float()
        return _dice(called, held_out[:, list(scored_classes)])
    guesses = [(mean >= cut).float() for cut in CUTS] + [torch.ones_like(mean)]
    return max(_dice(guess, held_out) for guess in guesses if guess.any())


def _on_grid(samples: Samples, index: int) -> Tensor:
    """The target of a picture ``(C, GRID, GRID)``; shares of classes, so that nothing thin is lost."""
    sample = samples[Draw(0, index, half=False)]
    return F.adaptive_avg_pool2d(sample.targets * sample.weights, GRID)


def _dice(called: Tensor, truth: Tensor) -> float:
    """Mean over pictures and classes of what calling these cells ``(C, H, W)`` scores on shares ``(N, C, H, W)``."""
    overlap = (called * truth).sum((2, 3))
    total = called.sum((1, 2)) + truth.sum((2, 3))
    return float((2 * overlap / total).nanmean(1).nanmean())  # 0 / 0 is NaN
