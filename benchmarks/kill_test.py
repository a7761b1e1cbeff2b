"""One short run, killed thirty times at random moments, beside the same run undisturbed: are the results the same bits?

    python benchmarks/kill_test.py                                             -> results/kill_test.json

A third of the kills come at a random time after the command was started (while it imports, reads, resumes), a third at
a random time after a state was saved, and a third while a state is half written. What dies is the command as a user
gives it. The pictures are drawn, so nothing has to be downloaded.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from safetensors.numpy import load_file

from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.files import unfinished_in, write_json
from maskwright.training.run_folder import RunFolder
from maskwright.training.state import read_state

RESULT = Path(__file__).parent / "results" / "kill_test.json"
NETWORK = ["--preset", "classic", "--base-channels", "8", "--depth", "2", "--ema", "0.9"]
OPTIONS = [*NETWORK, "--size", "64", "--batch-size", "2", "--epochs", "12", "--save-every", "3"]
# Within how many seconds after a state was begun a kill comes.
SAVING = 0.02


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - nothing is secret here
    with tempfile.TemporaryDirectory() as scratch:
        photos, whole, killed = (Path(scratch) / name for name in ("photos", "whole", "killed"))
        list(write_drawn_cars(photos, cars=10, views=4, width=144, height=96))
        starting, running = measure(photos, RunFolder(whole))
        within = {"its start": 1.2 * starting, "a save": running / 20, "the beginning of a save": SAVING}
        moments = ((kind, chance.uniform(0, within[kind])) for kind in itertools.cycle(within))
        kills = [kill(photos, RunFolder(killed), *moment) for moment in itertools.islice(moments, options.kills)]
        assert all(row["killed"] for row in kills), "the run ended before all kills: seconds differed too much"
        assert start(photos, killed).wait() == 0
        result = {
            "machine": describe_machine(),
            "command": f"python benchmarks/kill_test.py --kills {options.kills} --seed {options.seed}",
            "run": " ".join(["maskwright train PHOTOS", *OPTIONS, "--resume"]),
            "killed": sum(row["killed"] for row in kills),
            "killed with a file half written": sum(row["half written"] for row in kills),
            "equal": compare(whole, killed),
            "kills": kills,
        }
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


def start(photos: Path, out: Path) -> subprocess.Popen[bytes]:
    """The command as a user gives it."""
    words = [sys.executable, "-m", "maskwright", "train", str(photos), "--out", str(out), *OPTIONS, "--resume"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def measure(photos: Path, folder: RunFolder) -> tuple[float, float]:
    """Run the command undisturbed; returns the seconds until it first saved, and those after that."""
    began = time.monotonic()
    process = start(photos, folder.path)
    while process.poll() is None and written_at(folder.state) is None:
        time.sleep(0.0005)
    saved = time.monotonic()
    assert process.wait() == 0
    return saved - began, time.monotonic() - saved


def kill(photos: Path, folder: RunFolder, kind: str, delay: float) -> dict[str, Any]:
    """Start the command, or go on with it, and kill it; returns when that was and what it left."""
    process = start(photos, folder.path)
    before = written_at(folder.state)
    happened: dict[str, Callable[[], bool]] = {
        "its start": lambda: True,
        "a save": lambda: written_at(folder.state) != before,
        "the beginning of a save": lambda: any(path.suffix == ".pth" for path in half_written(folder)),
    }
    while process.poll() is None and not happened[kind]():
        time.sleep(0.0005)
    time.sleep(delay)
    process.kill()
    return {
        "seconds": round(delay, 4),
        "after": kind,
        "killed": process.wait() < 0,
        "half written": bool(half_written(folder)),
        "steps saved": read_state(folder.state)["position"]["step"] if folder.state.is_file() else 0,
        "lines": len(folder.metrics.read_text().splitlines()) if folder.metrics.is_file() else 0,
    }


def written_at(path: Path) -> int | None:
    """When a file was put there; None where there is none, if only for a moment."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def half_written(folder: RunFolder) -> list[Path]:
    """Temporary files of a run."""
    return unfinished_in(folder.path) if folder.path.is_dir() else []


def compare(whole: Path, killed: Path) -> dict[str, bool]:
    """What is the same in two runs: weights to the bit, the rest but for what a clock decides."""
    equal = {}
    for name in ("model.safetensors", "last.safetensors"):
        one, other = load_file(whole / name), load_file(killed / name)
        equal[name] = one.keys() == other.keys() and all(np.array_equal(one[entry], other[entry]) for entry in one)
    equal["metrics.jsonl"] = timeless_lines(whole) == timeless_lines(killed)
    for name in ("scores.json", "split.json", "config.toml"):
        equal[name] = (whole / name).read_bytes() == (killed / name).read_bytes()
    return equal


def timeless_lines(out: Path) -> list[dict[str, float]]:
    """The lines of a run without their seconds."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in ("seconds", "images_per_second")} for line in lines]


if __name__ == "__main__":
    main()
