"""What one setting does, all else equal: a run over a fixed number of pictures, so that a busy machine changes nothing.

    python benchmarks/levers.py ../shared/data --name "512 pixels" --epochs 49 -- --size 512 --batch-size 4

`--minutes` instead of `--epochs` gives every row the same time, to judge what makes steps faster on a quiet machine.
What follows `--` are options of `maskwright train`; `--trial` names a way to learn that is none, see `trials.py`.
`--learn-from 8` learns from eight pictures, as different as the groups allow. The last weights are scored on a fold
that training never saw, at the pictures' own size; the error (1 - Dice) is taken apart into what lies within ten pixels
of a true outline and what lies further off, and the scores with mirrored pictures averaged in are added. A row of the
same name is replaced.
"""

import argparse
import json
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from folds import fold_file, held_out
from machine import describe_machine
from numpy.typing import NDArray
from one_run import run_command
from outlines import dice_and_error, near_outlines
from trials import TRIALS

from maskwright.config import read_settings
from maskwright.data.reading import read_pair
from maskwright.files import write_json
from maskwright.inference.predictor import Predictor, load

RESULT = Path(__file__).parent / "results" / "levers.json"


def errors_of(predictor: Predictor, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> dict[str, float]:
    """One picture: Dice, the two parts of its error, and Dice with its mirror image averaged in."""
    counted, truth = mask <= 1, mask == 1
    logits = predictor.logits(image)[0]
    mirrored = predictor.logits(np.ascontiguousarray(image[:, ::-1]))[0][:, ::-1]
    found, both = (logits >= 0) & counted, (logits + mirrored >= 0) & counted
    with_mirrored = float(2 * (both & truth).sum() / (both.sum() + truth.sum()))
    return dice_and_error(found, truth, near_outlines(truth)) | {"dice_with_mirrored": with_mirrored}


def fewer(split: Path, pictures: int, out: Path) -> Path:
    """A split that learns from so many pictures of another one: of each group in turn, the first that is left."""
    content = json.loads(split.read_text())
    groups: dict[str, list[str]] = {}
    for name in content["pictures"]["train"]:
        groups.setdefault(content["group_of"][name], []).append(name)
    in_turn = [name for names in zip_longest(*groups.values()) for name in names if name is not None]
    content["pictures"] |= {"train": in_turn[:pictures], "test": in_turn[pictures:]}
    write_json(out, content)
    return out


def main() -> None:
    """Train, score, write the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--set", default="carvana")
    parser.add_argument("--fold", type=int, default=0)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int)
    length.add_argument("--minutes", type=float)
    parser.add_argument("--trial", choices=TRIALS)
    parser.add_argument("--learn-from", type=int, help="pictures; by default all that the fold leaves")
    parser.add_argument("--out", type=Path, default=RESULT)
    # argparse gives all that is no option to the first positional, so what follows `--` is cut off beforehand.
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    asked, given = parser.parse_args(words[:end]), words[end + 1 :]
    photos = asked.data / asked.set
    split = fold_file(photos, asked.fold)
    ends = ["--epochs", str(asked.epochs)] if asked.minutes is None else ["--minutes", f"{asked.minutes:g}"]
    preset = [] if "--preset" in given else ["--preset", "quick"]
    row: dict[str, Any] = {"name": asked.name, "machine": describe_machine()}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        used = split if asked.learn_from is None else fewer(split, asked.learn_from, Path(scratch) / split.name)
        words = [
            "train",
            str(photos),
            *preset,
            "--split",
            str(used),
            *ends,
            "--out",
            str(out),
        ]
        row["seconds"] = round(run_command([*words, *given], cache=Path(scratch) / "cache", trial=asked.trial), 1)
        row["optimizer"] = read_settings(out / "config.toml").optimizer  # which a trial may have replaced
        row["precision"] = json.loads((out / "health.json").read_text())["precision"]
        row["steps"] = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        predictor = load(out / "last.safetensors")
        row["longer_side"] = predictor.card.size
    pictures = held_out(photos, split)
    errors = [errors_of(predictor, *read_pair(pair, pictures.formats)) for pair in pictures.pairs]
    means = {name: round(float(np.mean([error[name] for error in errors])), 5) for name in errors[0]}
    program = "maskwright" if asked.trial is None else f"python benchmarks/trials.py {asked.trial}"
    row["command"] = " ".join(
        [program, "train", asked.set, *preset, "--split", split.name, *ends, *given],
    )
    row |= {"set": asked.set, "fold": asked.fold, "learn_from": asked.learn_from, "pictures": len(errors), **means}
    rows = json.loads(asked.out.read_text()) if asked.out.is_file() else []
    write_json(asked.out, [*(other for other in rows if other["name"] != asked.name), row])
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
