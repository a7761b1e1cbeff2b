"""Scores of each class on street scenes (11 classes, one value ignored) and on crops (3 classes by colour).

    python benchmarks/multiclass.py ../shared/data --minutes 3

Each is one command as a user gives it; the scores are those that it leaves. `--only NAME` runs one again and keeps the
other.
"""

from pathlib import Path
from typing import Any

from one_run import measure_each, train_once

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


def measure(name: str, data: Path, minutes: float) -> dict[str, Any]:
    """The run on one data set, with its classes."""
    row, scores = train_once(data / name, minutes, RUNS[name])
    return {**row, "classes": {score["name"]: means_of(score) for score in scores["classes"]}}


if __name__ == "__main__":
    measure_each(RUNS, measure, about=__doc__, minutes=3, out=RESULT)
