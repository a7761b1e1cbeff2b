"""How clean the edges of a cutout are: colours at soft pixels, and where the edge runs.

    python benchmarks/cutout.py --model runs/DEMO/run/model.safetensors     (pymatting beside it: pip install pymatting)

Drawn cars are laid over backgrounds in a way that is known exactly: the car alone, its coverage of each pixel, and what
is behind. So the error of an estimated foreground can be measured where it shows: at soft pixels, times the coverage,
which is the error of the picture over any new background. Each car is composed with the coverage as drawn, and with one
that is blurred as a lens would, over the studio it stands in, over a plain green, and over a strong texture.

With a model, the edges are its own: the error of the transparency within twelve pixels of the true edge, and that of
the picture over black, white and green.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from machine import describe_machine
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from maskwright.data import drawn_cars
from maskwright.data.drawing.car_studio import Camera, expose
from maskwright.data.drawn_cars import FINENESS
from maskwright.files import write_json
from maskwright.inference.bulk import look
from maskwright.inference.cutout import foreground_colours, replace_background
from maskwright.inference.outputs import outline
from maskwright.inference.predictor import as_probabilities, load

RESULT = Path(__file__).parent / "results" / "cutout.json"
VIEWS = ((0, 3), (1, 6), (2, 11), (3, 15))
SEED = 7
NOISE = 1.5
NEAR = 12
BEHIND = ((0, 0, 0), (255, 255, 255), (0, 255, 136))

Pixels = NDArray[np.uint8]
Estimate = Callable[[Pixels, Pixels], Pixels]


def draw_apart(car: int, view: int, width: int, height: int) -> tuple[Pixels, Pixels, Pixels]:
    """The car alone, colours continued outwards, ``(H, W, 3)``; the studio without it; its coverage ``(H, W)``."""
    drawn = drawn_cars.design_car(car, SEED)
    distance, lens_height, aim, focal, aside = drawn.lens
    cameras = [Camera(width * fine, height * fine, distance, lens_height, aim, focal, aside) for fine in (1, FINENESS)]
    turn = drawn_cars.view_turn(view)
    studio = drawn_cars.studio_around(drawn, cameras[0], turn)
    coverage = drawn_cars.outline(drawn, cameras[0], turn)
    light, count = drawn_cars.car_light(drawn, cameras[1], turn, studio)
    for _ in range(NEAR):
        reached = np.asarray(Image.fromarray((count > 0).view(np.uint8)).filter(ImageFilter.MaxFilter(3)))
        light, count = drawn_cars.fill_edges(light, count, reached * np.uint8(255))
    generators = [drawn_cars.generator_for(SEED, car, view, part) for part in range(2)]
    alone = expose(light / np.maximum(count, 1), drawn.room, generators[0])
    return alone, expose(studio, drawn.room, generators[1]), coverage


def backgrounds(studio: Pixels) -> dict[str, Pixels]:
    """What the car is laid over."""
    height, width = studio.shape[:2]
    rough = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    texture = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return {"studio": studio, "green": np.full_like(studio, (40, 200, 60)), "texture": texture}


def compose(car: Pixels, behind: Pixels, alpha: Pixels) -> Pixels:
    """The picture that a camera would take."""
    share = alpha[..., np.newaxis] / 255
    noise = np.random.default_rng(1).normal(0, NOISE, car.shape)
    return np.clip(np.rint(car * share + behind * (1 - share) + noise), 0, 255).astype(np.uint8)


def average_around(image: Pixels, alpha: Pixels) -> Pixels:
    """The mean of the opaque pixels within five: the simplest thing to do."""
    opaque = (alpha > 242)[..., np.newaxis].astype(np.float64)
    sums = np.concatenate([image * opaque, opaque], axis=2)
    for axis in (0, 1):
        sums = sum((np.roll(sums, step, axis) for step in range(-5, 6)), np.zeros_like(sums))
    found = sums[..., 3:] > 0
    return np.where(found, sums[..., :3] / np.maximum(sums[..., 3:], 1), image).astype(np.uint8)


def estimates() -> dict[str, Estimate]:
    """What is compared."""
    found: dict[str, Estimate] = {
        "as the picture has it": lambda image, _: image,
        "mean of opaque pixels around": average_around,
        "maskwright": foreground_colours,
    }
    try:
        from pymatting import estimate_foreground_ml
    except ImportError:
        return found

    def multi_level(image: Pixels, alpha: Pixels) -> Pixels:
        return np.asarray(np.rint(estimate_foreground_ml(image / 255, alpha / 255).clip(0, 1) * 255), np.uint8)

    multi_level(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))  # numba compiles it once
    return {**found, "pymatting, estimate_foreground_ml": multi_level}


def measure_colours(width: int, height: int) -> dict[str, dict[str, Any]]:
    """Mean error of each estimate at soft pixels, in 0..255, and its processor time."""
    errors: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seconds: dict[str, list[float]] = defaultdict(list)
    for car, view in VIEWS:
        alone, studio, coverage = draw_apart(car, view, width, height)
        for edge, blur in (("sharp", 0.0), ("blurred", 1.5)):
            alpha = np.asarray(Image.fromarray(coverage).filter(ImageFilter.GaussianBlur(blur)))
            soft = (alpha > 5) & (alpha < 250)
            for behind_name, behind in backgrounds(studio).items():
                image = compose(alone, behind, alpha)
                for name, estimate in estimates().items():
                    started = time.process_time()
                    found = estimate(image, alpha)
                    seconds[name].append(time.process_time() - started)
                    difference = np.abs(found.astype(float) - alone)[soft] * (alpha[soft][:, np.newaxis] / 255)
                    errors[name][f"{behind_name}, {edge}"].append(float(difference.mean()))
    return {
        name: {
            "error": round(mean(map(mean, by_case.values())), 2),
            "error_by_case": {case: round(mean(values), 2) for case, values in by_case.items()},
            "processor_seconds": round(median(seconds[name]), 3),
        }
        for name, by_case in errors.items()
    }


def measure_edges(model: Path, width: int, height: int) -> dict[str, dict[str, float]]:
    """Errors near the true edge with the edges of a model, and with kinds of them."""
    predictor = load(model)
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for car, view in VIEWS:
        alone, studio, coverage = draw_apart(car, view, width, height)
        image = compose(alone, studio, coverage)
        seen = look(predictor, image)
        near = outline(coverage > 127, NEAR) | outline(coverage <= 127, NEAR)
        alphas = {
            "the mask": seen.mask * np.uint8(255),
            "probabilities": np.rint(as_probabilities(seen.logits)[0] * 255).astype(np.uint8),
            "maskwright": seen.alpha(),
        }
        share = coverage[..., np.newaxis] / 255
        for name, alpha in alphas.items():
            wrong = np.mean(
                [
                    np.abs(replace_background(image, alpha, behind) - (alone * share + np.array(behind) * (1 - share)))[
                        near
                    ]
                    for behind in BEHIND
                ]
            )
            errors[name].append((float(np.abs(alpha.astype(float) - coverage)[near].mean() / 255), float(wrong)))
    return {
        name: {
            "transparency_error": round(mean(value for value, _ in some), 4),
            "colour_error_over_others": round(mean(value for _, value in some), 2),
        }
        for name, some in errors.items()
    }


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--width", type=int, default=1918)
    parser.add_argument("--height", type=int, default=1280)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    result = {
        "command": "python benchmarks/cutout.py --model runs/DEMO/run/model.safetensors"
        f" --width {options.width} --height {options.height}",
        "pictures": len(VIEWS),
        "size": [options.width, options.height],
        "colours_at_soft_pixels": measure_colours(options.width, options.height),
        "edges_of_a_model": measure_edges(options.model, options.width, options.height) if options.model else None,
        "machine": describe_machine(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
