"""A cache whose pictures have other masks, for tests of what a training makes of them."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.config import Settings
from maskwright.data.cache import Cache, prepare
from maskwright.data.dataset import Samples
from maskwright.data.input_format import read_image
from maskwright.data.pairs import Pair
from maskwright.data.resizing import Resize

Pixels = NDArray[np.uint8]


def read_again(
    cache: Cache, read: Callable[[Pair], tuple[Pixels, Pixels]], *, num_classes: int = 2, longer_side: int = 32
) -> Cache:
    """The pictures of a cache, read in another way each time they are needed."""
    entries = tuple(
        dataclasses.replace(entry, path=None, facts=prepare(pair, read, num_classes, Resize(size=longer_side)).facts)
        for pair, entry in zip(cache.pairs, cache.entries, strict=True)
    )
    return dataclasses.replace(
        cache, entries=entries, read=read, num_classes=num_classes, resize=Resize(size=longer_side)
    )


def with_masks(cache: Cache, masks: Sequence[Pixels], *, num_classes: int = 2, longer_side: int = 32) -> Samples:
    """Samples of blank pictures with these masks."""
    of = dict(zip((pair.name for pair in cache.pairs), masks, strict=True))

    def read(pair: Pair) -> tuple[Pixels, Pixels]:
        return np.zeros((*of[pair.name].shape, 3), np.uint8), of[pair.name]

    changed = read_again(cache, read, num_classes=num_classes, longer_side=longer_side)
    return Samples(changed, Settings(size=longer_side), augment=False)


def with_drawn_masks(cache: Cache, draw: Callable[[np.random.Generator], Pixels]) -> Cache:
    """The pictures with masks that are drawn for each without looking at it."""
    places = {pair.name: place for place, pair in enumerate(cache.pairs)}

    def read(pair: Pair) -> tuple[Pixels, Pixels]:
        return read_image(pair.image), draw(np.random.default_rng(places[pair.name]))

    return read_again(cache, read)
