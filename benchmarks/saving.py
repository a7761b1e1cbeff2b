"""What a save and a resume cost: megabytes and seconds for the networks of the presets, on the disk of this folder.

    python benchmarks/saving.py                                                -> results/saving.json

Beside the state, as many bytes are written and flushed in one piece, which is what the disk takes of it. CPU seconds
are those of this process; the rest is waiting.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import describe_machine

from maskwright.config import read_preset
from maskwright.files import write_json
from maskwright.models.build import build_network, count_parameters
from maskwright.training.recovery import remember_good
from maskwright.training.state import Learner, build_learner, read_state, restore, save_state

RESULT = Path(__file__).parent / "results" / "saving.json"
REPEATS = 5
# Of `quick`, the wider network, which is chosen where there is time to spare.
WIDTHS = {"quick": 32, "classic": 64}


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": describe_machine(), "command": "python benchmarks/saving.py"}
    for preset in WIDTHS:
        result[preset] = measure(preset)
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


def measure(preset: str) -> dict[str, Any]:
    """Save and resume a learner as it is in a run of the preset."""
    learner = a_learner(preset)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "state.pth"
        saving = seconds(lambda: save_state(path, learner))
        content = path.read_bytes()
        return {
            "parameters": count_parameters(learner.network),
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "save": saving,
            "the same bytes in one piece": seconds(lambda: write_flushed(Path(folder) / "plain", content)),
            "read and restore": seconds(lambda: restore(learner, read_state(path), path)),
        }


def a_learner(preset: str) -> Learner:
    """A learner after its first step."""
    settings = dataclasses.replace(read_preset(preset), base_channels=WIDTHS[preset])
    learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
    for parameter in learner.network.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    learner.optimizer.step()
    remember_good(learner)
    return learner


def seconds(work: Callable[[], object]) -> dict[str, float]:
    """Medians of wall-clock and CPU seconds."""
    measured = []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        measured.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: round(median(each), 3) for name, each in zip(("wall", "cpu"), zip(*measured, strict=True), strict=True)
    }


def write_flushed(path: Path, content: bytes) -> None:
    """Write and flush to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
