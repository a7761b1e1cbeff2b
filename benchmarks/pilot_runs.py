"""What pilot runs find hard about several sets, with several seeds: what cut-outs of larger pictures are chosen by.

    python benchmarks/other_framings.py ../shared/data sets
    python benchmarks/pilot_runs.py ../shared/data sets

Each learns from pictures of the part to learn from of a fold, and is asked about other groups of that part. Five
minutes are pretended, of which a pilot run takes its share. Writes results/pilot_runs.json.
"""

import argparse
import dataclasses
import itertools
import time
from pathlib import Path

from folds import fold_file
from machine import describe_machine

from maskwright.config import read_preset
from maskwright.files import write_json
from maskwright.interop.weights import read_imagenet_weights
from maskwright.training.minutes import Minutes
from maskwright.training.pilot import run_pilot
from maskwright.training.preparation import prepare

RESULT = Path(__file__).parent / "results" / "pilot_runs.json"
FOLDS = (("carvana", 0), ("carvana", 1), ("carvana", 2), ("zoomed_cars", 0), ("people", 0), ("car_any", 0))
SEEDS = (0, 1, 2)
MINUTES = 5.0


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders of sets")
    asked = parser.parse_args()
    weights = read_imagenet_weights("efficientnet_lite0")
    assert weights is not None
    rows = []
    for (name, fold), seed in itertools.product(FOLDS, SEEDS):
        photos = next(folder / name for folder in asked.data if (folder / name).is_dir())
        split = fold_file(photos, fold)
        settings = dataclasses.replace(read_preset("quick"), minutes=MINUTES, split=str(split), seed=seed)
        minutes = Minutes(60 * MINUTES, time.monotonic())
        prepared = prepare(photos, settings, device="cpu", minutes=minutes)
        started = time.monotonic()
        errors = run_pilot(
            prepared.material, prepared.settings, weights, "cpu", prepared.precision, minutes, show=lambda _: None
        )
        row = {"set": name, "fold": fold, "seed": seed, "seconds": round(time.monotonic() - started, 1)}
        row |= {} if errors is None else dataclasses.asdict(errors) | {"lie_at_outlines": errors.lie_at_outlines}
        print(row, flush=True)
        rows.append(row)
    write_json(RESULT, {"machine": describe_machine(), "runs": rows})


if __name__ == "__main__":
    main()
