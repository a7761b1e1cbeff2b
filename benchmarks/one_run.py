"""One training run as a user gives it, and what it leaves behind."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from machine import describe_machine

from maskwright.files import write_json


def measure_each(
    names: Iterable[str],
    measure: Callable[[str, Path, float], dict[str, Any]],
    *,
    about: str,
    minutes: float,
    out: Path,
) -> None:
    """Measure every named run, or with ``--only`` one of them, and write a row for each.

    Args:
        names: Of the runs.
        measure: Takes a name, the folder that the user gives and the minutes, and returns the row.
        about: What ``--help`` says.
        minutes: Of each run, where the user does not say.
        out: The result file, where the user does not say.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--only", choices=list(names))
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.only else {}
    for name in [options.only] if options.only else names:
        result[name] = measure(name, options.photos, options.minutes)
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


def run_command(words: list[str], *, cache: Path | None = None, trial: str | None = None) -> float:
    """Run a command of ours.

    Args:
        words: What stands behind `maskwright`.
        cache: Where decoded pictures are kept; by default where the user's are, so that a second run finds them.
        trial: One of `trials.py`, to learn in another way.

    Returns:
        Seconds that the whole of it took, from outside.
    """
    chosen = {} if cache is None else {"MASKWRIGHT_CACHE": str(cache)}
    program = ["-m", "maskwright"] if trial is None else [str(Path(__file__).with_name("trials.py")), trial]
    started = time.monotonic()
    subprocess.run([sys.executable, *program, *words], check=True, env={**os.environ, **chosen})
    return time.monotonic() - started


def train_once(photos: Path, minutes: float, options: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the command; the seconds are those of the whole of it.

    Returns:
        A row for a table of results, and the scores as the run left them.
    """
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        words = ["train", str(photos), "--minutes", str(minutes), "--out", str(out), *options]
        seconds = run_command(words)
        scores = json.loads((out / "scores.json").read_text())
        split = json.loads((out / "split.json").read_text())
        lines = (out / "metrics.jsonl").read_text().splitlines()
    row = {
        "machine": machine,
        "command": f"maskwright train {photos.name} --minutes {minutes:g} {' '.join(options)}".strip(),
        "seconds": round(seconds, 1),
        "epochs": len(lines),
        "steps": json.loads(lines[-1])["step"],
        "pictures": {part: len(names) for part, names in split["pictures"].items()},
        "groups": {part: len(names) for part, names in split["groups"].items()},
        "dice": {name: round(value, 4) for name, value in scores["dice"].items() if value is not None},
        "iou": {name: round(value, 4) for name, value in scores["iou"].items() if value is not None},
        "scored_pictures": len(scores["pictures"]),
        "worst_dice": round(min(picture["dice"] for picture in scores["pictures"]), 4),
    }
    return row, scores
