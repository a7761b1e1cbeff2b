from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from quality_pages import COLOURS, draw_picture, tables


def row(system: str, size: int | None, dice: float, **other: Any) -> dict[str, Any]:
    cell = {"system": system, "size": size, "set_name": "carvana", "fold": 0, "minutes": 5.0, "seed": 0}
    low_and_high = {"low": dice - 0.01, "high": dice + 0.01}
    return {"cell": cell | other, "dice": {"mean": dice, **low_and_high}, "worst_dice": dice - 0.1}


ROWS = [
    row("ours-quick", None, 0.95),
    row("ours-quick", None, 0.96, fold=1),
    row("ours-quick", None, 0.94, fold=2),
    row("ours-quick", None, 0.93, seed=1),
    row("ours-quick", None, 0.97, minutes=20.0),
    row("smp-lite0", 288, 0.6),
    row("smp-lite0", 384, 0.8),
    row("smp-lite0", 384, 0.7, set_name="cracks"),
]


def test_tables_hold_what_was_measured_and_nothing_where_nothing_was() -> None:
    lines = tables(ROWS).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ours-quick")]
    by_minutes, by_set, by_seed = cells
    assert by_minutes[1:] == ["", "0.9500 (0.9400 to 0.9600)", "0.9700 (0.9600 to 0.9800)", "0.8500"]
    assert by_set[1:] == ["0.9500", "0.9500", "0.9600", "0.9400", "", "", ""]
    assert by_seed[1:] == ["0.9500", "0.9300", ""]
    peers = [line for line in lines if line.startswith("| smp-lite0 at 384")]
    assert len(peers) == 2  # one seed is no spread
    assert peers[1] == "| smp-lite0 at 384 |  | 0.8000 |  |  |  |  | 0.7000 |"


def test_the_picture_has_each_system_at_its_best_size(tmp_path: Path) -> None:
    def heights(rows: list[dict[str, Any]]) -> dict[str, set[int]]:
        draw_picture(rows, tmp_path / "errors.png")
        pixels = np.asarray(Image.open(tmp_path / "errors.png").convert("RGB"))
        left = pixels[: pixels.shape[0] * 9 // 10, : pixels.shape[1] * 4 // 9]  # the legend lies below
        colours = {name: tuple(bytes.fromhex(COLOURS[name][1:])) for name in ("ours-quick", "smp-lite0")}
        return {name: set(np.nonzero((left == colour).all(axis=2))[0].tolist()) for name, colour in colours.items()}

    best_alone = [each for each in ROWS if each["cell"]["size"] != 288]
    found = heights(ROWS)
    assert found == heights(best_alone)
    assert min(found["smp-lite0"]) < min(found["ours-quick"])  # the larger error lies higher
    assert heights([])["ours-quick"] == set()
