"""The memory that a training was predicted to need, and what the operating system says it took.

    python benchmarks/memory_plan.py ../shared/data/carvana                    -> results/memory_plan.json

Twelve ways to train, in fp32 on the CPU: both networks, several sizes, batches and storages. Each has a process of its
own, which predicts, lets the C library return what is freed, makes a learner with averaged weights as `train` does, and
takes two steps on noise. The peak is the kernel's high-water mark of the process (VmHWM), reset just before.

`--only allocator` measures some of them with the C library returning what is freed, and as it is by default, in
turns: the peak, and the processor's seconds of the second step. `--only full` plans the pictures of a folder at their
own size for 4 GB, and trains that way on twenty of them, for the steps of one epoch; its peak is that of the whole
command.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import describe_machine

from maskwright.config import Storage, read_preset
from maskwright.data.dataset import Batch
from maskwright.files import write_json
from maskwright.models.build import build_network
from maskwright.models.storage import store
from maskwright.training.machine_memory import (
    forget_peak,
    held_memory,
    peak_memory,
    return_freed_memory,
    trim_memory,
)
from maskwright.training.memory_plan import Step, predict_peak, trace
from maskwright.training.recovery import remember_good
from maskwright.training.state import build_learner
from maskwright.training.step import add_gradients, move_weights

RESULT = Path(__file__).parent / "results" / "memory_plan.json"
STEPS = 2
# Cases that the allocator is measured on.
ALLOCATED = (0, 6, 8)
# What is trained on at full size: four steps of an epoch, and a validation.
CARS, VIEWS = 5, 4


@dataclass(frozen=True)
class Case:
    """A preset with a width, and a step of it."""

    preset: str
    base_channels: int
    height: int
    width: int
    batch_size: int
    accumulate: int = 1
    storage: Storage = "plain"


CASES = (
    Case("classic", 64, 320, 480, 1),
    Case("classic", 64, 256, 384, 2),
    Case("classic", 64, 320, 480, 2, storage="lean"),
    Case("classic", 64, 480, 720, 1, storage="lean+checkpointed"),
    Case("classic", 64, 320, 480, 1, 2, storage="checkpointed"),
    Case("classic", 32, 640, 960, 1),
    Case("quick", 16, 256, 384, 8),
    Case("quick", 16, 640, 960, 1),
    Case("quick", 16, 640, 960, 2, storage="lean"),
    Case("quick", 16, 1280, 1920, 1, 2, storage="lean+checkpointed"),
    Case("quick", 32, 512, 768, 2),
    Case("quick", 32, 1024, 1024, 1, storage="lean"),
)


def measure(case: Case, *, returning: bool) -> dict[str, Any]:
    """Predict and take a few steps, in this process."""
    torch.manual_seed(0)
    settings = dataclasses.replace(read_preset(case.preset), base_channels=case.base_channels, ema=0.99)
    architecture = settings.architecture()
    step = Step(case.height, case.width, case.batch_size, case.accumulate, case.storage)
    started = time.process_time()
    trace(architecture, settings, step)
    planning = time.process_time() - started
    trim_memory()
    process = held_memory("cpu")
    peak = predict_peak(architecture, settings, step, process=process)
    if returning:
        return_freed_memory()
    forget_peak("cpu")
    learner = build_learner(store(build_network(architecture), case.storage), settings, precision="fp32")
    remember_good(learner)
    learner.network.train()
    seconds = []
    for _ in range(STEPS):
        started = time.process_time()
        learner.optimizer.zero_grad(set_to_none=True)
        for _ in range(case.accumulate):
            add_gradients(learner, noise(case), settings, together=case.accumulate)
        move_weights(learner, settings.clip_norm)
        seconds.append(time.process_time() - started)
    real = peak_memory("cpu")
    assert real is not None
    return {
        **dataclasses.asdict(case),
        "predicted_bytes": round(peak.total),
        "real_bytes": round(real),
        "error": round(peak.total / real - 1, 4),
        "parts": {name: round(size) for name, size in peak.parts().items()},
        "planning_processor_seconds": round(planning, 2),
        "step_processor_seconds": round(seconds[-1], 3),
    }


def noise(case: Case) -> Batch:
    """A batch of noise with targets of noise, all of which counts."""
    images, targets = (torch.rand(case.batch_size, channels, case.height, case.width) for channels in (3, 1))
    return Batch(images, targets, torch.ones_like(targets))


def in_a_process(number: int, *, returning: bool = True) -> dict[str, Any]:
    """What `measure` says of a case in a process of its own."""
    words = [sys.executable, __file__, "--case", str(number), *([] if returning else ["--keeping"])]
    found: dict[str, Any] = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    print({name: found[name] for name in ("preset", "storage", "predicted_bytes", "real_bytes", "error")}, flush=True)
    return found


def measure_cases() -> dict[str, Any]:
    """All of them, and how far the predictions were off."""
    rows = [in_a_process(number) for number in range(len(CASES))]
    errors = [abs(row["error"]) for row in rows]
    return {"cases": rows, "largest_error": max(errors), "median_error": round(median(errors), 4)}


def measure_allocator(rounds: int) -> list[dict[str, Any]]:
    """What it takes to return freed memory, and what it costs not to; in turns, medians over the rounds."""
    rows = []
    for number in ALLOCATED:
        pairs = [[in_a_process(number, returning=returning) for returning in (True, False)] for _ in range(rounds)]
        ratios = [one["step_processor_seconds"] / other["step_processor_seconds"] for one, other in pairs]
        rows.append(
            {
                **dataclasses.asdict(CASES[number]),
                "real_bytes_returning": round(median(one["real_bytes"] for one, _ in pairs)),
                "real_bytes_keeping": round(median(other["real_bytes"] for _, other in pairs)),
                "step_seconds_ratio": round(median(ratios), 3),
                "step_seconds_ratios": [round(ratio, 3) for ratio in ratios],
            }
        )
    return rows


def train_at_full_size(photos: Path) -> dict[str, Any]:
    """Plan all pictures at their own size, and train on some of them that way."""
    options = ["--preset", "quick", "--size", "1918", "--epochs", "1", "--memory", "4GB", "--device", "cpu"]
    plan = maskwright("plan", str(photos), *options, "--json")
    with tempfile.TemporaryDirectory() as scratch:
        some = Path(scratch) / "photos"
        for folder in ("train", "train_masks"):
            (some / folder).mkdir(parents=True)
            by_car: defaultdict[str, list[Path]] = defaultdict(list)
            for path in sorted((photos / folder).iterdir()):
                by_car[path.stem.split("_")[0]].append(path)
            for views in [views for views in by_car.values() if len(views) >= VIEWS][:CARS]:
                for path in views[:VIEWS]:
                    (some / folder / path.name).symlink_to(path.resolve())
        out = Path(scratch) / "run"
        maskwright("train", str(some), *options, "--out", str(out), "--small-first", "0", "--no-overfit-check")
        lines = (out / "metrics.jsonl").read_text().splitlines()
        settings = (out / "config.toml").read_text()
    # That of the largest child so far, which is this one.
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"plan": json.loads(plan), "run": json.loads(lines[-1]), "settings": settings, "real_bytes": peak}


def maskwright(*words: str) -> str:
    """Run a command of ours; returns what it prints."""
    done = subprocess.run([sys.executable, "-m", "maskwright", *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def main() -> None:
    """Measure one part or all, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--only", choices=["cases", "allocator", "full"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--keeping", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measure(CASES[options.case], returning=not options.keeping)))
        return
    result = json.loads(options.out.read_text()) if options.only and options.out.is_file() else {}
    result["machine"] = describe_machine()
    if options.only in (None, "full"):  # first: nothing larger has run yet
        result["full_size"] = train_at_full_size(options.photos)
    if options.only in (None, "cases"):
        result |= measure_cases()
    if options.only in (None, "allocator"):
        result["allocator"] = measure_allocator(options.rounds)
    write_json(options.out, result)


if __name__ == "__main__":
    main()
