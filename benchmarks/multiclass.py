"""Scores of each class on street scenes (11 classes, one value ignored) and on crops (3 classes by colour).

    python benchmarks/multiclass.py ../shared/data --minutes 3

Each is one command as a user gives it; the scores are those that it leaves. `--only NAME` runs one again and keeps the
other.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from one_run import train_once

from maskwright.files import write_json

CAMVID = "Sky,Building,Pole,Road,Pavement,Tree,SignSymbol,Fence,Car,Pedestrian,Bicyclist"
RUNS = {
    "camvid": ["--ignore", "11", "--classes", CAMVID],
    "crops": ["--classes", "soil=#000000,crop=#00ff00,weed=#ff0000", "--size", "640"],
}
RESULT = Path(__file__).parent / "results" / "multiclass.json"


def means_of(score: dict[str, Any]) -> dict[str, Any]:
    """One class's scores without their intervals."""
    means = {name: round(score[name]["mean"], 4) for name in ("dice", "iou") if score[name]["mean"] is not None}
    return {**means, "pictures": score["pictures"]}


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
        row, scores = train_once(options.data / name, options.minutes, RUNS[name])
        result[name] = {**row, "classes": {score["name"]: means_of(score) for score in scores["classes"]}}
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
