"""Masks and truth to numbers a reader can trust.

Every score comes from one table of counts per image. Scores are averaged over images, not over pixels, so that a large
picture weighs as much as a small one; intervals come from drawing whole groups again, since sixteen views of a car are
not sixteen independent cars.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and the range in which 95 % of resampled means lie; NaN with fewer than two groups."""

    mean: float
    low: float
    high: float

    def range_in_words(self) -> str:
        """The range, or why there is none."""
        if np.isnan(self.mean):
            return "none"
        return "none: a single group" if np.isnan(self.low) else f"{self.low:.4f} to {self.high:.4f}"


def confusion_counts(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:
    """How many pixels of each class (rows) were called each class (columns).

    Pixels whose truth is no class, such as `labels.IGNORED`, are not counted.

    >>> confusion_counts(np.array([[0, 1, 1, 255]]), np.array([[0, 0, 1, 1]]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    counted = truth < num_classes
    paired = truth[counted].astype(np.int64) * num_classes + prediction[counted]
    return np.bincount(paired, minlength=num_classes**2).reshape(num_classes, num_classes)


def dice_per_class(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Dice coefficient of each class; NaN where neither truth nor prediction has it.

    An absent class that is not predicted is no evidence of skill, so it does not count as perfect.
    """
    return _share(2 * np.diag(counts), counts.sum(0) + counts.sum(1))


def iou_per_class(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of each class; NaN where neither truth nor prediction has it."""
    hits = np.diag(counts)
    return _share(hits, counts.sum(0) + counts.sum(1) - hits)


def precision_per_class(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the pixels that were called each class which are of it; NaN where none was."""
    return _share(np.diag(counts), counts.sum(0))


def recall_per_class(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the pixels of each class that were called it; NaN where there are none."""
    return _share(np.diag(counts), counts.sum(1))


def bootstrap_interval(scores: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Interval:
    """Mean over images with a 95 % percentile interval from drawing whole groups with replacement.

    Images whose score is NaN are left out.

    Source: Field and Welsh, "Bootstrapping clustered data" (2007), the cluster bootstrap.
    """
    values = np.asarray(scores, np.float64)
    present = ~np.isnan(values)
    if not present.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    names, group_of = np.unique(np.asarray(groups)[present], return_inverse=True)
    sums, sizes = np.bincount(group_of, values[present]), np.bincount(group_of)
    mean = float(sums.sum() / sizes.sum())
    if len(names) == 1:
        return Interval(mean, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    shares = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
