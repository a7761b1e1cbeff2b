"""Mean Dice per picture at 1918x1280 on unseen Carvana cars after a few minutes with the defaults.

    python benchmarks/carvana_quick.py ../shared/data/carvana --minutes 5

Three runs. The first is the command as a user gives it: a fifth of the cars is held out, and the best weights are
chosen on them. The second holds out other cars besides, on which nothing is chosen. The third is the first in fp32,
for processors without bf16. The whole command is timed from outside. `--only NAME` runs one again and keeps the others.
"""

import argparse
import json
from pathlib import Path

from one_run import train_once

from maskwright.files import write_json

RUNS = {
    "as_a_user": [],
    "nothing_chosen_on_them": ["--test-share", "0.2", "--seed", "1"],
    "in_fp32": ["--precision", "fp32"],
}
RESULT = Path(__file__).parent / "results" / "carvana_quick.json"


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
        result[name], _ = train_once(options.photos, options.minutes, RUNS[name])
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
