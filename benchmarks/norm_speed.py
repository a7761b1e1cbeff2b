"""What group normalisation in the decoder of `quick` costs beside batch normalisation: a step, and a prediction.

    taskset -c 1 python benchmarks/norm_speed.py

A batch of 4 at 512x768 forward and backward, and a picture of that size forward, in the precision that a run takes
here, on one thread; processor seconds, the two in turn, medians over the rounds and of the ratios within a round. The
first round finds nothing in memory and is left out.
"""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from machine import describe_machine
from network_speed import build, ratio, step_seconds
from torch import Tensor, nn

from maskwright.config import Architecture, Norm
from maskwright.files import write_json

HEIGHT, WIDTH, ROUNDS = 512, 768, 7
NORMS: tuple[Norm, ...] = ("batch", "group")
RESULT = Path(__file__).parent / "results" / "norm_speed.json"


def look_seconds(network: nn.Module, image: Tensor) -> float:
    """A picture forward, in fp32, as `predict` computes on a processor."""
    network.eval()
    started = time.process_time()
    with torch.inference_mode():
        network(image)
    seconds = time.process_time() - started
    network.train()
    return seconds


def main() -> None:
    """Measure in turn, and write the result."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = describe_machine()
    way: Literal["bf16", "fp32"] = "bf16" if machine["precision"] == "bf16" else "fp32"
    images, target = torch.rand(4, 3, HEIGHT, WIDTH), torch.rand(4, 1, HEIGHT, WIDTH)
    networks = [
        build(way, Architecture("efficientnet_lite0", base_channels=16, widest=64, unshuffle=4, norm=norm))
        for norm in NORMS
    ]
    steps: list[list[float]] = [[], []]
    looks: list[list[float]] = [[], []]
    for number in range(ROUNDS + 1):
        for place, network in enumerate(networks):
            steps[place].append(step_seconds(network, images, target, way))
            looks[place].append(look_seconds(network, images[:1]))
        print(f"round {number} of {ROUNDS}", flush=True)
    rows = {
        name: {
            "processor_seconds": dict(zip(NORMS, (round(median(found[1:]), 3) for found in seconds), strict=True)),
            "group_to_batch": ratio(seconds[1][1:], seconds[0][1:]),
        }
        for name, seconds in (("step", steps), ("prediction", looks))
    }
    print(rows)
    command = " ".join(["taskset -c 1 python benchmarks/norm_speed.py", *sys.argv[1:]])
    write_json(RESULT, {"command": command, "way": way, "rounds": ROUNDS, **rows, "machine": machine})


if __name__ == "__main__":
    main()
