"""What the demo refuses; `tests/test_docs.py` runs it."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from maskwright.commands.demo import CAR, _again, demo
from maskwright.config import read_preset
from maskwright.errors import InputError


def test_the_demo_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        demo(out=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_what_goes_on_with_a_demo_that_was_stopped_is_a_command_that_has_its_settings() -> None:
    settings = dataclasses.replace(read_preset("quick"), minutes=2.5, group=CAR)
    command = shlex.split(_again(Path("my demo"), settings))
    assert command[:3] == ["maskwright", "train", str(Path("my demo/photos"))]
    assert command[3:5] == ["--preset", "quick"]
    assert {*zip(command[5:-3:2], command[6:-3:2], strict=True)} == {("--group", CAR), ("--minutes", "2.5")}
    assert command[-3:] == ["--out", str(Path("my demo/run")), "--resume"]


def test_the_demo_needs_two_cars(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cars"):
        demo(out=tmp_path / "demo", cars=1)
    assert not (tmp_path / "demo").exists()
