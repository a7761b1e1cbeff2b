"""Scores of each class on street scenes (11 classes, one value ignored) and on crops (3 classes by colour).

    python benchmarks/multiclass.py ../shared/data --minutes 3

Each is one command as a user gives it; the scores are those that it leaves. `--only NAME` runs one again and keeps the
other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe_machine

from maskwright.files import write_json

CAMVID = "Sky,Building,Pole,Road,Pavement,Tree,SignSymbol,Fence,Car,Pedestrian,Bicyclist"
RUNS = {
    "camvid": ["--ignore", "11", "--classes", CAMVID],
    "crops": ["--classes", "soil=#000000,crop=#00ff00,weed=#ff0000", "--size", "640"],
}
RESULT = Path(__file__).parent / "results" / "multiclass.json"


def run_once(photos: Path, minutes: float, options: list[str]) -> dict[str, Any]:
    """Train as a user would."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        words = ["train", str(photos), "--minutes", str(minutes), "--out", str(out), *options]
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "maskwright", *words], check=True)
        seconds = time.monotonic() - started
        scores = json.loads((out / "scores.json").read_text())
        split = json.loads((out / "split.json").read_text())
    return {
        "command": f"maskwright train {photos.name} --minutes {minutes:g} {' '.join(options)}",
        "seconds": round(seconds, 1),
        "pictures": {part: len(names) for part, names in split["pictures"].items()},
        "scored_pictures": len(scores["pictures"]),
        "dice": {name: round(value, 4) for name, value in scores["dice"].items()},
        "iou": {name: round(value, 4) for name, value in scores["iou"].items()},
        "classes": {
            score["name"]: {
                "dice": round(score["dice"]["mean"], 4),
                "iou": round(score["iou"]["mean"], 4),
                "pictures": score["pictures"],
            }
            for score in scores["classes"]
        },
    }


def main() -> None:
    """Run them and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--only", choices=RUNS)
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.only else {}
    for name in [options.only] if options.only else RUNS:
        machine = describe_machine()
        result[name] = {"machine": machine, **run_once(options.data / name, options.minutes, RUNS[name])}
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
