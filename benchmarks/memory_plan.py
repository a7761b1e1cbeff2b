"""The memory that a training was predicted to need, and what the operating system says it took.

    python benchmarks/memory_plan.py                                           -> results/memory_plan.json

Twelve ways to train, in fp32 on the CPU: both networks, several sizes, batches and storages. Each has a process of its
own, which predicts, lets the C library return what is freed, makes a learner with averaged weights as `train` does, and
takes three steps on noise. The peak is the kernel's high-water mark of the process (VmHWM), reset just before.
`--allocator` measures what returning freed memory costs, in turns with leaving the C library as it is.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maskwright.config import Storage, read_preset
from maskwright.data.dataset import Batch
from maskwright.models.build import build_network
from maskwright.models.storage import store
from maskwright.training.machine_memory import forget_peak, held_memory, peak_memory, return_freed_memory
from maskwright.training.memory_plan import Step, predict_peak
from maskwright.training.recovery import remember_good
from maskwright.training.state import build_learner
from maskwright.training.step import add_gradients, move_weights

RESULT = Path(__file__).parent / "results" / "memory_plan.json"
STEPS = 3


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
    Case("classic", 64, 640, 960, 1, storage="lean+checkpointed"),
    Case("classic", 64, 320, 480, 2, 2, storage="checkpointed"),
    Case("classic", 32, 640, 960, 1),
    Case("quick", 16, 256, 384, 8),
    Case("quick", 16, 640, 960, 1),
    Case("quick", 16, 640, 960, 2, storage="lean"),
    Case("quick", 16, 1280, 1920, 1, 4, storage="lean+checkpointed"),
    Case("quick", 32, 512, 768, 2),
    Case("quick", 32, 1024, 1024, 1, storage="lean"),
)


def measure(case: Case, *, returning: bool = True) -> dict[str, Any]:
    """Predict and take a few steps, in this process."""
    torch.manual_seed(0)
    settings = dataclasses.replace(read_preset(case.preset), base_channels=case.base_channels, ema=0.99)
    architecture = settings.architecture()
    step = Step(case.height, case.width, case.batch_size, case.accumulate, case.storage)
    started = time.monotonic()
    process = held_memory("cpu")
    peak = predict_peak(architecture, settings, step, process=process)
    planning = time.monotonic() - started
    after_planning = held_memory("cpu")
    if returning:
        assert return_freed_memory()
    forget_peak("cpu")
    network = store(build_network(architecture), case.storage)
    learner = build_learner(network, settings, precision="fp32")
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
        "after_planning_bytes": round(after_planning),
        "planning_seconds": round(planning, 2),
        "step_processor_seconds": round(min(seconds[1:]), 3),
    }


def noise(case: Case) -> Batch:
    """A batch of noise with targets of noise, all of which counts."""
    return Batch(
        *(torch.rand(case.batch_size, channels, case.height, case.width) for channels in (3, 1)),
        torch.ones(case.batch_size, 1, case.height, case.width),
    )


def in_a_process(number: int, *, returning: bool) -> dict[str, Any]:
    """What `measure` says in a process of its own."""
    words = [sys.executable, __file__, "--case", str(number), *([] if returning else ["--keeping"])]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", type=int)
    parser.add_argument("--keeping", action="store_true")
    o = parser.parse_args()
    print(json.dumps(measure(CASES[o.case], returning=not o.keeping)))
