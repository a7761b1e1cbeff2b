"""A picture too large for a network to see at once, seen in tiles that know what lies beside them.

Each tile is looked at with a halo around it, which is thrown away: a logit depends on what a network sees within some
distance, and the halo is as wide. The halo is exact for the classic U-Net, whose logits are then those of the whole
picture. A pretrained encoder could see further than a halo can be wide, but hardly does; see docs/large_pictures.md.
Tiles begin where the network's coarsest pixels do, so that each of these stands for the same pixels in all of them.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.config import Architecture
from maskwright.inference.engines import Engine
from maskwright.inference.model_file import ModelCard

# Pixels a side that a network with an encoder sees at once, and a classic one, which keeps all of them to the end.
# They bound the memory of a large picture; see docs/decisions/0023.
WINDOW, CLASSIC_WINDOW = 1152, 704
# The same for networks that have learnt from whole pictures.
MOST_AT_ONCE = 2048
# What is thrown away on each side where a network could see as far as it liked.
HALO = 192
# The coarsest pixels of encoders stand for at most so many a side.
COARSEST = 32


class Span(NamedTuple):
    """A tile along one axis, in pixels of the picture: what is seen, and what is kept of it."""

    start: int
    stop: int
    kept_start: int
    kept_stop: int

    @property
    def seen(self) -> slice:
        """In the picture."""
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        """In the picture."""
        return slice(self.kept_start, self.kept_stop)

    @property
    def inner(self) -> slice:
        """What is kept, in the tile."""
        return slice(self.kept_start - self.start, self.kept_stop - self.start)


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut into tiles.

    Attributes:
        window: Pixels a side that are seen at once.
        halo: How many of them are thrown away on each side that is not the picture's own edge.
        coarsest: Tiles begin at multiples of it.
    """

    window: int
    halo: int
    coarsest: int

    def spans(self, length: int) -> list[Span]:
        """The tiles along one axis of a picture; a single one where all of it is seen at once.

        >>> Tiling(window=8, halo=2, coarsest=2).spans(13)
        [Span(start=0, stop=8, kept_start=0, kept_stop=6), Span(start=4, stop=12, kept_start=6, kept_stop=10), \
Span(start=8, stop=13, kept_start=10, kept_stop=13)]
        """
        step = (self.window - 2 * self.halo) // self.coarsest * self.coarsest
        starts = range(0, max(1, length - self.window + step), step)
        return [
            Span(
                start,
                min(start + self.window, length),
                start + self.halo if start else 0,
                length if start == starts[-1] else start + step + self.halo,
            )
            for start in starts
        ]


AT_ONCE = Tiling(window=sys.maxsize, halo=0, coarsest=1)
"""Pictures of any size are one tile."""


def choose_tiling(architecture: Architecture, tile: int | None) -> Tiling:
    """How large pictures are cut for a network.

    Args:
        architecture: Of the network.
        tile: Pixels a side of the cut-outs that it has learnt from; None for a network that has learnt from whole
            pictures, which sees many at once.
    """
    halo, coarsest = _reach(architecture)
    window = CLASSIC_WINDOW if architecture.encoder == "none" else WINDOW
    if tile is None:
        window = MOST_AT_ONCE
    if _looks_everywhere(architecture):
        # What it takes from the whole of its input is to be like what it has learnt from. A cut-out of less than two of
        # its coarsest pixels a side was padded to these.
        window = sys.maxsize if tile is None else max(tile, 2 * coarsest)
        halo = min(halo, window // 4)
    window = max(window, 4 * halo) // coarsest * coarsest
    # Small windows are rounded down by much of what they are; at least one of the coarsest pixels is to be kept.
    return Tiling(window, min(halo, (window - coarsest) // 2), coarsest)


def largest_at_once(card: ModelCard) -> int | None:
    """Up to how many pixels a side, of the size that the model sees, a picture is one tile; None where every one is."""
    if card.tile is None and _looks_everywhere(card.architecture):
        return None
    window = choose_tiling(card.architecture, card.tile).window
    return window if card.size is None or card.size > window else None


def strips_of_logits(
    engine: Engine, rows_of: Callable[[int, int], NDArray[np.uint8]], height: int, width: int, tiling: Tiling
) -> Iterator[NDArray[np.float32]]:
    """Logits of a picture at the size that the network sees, from top to bottom, a row of tiles at a time.

    Args:
        engine: The network.
        rows_of: Gives the picture's rows from one to another, ``(n, W, C)``; asked for from top to bottom.
        height: Of the picture, in pixels.
        width: Likewise.
        tiling: How it is cut.

    Yields:
        ``(num_classes, n, W)``.
    """
    columns = tiling.spans(width)
    for rows in tiling.spans(height):
        # Nothing is kept here: one strip's pixels and logits would be held while the next one's are made.
        yield _strip(engine, rows_of(rows.start, rows.stop), rows, columns)


def _strip(engine: Engine, seen: NDArray[np.uint8], rows: Span, columns: Sequence[Span]) -> NDArray[np.float32]:
    """Logits ``(K, n, W)`` of a row of tiles, from the pixels ``(m, W, C)`` under it."""
    kept = (_logits_of(engine, seen[:, column.seen])[:, rows.inner, column.inner] for column in columns)
    first = next(kept)
    if len(columns) == 1:
        return first
    # Put in place one by one: the tiles of a wide picture would take as much again.
    strip = np.empty((*first.shape[:2], seen.shape[1]), np.float32)
    for column, logits in zip(columns, chain([first], kept), strict=True):
        strip[..., column.kept] = logits
    return strip


def _logits_of(engine: Engine, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Divided where it ends up: tiles are large, and copies of them count.
    batch = np.divide(pixels.transpose(2, 0, 1)[np.newaxis], np.float32(255), dtype=np.float32, order="C")
    logits: NDArray[np.float32] = engine.logits(batch)[0]  # (K, h, w)
    return logits


def _looks_everywhere(architecture: Architecture) -> bool:
    """Whether a logit may depend on all of a picture: its mean and variance, weights that it decides, or its size."""
    return (
        architecture.norm == "group"
        or ":" in architecture.encoder
        # Corners stay on corners, so that what lies between them depends on how far apart they are.
        or architecture.upsampling == "bilinear_aligned"
    )


def _reach(architecture: Architecture) -> tuple[int, int]:
    """How far from a pixel what decides its logits may lie, and pixels a side of the coarsest pixels."""
    if architecture.encoder != "none":
        return HALO, COARSEST
    strides = [architecture.unshuffle * 2**level for level in range(architecture.depth + 1)]
    # Two convolutions of 3x3 at each level on the way down, and again on the way up but for the lowest; a pixel more
    # of the upper level in each pooling, and of the lower one where values between pixels are interpolated.
    down = sum(2 * stride for stride in strides) + sum(strides[:-1])
    up = sum(2 * stride for stride in strides[:-1])
    between = sum(strides[1:]) if architecture.upsampling == "bilinear" else 0
    return _multiple(down + up + between, strides[-1]), strides[-1]


def _multiple(length: int, of: int) -> int:
    return length + -length % of
