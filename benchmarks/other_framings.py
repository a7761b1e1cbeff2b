"""Two more sets made of the real ones: cars that are framed in other ways, for what decides how a run learns.

    python benchmarks/other_framings.py ../shared/data sets
    python benchmarks/levers.py sets --set car_any --name car_any-whole-384 --minutes 3 -- --size 384

`car_any` has the cars of `car_parts`, all parts of each as one foreground: another car before another background in
each picture. `zoomed_cars` has a part of each of Carvana's pictures, drawn at random: many cars reach beyond it. The
same pictures each time; a set that is there already is not written again.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from folds import formats_of
from PIL import Image, ImageDraw

from maskwright.data.finding import find_dataset
from maskwright.data.reading import read_pair

# A part's sides are so much of the picture's, and it shows at least this share of the car.
SMALLEST, LARGEST, SHOWN = 0.45, 0.9, 0.35
TRIES, SEED = 100, 5


def write_whole_cars(car_parts: Path, out: Path) -> None:
    """Each picture with the union of its parts."""
    annotations = json.loads((car_parts / "annotations.json").read_text(encoding="utf-8"))
    parts: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for part in annotations["annotations"]:
        parts[part["image_id"]].append(part)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True)
    for picture in annotations["images"]:
        name = Path(picture["file_name"])
        image = Image.open(next(car_parts.rglob(name.name)))
        mask = Image.new("L", image.size)
        for part in parts[picture["id"]]:
            for polygon in part["segmentation"]:
                ImageDraw.Draw(mask).polygon(polygon, fill=255)
        image.convert("RGB").save(out / "images" / f"{name.stem}.png")
        mask.save(out / "masks" / f"{name.stem}.png")


def write_zoomed_cars(carvana: Path, out: Path) -> None:
    """A part of each picture, with its mask."""
    formats, rng = formats_of(carvana), np.random.default_rng(SEED)
    for folder in ("train", "train_masks"):
        (out / folder).mkdir(parents=True)
    for pair in find_dataset(carvana).pairs:
        image, mask = read_pair(pair, formats)
        car = mask == 1
        for _ in range(TRIES):
            share = rng.uniform(SMALLEST, LARGEST)
            height, width = (int(side * share) for side in car.shape)
            top = int(rng.integers(0, car.shape[0] - height + 1))
            left = int(rng.integers(0, car.shape[1] - width + 1))
            part = slice(top, top + height), slice(left, left + width)
            if car[part].sum() > SHOWN * car.sum():
                break
        Image.fromarray(image[part]).save(out / "train" / f"{pair.image.stem}.jpg", quality=95)
        Image.fromarray((car[part] * 255).astype(np.uint8)).save(out / "train_masks" / f"{pair.image.stem}_mask.png")


def main() -> None:
    """Write both sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    for name, write, source in (
        ("car_any", write_whole_cars, "car_parts"),
        ("zoomed_cars", write_zoomed_cars, "carvana"),
    ):
        if not (asked.out / name).exists():
            write(asked.data / source, asked.out / name)
        print(asked.out / name)


if __name__ == "__main__":
    main()
