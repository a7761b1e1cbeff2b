"""A disk that is full or read-only while `train` is at work, for real: a small file system in memory, mounted by root.

    sudo python benchmarks/faults.py                                           -> results/faults.json

Each fault comes after the first epoch, and goes after the second, or when the command has ended. What no privilege is
needed for is in `tests/commands/test_faults.py`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kill_test import OPTIONS, compare
from machine import describe_machine

from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.files import write_json
from maskwright.training.run_folder import RunFolder

RESULT = Path(__file__).parent / "results" / "faults.json"
MEGABYTES = 8
Fault = tuple[Callable[[Path], None], Callable[[Path], None]]


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("Only root may mount a file system; run this with sudo, or in a container of your own.")
    faults: dict[str, Fault] = {"full": (fill, empty), "read-only": (forbid, allow)}
    with tempfile.TemporaryDirectory() as scratch:
        photos, whole = Path(scratch) / "photos", Path(scratch) / "whole"
        list(write_drawn_cars(photos, cars=10, views=4, width=144, height=96))
        assert start(photos, whole).wait() == 0
        result: dict[str, Any] = {
            "machine": describe_machine(),
            "command": "python benchmarks/faults.py",
            "run": " ".join(["maskwright train PHOTOS", *OPTIONS]),
        }
        for name, fault in faults.items():
            with mounted(Path(scratch) / "disk") as disk:
                result[f"{name} for an epoch"] = for_a_while(photos, whole, disk, *fault)
            with mounted(Path(scratch) / "disk") as disk:
                result[f"{name} to the end"] = to_the_end(photos, whole, disk, *fault)
        with mounted(Path(scratch) / "disk") as disk:
            forbid(disk)
            process = start(photos, disk / "run")
            said = last_sentence(process)
            result["read-only from the start"] = {"exit code": process.wait(), "said": said}
            allow(disk)
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


def for_a_while(
    photos: Path, whole: Path, disk: Path, break_it: Callable[[Path], None], mend: Callable[[Path], None]
) -> dict[str, Any]:
    """The run outlasts the fault."""
    out = disk / "run"
    process = start(photos, out)
    wait_for_lines(process, out, 1)
    break_it(disk)
    said = next(line for line in process.stderr or () if "cannot be written" in line)
    mend(disk)
    last_sentence(process)
    return {"said": said.strip(), "exit code": process.wait(), "equal": compare(whole, out)}


def to_the_end(
    photos: Path, whole: Path, disk: Path, break_it: Callable[[Path], None], mend: Callable[[Path], None]
) -> dict[str, Any]:
    """The run ends with a sentence; mended, it goes on."""
    out = disk / "run"
    process = start(photos, out)
    wait_for_lines(process, out, 1)
    break_it(disk)
    said = last_sentence(process)
    code = process.wait()
    mend(disk)
    resumed = start(photos, out, "--resume")
    last_sentence(resumed)
    return {"said": said, "exit code": code, "resumed": resumed.wait(), "equal": compare(whole, out)}


def start(photos: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """The command as a user gives it."""
    words = [sys.executable, "-m", "maskwright", "train", str(photos), "--out", str(out), *OPTIONS, *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_lines(process: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until the run has written so many lines of metrics."""
    metrics = RunFolder(out).metrics
    while not (metrics.is_file() and metrics.read_text().count("\n") >= count):
        assert process.poll() is None
        time.sleep(0.001)


def last_sentence(process: subprocess.Popen[str]) -> str:
    """What a command said last, when it has ended."""
    *_, last = process.stderr or ("",)
    return last.strip()


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """A file system of its own."""
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave no room."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def empty(disk: Path) -> None:
    """Make room again."""
    (disk / "filler").unlink()


def forbid(disk: Path) -> None:
    """Let nothing be written by any path; what is open, such as the lock, stays open."""
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    while subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=False, capture_output=True).returncode:
        time.sleep(0.001)  # a file was just being written


def allow(disk: Path) -> None:
    """Let all be written again."""
    subprocess.run(["umount", str(disk)], check=True)


if __name__ == "__main__":
    main()
