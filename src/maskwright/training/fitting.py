"""A training made to fit into memory: what learns the same comes first, what learns from less comes last.

A pure function of predictions, which are handed in: any machine can choose for any other.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from maskwright.config import Settings, Storage

# How much longer a step takes than one that keeps everything; see `benchmarks/README.md`.
TIME_OF_STORAGE: dict[Storage, float] = {"plain": 1.0, "lean": 1.05, "checkpointed": 1.33, "lean+checkpointed": 1.4}
# `checkpointed` alone takes more than both lean and little more time: it is there to be asked for.
CHOSEN_STORAGES: tuple[Storage, ...] = ("plain", "lean", "lean+checkpointed")
# Sides of cut-outs to learn from where whole pictures do not fit.
CROPS = (1024, 768, 512)
_IN_WORDS: dict[Storage, str] = {
    "plain": "",
    "lean": "stored lean",
    "checkpointed": "checkpointed",
    "lean+checkpointed": "stored lean and checkpointed",
}


@dataclass(frozen=True)
class Way:
    """One way to train the same network on the same pictures.

    Attributes:
        size: Longer side of the pictures, pixels; None where each has a factor of its own size.
        batch_size: Pictures in a forward pass.
        accumulate: Forward passes before a step.
        storage: How activations are kept for the backward pass.
        crop: Side of the cut-outs that are learnt from; None for whole pictures.
    """

    size: int | None
    batch_size: int
    accumulate: int = 1
    storage: Storage = "plain"
    crop: int | None = None

    @property
    def together(self) -> int:
        """Pictures that a step learns from."""
        return self.batch_size * self.accumulate

    def applied_to(self, settings: Settings) -> Settings:
        """The settings for training this way."""
        return dataclasses.replace(
            settings,
            size=self.size,
            crop=self.crop,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            storage=self.storage,
        )

    def in_words(self) -> str:
        """What is special about it.

        >>> Way(1918, 1, 4, "lean").in_words()
        'longer side 1918, 4 times batch 1, stored lean'
        """
        size = None if self.size is None else f"longer side {self.size}"
        crop = None if self.crop is None else f"cut-outs of {self.crop} pixels"
        batch = (
            f"{self.accumulate} times batch {self.batch_size}" if self.accumulate > 1 else f"batch {self.batch_size}"
        )
        return ", ".join(words for words in (size, crop, batch, _IN_WORDS[self.storage]) if words)


@dataclass(frozen=True)
class Alternative:
    """Another way, with the bytes it needs at most and the time of a step, as a share of what was wished for."""

    way: Way
    peak: float
    time: float


@dataclass(frozen=True)
class Fit:
    """The way that was chosen.

    Attributes:
        way: How to train.
        peak: Bytes that it needs at most.
        fits: Whether that is what may be used.
        reason: Why it is another way than the wish; empty where it is not.
    """

    way: Way
    peak: float
    fits: bool
    reason: str


def choose_way(
    wish: Way, limit: float, peak_of: Callable[[Way], float], *, open_words: Collection[str], sizes: Sequence[int]
) -> Fit:
    """The first way that fits, from the wish to what is furthest from it; the last one where none does.

    Args:
        wish: What would be done with memory enough.
        limit: Bytes that may be held.
        peak_of: Predicts how many a way needs; asked only as far as is needed.
        open_words: Fields of the way that may be chosen; the others are as the user gave them.
        sizes: Sizes to choose from, where that is one of them.
    """
    wanted = needed = peak_of(wish)
    way = wish
    for way in ways(wish, open_words=open_words, sizes=sizes):
        needed = peak_of(way)
        if needed <= limit:
            break
    reason = ""
    if way != wish:
        reason = (
            f"Memory: {_gigabytes(needed)} at most with {way.in_words()}, of {_gigabytes(limit)} that may be used; "
            f"{wish.in_words()} would need {_gigabytes(wanted)}."
        )
    return Fit(way, needed, needed <= limit, reason)


def ways(wish: Way, *, open_words: Collection[str], sizes: Sequence[int]) -> Iterator[Way]:
    """Ways to train, from the wish to what is furthest from it.

    First everything is kept for the backward pass, then less of it, which costs time and changes nothing; then fewer
    pictures at once, as many before a step; then cut-outs; last smaller pictures.
    """
    places = [wish]
    longest = wish.size or 0  # where each picture has another size, cut-outs have one already
    if "crop" in open_words:
        places += [dataclasses.replace(wish, crop=side) for side in CROPS if side < longest]
    if "size" in open_words:
        places += [dataclasses.replace(wish, size=size) for size in sorted(sizes, reverse=True) if size < longest]
    storages = CHOSEN_STORAGES if "storage" in open_words else (wish.storage,)
    for place in places:
        for batch_size in _halvings(wish.batch_size) if "batch_size" in open_words else (wish.batch_size,):
            accumulate = -(-wish.together // batch_size) if "accumulate" in open_words else wish.accumulate
            for storage in storages:
                yield dataclasses.replace(place, batch_size=batch_size, accumulate=accumulate, storage=storage)


def alternatives(
    wish: Way, chosen: Way, peak_of: Callable[[Way], float], seconds_of: Callable[[Way], float], *, sizes: Sequence[int]
) -> tuple[Alternative, ...]:
    """The chosen way, and others that a user could ask for, with what they cost; the largest memory first.

    Args:
        wish: What times are compared to.
        chosen: What will be done.
        peak_of: Predicts how many bytes a way needs.
        seconds_of: A step that keeps everything, as long as it takes or in any other unit.
        sizes: Sizes that the pictures may have.
    """
    single = dataclasses.replace(wish, batch_size=1, accumulate=wish.together)
    found = {chosen, single, dataclasses.replace(single, storage=CHOSEN_STORAGES[-1])}
    found |= {dataclasses.replace(wish, storage=storage) for storage in TIME_OF_STORAGE}
    smaller = max((size for size in sizes if size < (wish.size or 0)), default=None)
    if smaller is not None:
        found.add(dataclasses.replace(wish, size=smaller))

    def time_of(way: Way) -> float:
        return TIME_OF_STORAGE[way.storage] * seconds_of(way) / (TIME_OF_STORAGE[wish.storage] * seconds_of(wish))

    rows = [Alternative(way, peak_of(way), round(time_of(way), 3)) for way in found]
    return tuple(sorted(rows, key=lambda row: (-row.peak, row.time)))


def _halvings(batch_size: int) -> Iterator[int]:
    """A batch size, half of it, and so on down to one picture."""
    while batch_size > 1:
        yield batch_size
        batch_size //= 2
    yield 1


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
