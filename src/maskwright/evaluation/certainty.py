"""What a model's probabilities are worth: do they keep what they promise, and where should a mask begin.

Both come from one table for each picture, whose bins of probability are as wide as the steps between thresholds. In
means over pictures each picture weighs the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.inference.predictor import as_probabilities

BINS = 20
# Rows of a table.
_PIXELS, _PROMISED, _KEPT = range(3)


@dataclass(frozen=True)
class Bin:
    """The pixels whose probability lies between two steps of a twentieth.

    Attributes:
        share: Of all pixels.
        probability: Their mean.
        frequency: How many of them are what they were said to be, as a share.
    """

    share: float
    probability: float
    frequency: float


@dataclass(frozen=True)
class Calibration:
    """Whether of the pixels that are something with 80 % probability, 80 % are it.

    Attributes:
        error: Mean distance between probability and frequency, over pixels (expected calibration error).
        bins: Those that hold any pixel, ascending.
    """

    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Sweep:
    """Mean Dice over pictures at thresholds; NaN where none has a score.

    Attributes:
        thresholds: Ascending.
        on_validation: Of pictures that the best weights were chosen on.
        on_others: Of all others.
        best: The threshold that is best on validation pictures; None without any, for a threshold that is chosen on the
            pictures that it is judged by says nothing.
    """

    thresholds: tuple[float, ...]
    on_validation: tuple[float, ...]
    on_others: tuple[float, ...]
    best: float | None

    def at(self, threshold: float) -> tuple[float, float]:
        """Mean Dice of validation pictures and of others."""
        place = self.thresholds.index(threshold)
        return self.on_validation[place], self.on_others[place]


def count_probabilities(probabilities: NDArray[np.float32], truth: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a picture's probabilities promise and what they keep.

    Args:
        probabilities: ``(C, H, W)``; of the foreground where ``C`` is 1, else the highest one of each pixel counts.
        truth: Classes ``(H, W)``; pixels of no class are not counted.

    Returns:
        For each of `BINS` equal bins of probability its pixels, the sum of their probabilities, and how many of them
        are what they were said to be: ``(3, BINS)``.
    """
    if len(probabilities) == 1:
        promised, is_kept, counted = probabilities[0], truth == 1, truth < 2
    else:
        promised, is_kept = probabilities.max(0), probabilities.argmax(0) == truth
        counted = truth < len(probabilities)
    promised, is_kept = promised[counted], is_kept[counted]
    bins = (promised * np.float32(BINS)).astype(np.intp).clip(0, BINS - 1)
    return np.stack([np.bincount(bins, weights, minlength=BINS) for weights in (None, promised, is_kept)])


def count_logits(logits: NDArray[np.float32], truth: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`count_probabilities` of logits ``(C, H, W)``."""
    return count_probabilities(as_probabilities(logits), truth)


def calibrate(tables: Sequence[NDArray[np.float64]]) -> Calibration | None:
    """Put the tables of pictures together; None where nothing was counted."""
    counted = [table / table[_PIXELS].sum() for table in tables if table[_PIXELS].any()]
    if not counted:
        return None
    mean = np.mean(counted, axis=0)
    filled = mean[:, mean[_PIXELS] > 0]
    shares = filled[_PIXELS]
    rows = zip(shares, filled[_PROMISED] / shares, filled[_KEPT] / shares, strict=True)
    return Calibration(
        error=float(np.abs(filled[_PROMISED] - filled[_KEPT]).sum()),
        bins=tuple(Bin(*map(float, row)) for row in rows),
    )


def dice_at_thresholds(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dice of a picture's foreground where the mask begins at each step between bins, ``(BINS - 1,)``.

    NaN where neither the mask nor the prediction has any.
    """
    called = table[_PIXELS][::-1].cumsum()[::-1]
    hits = table[_KEPT][::-1].cumsum()[::-1]
    total = called + hits[0]
    dice = np.full(BINS, np.nan)
    np.divide(2 * hits, total, out=dice, where=total > 0)
    return dice[1:]


def sweep_thresholds(tables: Sequence[NDArray[np.float64]], is_validation: Sequence[bool]) -> Sweep:
    """Mean Dice at all thresholds, and the best one where there are pictures to choose it on.

    Args:
        tables: Of pictures with one plane of probabilities.
        is_validation: Whether the best weights were chosen on each.
    """
    thresholds = tuple(step / BINS for step in range(1, BINS))
    dice = np.array([dice_at_thresholds(table) for table in tables]).reshape(-1, len(thresholds))
    chosen_on = np.array(is_validation, np.bool_)
    on_validation, on_others = _means(dice[chosen_on]), _means(dice[~chosen_on])
    return Sweep(
        thresholds,
        tuple(on_validation.tolist()),
        tuple(on_others.tolist()),
        best=_best(thresholds, on_validation),
    )


def _best(thresholds: Sequence[float], dice: NDArray[np.float64]) -> float | None:
    """The threshold of the highest Dice; of several, the one nearest to the middle."""
    if np.isnan(dice).all():
        return None
    is_best = dice >= np.nanmax(dice) - 1e-9
    equal = [threshold for threshold, best in zip(thresholds, is_best, strict=True) if best]
    return min(equal, key=lambda threshold: abs(threshold - 0.5))


def _means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of columns ``(N, K)`` over what is there."""
    present = ~np.isnan(rows)
    counts = present.sum(0)
    means = np.full(rows.shape[1], np.nan)
    np.divide(np.where(present, rows, 0).sum(0), counts, out=means, where=counts > 0)
    return means
