r"""What a model that is there could gain by predicting in another way.

    python benchmarks/finer_masks.py runs/fold/last.safetensors ../shared/data/carvana \
        --split benchmarks/results/folds/carvana_0.json

Each way of `WAYS` makes the masks of the pictures that the split holds out. Written are Dice at their own size, the two
parts of its error (see `outlines.py`), and the seconds of a picture: the ways take turns, and medians are taken over
the pictures.

- ``mirrored``: the mean with the mirror image, as `predict --flips`.
- ``smaller``, ``larger``: pictures at 0.9, 1.25, 1.5 and 2 times the size that training had.
- ``two sizes``: the mean of logits at the model's size and at 1.25 times it.
- ``coarse to fine``: the model's own answer first. Windows at twice the size are then looked at where that answer is
  unsure, and replace it there alone: the cost grows with the outline instead of the area.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from folds import held_out
from machine import describe_machine
from numpy.typing import NDArray
from outlines import dice_and_error, near_outlines
from torch.nn import functional as F

from maskwright import terminal
from maskwright.data.reading import read_pair
from maskwright.data.resizing import resize_plane
from maskwright.files import write_json
from maskwright.inference.engines import open_model
from maskwright.inference.predictor import Predictor

RESULT = Path(__file__).parent / "results" / "finer_masks.json"
# Of a window at twice the size, in pixels a side: what is kept, and what is seen around it.
KEPT, HALO = 192, 32
FACTORS = (0.9, 1, 1.25, 1.5, 2)
# A pixel is unsure that has this probability or less for either class; so are those around it, in pixels of the model.
UNSURE, AROUND = 0.05, 2

Image = NDArray[np.uint8]
Logits = NDArray[np.float32]
# The model, shown pictures at so many times its size.
Enlarged = Callable[[float], Predictor]


def mirrored(enlarged: Enlarged, image: Image) -> Logits:
    """The mean with the mirror image."""
    predictor = enlarged(1)
    other = predictor.logits(np.ascontiguousarray(image[:, ::-1]))
    return np.asarray((predictor.logits(image) + other[..., ::-1]) / 2, np.float32)


def two_sizes(enlarged: Enlarged, image: Image) -> Logits:
    """The mean of two sizes."""
    return np.asarray((enlarged(1).logits(image) + enlarged(1.25).logits(image)) / 2, np.float32)


def unsure(logits: Logits) -> NDArray[np.bool_]:
    """Where logits ``(h, w)`` are unsure, and around it."""
    edge = float(np.log((1 - UNSURE) / UNSURE))
    plane = torch.from_numpy((np.abs(logits) < edge).astype(np.float32))[None, None]
    found: NDArray[np.bool_] = F.max_pool2d(plane, 2 * AROUND + 1, 1, AROUND)[0, 0].numpy() > 0
    return found


def coarse_to_fine(enlarged: Enlarged, image: Image) -> Logits:
    """Windows at twice the size, where the first answer is unsure."""
    predictor, finer = enlarged(1), enlarged(2)
    coarse = predictor.small_logits(predictor.shrink(image))[0]
    large = finer.shrink(image)
    height, width = large.shape[:2]
    logits = resize_plane(coarse, height, width)
    doubtful = resize_plane(unsure(coarse).astype(np.float32), height, width) > 0.5
    answer = logits.copy()
    for top in range(0, height, KEPT):
        for left in range(0, width, KEPT):
            cell = slice(top, top + KEPT), slice(left, left + KEPT)
            if not doubtful[cell].any():
                continue
            above, before = max(0, top - HALO), max(0, left - HALO)
            window = finer.small_logits(large[above : top + KEPT + HALO, before : left + KEPT + HALO])[0]
            fine = window[top - above :, left - before :][:KEPT, :KEPT]
            answer[cell] = np.where(doubtful[cell], fine, logits[cell])
    return predictor.enlarge(answer[np.newaxis], *image.shape[:2])


WAYS: dict[str, Callable[[Enlarged, Image], Logits]] = {
    "as it is": lambda enlarged, image: enlarged(1).logits(image),
    "mirrored": mirrored,
    "0.9 times as large": lambda enlarged, image: enlarged(0.9).logits(image),
    "1.25 times as large": lambda enlarged, image: enlarged(1.25).logits(image),
    "1.5 times as large": lambda enlarged, image: enlarged(1.5).logits(image),
    "twice as large": lambda enlarged, image: enlarged(2).logits(image),
    "two sizes": two_sizes,
    "coarse to fine": coarse_to_fine,
}


def main() -> None:
    """Predict in every way, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--split", type=Path, required=True, help="whose part val is scored")
    parser.add_argument("--name", help="of the rows; by default the folder's of the photographs")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    card, engine = open_model(options.model)
    assert card.size is not None, "the model has learnt from pictures at a factor of their own size"
    predictors = {factor: Predictor(replace(card, size=round(factor * card.size)), engine) for factor in FACTORS}
    pictures = held_out(options.photos, options.split)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with terminal.counting("Predicting", len(pictures.pairs)) as advance:
        for pair in pictures.pairs:
            image, mask = read_pair(pair, pictures.formats)
            truth, counted = mask == 1, mask <= 1
            near = near_outlines(truth)
            for way, predict in WAYS.items():
                started = time.perf_counter()
                inside = (predict(predictors.__getitem__, image)[0] >= 0) & counted
                seconds = time.perf_counter() - started
                found[way].append({**dice_and_error(inside, truth, near), "seconds": seconds})
            advance()
    result_row = {
        "machine": describe_machine(),
        "longer_side": card.size,
        "pictures": len(pictures.pairs),
        "ways": {
            way: {
                **{
                    name: round(float(np.mean([row[name] for row in rows])), 5) for name in rows[0] if name != "seconds"
                },
                "seconds": round(median(row["seconds"] for row in rows), 3),
            }
            for way, rows in found.items()
        },
    }
    result = json.loads(options.out.read_text()) if options.out.is_file() else {}
    write_json(options.out, result | {options.name or options.photos.name: result_row})
    print(json.dumps(result_row, indent=2))


if __name__ == "__main__":
    main()
