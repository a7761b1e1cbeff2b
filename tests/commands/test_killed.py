"""Killed anywhere, a run goes on as if nothing had happened: real processes, real signals, sent at real events."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from maskwright.cli import main
from maskwright.files import unfinished_in
from tests.gangs import PRELOADED

# Five steps an epoch, saved after each of them.
NETWORK = ["--preset", "classic", "--base-channels", "8", "--depth", "1"]
OPTIONS = [*NETWORK, "--size", "32", "--batch-size", "2", "--epochs", "4", "--save-every", "1"]

Start = Callable[..., ForkServerProcess]


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    """Six cars, two views each."""
    return drawn_cars


@pytest.fixture(scope="module")
def start(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts the command in a process of its own, in a group of its own; all come from one that has torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKWRIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")

        def begin(out: Path, *options: str) -> ForkServerProcess:
            words = ["train", str(photos), "--out", str(out), *OPTIONS, *options]
            process = context.Process(target=run_command, args=(words,))
            process.start()
            return process

        yield begin


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert ended(start(folder)) == 0
    return folder


def run_command(words: list[str]) -> None:
    os.setsid()
    raise SystemExit(main(words))


def ended(process: ForkServerProcess) -> int | None:
    process.join()
    return process.exitcode


def wait_for(event: Callable[[], bool], process: ForkServerProcess) -> int:
    """Wait until something has happened; returns the number of the process, which is at work."""
    assert process.pid is not None
    while not event():
        assert process.is_alive(), "it came to its end before"
        time.sleep(0.0005)
    return process.pid


def has_lines(folder: Path, count: int) -> Callable[[], bool]:
    metrics = folder / "metrics.jsonl"
    return lambda: metrics.is_file() and metrics.read_text().count("\n") >= count


def is_being_saved(folder: Path) -> Callable[[], bool]:
    """Whether a state is half written; another one is whole."""
    return lambda: (folder / "state.pth").is_file() and any(p.suffix == ".pth" for p in unfinished_in(folder))


def results(folder: Path) -> list[Any]:
    """Everything but what a clock decides."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["images_per_second"]
    return [lines, json.loads((folder / "scores.json").read_text())]


def assert_equal(folder: Path, whole: Path) -> None:
    assert results(folder) == results(whole)
    for name in ("model.safetensors", "last.safetensors"):
        found, expected = load_file(folder / name), load_file(whole / name)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[entry], expected[entry]) for entry in expected), name
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_run_that_is_killed_three_times_equals_one_that_is_not(start: Start, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for event in (has_lines(folder, 1), is_being_saved(folder), has_lines(folder, 3)):
        process = start(folder, "--resume")
        os.kill(wait_for(event, process), signal.SIGKILL)
        assert ended(process) == -signal.SIGKILL
    assert ended(start(folder, "--resume")) == 0
    assert_equal(folder, whole)


def test_a_signal_to_all_processes_of_a_run_lets_it_save(start: Start, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "--workers", "2")
    os.killpg(wait_for(has_lines(folder, 1), process), signal.SIGTERM)
    assert ended(process) == 75
    assert ended(start(folder, "--resume", "--workers", "1")) == 0
    assert_equal(folder, whole)


def test_a_worker_that_is_killed_ends_the_run_and_loses_nothing(start: Start, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "--workers", "1")
    pid = wait_for(has_lines(folder, 1), process)
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    assert ended(process) == 2
    assert ended(start(folder, "--resume")) == 0
    assert_equal(folder, whole)


def test_a_folder_in_which_a_run_is_at_work_is_refused(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = start(folder)
    os.kill(wait_for(has_lines(folder, 1), first), signal.SIGSTOP)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert ended(start(folder, "--resume")) == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    first.kill()
    assert ended(first) == -signal.SIGKILL
