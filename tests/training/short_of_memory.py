"""A run in a process whose memory is limited in earnest: a batch of eight does not fit. Prints what became of it."""

import json
import resource
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from maskwright.config import Settings
from maskwright.data.cache import CacheFolder, build_cache
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, read_pair
from maskwright.data.resizing import Resize
from tests.tiny_pictures import a_mask, an_image, write
from tests.training.test_loop import Bench

# Beyond what the process has taken when a run of single pictures is behind it.
ROOM = 30 * 2**20


def main(folder: Path) -> None:
    """Run, in a folder."""
    torch.set_num_threads(1)
    settings = Settings(base_channels=8, depth=1, size=192, batch_size=8, epochs=2, loss="ce", augment=False)
    pairs = []
    for seed in range(12):
        pair = Pair(f"{seed}", folder / f"{seed}.png", folder / "masks" / f"{seed}.png", None)
        for path, pixels in ((pair.image, an_image(seed)), (pair.mask_path, a_mask(seed))):
            assert path is not None
            write(path, np.kron(pixels, np.ones((2, 2, 1) if pixels.ndim == 3 else (2, 2), np.uint8)))
        pairs.append(pair)
    cache, _ = build_cache(
        pairs,
        CacheFolder(folder / "cache"),
        read=partial(read_pair, formats=Formats()),
        num_classes=2,
        settings_key="",
        resize=Resize(size=192),
        advance=lambda: None,
    )
    warm = Bench(cache, folder / "warm", settings, train=range(1))
    warm.fit()
    bench = Bench(cache, folder / "run", settings, train=range(8))
    taken = resource.getpagesize() * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, taken + ROOM))
    finished = bench.fit()
    position = bench.learner.position
    sys.stdout.write(
        json.dumps(
            {
                "finished": finished,
                "steps": position.step,
                "micro_batch": position.micro_batch,
                "storage": position.storage,
                "said": [finding.sentence for finding in bench.told],
                "losses": [line["train_loss"] for line in bench.metrics()],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
