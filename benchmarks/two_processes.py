"""Two processes that train as one: do they learn the same, survive a kill, resume in another number, and is it faster?

    python benchmarks/two_processes.py                                         -> results/two_processes.json
    python benchmarks/two_processes.py --only throughput     one part; the other's results stay in the file

Everything is done by the command as a user gives it, on drawn cars. The two processes talk over gloo on one machine's
cores, which is where this can be tried without a GPU and where it can gain least: one process uses both cores already.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from safetensors.numpy import load_file

from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.files import write_json
from maskwright.training.ranks import log_path
from maskwright.training.run_folder import RunFolder, read_metrics
from maskwright.training.state import read_state

RESULT = Path(__file__).parent / "results" / "two_processes.json"
TINY = ["--preset", "classic", "--base-channels", "8", "--depth", "2", "--norm", "group", "--loss", "ce+dice"]
TINY += ["--size", "64", "--batch-size", "4", "--epochs", "6", "--save-every", "2", "--ema", "0.9", "--device", "cpu"]
TINY += ["--precision", "fp32"]
PARTS = ("learning", "throughput")
# Every step as long as its gradients, whereas Adam divides what rounding left by itself.
OPTIMIZERS = ("sgd", "adam")
# A network whose steps are long enough to be shared.
LARGER = ["--preset", "classic", "--base-channels", "16", "--norm", "group", "--size", "192", "--batch-size", "8"]
LARGER += ["--epochs", "2", "--device", "cpu", "--precision", "fp32", "--no-overfit-check"]


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        os.environ["MASKWRIGHT_CACHE"] = str(home / "cache")
        photos = home / "photos"
        list(write_drawn_cars(photos, cars=10, views=4, width=192, height=128))
        for name in [options.only] if options.only else PARTS:
            command = f"python benchmarks/two_processes.py --only {name}"
            if name == "learning":
                found = look_at_learning(photos, home)
            else:
                command += f" --repeats {options.repeats}"
                found = measure_throughput(photos, home, options.repeats)
            known[name] = {"command": command, **found, "machine": describe_machine()}
            print(json.dumps(known[name], indent=2), flush=True)
            write_json(options.out, known)


def look_at_learning(photos: Path, home: Path) -> dict[str, Any]:
    """Whether two processes learn what one learns, whatever happens to them; nothing here depends on the speed."""
    return {
        "run": " ".join(["maskwright train PHOTOS", *TINY]),
        "equality": {optimizer: compare_learning(photos, home, optimizer) for optimizer in OPTIMIZERS},
        "sharded scores": score_again(photos, home),
        "killed": kill_one(photos, home),
        "resumed": [resume(photos, home, *sizes) for sizes in ((2, 1), (1, 2))],
    }


def start(
    photos: Path, out: Path, words: Sequence[str], processes: int, *, one_thread: bool = True
) -> subprocess.Popen[bytes]:
    """The command as a user gives it; where bits are compared, with one thread in each process."""
    command = [sys.executable, "-m", "maskwright", "train", str(photos), "--out", str(out), *words]
    command += ["--processes", str(processes)] if processes > 1 else []
    threads = {"OMP_NUM_THREADS": "1"} if one_thread else {}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **threads})


def train(photos: Path, out: Path, words: Sequence[str], processes: int, *, one_thread: bool = True) -> Path:
    """A whole run."""
    code = start(photos, out, words, processes, one_thread=one_thread).wait()
    assert code == 0, f"{out} ended with {code}"
    return out


def difference(first: Path, second: Path) -> float:
    """The largest between any two weights, as a share of the largest weight of their tensor."""
    ours, theirs = (load_file(RunFolder(run).last) for run in (first, second))
    return max(float(np.abs(ours[name] - theirs[name]).max() / max(np.abs(ours[name]).max(), 1e-12)) for name in ours)


def compare_learning(photos: Path, home: Path, optimizer: str) -> dict[str, Any]:
    """The same run in one process and in two."""
    words = [*TINY, "--optimizer", optimizer]
    runs = [train(photos, home / f"{optimizer}-{count}", words, count) for count in (1, 2)]
    lines = [read_metrics(RunFolder(run).metrics) for run in runs]
    return {
        "largest difference of weights, relative": difference(*runs),
        "steps": lines[0][-1]["step"],
        "last training loss": [line[-1]["train_loss"] for line in lines],
        "last validation Dice": [line[-1]["val_dice"] for line in lines],
    }


def score_again(photos: Path, home: Path) -> dict[str, bool]:
    """The final weights of a run of two, scored by two and then by one."""
    shared, alone = home / "sgd-2", home / "scored alone"
    shutil.copytree(shared, alone)
    RunFolder(alone).scores.unlink()
    train(photos, alone, [*TINY, "--optimizer", "sgd", "--resume"], 1)
    return {"the same bytes": RunFolder(alone).scores.read_bytes() == RunFolder(shared).scores.read_bytes()}


def kill_one(photos: Path, home: Path) -> dict[str, Any]:
    """Kill the second process once it has saved; torchrun starts both again."""
    folder = RunFolder(home / "killed")
    process = start(photos, folder.path, [*TINY, "--optimizer", "sgd", "--max-restarts", "2"], 2)
    while not folder.state.is_file():
        assert process.poll() is None
        time.sleep(0.001)
    victim = members(folder)[0]
    os.kill(victim, signal.SIGKILL)
    code = process.wait()
    return {
        "exit code": code,
        "starts": len(members(folder)),
        "largest difference of weights from an undisturbed run, relative": difference(home / "sgd-2", folder.path),
    }


def members(folder: RunFolder) -> list[int]:
    """The process numbers that the second process had, one for each start."""
    return [int(number) for number in re.findall(r"process (\d+)", log_path(folder.path, 1).read_text())]


def resume(photos: Path, home: Path, before: int, after: int) -> dict[str, Any]:
    """Stop a run of so many processes, and go on in another number."""
    folder = RunFolder(home / f"{before} to {after}")
    words = [*TINY, "--optimizer", "sgd"]
    process = start(photos, folder.path, words, before)
    while not folder.state.is_file():
        assert process.poll() is None
        time.sleep(0.001)
    process.terminate()
    code = process.wait()
    step = read_state(folder.state)["position"]["step"]
    train(photos, folder.path, [*words, "--resume"], after)
    return {
        "processes": [before, after],
        "exit code when stopped": code,
        "stopped at step": step,
        "largest difference of weights from an undisturbed run, relative": difference(home / "sgd-1", folder.path),
    }


def measure_throughput(photos: Path, home: Path, repeats: int) -> dict[str, Any]:
    """Pictures a second in the second epoch: one process on all cores, and two that share them; by turns."""
    cores = os.cpu_count() or 1
    found: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(repeats):
        for count, rates in found.items():
            out = train(photos, home / f"rate-{repeat}-{count}", LARGER, count, one_thread=False)
            rates.append(read_metrics(RunFolder(out).metrics)[-1]["images_per_second"])
    medians = {count: statistics.median(rates) for count, rates in found.items()}
    return {
        "run": " ".join(["maskwright train PHOTOS", *LARGER]),
        "cores": cores,
        "images a second": {str(count): rates for count, rates in found.items()},
        "median of two processes over that of one": round(medians[2] / medians[1], 3),
    }


if __name__ == "__main__":
    main()
