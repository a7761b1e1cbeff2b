"""A picture of 400 million pixels to its mask: seconds, peak memory, and how far tiles are from the whole.

    python benchmarks/large_picture.py --model CUT_OUTS/model.safetensors --whole WHOLE/model.safetensors

Draws a car, lays it side by side until the picture is large enough, and writes that as a tiled TIFF file in a temporary
folder. Each model predicts it in a process of its own, whose peak memory the system tells. `--model` has learnt from
cut-outs of drawn cars of 960x640 pixels at their own size, `--whole` from whole ones. Without them, the network has
random weights: it costs as much, but how far its tiles are from the whole says nothing.

A second part compares tiles with the whole on a picture that can still be seen at once: the largest difference of
logits, and the share of pixels whose class differs, for halos of several widths, around 512 pixels that are kept.
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
import sys
from pathlib import Path
from machine import peak_megabytes
from maskwright.inference.predictor import load
from maskwright.inference.streaming import predict_large
predict_large(load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
print(peak_megabytes())
"""


def write_picture(path: Path, car: NDArray[np.uint8], rows: int, side: int) -> None:
    """A picture of so many rows and columns that shows the same car everywhere."""

    def tiles() -> Iterator[NDArray[np.uint8]]:
        height, width = car.shape[:2]
        for top in range(0, rows, TILE):
            band = np.take(car, np.arange(top, top + TILE) % height, axis=0)
            for left in range(0, side, TILE):
                yield np.take(band, np.arange(left, left + TILE) % width, axis=1)

    tifffile.imwrite(
        path,
        tiles(),
        shape=(rows, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="zlib",
        compressionargs={"level": 1},
    )


def measure_prediction(model: Path, picture: Path, mask: Path) -> dict[str, float]:
    """Seconds and peak memory of one process from its start."""
    started = time.monotonic()
    command = [sys.executable, "-c", PREDICT, str(model), str(picture), str(mask)]
    # The current folder is where `machine` is; it comes first on the path of -c.
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent).stdout
    return {
        "seconds": round(time.monotonic() - started, 1),
        "peak_mb": round(float(told)),
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


def network_of(model: Path | None) -> tuple[Architecture, dict[str, NDArray[Any]]]:
    """The network of a model file; without one, a quick network that has learnt nothing."""
    if model is None:
        return QUICK, random_model(QUICK)
    card, weights = load_model(model)
    return card.architecture, weights


def main() -> None:
    """Measure everything, or what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="of a quick architecture: for tiles, in both parts")
    parser.add_argument("--whole", type=Path, help="of a quick architecture: for the way without tiles")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--rows", type=int, help="fewer than the side, for a first look: the memory is that of a row")
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--no-halos", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    found["machine"] = describe_machine()
    networks = {False: network_of(options.whole), True: network_of(options.model)}
    found["weights"] = {
        "tiles": "trained" if options.model else "random",
        "whole": "trained" if options.whole else "random",
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        list(write_drawn_cars(folder / "cars", cars=1, views=1, width=960, height=640))
        car = read_pixels(next((folder / "cars" / "train").iterdir()))
        picture = folder / "large.tif"
        rows = options.rows or options.side
        write_picture(picture, car, rows, options.side)
        about = {"rows": rows, "columns": options.side, "picture_mb": round(picture.stat().st_size / 1e6, 1)}
        for way in options.ways:
            model = folder / "model.safetensors"
            architecture, weights = networks["tile" in WAYS[way]]
            save_model(model, ModelCard(architecture, **WAYS[way]), weights)
            found.setdefault("predictions", {})[way] = about | measure_prediction(model, picture, folder / "mask.tif")
            write_json(options.out, found)
            print(way, found["predictions"][way])
    if not options.no_halos:
        image = np.ascontiguousarray(np.tile(car, (3, 3, 1))[: COMPARED[0], : COMPARED[1]])
        for name, (architecture, weights) in (("quick", networks[True]), ("classic", (CLASSIC, random_model(CLASSIC)))):
            engine = TorchEngine(architecture, weights)
            found.setdefault("tiles", {})[name] = compare_halos(engine, architecture, image)
            write_json(options.out, found)
            print(name, json.dumps(found["tiles"][name], indent=1))


if __name__ == "__main__":
    main()
