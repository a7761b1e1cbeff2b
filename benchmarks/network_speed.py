"""Seconds of a forward and backward pass, for each of our encoders, decoder widths, and ends of the decoder.

    taskset -c 1 python benchmarks/network_speed.py

A batch of 8 at 256x384 on one thread, in bf16 autocast and in fp32. Time is that of the processor: on one thread it
is what a quiet machine would take, and other programs add little to it. The networks take turns, so that a machine
whose speed drifts treats them alike; the figures are medians over the rounds, the ratios medians of the ratios within
a round to the first network in the same precision. The first round finds nothing in memory and is left out.
`--encoders` may also name networks of torchvision and timm.
"""

import argparse
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import describe_machine
from torch import Tensor, nn

from maskwright.config import ENCODERS, Architecture
from maskwright.files import write_json
from maskwright.models.build import build_network, count_parameters

BATCH_SIZE, HEIGHT, WIDTH = 8, 256, 384
RESULT = Path(__file__).parent / "results" / "network_speed.json"


def step_seconds(network: nn.Module, images: Tensor, target: Tensor, precision: str) -> float:
    """Forward, loss and backward, once."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = network(images)
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
    torch.autograd.backward(loss)
    seconds = time.process_time() - started
    network.zero_grad()
    return seconds


def main() -> None:
    """Measure in turn, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = describe_machine()
    images, target = torch.rand(BATCH_SIZE, 3, HEIGHT, WIDTH), torch.rand(BATCH_SIZE, 1, HEIGHT, WIDTH)
    architectures = [
        Architecture(encoder, base_channels=width, unshuffle=unshuffle)
        for encoder, width, unshuffle in product(options.encoders, (8, 16), (1, 2))
    ]
    networks = {architecture: build_network(architecture).train() for architecture in architectures}
    cases = list(product(("bf16", "fp32"), architectures))
    rounds: list[dict[tuple[str, Architecture], float]] = []
    for number in range(options.rounds + 1):
        rounds.append({case: step_seconds(networks[case[1]], images, target, case[0]) for case in cases})
        print(f"round {number} of {options.rounds}: {sum(rounds[-1].values()):.1f} s", flush=True)
    rows: list[dict[str, Any]] = []
    for precision, architecture in cases:
        seconds = [found[precision, architecture] for found in rounds[1:]]
        first = [found[precision, architectures[0]] for found in rounds[1:]]
        rows.append(
            {
                "encoder": architecture.encoder,
                "base_channels": architecture.base_channels,
                "unshuffle": architecture.unshuffle,
                "precision": precision,
                "parameters": count_parameters(networks[architecture]),
                "processor_seconds": round(median(seconds), 3),
                "to_the_first": round(median(own / other for own, other in zip(seconds, first, strict=True)), 3),
                "processor_seconds_by_round": [round(one, 3) for one in seconds],
            }
        )
        print(*list(rows[-1].values())[:-1])
    result = {
        "command": "taskset -c 1 python benchmarks/network_speed.py",
        "batch_size": BATCH_SIZE,
        "height": HEIGHT,
        "width": WIDTH,
        "threads": 1,
        "rounds": options.rounds,
        "networks": rows,
        "machine": machine,
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
