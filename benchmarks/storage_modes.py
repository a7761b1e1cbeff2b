"""What the ways to store activations cost: memory and time of a training step of the classic U-Net.

    python benchmarks/storage_modes.py                            all of it
    python benchmarks/storage_modes.py counted timed              some parts; the others stay in the result as they were

`counted` is the peak of all tensors of two steps with AdamW and gradient clipping, counted by torch's `MemTracker` on
tensors without content: weights, gradients, moments and activations, not the scratch memory of the library that
convolves. An averaged network would add its weights, whatever is stored. 16 bit is autocast to bf16.

`resident` is what the operating system says: each case in a process of its own, glibc told to give large blocks back;
its peak, and that less what the process held after its imports. In 16 bit at 160x240 only: bf16 may be emulated.

`timed` is a forward and a backward pass, the four ways in turn, on one thread and by its processor time, so that other
programs disturb little; medians over the rounds, and of the ratios to plain within a round.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch
from machine import describe_machine
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from maskwright.config import Architecture, Settings, Storage
from maskwright.device import ComputePrecision
from maskwright.files import write_json
from maskwright.models.build import build_network
from maskwright.models.storage import store
from maskwright.training.losses import compute_loss
from maskwright.training.machine_memory import held_memory, peak_memory
from maskwright.training.state import Learner, build_learner, clip_gradients

RESULT = Path(__file__).parent / "results" / "storage_modes.json"
PARTS = ("counted", "resident", "timed")
STORAGES: tuple[Storage, ...] = get_args(Storage)
PRECISIONS: tuple[ComputePrecision, ...] = ("fp32", "bf16")
# Pictures, height, width.
LARGE, LARGEST, SMALL = (2, 640, 960), (1, 1280, 1920), (1, 160, 240)
TIMED = (2, 320, 480)
GIBIBYTE = 2**30
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def main() -> None:
    """Measure, and write the result after each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default="all", choices=("all", *PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--resident-case", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident_case:
        storage, precision, *sizes = options.resident_case
        print(json.dumps(resident(storage, precision, *map(int, sizes))))
        return
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    parts = PARTS if "all" in options.parts else options.parts
    result["command"] = "python benchmarks/storage_modes.py"
    if "counted" in parts:
        result["counted"] = []
        for size, precision, storage in product((LARGE, LARGEST, SMALL), PRECISIONS, STORAGES):
            _note(result, "counted", options.out, _case(storage, precision, size) | counted(storage, precision, *size))
    if "resident" in parts:
        result["resident"] = []
        cases = [*product((LARGE, LARGEST), PRECISIONS[:1], STORAGES), *product((SMALL,), PRECISIONS, STORAGES)]
        for size, precision, storage in cases:
            command = [sys.executable, __file__, "--resident-case", storage, precision, *map(str, size)]
            run = subprocess.run(command, env=os.environ | ALLOCATOR, check=True, capture_output=True, text=True)
            _note(result, "resident", options.out, _case(storage, precision, size) | json.loads(run.stdout))
    if "timed" in parts:
        result["timed"] = timed(options.rounds)
        write_json(options.out, result)


def counted(storage: Storage, precision: ComputePrecision, count: int, height: int, width: int) -> dict[str, float]:
    """The peak of the tensors in two steps, in GiB, and what averaged weights would add to it."""
    with FakeTensorMode():
        learner = _build(storage, precision)
        tensors = _batch(count, height, width)
        tracker = MemTracker()
        tracker.track_external(learner.network, *tensors)
        with tracker:
            for _ in range(2):
                _step(learner, precision, *tensors)
                tracker.reset_mod_stats()
        (snapshot,) = tracker.get_tracker_snapshot("peak").values()
        average = sum(tensor.nbytes for tensor in learner.network.state_dict().values())
    return {"gib": round(snapshot["Total"] / GIBIBYTE, 3), "average_gib": round(average / GIBIBYTE, 3)}


def resident(storage: Storage, precision: ComputePrecision, count: int, height: int, width: int) -> dict[str, float]:
    """What this process held before, and at most during, two steps, in GiB.

    The first is on tiny pictures: after it the optimizer holds all that it will hold.
    """
    before = held_memory("cpu")
    learner = _build(storage, precision)
    for sides in ((32, 32), (height, width)):
        _step(learner, precision, *_batch(count, *sides))
    peak = peak_memory("cpu")
    assert peak is not None
    return {"gib": round((peak - before) / GIBIBYTE, 3), "process_gib": round(peak / GIBIBYTE, 3)}


def timed(rounds: int) -> dict[str, Any]:
    """Processor seconds of each way, in turn."""
    torch.set_num_threads(1)
    machine = describe_machine()
    networks = {storage: _build(storage, "fp32").network for storage in STORAGES}
    tensors = _batch(*TIMED)
    seconds: list[dict[Storage, float]] = []
    for number in range(rounds + 1):
        seconds.append({storage: _pass_seconds(network, *tensors) for storage, network in networks.items()})
        print(f"round {number} of {rounds}: {seconds[-1]}", flush=True)
    measured = seconds[1:]  # the first finds nothing in memory
    rows = [
        {
            "storage": storage,
            "processor_seconds": round(median(one[storage] for one in measured), 3),
            "to_plain": round(median(one[storage] / one["plain"] for one in measured), 3),
            "processor_seconds_by_round": [round(one[storage], 3) for one in measured],
        }
        for storage in STORAGES
    ]
    names = ("batch_size", "height", "width")
    return dict(zip(names, TIMED, strict=True)) | {"precision": "fp32", "storages": rows, "machine": machine}


def _build(storage: Storage, precision: ComputePrecision) -> Learner:
    torch.manual_seed(0)
    network = store(build_network(Architecture()), storage).train()
    if precision != "fp32":  # what `build_learner` would do, but that it cannot with tensors without content
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                layout = module.weight.detach().contiguous(memory_format=torch.channels_last)
                module.weight = nn.Parameter(layout)
    return build_learner(network, Settings(ema=0.0), precision="fp32")


def _batch(count: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, targets and weights."""
    images, targets = torch.rand(count, 3, height, width), torch.rand(count, 1, height, width)
    return images, targets, torch.ones(count, 1, height, width)


def _step(learner: Learner, precision: ComputePrecision, images: Tensor, targets: Tensor, weights: Tensor) -> None:
    """As in training."""
    network = learner.network
    learner.optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"):
        logits = network(images)
    torch.autograd.backward(compute_loss(["ce"], logits, targets, weights))
    clip_gradients(network, learner.optimizer, learner.scaler, 1.0)
    learner.optimizer.step()


def _pass_seconds(network: nn.Module, images: Tensor, targets: Tensor, weights: Tensor) -> float:
    """Forward, loss and backward, once."""
    started = time.process_time()
    torch.autograd.backward(compute_loss(["ce"], network(images), targets, weights))
    seconds = time.process_time() - started
    network.zero_grad()
    return seconds


def _case(storage: Storage, precision: ComputePrecision, size: tuple[int, int, int]) -> dict[str, Any]:
    count, height, width = size
    return {"storage": storage, "precision": precision, "batch_size": count, "height": height, "width": width}


def _note(result: dict[str, Any], part: str, out: Path, row: dict[str, Any]) -> None:
    result[part].append(row)
    write_json(out, result)
    print(part, *row.values(), flush=True)


if __name__ == "__main__":
    main()
