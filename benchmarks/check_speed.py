"""What `maskwright check` costs beside only decoding the same pictures and masks.

    python benchmarks/check_speed.py 1000 > benchmarks/results/check_speed.json

The pictures are drawn cars at Carvana's size. Drawing takes longer than all that is measured, so some are drawn, and
the others are copies in which a patch of pixels differs, under the names of further cars: `check` has to find out that
they are near-duplicates, which costs it more than as many different pictures would.

Each measurement is a process of its own, with as many threads as there are cores; decoding and checking take turns, so
that other work on the machine falls on both. Times are without the start of Python.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 1918, 1280
CARS, VIEWS = 8, 4
ROUNDS = 3


def draw_pictures(folder: Path, number: int) -> None:
    """Draw some pictures, and copy them with small changes until there are as many as asked for."""
    from maskwright.data.drawn_cars import write_drawn_cars

    list(write_drawn_cars(folder, cars=CARS, views=VIEWS, width=WIDTH, height=HEIGHT))
    originals = sorted((folder / "train").iterdir())
    rng = np.random.default_rng(0)
    for index in range(len(originals), number):
        original = originals[index % len(originals)]
        car, view = original.stem.split("_")
        name = f"{car[:6]}{index // len(originals):06}_{view}"
        with Image.open(original) as picture:
            picture.paste(Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)), (40, 40))
            picture.save(folder / "train" / f"{name}.jpg", quality=90)
        mask = folder / "train_masks" / f"{original.stem}_mask.png"
        (folder / "train_masks" / f"{name}_mask.png").write_bytes(mask.read_bytes())


def decode(photos: Path) -> None:
    """Decode every picture and mask with Pillow, and keep nothing."""

    def read(path: Path) -> None:
        with Image.open(path) as picture:
            np.asarray(picture.convert("RGB") if path.suffix == ".jpg" else picture)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read, [*(photos / "train").iterdir(), *(photos / "train_masks").iterdir()]))


def check(photos: Path) -> None:
    """Check the folder, page and all."""
    from maskwright.commands.check import check as command

    with tempfile.TemporaryDirectory() as out:
        command(photos, out=out, as_json=True)


WAYS: dict[str, Callable[[Path], None]] = {"decode": decode, "check": check}


def measure(way: str, photos: Path) -> dict[str, float]:
    """Seconds and peak memory of one way in a process of its own."""
    command = [sys.executable, __file__, way, str(photos)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def main(number: int) -> None:
    """Draw, measure in turn, and print the figures."""
    from machine import describe_machine

    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        draw_pictures(photos, number)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, done in runs.items():
                done.append(measure(way, photos))
    figures: dict[str, Any] = {
        way: {
            "seconds": [round(run["seconds"], 1) for run in done],
            "seconds_median": round(median(run["seconds"] for run in done), 1),
            "peak_megabytes": round(max(run["peak_megabytes"] for run in done)),
        }
        for way, done in runs.items()
    }
    ratio = figures["check"]["seconds_median"] / figures["decode"]["seconds_median"]
    content = {
        "pictures": number,
        "drawn": min(number, CARS * VIEWS),
        "size": [WIDTH, HEIGHT],
        "threads": os.cpu_count(),
        **figures,
        "check_over_decode": round(ratio, 2),
        "machine": describe_machine(),
    }
    print(json.dumps(content, indent=2))


def peak_megabytes() -> float:
    """Of this process; ``getrusage`` would tell of the larger one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1] in WAYS:
        started = time.perf_counter()
        WAYS[sys.argv[1]](Path(sys.argv[2]))
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "peak_megabytes": peak_megabytes()}))
    else:
        main(int(sys.argv[1]))
