"""Samples per second: a plain Pillow loader, the warm cache, and the warm cache with the default augmentation.

    python benchmarks/loader_speed.py ../shared/data/carvana

All three make batches of float tensors at half of Carvana's size (959x640) in one process and on one thread, through
the same `torch.utils.data.DataLoader`. The plain loader does what most training scripts do for each sample: open the
photograph and its GIF mask with Pillow, convert, resize with Pillow's defaults, and make tensors of them; it augments
nothing. The three take turns, so that a machine whose speed drifts treats them alike; ratios are taken within a round,
and medians over the rounds. Once more at the end with as many threads as torch takes by itself; the plain loader has no
use for them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maskwright.config import Settings
from maskwright.data.cache import Cache, CacheFolder, build_cache
from maskwright.data.dataset import EpochBatches, Samples, build_loader
from maskwright.data.pairing import find_pairs
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, read_pair
from maskwright.data.resizing import Resize
from maskwright.files import write_json

HEIGHT, WIDTH = 640, 959
RESULT = Path(__file__).parent / "results" / "loader_speed.json"


class PlainSamples(Dataset[tuple[Tensor, Tensor]]):
    """Pillow: open, convert, resize, to tensor."""

    def __init__(self, pairs: tuple[Pair, ...]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        """How many there are."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image ``(3, H, W)`` and mask ``(1, H, W)`` in 0..1."""
        pair = self.pairs[index]
        image = np.array(Image.open(pair.image).convert("RGB").resize((WIDTH, HEIGHT)))
        mask = np.array(Image.open(pair.mask_path).convert("L").resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
        return (
            torch.from_numpy(image).permute(2, 0, 1).contiguous().float().div(255),
            torch.from_numpy(mask).unsqueeze(0).float().div(255),
        )


def speed(loader: Iterable[Any], pictures: int) -> float:
    """Samples per second over one pass."""
    started = time.perf_counter()
    for _ in loader:
        pass
    return pictures / (time.perf_counter() - started)


def cached_loader(cache: Cache, settings: Settings, *, augment: bool) -> Callable[[int], Iterable[Any]]:
    """A loader over whole epochs of the cache."""
    order = EpochBatches(range(len(cache.pairs)), settings)
    loader = build_loader(Samples(cache, settings, augment=augment), order, workers=0, pin=False)

    def epoch(number: int) -> Iterable[Any]:
        order.epoch = number
        return loader

    return epoch


def measure(pairs: tuple[Pair, ...], cache: Cache, batch_size: int, rounds: int, threads: int) -> dict[str, Any]:
    """Medians over the rounds; the three loaders take turns."""
    torch.set_num_threads(threads)
    settings = Settings(batch_size=batch_size)
    plain = DataLoader(PlainSamples(pairs), batch_size=batch_size, shuffle=True)
    warm, augmented = (cached_loader(cache, settings, augment=augment) for augment in (False, True))
    rows = []
    for number in range(rounds + 1):
        # One pass over the cache takes a fraction of a second: several are a steadier measure.
        row = (
            speed(plain, len(pairs)),
            median(speed(warm(number), len(pairs)) for _ in range(5)),
            median(speed(augmented(5 * number + turn), len(pairs)) for turn in range(5)),
        )
        print(f"{threads} threads, round {number}: {row[0]:.1f} {row[1]:.1f} {row[2]:.1f} samples/s", flush=True)
        rows.append(row)
    rows = rows[1:]  # the first one finds nothing in memory
    return {
        "threads": threads,
        "rounds": rounds,
        "plain_samples_per_second": round(median(row[0] for row in rows), 1),
        "cached_samples_per_second": round(median(row[1] for row in rows), 1),
        "augmented_samples_per_second": round(median(row[2] for row in rows), 1),
        "cached_to_plain": round(median(row[1] / row[0] for row in rows), 1),
        "augmented_to_plain": round(median(row[2] / row[0] for row in rows), 1),
        "cached_to_plain_by_round": [round(row[1] / row[0], 1) for row in rows],
        "augmented_to_plain_by_round": [round(row[2] / row[0], 1) for row in rows],
    }


def main() -> None:
    """Build the cache, measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    machine = describe_machine()
    own_threads = torch.get_num_threads()
    pairs = find_pairs(options.photos).pairs[: options.pictures]
    with tempfile.TemporaryDirectory() as folder:
        build = partial(
            build_cache,
            pairs,
            CacheFolder(Path(folder)),
            read=partial(read_pair, formats=Formats()),
            num_classes=2,
            settings_key="benchmark",
            resize=Resize(size=WIDTH),
            advance=lambda: None,
        )
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            cache, problems = build()
            seconds.append(round(time.perf_counter() - started, 2))
        assert not problems
        assert not cache.uncached
        result = {
            "command": "python benchmarks/loader_speed.py ../shared/data/carvana",
            "pictures": len(pairs),
            "batch_size": options.batch_size,
            "processes": 1,
            "build_seconds": seconds[0],
            "warm_start_seconds": seconds[1],
            "one_thread": measure(pairs, cache, options.batch_size, options.rounds, 1),
            "own_threads": measure(pairs, cache, options.batch_size, options.rounds, own_threads),
            "machine": machine,
        }
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
