"""Which system reaches which Dice in the same minutes, on the same cores and the same pictures.

    python benchmarks/quality_per_minute.py ../shared/data            fills results/quality_per_minute.json (fp32),
                                                                      or quality_per_minute_bf16.json
    python benchmarks/quality_per_minute.py ../shared/data --list     what there is to do
    python benchmarks/quality_per_minute.py --plot                    picture, tables, and whether the goals are met

A cell is a system, a set of pictures, a fold, minutes and a seed, and for systems that are not ours the size of the
pictures. Its row is written as soon as it is measured, and cells that have a row are left out: the table fills over
several runs. With options for the parts of a cell, all combinations of them are measured instead of the whole list;
``--redo`` measures again what has a row. Rows of machines that compute in other ways, or half or twice as fast, do not
go into one file.

Folds: three, by group (by car, never by picture), see `folds.py`. No system learns from the fold that is held out, and
no weights are chosen on it: final ones are scored. Of ours, which validates on it during the run, the row also holds
the score of model.safetensors, whose weights were chosen on the fold; no goal looks at it. How large pictures have to
be for their masks, ours asks of up to sixteen masks of any part. The defaults themselves were developed on the first
folds.

All masks are scored by one function, at the pictures' own size. Minutes of ours are those of the whole command, with a
cold cache; those of the others begin later, see `peers.py`. Others than ours need requirements.txt of this folder.
"""

import argparse
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from folds import FOLDS, HeldOut, fold_file, held_out
from goals import ALL_FOLDS, best_peer, judge
from machine import describe_machine
from numpy.typing import NDArray
from one_run import run_command
from peers import PEERS, mask_maker

from maskwright import terminal
from maskwright.data.reading import read_pair
from maskwright.device import choose_precision, read_facts
from maskwright.evaluation.metrics import bootstrap_interval, confusion_counts, dice_per_class
from maskwright.files import write_json
from maskwright.inference.predictor import load

RESULTS = Path(__file__).parent / "results"
OURS = {"ours-quick": "quick", "ours-classic": "classic"}
SYSTEMS = (*OURS, *PEERS)
SETS = ("carvana", "people", "nuclei", "cracks")
# Longer sides: 192x288, 256x384 and 320x480 of Carvana's pictures.
SIZES = (288, 384, 480)


@dataclass(frozen=True)
class Cell:
    """One measurement. ``size`` is the longer side in pixels; None for ours, which chooses by itself."""

    system: str
    set_name: str
    fold: int
    minutes: float
    seed: int
    size: int | None = None


# --- Which cells


def combine(
    systems: Iterable[str] = SYSTEMS,
    sets: Iterable[str] = ("carvana",),
    folds: Iterable[int] = (0,),
    minutes: Iterable[float] = (5.0,),
    seeds: Iterable[int] = (0,),
    sizes: Iterable[int] = SIZES,
) -> list[Cell]:
    """Every combination; ours have no size to combine with."""
    wholes = itertools.product(sets, folds, minutes, seeds, systems)
    sizes = list(sizes)
    return [
        Cell(system, set_name, fold, length, seed, size)
        for set_name, fold, length, seed, system in wholes
        for size in (sizes if system in PEERS else [None])
    ]


def whole_list(rows: Sequence[dict[str, Any]]) -> list[Cell]:
    """All that is to be measured, what tells most first; then the best peer with more seeds and minutes."""
    repeated, long = combine(["ours-quick"], seeds=(1, 2)), combine(OURS, minutes=(20.0,))
    on_all, on_first = (best_peer(rows, set_name="carvana", folds=folds, minutes=5.0) for folds in (ALL_FOLDS, (0,)))
    best = on_all or on_first
    if best is not None:
        repeated += combine([best[0]], seeds=(1, 2), sizes=[best[1]])
        long += combine([best[0]], minutes=(20.0,))
    return [
        *combine(),
        *combine(folds=(1, 2)),
        *repeated,
        *combine(sets=SETS[1:]),
        *combine(minutes=(2.0,)),
        *long,
    ]


def missing(cells: Iterable[Cell], rows: Sequence[dict[str, Any]]) -> list[Cell]:
    """The cells that have no row."""
    measured = {Cell(**row["cell"]) for row in rows}
    return [cell for cell in cells if cell not in measured]


def with_row(rows: Sequence[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows with one more, or with one replaced."""
    places = [place for place, other in enumerate(rows) if other["cell"] == row["cell"]]
    if not places:
        return [*rows, row]
    return [row if place == places[0] else other for place, other in enumerate(rows)]


# --- One cell


def score(predict: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], pictures: HeldOut) -> dict[str, Any]:
    """Dice of the foreground per picture at its own size, and the mean with its interval over groups."""
    dice = {}
    with terminal.counting("Scoring", len(pictures.pairs)) as advance:
        for pair in pictures.pairs:
            image, truth = read_pair(pair, pictures.formats)
            dice[pair.name] = float(dice_per_class(confusion_counts(truth, predict(image), num_classes=2))[1])
            advance()
    mean = bootstrap_interval(list(dice.values()), [pictures.groups[name] for name in dice])
    return {
        "dice": {"mean": round(mean.mean, 5), "low": round(mean.low, 5), "high": round(mean.high, 5)},
        "worst_dice": round(float(np.nanmin(list(dice.values()))), 5),
        "pictures": {name: None if np.isnan(value) else round(value, 5) for name, value in dice.items()},
    }


def measure_ours(cell: Cell, photos: Path, split: Path, scratch: Path, pictures: HeldOut) -> dict[str, Any]:
    """The command as a user gives it, on a fold, and the scores of its last weights."""
    out = scratch / "run"
    words = ["train", str(photos), "--preset", OURS[cell.system], "--minutes", f"{cell.minutes:g}"]
    words += ["--seed", str(cell.seed), "--split", str(split), "--out", str(out)]
    seconds = run_command(words, cache=scratch / "cache")
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    predictor = load(out / "last.safetensors")
    chosen = score(load(out / "model.safetensors"), pictures)
    return {
        "command": f"maskwright train {photos.name} --preset {OURS[cell.system]} --minutes {cell.minutes:g} "
        f"--seed {cell.seed} --split results/folds/{split.name}",
        "seconds": round(seconds, 1),
        "steps": last["step"],
        "epochs": last["epoch"],
        "longer_side": predictor.card.size,
        "dice_of_weights_chosen_on_the_fold": chosen["dice"]["mean"],
        **score(predictor, pictures),
    }


def measure_peer(cell: Cell, photos: Path, split: Path, scratch: Path, pictures: HeldOut) -> dict[str, Any]:
    """A peer in a process of its own, and the scores of its last weights."""
    words = ["--size", str(cell.size), "--minutes", f"{cell.minutes:g}", "--seed", str(cell.seed)]
    command = [sys.executable, str(Path(__file__).with_name("peers.py")), cell.system, str(photos)]
    subprocess.run([*command, "--split", str(split), *words, "--out", str(scratch)], check=True)
    run = json.loads((scratch / "run.json").read_text())
    predict = mask_maker(cell.system, scratch / "weights.pth", tuple(run["height_and_width"]))
    return {
        "command": f"peers.py {cell.system} {photos.name} --split results/folds/{split.name} {' '.join(words)}",
        **run,
        **score(predict, pictures),
    }


def measure(cell: Cell, data: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """One row."""
    photos = data / cell.set_name
    split = fold_file(photos, cell.fold)
    pictures = held_out(photos, split)
    way = measure_peer if cell.system in PEERS else measure_ours
    with tempfile.TemporaryDirectory() as scratch:
        row = way(cell, photos, split, Path(scratch), pictures)
    return {
        "cell": asdict(cell),
        "machine": machine,
        "versions": {name: version(name) for name in ("maskwright", "torch", "timm", "segmentation-models-pytorch")},
        "learnt_from": pictures.learnt,
        "scored_on": len(pictures.pairs),
        **row,
    }


def version(package: str) -> str | None:
    """Of an installed package; None of one that is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# --- The command


def usual_result() -> Path:
    """Where rows of this machine lie: what it reaches in a minute depends on what it computes in."""
    precision = choose_precision(read_facts("cpu"))
    return RESULTS / f"quality_per_minute{'' if precision == 'fp32' else f'_{precision}'}.json"


def refuse_other_machines(rows: Sequence[dict[str, Any]], machine: dict[str, Any], path: Path) -> None:
    """Say which file to name where rows would come beside those of a machine that computes in another way."""
    if not rows:
        return
    here, *others = [
        f"{each['precision']} with {each['instructions']}" for each in (machine, *(row["machine"] for row in rows))
    ]
    if other := next((way for way in others if way != here), None):
        sys.exit(f"{path} holds rows in {other}, and this machine computes in {here}: name another file with --out.")
    name = f"matmul_gflops_{machine['precision']}"
    usual, speed = median(row["machine"][name] for row in rows), machine[name]
    if not usual / 2 < speed < 2 * usual:
        sys.exit(
            f"{path} holds rows of machines that reach {usual:.0f} GFLOP/s in a matrix product, and this one reaches "
            f"{speed:.0f}: name another file with --out, or see what else it is doing."
        )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows so far."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return rows


def fill(options: argparse.Namespace) -> None:
    """Measure what is asked for, one cell after another."""
    given = {name: value for name in PARTS if (value := getattr(options, name)) is not None}
    done: list[Cell] = []
    while True:
        rows = read_rows(options.out)
        cells = combine(**given) if given else whole_list(rows)
        left = [cell for cell in cells if cell not in done] if options.redo else missing(cells, rows)
        if not left:
            break
        refuse_without_smp(left)
        machine = describe_machine()
        refuse_other_machines(rows, machine, options.out)
        cell = left[0]
        print(f"{len(left)} cells, {sum(each.minutes for each in left):g} minutes to go; {words_of(cell)}", flush=True)
        row = measure(cell, options.data, machine)
        done.append(cell)
        # Read again: another cell may have been measured by hand in the meantime.
        write_json(options.out, {"rows": with_row(read_rows(options.out), row)})
        print(
            f"{words_of(cell)}: Dice {row['dice']['mean']:.4f}, {row['steps']} steps in {row['seconds']} s", flush=True
        )


def refuse_without_smp(cells: Iterable[Cell]) -> None:
    """Say what to install before anything is measured."""
    needed = sorted({cell.system for cell in cells if cell.system in PEERS and PEERS[cell.system].needs_smp})
    if needed and importlib.util.find_spec("segmentation_models_pytorch") is None:
        sys.exit(
            f"{' and '.join(needed)} need segmentation_models_pytorch: install benchmarks/requirements.txt into an "
            "environment of its own and run this from there, or name other --systems."
        )


def words_of(cell: Cell) -> str:
    """A cell in one line."""
    size = f" at {cell.size}" if cell.size else ""
    return f"{cell.system}{size}, {cell.set_name} fold {cell.fold}, {cell.minutes:g} minutes, seed {cell.seed}"


def show_list(options: argparse.Namespace) -> None:
    """Print which cells have a row."""
    rows = read_rows(options.out)
    for cell in whole_list(rows):
        print(f"{'     ' if missing([cell], rows) else 'done '}{words_of(cell)}")


def draw(options: argparse.Namespace) -> None:
    """The picture, the tables, and whether the goals are met; all from the rows."""
    from quality_pages import draw_picture, tables

    rows = read_rows(options.out)
    draw_picture(rows, options.out.with_suffix(".png"))
    print(tables(rows))
    for goal in judge(rows):
        print(f"- {goal}")
    cells = whole_list(rows)
    print(f"- {len(missing(cells, rows))} of {len(cells)} cells have no row yet (--list)")


PARTS = ("systems", "sets", "folds", "minutes", "seeds", "sizes")


def main() -> None:
    """Read the words, and do one of the three things."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help=f"folder that holds {', '.join(SETS)}")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS)
    parser.add_argument("--sets", nargs="+", choices=SETS)
    parser.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS))
    parser.add_argument("--minutes", nargs="+", type=float)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--sizes", nargs="+", type=int, help="longer sides, of other systems than ours")
    parser.add_argument("--redo", action="store_true", help="measure again what has a row")
    parser.add_argument("--out", type=Path, default=usual_result(), help="of this machine's kind by default")
    parser.add_argument("--list", action="store_true", help="only show what there is to do")
    parser.add_argument("--plot", action="store_true", help="draw the rows and judge the goals")
    options = parser.parse_args()
    if options.plot:
        draw(options)
    elif options.list:
        show_list(options)
    elif options.data is None:
        parser.error("name the folder of pictures")
    elif options.redo and not any(getattr(options, name) for name in PARTS):
        parser.error("--redo of the whole list is too much; name cells with --systems and the like")
    else:
        fill(options)


if __name__ == "__main__":
    main()
