"""`train --processes 2`: torchrun from one command, its restarts, and what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maskwright.cli import main
from maskwright.commands.train_together import _finished
from maskwright.training.run_folder import RunFolder

OPTIONS = ["--preset", "classic", "--base-channels", "8", "--depth", "1", "--size", "32", "--batch-size", "4"]
OPTIONS += ["--epochs", "1000", "--save-every", "1"]  # nobody waits for their end


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    return drawn_cars


def test_a_process_that_dies_is_started_again_and_a_stop_is_passed_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command for all of it: torchrun and its processes take seconds to start."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = RunFolder(tmp_path / "run")
    words = [str(photos), "--out", str(folder.path), *OPTIONS, "--processes", "2", "--max-restarts", "1"]
    with (tmp_path / "said.txt").open("w") as terminal:
        command = subprocess.Popen(
            [sys.executable, "-m", "maskwright", "train", *words], stdout=terminal, stderr=terminal
        )
        wait_for(folder.state.is_file, command)
        os.kill(numbers_of_second(folder)[0], signal.SIGKILL)
        wait_for(lambda: len(numbers_of_second(folder)) == 2, command)
        command.terminate()
        assert command.wait() == 75
    said = (tmp_path / "said.txt").read_text()
    assert said.count("A process of this run ended: all of them go on from where it was saved.") == 1
    assert said.count("Stopped and saved") == 1
    assert "Traceback" not in said
    assert "torchrun" not in said


def wait_for(event: Callable[[], bool], command: subprocess.Popen[bytes]) -> None:
    while not event():
        assert command.poll() is None
        time.sleep(0.001)


def numbers_of_second(folder: RunFolder) -> list[int]:
    """What the second process was called by the system, each time that it was started."""
    log = folder.path / "rank-1.log"
    return [int(number) for number in re.findall(r"process (\d+),", log.read_text())] if log.is_file() else []


@pytest.mark.parametrize(("problems", "ending"), [([], "finished"), (["a.jpg is gone."], "finished with failures")])
def test_pictures_without_scores_are_failures(problems: list[str], ending: str, tmp_path: Path) -> None:
    """Each of the processes says 0 then: torchrun would start them all again after a 1."""
    folder = RunFolder(tmp_path)
    folder.scores.write_text(json.dumps({"problems": problems}))
    assert _finished(folder) == ending


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--gpus", "64"], "--gpus 64 was asked for"),
        (["--processes", "2", "--device", "cuda"], "--processes trains on cpu, not on --device cuda"),
        (["--gpus", "2", "--processes", "2"], "exclude each other"),
        (["--gpus", "0"], "count from 1"),
        (["--gpus", "4", "--processes", "1"], "exclude each other"),
        (["--processes", "1", "--device", "cuda"], "--processes trains on cpu, not on --device cuda"),
        (["--gpus", "1", "--device", "cuda:1"], "--gpus trains on cuda, not on --device cuda:1"),
        (["--max-restarts", "3"], "--max-restarts is for several processes"),
        (["--processes", "1", "--max-restarts", "3"], "--max-restarts is for several processes"),
        (["--processes", "2", "--folds", "3"], "name a --fold"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    options: list[str], sentence: str, photos: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *OPTIONS, *options]) == 2
    assert sentence in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
