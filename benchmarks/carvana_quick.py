"""Mean Dice per picture at 1918x1280 on unseen Carvana cars after a few minutes with the defaults.

    python benchmarks/carvana_quick.py ../shared/data/carvana --minutes 5

Three runs. The first is the command as a user gives it: a fifth of the cars is held out, and the best weights are
chosen on them. The second holds out other cars besides, on which nothing is chosen. The third is the first in fp32,
for processors without bf16. The whole command is timed from outside. `--only NAME` runs one again and keeps the others.
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

RUNS = {
    "as_a_user": [],
    "nothing_chosen_on_them": ["--test-share", "0.2", "--seed", "1"],
    "in_fp32": ["--precision", "fp32"],
}
RESULT = Path(__file__).parent / "results" / "carvana_quick.json"


def run_once(photos: Path, minutes: float, options: list[str]) -> dict[str, Any]:
    """Train as a user would; the scores are those that the command leaves."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        words = ["train", str(photos), "--minutes", str(minutes), "--out", str(out), *options]
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "maskwright", *words], check=True)
        seconds = time.monotonic() - started
        scores = json.loads((out / "scores.json").read_text())
        split = json.loads((out / "split.json").read_text())
        lines = (out / "metrics.jsonl").read_text().splitlines()
    return {
        "command": f"maskwright train carvana --minutes {minutes:g} {' '.join(options)}".strip(),
        "seconds": round(seconds, 1),
        "epochs": len(lines),
        "steps": json.loads(lines[-1])["step"],
        "pictures": {part: len(names) for part, names in split["pictures"].items()},
        "cars": {part: len(names) for part, names in split["groups"].items()},
        "dice": {name: round(value, 4) for name, value in scores["dice"].items()},
        "iou": {name: round(value, 4) for name, value in scores["iou"].items()},
        "scored_pictures": len(scores["pictures"]),
        "worst_dice": round(min(picture["dice"] for picture in scores["pictures"]), 4),
    }


def main() -> None:
    """Run them and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--only", choices=RUNS)
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.only else {}
    for name in [options.only] if options.only else RUNS:
        machine = describe_machine()
        result[name] = {"machine": machine, **run_once(options.photos, options.minutes, RUNS[name])}
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
