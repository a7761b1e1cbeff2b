import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folds import HeldOut, fold_file
from numpy.typing import NDArray
from quality_per_minute import Cell, combine, missing, refuse_other_machines, score, whole_list, with_row

from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, read_pair
from maskwright.data.splits import read_split

CELL = Cell("smp-lite0", "carvana", 0, 5.0, 0, 384)


def row(cell: Cell, dice: float = 0.9) -> dict[str, Any]:
    # As it comes back from the file.
    content: dict[str, Any] = json.loads(json.dumps({"cell": asdict(cell), "dice": {"mean": dice}}))
    return content


def test_a_cell_is_missing_until_its_row_is_there() -> None:
    other = replace(CELL, size=288)
    assert missing([CELL, other], [row(CELL)]) == [other]
    assert missing([CELL, other], [row(CELL), row(other)]) == []


def test_a_row_measured_again_takes_the_place_of_the_first() -> None:
    other = replace(CELL, seed=1)
    rows = with_row([row(CELL, 0.9), row(other, 0.8)], row(CELL, 0.95))
    assert rows == [row(CELL, 0.95), row(other, 0.8)]
    assert with_row(rows, row(replace(CELL, fold=1)))[2:] == [row(replace(CELL, fold=1))]


def test_ours_are_measured_once_and_peers_at_each_size() -> None:
    cells = combine(["ours-quick", "smp-lite0"], sizes=(288, 384))
    assert [(cell.system, cell.size) for cell in cells] == [
        ("ours-quick", None),
        ("smp-lite0", 288),
        ("smp-lite0", 384),
    ]


def test_the_whole_list_names_each_cell_once_and_the_headline_first() -> None:
    cells = whole_list([])
    assert len(set(cells)) == len(cells)
    assert all((cell.set_name, cell.fold, cell.minutes, cell.seed) == ("carvana", 0, 5.0, 0) for cell in cells[:11])
    assert {(cell.set_name, cell.fold, cell.minutes) for cell in cells} == {
        *(("carvana", fold, 5.0) for fold in (0, 1, 2)),
        *(("carvana", 0, minutes) for minutes in (2.0, 20.0)),
        *((name, 0, 5.0) for name in ("people", "nuclei", "cracks")),
    }


def test_other_seeds_and_20_minutes_are_those_of_ours_and_of_the_peer_that_its_rows_show_to_be_best() -> None:
    rows = [row(CELL, 0.95), row(replace(CELL, size=288), 0.96), row(Cell("ours-classic", "carvana", 0, 5.0, 0), 0.99)]
    cells = whole_list(rows)
    repeated = [cell for cell in cells if cell.seed]
    assert {(cell.system, cell.size, cell.seed) for cell in repeated} == {
        *(("ours-quick", None, seed) for seed in (1, 2)),
        *(("smp-lite0", 288, seed) for seed in (1, 2)),
    }
    assert {(cell.system, cell.size) for cell in cells if cell.minutes == 20} == {
        *((system, None) for system in ("ours-quick", "ours-classic")),
        *(("smp-lite0", size) for size in (288, 384, 480)),
    }


def test_other_seeds_are_those_of_the_peer_that_is_best_on_all_folds_where_that_is_known() -> None:
    folds = [replace(CELL, fold=fold) for fold in range(3)]
    rows = [*(row(cell, 0.95) for cell in folds), row(replace(CELL, size=288), 0.96)]
    assert {cell.size for cell in whole_list(rows) if cell.seed and cell.system == "smp-lite0"} == {384}


def test_rows_of_machines_that_compute_in_another_way_are_not_added() -> None:
    here = {"instructions": "AVX2", "precision": "fp32", "matmul_gflops_fp32": 100.0}
    there = {"instructions": "AVX512", "precision": "bf16", "matmul_gflops_fp32": 100.0, "matmul_gflops_bf16": 400.0}
    file = Path("rows.json")
    refuse_other_machines([], here, file)
    refuse_other_machines([{"machine": here | {"date": "today"}}], here, file)
    with pytest.raises(SystemExit) as refusal:
        refuse_other_machines([{"machine": here}, {"machine": there}], here, file)
    assert refusal.value.code == (
        "rows.json holds rows in bf16 with AVX512, and this machine computes in fp32 with AVX2: name another file with "
        "--out."
    )


def test_rows_of_machines_that_are_half_or_twice_as_fast_are_not_added() -> None:
    machine = {"instructions": "AVX512", "precision": "bf16", "matmul_gflops_fp32": 200.0}
    rows = [{"machine": machine | {"matmul_gflops_bf16": speed}} for speed in (500.0, 900.0, 950.0)]
    for speed in (451.0, 1799.0):
        refuse_other_machines(rows, machine | {"matmul_gflops_bf16": speed}, Path("rows.json"))
    for speed in (450.0, 1800.0):
        with pytest.raises(SystemExit) as refusal:
            refuse_other_machines(rows, machine | {"matmul_gflops_bf16": speed}, Path("rows.json"))
        assert refusal.value.code == (
            f"rows.json holds rows of machines that reach 900 GFLOP/s in a matrix product, and this one reaches "
            f"{speed:.0f}: name another file with --out, or see what else it is doing."
        )


def test_folds_keep_groups_whole_and_hold_out_each_picture_once(tmp_path: Path) -> None:
    photos = tmp_path / "cars"
    list(write_drawn_cars(photos, cars=5, views=2, width=96, height=64))
    held_out: list[str] = []
    for fold in range(3):
        path = fold_file(photos, fold, folder=tmp_path / "folds")
        group_of = json.loads(path.read_text())["group_of"]
        split = read_split(path)
        parts = {part: {group_of[name] for name in split if split[name] == part} for part in ("train", "val")}
        assert not parts["train"] & parts["val"]
        held_out += [name for name in split if split[name] == "val"]
    assert sorted(held_out) == sorted(split)


def test_a_fold_that_is_kept_is_not_made_again(tmp_path: Path) -> None:
    kept = tmp_path / "cars_0.json"
    kept.write_text("as it was")
    assert fold_file(tmp_path / "cars", 0, folder=tmp_path) == kept
    assert kept.read_text() == "as it was"


def test_a_score_is_the_mean_over_pictures_and_names_the_worst(ellipses: tuple[Pair, ...]) -> None:
    pairs = list(ellipses[:2])
    truths = [read_pair(pair, Formats())[1] for pair in pairs]
    predictions = iter([truths[0], np.zeros_like(truths[1])])

    def predict(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return next(predictions)

    found = score(predict, HeldOut(pairs, Formats(), {pairs[0].name: "a", pairs[1].name: "b"}, learnt=0))
    assert found["pictures"] == {pairs[0].name: 1.0, pairs[1].name: 0.0}
    assert found["dice"]["mean"] == pytest.approx(0.5)
    assert found["worst_dice"] == 0.0
