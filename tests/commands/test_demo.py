"""What the demo refuses; `tests/test_docs.py` runs it."""

from pathlib import Path

import pytest

from maskwright.commands.demo import demo
from maskwright.errors import InputError


def test_the_demo_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        demo(out=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_the_demo_needs_two_cars(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cars"):
        demo(out=tmp_path / "demo", cars=1)
    assert not (tmp_path / "demo").exists()
