"""A picture of 400 million pixels to its mask: seconds, peak memory, and how far tiles are from the whole.

    python benchmarks/large_picture.py --model runs/cars/model.safetensors

Draws a car, lays it side by side until the picture is large enough, and writes that as a tiled TIFF file in a temporary
folder. Each model predicts it in a process of its own, whose peak memory the system tells. Without a `--model`, the
network has random weights: it costs as much, but how far its tiles are from the whole says nothing.

A second part compares tiles with the whole on a picture that can still be seen at once: the largest difference of
logits, and the share of pixels whose class differs, for halos of several widths.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from machine import describe_machine
from numpy.typing import NDArray

from maskwright.config import Architecture
from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.image_files import read_pixels
from maskwright.files import write_json
from maskwright.inference.engines import Engine, TorchEngine
from maskwright.inference.model_file import ModelCard, load_model, save_model
from maskwright.inference.tiling import Tiling, choose_tiling, strips_of_logits
from maskwright.models.build import build_network

SIDE, TILE = 20_000, 512
QUICK = Architecture(encoder="efficientnet_lite0", base_channels=16, unshuffle=2)
CLASSIC = Architecture(base_channels=16)
# How pictures are resized: to one size, and by a factor of their own.
WAYS: dict[str, dict[str, Any]] = {
    "fit to 512": {"size": 512},
    "a quarter, in tiles": {"size": None, "factor": 0.25, "tile": 512},
    "its own size, in tiles": {"size": None, "factor": 1.0, "tile": 512},
}
HALOS = (0, 64, 128, 192, 256)
COMPARED = (1280, 1920)
RESULT = Path(__file__).parent / "results" / "large_picture.json"
PREDICT = """
import resource, sys, time
from pathlib import Path
started = time.monotonic()
from maskwright.inference.predictor import load
from maskwright.inference.streaming import predict_large
predict_large(load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
print(time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def write_picture(path: Path, car: NDArray[np.uint8], side: int) -> None:
    """A square of so many pixels a side that shows the same car everywhere."""

    def tiles() -> Iterator[NDArray[np.uint8]]:
        height, width = car.shape[:2]
        for top in range(0, side, TILE):
            rows = np.take(car, np.arange(top, top + TILE) % height, axis=0)
            for left in range(0, side, TILE):
                yield np.take(rows, np.arange(left, left + TILE) % width, axis=1)

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="zlib",
        predictor=True,
    )


def measure_prediction(model: Path, picture: Path, mask: Path) -> dict[str, float]:
    """Seconds and peak memory of one process from its start."""
    started = time.monotonic()
    command = [sys.executable, "-c", PREDICT, str(model), str(picture), str(mask)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    _, peak = map(float, told.split())
    return {
        "seconds": round(time.monotonic() - started, 1),
        "peak_mb": round(peak / 1e6),
        "mask_mb": round(mask.stat().st_size / 1e6, 1),
    }


def compare_halos(engine: Engine, architecture: Architecture, image: NDArray[np.uint8]) -> dict[str, Any]:
    """How far the logits of tiles are from those of the whole, for each halo and for the one that is used."""
    height, width = image.shape[:2]

    def logits(tiling: Tiling) -> NDArray[np.float32]:
        strips = strips_of_logits(engine, lambda start, stop: image[start:stop], height, width, tiling)
        return np.concatenate(list(strips), axis=1)

    used = choose_tiling(architecture, 512)
    whole = logits(Tiling(sys.maxsize, 0, used.coarsest))
    rows = {}
    for halo in sorted({*HALOS, used.halo}):
        window = 2 * halo + 512
        tiled = logits(Tiling(window, halo, used.coarsest))
        difference = np.abs(tiled - whole)
        rows[str(halo)] = {
            "largest": float(difference.max()),
            "mean": float(difference.mean()),
            "pixels_that_differ": float(((tiled > 0) != (whole > 0)).mean()),
        }
    return {"halo_used": used.halo, "deviation_of_logits": float(whole.std()), "halos": rows}


def random_model(architecture: Architecture) -> dict[str, NDArray[Any]]:
    """Weights of a network that has learnt nothing."""
    torch.manual_seed(0)
    return {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}


def main() -> None:
    """Measure everything, or what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="of a quick architecture, for both parts")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--no-halos", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    found["machine"] = describe_machine()
    card, weights = load_model(options.model) if options.model else (ModelCard(QUICK, size=512), random_model(QUICK))
    found["weights"] = "trained" if options.model else "random"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        list(write_drawn_cars(folder / "cars", cars=1, views=1, width=960, height=640))
        car = read_pixels(next((folder / "cars" / "train").iterdir()))
        picture = folder / "large.tif"
        write_picture(picture, car, options.side)
        found["picture"] = {"side": options.side, "mb": round(picture.stat().st_size / 1e6, 1)}
        for way in options.ways:
            model = folder / "model.safetensors"
            save_model(model, ModelCard(card.architecture, **WAYS[way]), weights)
            found.setdefault("predictions", {})[way] = measure_prediction(model, picture, folder / "mask.tif")
            write_json(options.out, found)
            print(way, found["predictions"][way])
    if not options.no_halos:
        image = np.ascontiguousarray(np.tile(car, (3, 3, 1))[: COMPARED[0], : COMPARED[1]])
        for name, architecture, own in (("quick", card.architecture, weights), ("classic", CLASSIC, None)):
            engine = TorchEngine(architecture, own or random_model(architecture))
            found.setdefault("tiles", {})[name] = compare_halos(engine, architecture, image)
            write_json(options.out, found)
            print(name, json.dumps(found["tiles"][name], indent=1))


if __name__ == "__main__":
    main()
