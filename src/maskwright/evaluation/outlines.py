"""How well the outline of a region is met, in pixels: what Dice and IoU hardly show of large regions.

An outline is made of the pixels of a region that touch counted pixels outside of it at a side. Where the picture ends,
or where pixels are ignored, nobody knows how a region goes on, so that its edge there is no outline. Distances are
exact and Euclidean. They are asked for the few thousand pixels of an outline alone, which takes less time than a
distance transform of the whole picture, and no other package.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The usual tolerance along an outline, as a share of the picture's diagonal.
# Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?" (2013), section 3.
TOLERANCE = 0.0075
# Hausdorff 95 leaves out so much of the outlines, in percent.
_COUNTED_PERCENT = 95
# So many columns to either side are asked one after the other, and so many numbers are held at once after that.
_NEAR, _NUMBERS_AT_ONCE = 32, 2**20
Mask = NDArray[np.bool_]
Points = tuple[NDArray[np.intp], ...]


@dataclass(frozen=True)
class OutlineScores:
    """What there is to be said of one region's outline; NaN where it has none.

    Attributes:
        boundary_f: Harmonic mean of the shares of both outlines that lie within the tolerance of the other.
        hausdorff_95: Distance within which 95 % of each outline lie of the other, pixels; the picture's diagonal where
            only one of the two masks has an outline.
        edge_error: Wrong pixels within the tolerance of the true outline, as a share of the union of both masks.
        inner_error: The other wrong pixels, likewise; with ``edge_error`` it makes 1 - IoU.
    """

    boundary_f: float
    hausdorff_95: float
    edge_error: float
    inner_error: float


def tolerance_of(height: int, width: int) -> float:
    """How far an outline may be off in a picture of this size, pixels.

    >>> tolerance_of(1280, 1918), tolerance_of(48, 64)
    (17.29..., 1.0)
    """
    return max(1.0, TOLERANCE * float(np.hypot(height, width)))


def compare_outlines(truth: Mask, called: Mask, counted: Mask, *, tolerance: float) -> OutlineScores:
    """Compare a region with what it should be.

    Args:
        truth: The true region, ``(H, W)``.
        called: The predicted one.
        counted: Pixels that are not ignored.
        tolerance: How far an outline may be off, pixels.
    """
    diagonal = float(np.hypot(*truth.shape))
    # Everything that is asked for lies in the two regions, and what they touch next to them.
    box = _box_around((truth | called) & counted)
    counted = counted[box]
    truth, called = truth[box] & counted, called[box] & counted
    wrong, union = truth ^ called, int((truth | called).sum())
    true_outline, called_outline = outline(truth, counted), outline(called, counted)
    at_edge, f_score, distance = 0, float("nan"), float("nan")
    if true_outline.any():
        gaps = gaps_in_columns(true_outline)
        at_edge = int((distances(gaps, np.nonzero(wrong), limit=tolerance) <= tolerance).sum())
    if true_outline.any() and called_outline.any():
        strayed = distances(gaps, np.nonzero(called_outline))
        missed = distances(gaps_in_columns(called_outline), np.nonzero(true_outline))
        f_score = _f_score(float((strayed <= tolerance).mean()), float((missed <= tolerance).mean()))
        distance = float(max(np.percentile(part, _COUNTED_PERCENT) for part in (missed, strayed)))
    elif true_outline.any() or called_outline.any():
        f_score, distance = 0.0, float(diagonal)
    return OutlineScores(
        boundary_f=f_score,
        hausdorff_95=distance,
        edge_error=at_edge / union if union else float("nan"),
        inner_error=(int(wrong.sum()) - at_edge) / union if union else float("nan"),
    )


def outline(region: Mask, counted: Mask) -> Mask:
    """The pixels of a region that touch a counted pixel outside of it at a side."""
    outside = counted & ~region
    touching = np.zeros_like(region)
    touching[1:] |= outside[:-1]
    touching[:-1] |= outside[1:]
    touching[:, 1:] |= outside[:, :-1]
    touching[:, :-1] |= outside[:, 1:]
    return region & touching


def gaps_in_columns(target: Mask) -> NDArray[np.int32]:
    """How many rows each pixel lies away from the nearest pixel of a target in its own column.

    In a column without any, at least height and width of the picture together.
    """
    height, width = target.shape
    far = height + width
    rows = np.arange(height, dtype=np.int32)[:, np.newaxis]
    above = np.maximum.accumulate(np.where(target, rows, np.int32(-far)), axis=0)
    below = np.minimum.accumulate(np.where(target, rows, np.int32(height + far))[::-1], axis=0)[::-1]
    gaps: NDArray[np.int32] = np.minimum(rows - above, below - rows)
    return gaps


def distances(gaps: NDArray[np.int32], points: Points, *, limit: float | None = None) -> NDArray[np.float64]:
    """Distance of each point to the nearest pixel of a target, pixels.

    A point asks the columns around it, the nearest first, until none can hold a nearer pixel. Most points are near; the
    few others ask all columns at once.

    Args:
        gaps: `gaps_in_columns` of a target that has a pixel, ``(H, W)``.
        points: Their rows and columns.
        limit: Distances above it may come out larger than they are, which takes less time.

    Source: Saito and Toriwaki, "New algorithms for Euclidean distance transformation" (1994), for chosen points alone.
    """
    rows, columns = points
    height, width = gaps.shape
    squares = np.square(gaps[rows, columns], dtype=np.int64)
    pending = np.arange(len(squares))
    near = _NEAR if limit is None else int(limit) + 1
    for step in range(1, min(near, width)):
        pending = pending[squares[pending] > step**2]
        for aside in (columns[pending] - step, columns[pending] + step):
            # Beyond the border, the last column is asked once more: it cannot seem nearer than it is.
            gap_there = gaps[rows[pending], aside.clip(0, width - 1)]
            squares[pending] = np.minimum(squares[pending], np.square(gap_there, dtype=np.int64) + step**2)
    if limit is None:
        pending = pending[squares[pending] > near**2]
        asked = np.flatnonzero(gaps[0] < height)
        for part in np.array_split(pending, 1 + len(pending) * len(asked) // _NUMBERS_AT_ONCE):
            gaps_there = gaps[rows[part, np.newaxis], asked]  # (n, K)
            aside = columns[part, np.newaxis] - asked
            squares[part] = (np.square(gaps_there, dtype=np.int64) + np.square(aside)).min(1)
    return np.sqrt(squares)


def _f_score(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _box_around(region: Mask) -> tuple[slice, slice]:
    """Rows and columns of a region and of the pixels next to it; empty where it is."""
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0), slice(0)
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)
