import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskwright.config import Settings
from maskwright.errors import DoesNotFitError
from maskwright.models.build import build_network
from maskwright.training import fitting, out_of_memory
from maskwright.training.fitting import Way
from maskwright.training.out_of_memory import (
    MEBIBYTE,
    MemoryPressesError,
    can_shrink,
    half,
    looking_at_fewer,
    on_device_or_cpu,
    presses,
    shrink,
    watching_memory,
)
from maskwright.training.state import build_learner

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited here in Linux's way")
def test_a_run_whose_allocator_fails_in_earnest_ends_with_smaller_parts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.short_of_memory", str(tmp_path)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["finished"]
    assert found["steps"] == 2
    assert found["storage"] or found["micro_batch"] < 8
    assert all("The memory of cpu ran out in a step: nothing is lost" in sentence for sentence in found["said"])
    assert len(found["losses"]) == 2


def test_what_changes_nothing_comes_before_fewer_pictures_as_in_a_plan() -> None:
    settings = Settings(base_channels=8, depth=2)
    learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
    position, ways = learner.position, []
    while can_shrink(learner, position.micro_batch or 4, settings):
        shrink(learner, 4, settings)
        ways.append(Way(None, position.micro_batch or 4, storage=position.storage or "plain"))
    assert [(way.batch_size, way.storage) for way in ways] == [
        (4, "lean"),
        (4, "lean+checkpointed"),
        (2, "lean+checkpointed"),
        (1, "lean+checkpointed"),
    ]
    planned = list(fitting.ways(Way(None, 4), open_words=["batch_size", "storage"], sizes=[]))
    places = [planned.index(way) for way in ways]
    assert places == sorted(places)
    with pytest.raises(DoesNotFitError):
        shrink(learner, 4, settings)


def test_where_statistics_are_synchronised_fewer_pictures_are_all_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory, "synchronises", lambda settings, device: device == "cpu" and settings.depth == 2)
    settings = Settings(base_channels=8, depth=2)
    learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
    shrink(learner, 4, settings)
    assert (learner.position.storage, learner.position.micro_batch) == (None, 2)
    learner.position.micro_batch = 1
    assert not can_shrink(learner, 1, settings)


def test_parts_are_halved_down_to_one_picture() -> None:
    assert [half(most, 9) for most in (None, 5, 3, 2)] == [5, 3, 2, 1]
    assert half(16, 9) == 5  # of a batch that was never as large
    for most, pictures in ((1, 9), (None, 1)):
        with pytest.raises(DoesNotFitError, match="--size"):
            half(most, pictures)


def fails(when: Callable[[object], bool], error: Exception) -> Callable[[object], object]:
    def work(what: object) -> object:
        if when(what):
            raise error
        return what

    return work


def test_a_look_is_taken_again_at_fewer_pictures() -> None:
    too_many = fails(lambda most: most is None or int(str(most)) > 2, torch.OutOfMemoryError("CUDA out of memory."))
    assert looking_at_fewer(too_many, None, 8) == (2, 2)
    assert looking_at_fewer(too_many, 1, 8) == (1, 1)
    with pytest.raises(DoesNotFitError):
        looking_at_fewer(fails(lambda _: True, MemoryError()), None, 8)
    with pytest.raises(RuntimeError, match="shapes"):
        looking_at_fewer(fails(lambda _: True, RuntimeError("shapes differ")), None, 8)


def test_a_picture_too_large_for_the_card_is_left_to_the_processor(capsys: pytest.CaptureFixture[str]) -> None:
    on_card = fails(lambda device: device != "cpu", torch.OutOfMemoryError("CUDA out of memory."))
    assert on_device_or_cpu(on_card, "cuda:1") == "cpu"
    assert "cuda:1 is too small" in capsys.readouterr().err
    with pytest.raises(DoesNotFitError, match="own size"):
        on_device_or_cpu(fails(lambda _: True, MemoryError()), "cpu")


@pytest.mark.parametrize(
    ("free", "growth", "expected"),
    [
        (4000, 3000, False),
        (1100, 3000, False),
        (1000, 3000, True),  # three quarters of a gigabyte would be taken on top, and too little left
        (300, 100, False),  # others have taken it; a smaller step would hardly help
        (0, 300, True),
    ],
)
def test_memory_presses_where_the_rest_of_the_step_would_use_it_up(free: int, growth: int, expected: bool) -> None:
    assert presses(free * MEBIBYTE, growth * MEBIBYTE) is expected


@pytest.mark.parametrize(
    ("device", "smaller", "raises"), [("cpu", True, True), ("cpu", False, False), ("cuda", True, False)]
)
def test_main_memory_is_watched_while_there_is_something_smaller(device: str, smaller: bool, raises: bool) -> None:
    held = iter([1000.0 * MEBIBYTE, 4000.0 * MEBIBYTE])
    look = watching_memory(device, can_shrink=smaller, free=lambda _: 500.0 * MEBIBYTE, held=lambda _: next(held))
    if raises:
        with pytest.raises(MemoryPressesError):
            look()
    else:
        look()


def test_where_nobody_says_what_is_free_nothing_presses() -> None:
    held = iter([0.0, 4000.0 * MEBIBYTE])
    watching_memory("cpu", can_shrink=True, free=lambda _: None, held=lambda _: next(held))()
