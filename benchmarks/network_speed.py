"""Seconds of a forward and backward pass: our encoders, bounds and ends of the decoder, and layouts in memory.

    taskset -c 1 python benchmarks/network_speed.py --ways fp32 apart
    taskset -c 1 python benchmarks/network_speed.py --ways bf16 fp32      where the processor computes in bf16

A batch of 4 at 256x384 on one thread, in bf16 autocast and in fp32, laid out in memory as in training; or in fp32 with
the channels apart everywhere. Time is that of the processor: on one thread it is what a quiet machine would take, and
other programs add little to it. The networks take turns, so that a machine whose speed drifts treats them alike; the
figures are medians over the rounds, the ratios medians of the ratios within a round, to the first network in the first
way, and to the same network with the channels apart. The first round finds nothing in memory and is left out.
`--encoders` may also name networks of torchvision and timm.
"""

import argparse
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import torch
from machine import describe_machine
from torch import Tensor, nn

from maskwright.config import ENCODERS, Architecture
from maskwright.files import write_json
from maskwright.models.build import build_network, count_parameters
from maskwright.training.state import lay_out

BATCH_SIZE, HEIGHT, WIDTH = 4, 256, 384
Way = Literal["bf16", "fp32", "apart"]
RESULT = Path(__file__).parent / "results" / "network_speed.json"


def build(way: Way, architecture: Architecture) -> nn.Module:
    """A network of its own for each way."""
    network = build_network(architecture).train()
    if way != "apart":
        lay_out(network, "cpu", way)
    return network


def step_seconds(network: nn.Module, images: Tensor, target: Tensor, way: Way) -> float:
    """Forward, loss and backward, once."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "bf16"):
        logits = network(images)
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
    torch.autograd.backward(loss)
    seconds = time.process_time() - started
    network.zero_grad()
    return seconds


def ratio(seconds: list[float], others: list[float]) -> float:
    """The median of the ratios within a round."""
    return round(median(own / other for own, other in zip(seconds, others, strict=True)), 3)


def main() -> None:
    """Measure in turn, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ways", nargs="+", choices=get_args(Way), default=get_args(Way))
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = describe_machine()
    images, target = torch.rand(BATCH_SIZE, 3, HEIGHT, WIDTH), torch.rand(BATCH_SIZE, 1, HEIGHT, WIDTH)
    architectures = [
        Architecture(encoder, base_channels=16, widest=widest, unshuffle=unshuffle)
        for encoder, widest, unshuffle in product(options.encoders, (None, 64), (1, 2))
    ]
    cases = list(product(options.ways, architectures))
    networks = [build(*case) for case in cases]
    rounds: list[list[float]] = []
    for number in range(options.rounds + 1):
        rounds.append([step_seconds(networks[place], images, target, way) for place, (way, _) in enumerate(cases)])
        print(f"round {number} of {options.rounds}: {sum(rounds[-1]):.1f} s", flush=True)
    rows: list[dict[str, Any]] = []
    for place, (way, architecture) in enumerate(cases):
        seconds = [found[place] for found in rounds[1:]]
        first = [found[0] for found in rounds[1:]]
        apart = [found[cases.index(("apart", architecture))] for found in rounds[1:]] if "apart" in options.ways else []
        rows.append(
            {
                "encoder": architecture.encoder,
                "widest": architecture.widest,
                "unshuffle": architecture.unshuffle,
                "way": way,
                "parameters": count_parameters(networks[place]),
                "processor_seconds": round(median(seconds), 3),
                "to_the_first": ratio(seconds, first),
                "to_apart": ratio(seconds, apart) if apart else None,
                "processor_seconds_by_round": [round(one, 3) for one in seconds],
            }
        )
        print(*list(rows[-1].values())[:-1])
    result = {
        "command": " ".join(["taskset -c 1 python benchmarks/network_speed.py", *sys.argv[1:]]),
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
