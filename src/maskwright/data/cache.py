"""Pictures and masks decoded and resized once, then read from a memory-mapped file.

A picture is needed dozens of times and decoding it takes longer than learning from it. The two files hold the raw bytes
of all pictures end to end, so that pictures of different sizes lie side by side and no picture is loaded before it is
needed.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.data import image_files
from maskwright.data.pairs import Pair, Problem
from maskwright.data.reading import fingerprint_of, read_pair
from maskwright.errors import InputError

# Pictures under way at once; bounds the memory that decoded ones take.
READ_AHEAD = 32


@dataclass(frozen=True)
class Cache:
    """The pictures of a run at training size.

    Attributes:
        pairs: What was read, in order; index ``i`` of everything below belongs to ``pairs[i]``.
        shapes: Height and width of each picture.
        fingerprints: A hash of each image file's content.
        image_bytes: All images end to end, uint8.
        mask_bytes: All masks end to end: foreground share 0..255.
    """

    pairs: tuple[Pair, ...]
    shapes: tuple[tuple[int, int], ...]
    fingerprints: tuple[str, ...]
    image_bytes: NDArray[np.uint8]
    mask_bytes: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def image(self, index: int) -> NDArray[np.uint8]:
        """The image ``(H, W, 3)``, a view of the file."""
        height, width = self.shapes[index]
        start = int(self.offsets[index])
        return self.image_bytes[3 * start : 3 * (start + height * width)].reshape(height, width, 3)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The foreground share ``(H, W)`` in 0..255, a view of the file."""
        height, width = self.shapes[index]
        start = int(self.offsets[index])
        return self.mask_bytes[start : start + height * width].reshape(height, width)


@dataclass(frozen=True)
class Entry:
    """One pair at training size."""

    pair: Pair
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    fingerprint: str


def build_cache(
    pairs: Sequence[Pair], folder: Path, *, longer_side: int, advance: Callable[[], None]
) -> tuple[Cache, tuple[Problem, ...]]:
    """Read, check and resize every pair.

    Args:
        pairs: What to read.
        folder: Where the files go; replaced if it holds an earlier cache.
        longer_side: Pixels of the longer side of each picture afterwards.
        advance: Called after each pair, for a progress bar.

    Returns:
        The cache of all pairs that can be used, and a problem for each that cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problems: list[Problem] = []
    kept: list[tuple[Pair, tuple[int, int], str]] = []
    with (folder / "images.bin").open("wb") as images, (folder / "masks.bin").open("wb") as masks:
        for outcome in _read_entries(pairs, longer_side):
            if isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                images.write(outcome.image.tobytes())
                masks.write(outcome.mask.tobytes())
                height, width = outcome.mask.shape
                kept.append((outcome.pair, (height, width), outcome.fingerprint))
            advance()
    if not kept:
        return _empty_cache(), tuple(problems)
    areas = [height * width for _, (height, width), _ in kept]
    cache = Cache(
        pairs=tuple(pair for pair, _, _ in kept),
        shapes=tuple(shape for _, shape, _ in kept),
        fingerprints=tuple(fingerprint for _, _, fingerprint in kept),
        image_bytes=np.memmap(folder / "images.bin", dtype=np.uint8, mode="r"),
        mask_bytes=np.memmap(folder / "masks.bin", dtype=np.uint8, mode="r"),
        offsets=np.cumsum([0, *areas[:-1]], dtype=np.int64),
    )
    return cache, tuple(problems)


def _read_entries(pairs: Sequence[Pair], longer_side: int) -> Iterator[Entry | Problem]:
    """Entries in the order of the pairs; threads help, since Pillow decodes outside the interpreter's lock."""

    def read(pair: Pair) -> Entry | Problem:
        try:
            return _read_entry(pair, longer_side)
        except InputError as error:
            return Problem(pair.image, str(error))

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(pairs), READ_AHEAD):
            yield from pool.map(read, pairs[start : start + READ_AHEAD])


def _read_entry(pair: Pair, longer_side: int) -> Entry:
    image, mask = read_pair(pair)
    height, width = image_files.fit_size(image.shape[0], image.shape[1], longer_side)
    return Entry(
        pair=pair,
        image=image_files.resize_image(image, height, width),
        mask=image_files.resize_mask(mask, height, width),
        fingerprint=fingerprint_of(pair.image),
    )


def _empty_cache() -> Cache:
    nothing = np.zeros(0, np.uint8)
    return Cache((), (), (), nothing, nothing, np.zeros(0, np.int64))
