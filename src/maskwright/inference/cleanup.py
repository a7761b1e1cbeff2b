"""What may be done to a mask that is known to show one thing, or nothing small.

Regions are found by their runs: a run is a stretch of a row whose pixels belong together, and there are far fewer
runs than pixels. Pixels that touch at a corner belong to one region; what lies around regions touches at sides alone,
so that a closed outline one pixel thin keeps inside and outside apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cleanup:
    """What is done to the regions of each class but the background, in this order.

    Attributes:
        fill_holes: Background that a region encloses becomes part of it.
        largest: Only the largest region stays.
        min_area: Regions of fewer pixels go.
    """

    fill_holes: bool = False
    largest: bool = False
    min_area: int = 0


NOTHING = Cleanup()
"""Masks stay as they are."""


@dataclass(frozen=True)
class Regions:
    """The connected regions of a mask.

    Attributes:
        rows: Of each run, its row.
        starts: Of each run, its first column.
        stops: Of each run, the column after its last.
        region: Of each run, the number of its region, from 0.
        areas: Of each region, its pixels.
    """

    rows: NDArray[np.intp]
    starts: NDArray[np.intp]
    stops: NDArray[np.intp]
    region: NDArray[np.intp]
    areas: NDArray[np.intp]

    def pixels(self, chosen: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The pixels ``(H, W)`` of the regions that are chosen."""
        height, width = shape
        runs = chosen[self.region]
        edges = np.zeros((height, width + 1), np.int8)
        # Runs of a row never touch, so that no place is written to twice.
        edges[self.rows[runs], self.starts[runs]] = 1
        edges[self.rows[runs], self.stops[runs]] = -1
        return np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).astype(bool)


def clean(mask: NDArray[np.uint8], cleanup: Cleanup) -> NDArray[np.uint8]:
    """Class indices ``(H, W)`` after the clean-up; what a class loses becomes background."""
    if cleanup == NOTHING:
        return mask
    cleaned = mask.copy()
    for index in range(1, int(mask.max(initial=0)) + 1):
        inside = cleaned == index
        if not inside.any():
            continue
        if cleanup.fill_holes:
            cleaned[_enclosed(inside) & (cleaned == 0)] = index
            inside = cleaned == index
        regions = find_regions(inside, corners=True)
        stays = regions.areas >= cleanup.min_area
        if cleanup.largest:
            stays &= np.arange(len(regions.areas)) == regions.areas.argmax()
        if not stays.all():
            cleaned[regions.pixels(~stays, mask.shape)] = 0
    return cleaned


def find_regions(inside: NDArray[np.bool_], *, corners: bool) -> Regions:
    """The connected regions of the pixels ``(H, W)`` that are true, in the order of their first pixels.

    Args:
        inside: ``(H, W)``.
        corners: Whether pixels that touch at a corner belong together.
    """
    height, width = inside.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = inside
    edges = np.diff(padded, axis=1)  # (H, W + 1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    first, second = _touching(rows, starts, stops, width, corners=corners)
    region = _connected(len(rows), first, second)
    areas = np.bincount(region, weights=stops - starts, minlength=region.max(initial=-1) + 1).astype(np.intp)
    return Regions(rows, starts, stops, region, areas)


def _enclosed(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels outside from which no way leads to the edge of the picture."""
    height, width = inside.shape
    outside = find_regions(~inside, corners=False)
    on_edge = (outside.rows == 0) | (outside.rows == height - 1) | (outside.starts == 0) | (outside.stops == width)
    is_open = np.bincount(outside.region, weights=on_edge, minlength=len(outside.areas)) > 0
    return outside.pixels(~is_open, inside.shape)


def _touching(
    rows: NDArray[np.intp], starts: NDArray[np.intp], stops: NDArray[np.intp], width: int, *, corners: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of runs that touch, one above the other."""
    line = width + 2  # so that no run touches one at the other end of the next row
    first_place, last_place = rows * line + starts, rows * line + stops
    # Of each run, those of the next row that end behind its beginning and begin before its end are a stretch.
    low = np.searchsorted(last_place, first_place + line + (0 if corners else 1))
    high = np.searchsorted(first_place, last_place + line + (1 if corners else 0))
    counts = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(rows)), counts)
    skipped = np.repeat(np.cumsum(counts) - counts, counts)
    return above, np.arange(len(above)) - skipped + np.repeat(low, counts)


def _connected(count: int, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    """The number of the component of each of so many nodes, by the pairs that are connected.

    Each node points to the smallest that it knows to be connected, by way of what that points to, until none changes.
    """
    smallest = np.arange(count)
    while True:
        low = np.minimum(smallest[first], smallest[second])
        # Roots learn as well as nodes, so that whole trees move at once.
        for place in (first, second, smallest[first], smallest[second]):
            np.minimum.at(smallest, place, low)
        while not np.array_equal(smallest, further := smallest[smallest]):
            smallest = further
        if np.array_equal(smallest[first], smallest[second]):
            return np.unique(smallest, return_inverse=True)[1]
