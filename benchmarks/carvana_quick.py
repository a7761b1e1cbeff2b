"""Mean Dice per picture at 1918x1280 on unseen Carvana cars after a few minutes with the defaults.

    python benchmarks/carvana_quick.py ../shared/data/carvana --minutes 5

Three runs. The first is the command as a user gives it: a fifth of the cars is held out, and the best weights are
chosen on them. The second holds out other cars besides, on which nothing is chosen. The third is the first in fp32,
for processors without bf16. The whole command is timed from outside. `--only NAME` runs one again and keeps the others.
"""

from pathlib import Path
from typing import Any

from one_run import measure_each, train_once

RUNS = {
    "as_a_user": [],
    "nothing_chosen_on_them": ["--test-share", "0.2", "--seed", "1"],
    "in_fp32": ["--precision", "fp32"],
}
RESULT = Path(__file__).parent / "results" / "carvana_quick.json"


def measure(name: str, photos: Path, minutes: float) -> dict[str, Any]:
    """One of the runs."""
    return train_once(photos, minutes, RUNS[name])[0]


if __name__ == "__main__":
    measure_each(RUNS, measure, about=__doc__, minutes=5, out=RESULT)
