"""How fast the classic U-Net (31 million parameters) is trained on a CPU, by us and by a plain PyTorch loop.

    python benchmarks/classic_throughput.py ../shared/data/carvana

Same network, same batches of as many pixels, fp32, one process:

- ``ours``: `training.loop.train_epoch` as a run with the preset `classic` calls it, with its loader over a warm cache,
  its augmentation, its losses and its figures; freed memory is kept, as in a run with plenty of it.
- ``plain`` and ``plain_channels_last``: batches that lie ready in memory; forward, cross-entropy, backward, Adam. It
  prepares no data at all, so that nobody can say that its loader was slow.
- ``ours_bf16`` and ``plain_bf16``: the same in bf16, where the processor has it. No goal is measured on them.
- ``plain_kept``: the plain loop with freed memory kept.
- ``plain_fused_adam``, ``plain_without_optimizer``, ``plain_without_normalisation``: what these parts cost.

The ways take turns, a few steps each, so that a machine whose speed drifts treats them alike; medians over the rounds.
The share of the peak compares the arithmetic of the step, as torch counts it, with what a matrix product reaches on the
same threads in the same round: no loop can be faster than the whole of it. The profile names what took the time.

For ``--threads``, start this again with another ``--out``.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import describe_machine, matmul_gflops
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from maskwright.config import Settings, read_preset
from maskwright.data.cache import Cache, CacheFolder, build_cache
from maskwright.data.dataset import EpochBatches, InOrder, Samples, build_loader
from maskwright.data.finding import find_dataset
from maskwright.data.reading import Formats, read_pair
from maskwright.data.resizing import Resize
from maskwright.device import ComputePrecision, choose_precision, read_facts
from maskwright.files import write_json
from maskwright.models.build import build_network
from maskwright.training.health import Circumstances
from maskwright.training.loop import Clock, Run, build_saver, train_epoch
from maskwright.training.machine_memory import keep_freed_memory, trim_memory
from maskwright.training.schedules import Length
from maskwright.training.state import Tally, build_learner

RESULT = Path(__file__).parent / "results" / "classic_throughput.json"
TOP_OPERATIONS = 15
# What glibc's thresholds have become after a large block or two, where nobody sets them: larger blocks are asked of the
# system one by one, and so much may lie free at the top of the heap. The words are those of mallopt.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
AS_IT_IS = {M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**26}
# The ways that keep what they free.
KEPT = {"ours", "ours_bf16", "plain_kept"}

Steps = Callable[[], None]


def ours(cache: Cache, settings: Settings, precision: ComputePrecision, scratch: Path) -> Steps:
    """The training of a run: calling it passes once over the pictures of the cache."""
    learner = build_learner(build_network(settings.architecture()), settings, precision=precision)
    order = EpochBatches(range(len(cache.pairs)), settings)
    loader = build_loader(Samples(cache, settings, augment=settings.augment), order, workers=0, pin=False)
    run = Run(
        settings=settings,
        device="cpu",
        length=Length(epochs=10**6, seconds=None),
        scored_classes=(1,),
        state_path=scratch / "state.pth",
        metrics_path=scratch / "metrics.jsonl",
        health_path=scratch / "health.json",
        circumstances=Circumstances(tuple(settings.loss_terms()), settings.learning_rate, settings.warmup),
        tell=lambda _: None,
        keep_best=lambda *_: None,
        show=lambda _: None,
        stop_asked=lambda: False,
    )

    def steps() -> None:
        position = learner.position
        order.epoch, order.skip = position.epoch, 0
        clock = Clock(0.0)
        ended = train_epoch(learner, loader, len(order), run, clock, build_saver(learner, run, clock))
        assert ended == "whole"
        position.epoch, position.batch, learner.tally = position.epoch + 1, 0, Tally()

    return steps


def plain(
    batches: list[tuple[Tensor, Tensor]],
    *,
    channels_last: bool = False,
    bf16: bool = False,
    fused: bool = False,
    optimize: bool = True,
    normalise: bool = True,
) -> Steps:
    """What a script does that trains with PyTorch and nothing else: calling it passes once over the batches."""
    network = build_network(Settings(norm="batch" if normalise else "none").architecture()).train()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network.to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)
    batches = [(images.contiguous(memory_format=layout), masks) for images, masks in batches]

    def steps() -> None:
        for images, masks in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(images)
            F.binary_cross_entropy_with_logits(logits.float(), masks).backward()  # type: ignore[no-untyped-call]
            if optimize:
                optimizer.step()

    return steps


def count_flops(network: nn.Module, images: Tensor) -> float:
    """Additions and multiplications of one step, in billions."""
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    return float(counter.get_total_flops()) / 1e9


@contextlib.contextmanager
def freed_memory(*, kept: bool) -> Iterator[None]:
    """Let the C library keep what is freed meanwhile, or return it as it does by itself."""
    if kept:
        assert keep_freed_memory(), "another C library than glibc"
    yield
    for word, value in AS_IT_IS.items():
        assert ctypes.CDLL(None).mallopt(word, value) == 1
    trim_memory()


def timed(steps: Steps) -> float:
    """Seconds."""
    started = time.perf_counter()
    steps()
    return time.perf_counter() - started


def profiled(steps: Steps) -> list[dict[str, Any]]:
    """The operations that took most of the time by themselves."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        steps()
    events = sorted(found.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {"operation": event.key, "calls": event.count, "share": round(event.self_cpu_time_total / total, 4)}
        for event in events[:TOP_OPERATIONS]
    ]


def measure(ways: dict[str, Steps], pictures: int, rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """Pictures per second of each way, and the speed of a matrix product, in each round."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    peaks = []
    for number in range(rounds + 1):
        peak = matmul_gflops(torch.float32)
        for name, steps in ways.items():
            with freed_memory(kept=name in KEPT):
                steps()  # takes the memory that the way before has left
                seconds = timed(steps)
            print(f"round {number}: {name} {pictures / seconds:.3f} pictures/s", flush=True)
            if number:  # the first one finds nothing warm
                speeds[name].append(pictures / seconds)
        if number:
            peaks.append(peak)
    return speeds, peaks


def main() -> None:
    """Build a cache of a few pictures, measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--steps", type=int, default=2, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    machine = describe_machine()
    settings = dataclasses.replace(read_preset("classic"), size=options.size)
    pictures = options.steps * settings.batch_size
    with tempfile.TemporaryDirectory() as scratch:
        cache, problems = build_cache(
            find_dataset(options.photos).pairs[:pictures],
            CacheFolder(Path(scratch)),
            read=partial(read_pair, formats=Formats()),
            num_classes=2,
            settings_key="benchmark",
            resize=Resize(size=options.size),
            advance=lambda: None,
        )
        assert not problems
        in_order = InOrder(range(pictures), settings.chosen("batch_size"))
        samples = build_loader(Samples(cache, settings, augment=False), in_order, workers=0, pin=False)
        batches = [(batch.images, batch.targets) for batch in samples]
        ways = {
            "ours": ours(cache, settings, "fp32", Path(scratch)),
            "plain": plain(batches),
            "plain_kept": plain(batches),
            "plain_channels_last": plain(batches, channels_last=True),
            "plain_fused_adam": plain(batches, fused=True),
            "plain_without_optimizer": plain(batches, optimize=False),
            "plain_without_normalisation": plain(batches, normalise=False),
        }
        if choose_precision(read_facts("cpu")) == "bf16":
            ways["ours_bf16"] = ours(cache, settings, "bf16", Path(scratch))
            ways["plain_bf16"] = plain(batches, bf16=True)
            ways["plain_bf16_channels_last"] = plain(batches, bf16=True, channels_last=True)
        speeds, peaks = measure(ways, pictures, options.rounds)
        profiles = {name: profiled(ways[name]) for name in ("ours", "plain")}
        gflop = count_flops(build_network(settings.architecture()), batches[0][0]) / settings.chosen("batch_size")
    medians = {name: median(found) for name, found in speeds.items()}
    best_plain = max(("plain", "plain_channels_last"), key=medians.__getitem__)
    ratios = [own / other for own, other in zip(speeds["ours"], speeds[best_plain], strict=True)]
    result = {
        "command": "python benchmarks/classic_throughput.py ../shared/data/carvana "
        f"--size {options.size} --steps {options.steps} --rounds {options.rounds}",
        "height_and_width": list(batches[0][0].shape[-2:]),
        "batch_size": settings.batch_size,
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "gflop_per_picture": round(gflop, 1),
        "matmul_gflops_fp32": round(median(peaks), 1),
        "pictures_per_second": {name: round(speed, 3) for name, speed in medians.items()},
        "share_of_matmul_peak": {
            name: round(median(gflop * speed / peak for speed, peak in zip(speeds[name], peaks, strict=True)), 3)
            for name in ways
            if "bf16" not in name
        },
        "best_plain": best_plain,
        "ours_to_best_plain": round(median(ratios), 3),
        "by_round": {name: [round(speed, 3) for speed in found] for name, found in speeds.items()},
        "profile": profiles,
        "machine": machine,
    }
    write_json(options.out, result)
    print(json.dumps({name: result[name] for name in ("pictures_per_second", "ours_to_best_plain")}, indent=2))


if __name__ == "__main__":
    main()
