"""Pictures per second of `predict` on a folder, beside what decoding, network and encoding can do alone.

    python benchmarks/bulk_predict.py MODEL [MODEL ...] --photos ../shared/data/carvana/train

A model may be a model file or what `maskwright export` makes of it.

JPEG on disk to mask PNG on disk. Each part alone runs on as many threads as `predict` does, over the same pictures: all
are decoded and thrown away, a few decoded ones go through the network again and again, a few masks are written again
and again. Were there nothing but these parts, a picture would take the sum of their times: that is what `predict` is
held against. All take turns, so that a machine whose speed drifts treats them alike; ratios are taken within a round.
Without photographs, cars are drawn.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe_machine, peak_megabytes

from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.input_format import read_image
from maskwright.data.threads import in_threads
from maskwright.files import write_bytes, write_json
from maskwright.inference.bulk import look, predict_pictures
from maskwright.inference.engines import one_core_each
from maskwright.inference.jobs import Job, find_jobs
from maskwright.inference.outputs import encode_mask
from maskwright.inference.predictor import Predictor, load
from maskwright.inference.results import SUFFIXES, Wish

RESULT = Path(__file__).parent / "results" / "bulk_predict.json"
# So many pictures are held, decoded and predicted, for the parts that come after.
HELD = 8
CORES = os.cpu_count() or 1


def collect(folder: Path, photos: Path | None, number: int) -> list[Job]:
    """So many picture files, copies where there are fewer."""
    if photos is None:
        sources = list(write_drawn_cars(folder / "drawn", cars=2, views=8, width=1918, height=1280))
    else:
        sources = [job.source for job in find_jobs([photos], folder / "nothing", tuple(SUFFIXES)).jobs]
    jobs = []
    for place in range(number):
        path = folder / "photos" / f"{place:05}{sources[place % len(sources)].suffix}"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(sources[place % len(sources)], path)
        jobs.append(Job(path, path.name, folder / "out", Path(path.stem)))
    return jobs


def timed(work: Callable[[], Iterable[Any]]) -> dict[str, float]:
    """Pictures per second, and the share of all cores' time that this process had."""
    wall, processor = time.perf_counter(), time.process_time()
    number = sum(1 for _ in work())
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {
        "pictures_per_second": number / wall,
        "processor_seconds": processor / number,
        "cores_busy": processor / wall / CORES,
    }


def parts_of(predictor: Predictor, jobs: list[Job], folder: Path) -> dict[str, Callable[[], Iterable[Any]]]:
    """What is measured: `predict` as a whole, and each of its parts."""
    labels, card = predictor.card.labels, predictor.card
    images = [read_image(job.source, card.input) for job in jobs[:HELD]]
    masks = [look(predictor, image).mask for image in images]

    def predict() -> Iterable[Any]:
        # As given to a folder: a round writes into a folder of its own.
        out = Path(tempfile.mkdtemp(dir=folder))
        return predict_pictures(predictor, [replace(job, out=out) for job in jobs], Wish(["mask"]))

    def decode() -> Iterable[Any]:
        return in_threads(lambda job: read_image(job.source, card.input).shape, jobs, threads=CORES)

    def network() -> Iterable[Any]:
        places = range(len(jobs))
        return in_threads(lambda place: look(predictor, images[place % HELD]).mask.shape, places, threads=CORES)

    def encode() -> Iterable[Any]:
        def write(job: Job) -> None:
            mask = encode_mask(masks[int(str(job.place)) % HELD], labels)
            write_bytes(folder / "encoded" / f"{job.place}.png", mask)

        return in_threads(write, jobs, threads=CORES)

    return {"predict": predict, "decode": decode, "network": network, "encode": encode}


def measure(model: Path, jobs: list[Job], rounds: int, folder: Path) -> dict[str, Any]:
    """Medians over rounds in which the parts take turns."""
    works = parts_of(load(model, many_at_once=True), jobs, folder)
    found = []
    for number in range(rounds):
        with one_core_each():
            row = {name: timed(work) for name, work in works.items()}
        alone = 1 / sum(1 / row[name]["pictures_per_second"] for name in row if name != "predict")
        parts = {name: row[name]["processor_seconds"] for name in row if name != "predict"}
        row["ratios"] = {
            "to_sum_of_parts": row["predict"]["pictures_per_second"] / alone,
            "processor_time_to_sum_of_parts": row["predict"]["processor_seconds"] / sum(parts.values()),
        }
        row["shares_of_processor_time"] = {name: seconds / sum(parts.values()) for name, seconds in parts.items()}
        print(f"{model}, round {number}:", {name: round(value, 3) for name, value in row["ratios"].items()}, flush=True)
        found.append(row)
    return {
        part: {key: round(median(row[part][key] for row in found), 3) for key in found[0][part]} for part in found[0]
    }


def main() -> None:
    """Measure each model, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        jobs = collect(Path(name), options.photos, options.pictures)
        measured = {model.name: measure(model, jobs, options.rounds, Path(name)) for model in options.models}
    result = {
        "command": "python benchmarks/bulk_predict.py MODEL --photos ../shared/data/carvana/train"
        f" --pictures {options.pictures} --rounds {options.rounds}",
        "pictures": options.pictures,
        "rounds": options.rounds,
        "threads": CORES,
        "models": measured,
        "peak_memory_mb": round(peak_megabytes()),
        "other_load_at_the_end": [round(value, 1) for value in os.getloadavg()],
        "machine": describe_machine(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
