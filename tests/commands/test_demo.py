"""The demo, small: everything it promises is there."""

import json
from functools import partial
from pathlib import Path

import pytest

from maskwright.commands import demo as module
from maskwright.commands.demo import demo
from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_demo_leaves_pictures_a_model_scores_and_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_drawn_cars", partial(write_drawn_cars, width=96, height=64))
    folder = demo(out=tmp_path / "demo", minutes=0.1, cars=2)
    assert folder is not None
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["unseen_cars"] == 2
    assert summary["unseen_pictures"] == 32
    assert 0 < summary["dice"] < 1
    assert (folder / "run" / "curves.png").is_file()
    assert list((folder / "predictions").glob("*_panel.png"))
    names = [
        {path.name.partition("_")[0] for path in (folder / part / "train").iterdir()} for part in ("photos", "unseen")
    ]
    assert not names[0] & names[1]


def test_the_demo_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        demo(out=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_the_demo_needs_two_cars(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cars"):
        demo(out=tmp_path / "demo", cars=1)
    assert not (tmp_path / "demo").exists()
