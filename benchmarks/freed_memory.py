"""What keeping freed memory is worth: training steps with the C library as it is, and told to keep what is freed.

    python benchmarks/freed_memory.py                                           -> results/freed_memory.json

Batches without content, each way in a process of its own, the ways in turn: seconds of the faster of two steps after a
first one, pages that the system filled with zeros in it, and the peak of the process. Medians over the rounds; the
ratio is the median of the ratios within a round.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import describe_machine

from maskwright.config import read_preset
from maskwright.data.dataset import Batch
from maskwright.data.reading import Formats
from maskwright.evaluation.machine import peak_of_process
from maskwright.files import write_json
from maskwright.models.build import build_network
from maskwright.training.freezing import pretrained_layers
from maskwright.training.machine_memory import keep_freed_memory
from maskwright.training.session import architecture_for
from maskwright.training.state import build_learner
from maskwright.training.step import make_step

RESULT = Path(__file__).parent / "results" / "freed_memory.json"
# Preset, pictures of a batch, height and width.
CASES = (("quick", 4, 448, 640), ("quick", 4, 640, 960), ("quick", 4, 864, 1280), ("classic", 2, 320, 480))


def measure(preset: str, pictures: int, height: int, width: int, *, kept: bool) -> dict[str, float]:
    """Steps of one network in this process."""
    if kept:
        assert keep_freed_memory(), "another C library than glibc"
    settings = dataclasses.replace(read_preset(preset), size=width, batch_size=pictures, ema=0.0)
    if preset == "quick":  # what it leaves open, as it is chosen for cars
        settings = dataclasses.replace(settings, base_channels=16, unshuffle=4)
    network = build_network(architecture_for(settings, Formats()))
    known = pretrained_layers(network) if preset == "quick" else ()
    learner = build_learner(network, settings, precision="fp32", pretrained=known)
    learner.begin_to_learn()
    plane = torch.zeros(pictures, 1, height, width)
    batch = Batch(torch.rand(pictures, 3, height, width), plane, plane + 1)
    steps = []
    for _ in range(3):
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        make_step(learner, batch, settings)
        seconds = time.perf_counter() - started
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before.ru_minflt
        steps.append((seconds, faults))
    seconds, faults = min(steps[1:])
    return {"seconds": seconds, "pages": faults, "peak_gb": (peak_of_process() or 0) / 1e9}


def in_a_process(case: int, *, kept: bool) -> dict[str, float]:
    """The same in a new one."""
    words = [sys.executable, __file__, "--case", str(case), *(["--kept"] if kept else [])]
    found: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return found


def main() -> None:
    """Measure in turn, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", type=int, help="one measurement, in this process")
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measure(*CASES[options.case], kept=options.kept)))
        return
    machine = describe_machine()
    rows: list[dict[str, Any]] = []
    for case, (preset, pictures, height, width) in enumerate(CASES):
        rounds = [[in_a_process(case, kept=kept) for kept in (False, True)] for _ in range(options.rounds)]
        row: dict[str, Any] = {"preset": preset, "batch_size": pictures, "height": height, "width": width}
        for place, way in enumerate(("as_it_is", "kept")):
            row[way] = {name: round(median(pair[place][name] for pair in rounds), 3) for name in rounds[0][0]}
        row["ratio"] = round(median(kept["seconds"] / plain["seconds"] for plain, kept in rounds), 3)
        rows.append(row)
        print(json.dumps(row), flush=True)
    command = " ".join(["python benchmarks/freed_memory.py", *sys.argv[1:]])
    write_json(options.out, {"command": command, "rounds": options.rounds, "steps": rows, "machine": machine})


if __name__ == "__main__":
    main()
