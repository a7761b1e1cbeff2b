"""Regions of a mask as runs of pixels and as outlines: what annotation files are made of.

Both hold exactly the pixels of the mask. Outlines run through the middles of the edges between a pixel inside and one
outside, as marching squares do: they cut corners, so that slopes are slopes and not stairs, and pass no pixel's centre,
so that drawing them gives the same pixels again. Pixels that only touch at a corner are two regions; so no two outlines
touch, and holes lie wholly inside of what they are holes of. ``(0, 0)`` is the corner of the picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.data.pairs import Runs

# What lies to the left, seen along an edge that has its pixel on the right, and what lies ahead: rows and columns for
# edges that lead right, down, left and up.
_OUTWARD = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
_AHEAD = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
_DOWN, _UP = 1, 3


@dataclass(frozen=True, eq=False)
class Outline:
    """A region of connected pixels.

    Attributes:
        outer: Its outline, corners ``(N, 2)`` as x and y in pixels, each once; clockwise on a screen, where y grows
            downwards.
        holes: Outlines of what it leaves out, the other way round.
    """

    outer: NDArray[np.float64]
    holes: tuple[NDArray[np.float64], ...]


def find_runs(inside: NDArray[np.bool_], *, by_rows: bool) -> Runs:
    """The pixels of a region ``(H, W)`` as runs along rows or along columns."""
    height, width = inside.shape
    flat = (inside if by_rows else inside.T).ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False, append=False))
    starts, ends = changes[::2], changes[1::2]
    return Runs(starts, ends - starts, height, width, by_rows=by_rows)


def find_outlines(inside: NDArray[np.bool_]) -> list[Outline]:
    """The outlines of a region ``(H, W)``, one for each of its connected parts, from top to bottom."""
    edges, rings = _trace(np.pad(inside, 1))
    if not rings:
        return []
    ring_of = np.empty(len(edges.pixel), np.int64)
    for index, ring in enumerate(rings):
        ring_of[ring] = index
    corners = [_corners(edges.middle[ring]) for ring in rings]
    # Along a row, a part begins at an edge that leads up and ends at the next one that leads down: so what lies to the
    # left of a hole's leftmost edge is the outline of its part, or another hole of it that reaches further left.
    left, right = (np.flatnonzero(edges.direction == direction) for direction in (_UP, _DOWN))
    from_right = np.argsort(-edges.middle[right, 0], kind="stable")
    beside = dict(zip(ring_of[right[from_right]].tolist(), ring_of[left[from_right]].tolist(), strict=True))
    is_hole = [_signed_area(ring) < 0 for ring in corners]
    holes: dict[int, list[NDArray[np.float64]]] = {index: [] for index, hole in enumerate(is_hole) if not hole}
    for index in np.flatnonzero(is_hole).tolist():
        owner = beside[index]
        while is_hole[owner]:
            owner = beside[owner]
        holes[owner].append(corners[index])
    return [Outline(corners[index], tuple(inner)) for index, inner in holes.items()]


@dataclass(frozen=True)
class _Edges:
    """Edges between pixels inside and outside, ordered by direction and then by the pixel inside."""

    direction: NDArray[np.int64]
    pixel: NDArray[np.int64]
    middle: NDArray[np.float64]


def _trace(inside: NDArray[np.bool_]) -> tuple[_Edges, list[list[int]]]:
    """The edges of a region that does not touch the border, and the rings that they form, by the edges' numbers."""
    width = inside.shape[1]
    flat = inside.ravel()
    outward, ahead = _OUTWARD @ (width, 1), _AHEAD @ (width, 1)
    pixels = np.flatnonzero(flat)
    of_direction = [pixels[~flat[pixels + outward[direction]]] for direction in range(4)]
    direction = np.repeat(np.arange(4), [len(some) for some in of_direction])
    pixel = np.concatenate(of_direction)
    rows, columns = np.divmod(pixel, width)
    # The frame of one pixel around the picture is taken off again.
    middle = np.stack([columns, rows], axis=1) - 0.5 + _OUTWARD[direction][:, ::-1] / 2

    # An edge goes on around its own pixel where there is none ahead, else straight on where that one has an edge too,
    # else around the one across.
    next_pixel = pixel + ahead[direction]
    across = next_pixel + outward[direction]
    turns = ~flat[next_pixel]
    straight = ~turns & ~flat[across]
    follows = np.where(turns, pixel, np.where(straight, next_pixel, across))
    leads = (direction + np.where(turns, 1, np.where(straight, 0, -1))) % 4
    successor = np.searchsorted(direction * flat.size + pixel, leads * flat.size + follows).tolist()

    rings = []
    seen = [False] * len(successor)
    for first in range(len(successor)):
        if seen[first]:
            continue
        ring, edge = [], first
        while not seen[edge]:
            seen[edge] = True
            ring.append(edge)
            edge = successor[edge]
        rings.append(ring)
    return _Edges(direction, pixel, middle), rings


def _corners(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points of a ring at which it turns."""
    steps = np.roll(ring, -1, axis=0) - ring
    turning: NDArray[np.float64] = ring[(steps != np.roll(steps, 1, axis=0)).any(axis=1)]
    return turning


def _signed_area(ring: NDArray[np.float64]) -> float:
    """The shoelace formula; positive clockwise on a screen."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
