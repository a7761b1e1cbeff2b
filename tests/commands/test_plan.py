"""`plan` on tiny drawn data: what it says agrees with what `train` then does."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from maskwright.cli import main
from maskwright.commands.plan import Plan, plan
from maskwright.commands.train import TrainedRun, train
from maskwright.config import Architecture, Settings, read_settings
from maskwright.inference.model_file import load_model
from maskwright.training import measuring, memory_budget, preparation
from maskwright.training.recipe import Speed

# As far as it can be, everything here is planned for one network and loss: their steps are traced once.
SETTINGS = Settings(base_channels=8, depth=2, epochs=2, learning_rate=3e-3, loss="ce+dice", accumulate=2)
NARROW = ["--preset", "classic", "--base-channels", "8", "--depth", "2", "--loss", "ce+dice"]


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    """Six cars, two views each."""
    return drawn_cars


@pytest.fixture(scope="module")
def working_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a plan might leave something."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def planned(photos: Path, working_folder: Path) -> Plan:
    """What is planned for these settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working_folder)
        return plan(photos, settings=SETTINGS)


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run of these settings."""
    return train(photos, settings=SETTINGS, out=tmp_path_factory.mktemp("trained") / "run")


def test_a_plan_says_what_train_does(trained: TrainedRun, planned: Plan) -> None:
    kept = read_settings(trained.folder / "config.toml")
    split = json.loads((trained.folder / "split.json").read_text())
    lines = [json.loads(line) for line in (trained.folder / "metrics.jsonl").read_text().splitlines()]
    assert (planned.size, planned.batch_size, planned.base_channels) == (
        kept.size,
        kept.batch_size,
        kept.base_channels,
    )
    assert planned.pictures == {part: len(names) for part, names in split["pictures"].items()}
    assert planned.groups == {part: len(names) for part, names in split["groups"].items()}
    assert (planned.steps, planned.epochs) == (lines[-1]["step"], 2)
    assert (planned.validated, planned.scored) == (2, 2)


def test_a_plan_of_cut_outs_has_their_steps(photos: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, factor=1.0, crop=48)
    found = plan(photos, settings=settings)
    run = train(photos, settings=settings, out=tmp_path / "run")
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert (found.size, found.factor, found.crop) == (None, 1.0, 48)
    # 10 pictures of 96x64 have 4 cut-outs each, in batches of 4, of which two make a step.
    assert (found.steps, found.epochs) == (lines[-1]["step"], 2) == (10, 2)
    of_three = dataclasses.replace(settings, accumulate=3)  # 10 batches make 4 steps, the last of them of one batch
    assert plan(photos, settings=of_three).steps == 8
    card, _ = load_model(run.model_path)
    assert (card.size, card.factor, card.tile) == (None, 1.0, 48)
    assert read_settings(run.folder / "config.toml").crop == 48


def test_a_plan_in_python_takes_the_network_of_a_model_too(photos: Path, trained: TrainedRun) -> None:
    found = plan(photos, epochs=1, start_from=trained.model_path)
    card, _ = load_model(trained.model_path)
    assert (found.base_channels, found.size) == (8, card.size)


def test_a_plan_leaves_nothing(planned: Plan, working_folder: Path) -> None:
    assert planned.steps
    assert list(working_folder.iterdir()) == []


def test_a_plan_by_the_clock_adds_up_to_its_minutes(photos: Path) -> None:
    found = plan(photos, settings=SETTINGS, minutes=30.0)
    assert found.epochs <= 2  # what ends first
    by_clock = plan(photos, settings=dataclasses.replace(SETTINGS, epochs=None), minutes=30.0)
    assert by_clock.total_seconds == pytest.approx(30 * 60, rel=0.05)
    assert by_clock.steps is not None
    assert found.steps is not None
    assert by_clock.steps > 2 * found.steps
    assert by_clock.reasons
    searching = dataclasses.replace(SETTINGS, epochs=None, find_rate=True)
    searched = plan(photos, settings=searching, minutes=30.0)
    assert searched.training_seconds == pytest.approx(by_clock.training_seconds - 180, abs=30)
    assert searched.total_seconds == pytest.approx(30 * 60, rel=0.05)


def test_a_plan_of_all_folds_is_that_of_one_with_its_share_of_the_minutes(photos: Path) -> None:
    found = plan(photos, settings=dataclasses.replace(SETTINGS, epochs=None, folds=3), minutes=30.0)
    assert found.models == 3
    assert found.total_seconds == pytest.approx(10 * 60, rel=0.05)
    assert found.pictures == {"train": 8, "val": 4, "test": 0}


def test_json_stands_alone_on_standard_output(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*NARROW, "--size", "64", "--epochs", "1", "--json"]
    assert main(["plan", str(photos), *words]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["size"], content["base_channels"], content["network"]) == (64, 8, "classic U-Net")
    assert (content["preset"], content["optimizer"], content["schedule"]) == ("classic", "adam", "cosine")
    assert (content["learning_rate"], content["held_levels"]) == (1e-4, 0)
    assert content["step_seconds"] > 0


def test_a_plan_of_hours_says_which_preset_they_buy(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--size", "32", "--batch-size", "2", "--device", "cuda", "--memory", "4GB"]
    assert main(["plan", str(photos), "--minutes", "180", *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "best, or nearest to it" in said
    assert "muon, rate 0.003, cosine schedule" in said


def test_what_cannot_be_planned_is_refused_like_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


# --- Memory


def test_a_plan_says_what_takes_the_memory_and_what_other_ways_would_take(planned: Plan) -> None:
    assert planned.memory is not None
    assert planned.memory.peak.total > planned.memory.peak.process > 1e8
    ways = {(row.way.storage, row.way.batch_size): row.peak for row in planned.memory.alternatives}
    assert ways["plain", planned.batch_size] == planned.memory.peak.total
    assert ways["lean", planned.batch_size] < ways["plain", planned.batch_size]
    assert ways["plain", 1] < ways["plain", planned.batch_size]


def test_a_device_that_is_not_here_can_be_planned_for(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    words = ["--device", "cuda", *NARROW, "--epochs", "2"]
    assert main(["plan", str(photos), "--memory", "4GB", "--json", *words]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["device"], found["precision"], found["storage"]) == ("cuda", "fp16", "plain")
    assert found["memory"]["limit_bytes"] == 4_000_000_000
    assert found["memory"]["fits"]
    assert found["memory"]["parts"]["remembered"] == 0
    assert found["memory"]["parts"]["allowance"] > 0
    assert found["memory"]["alternatives"][0]["peak_bytes"] >= found["memory"]["peak_bytes"]
    assert (found["step_seconds"], found["total_seconds"], found["epochs"]) == (None, None, 2)
    assert found["steps"] == 2 * (found["pictures"]["train"] // found["batch_size"])
    assert "fp16 is assumed" in captured.err
    assert main(["plan", str(photos), *words]) == 2
    assert "--memory" in capsys.readouterr().err


def test_less_memory_makes_a_leaner_plan_and_less_still_a_smaller_batch(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_budget, "held_memory", lambda _: 0.0)
    narrow = dataclasses.replace(SETTINGS, accumulate=None, size=96)
    free = plan(photos, settings=dataclasses.replace(narrow, memory="4GB"))
    assert free.memory is not None
    plain = free.memory.peak.total
    lean = plan(photos, settings=dataclasses.replace(narrow, memory=f"{0.8 * plain / 1e6}MB"))
    small = plan(photos, settings=dataclasses.replace(narrow, memory=f"{0.4 * plain / 1e6}MB"))
    assert (free.storage, free.batch_size, free.accumulate) == ("plain", 4, 1)
    assert "lean" in lean.storage
    assert (lean.batch_size, lean.accumulate) == (4, 1)
    assert small.batch_size < 4
    assert small.batch_size * small.accumulate == 4
    for found in (lean, small):
        assert found.memory is not None
        assert found.memory.peak.total <= found.memory.limit
        assert any("may be used" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("open_settings", "measured"),
    [
        ({"base_channels": None, "minutes": 600.0, "epochs": None}, [(32, "plain"), (64, "plain")]),
        ({"size": 96, "memory": "lean"}, [(8, "plain"), (8, "lean")]),
        ({}, [(8, "plain")]),
    ],
)
def test_steps_are_those_of_the_network_that_is_planned(
    open_settings: dict[str, Any],
    measured: list[tuple[int, str]],
    photos: Path,
    planned: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_budget, "held_memory", lambda _: 0.0)
    if open_settings.get("memory") == "lean":
        assert planned.memory is not None
        roomy = plan(photos, settings=dataclasses.replace(SETTINGS, size=96, memory="4GB"))
        assert roomy.memory is not None
        open_settings = {**open_settings, "memory": f"{0.8 * roomy.memory.peak.total / 1e6}MB"}
    seen: list[tuple[int, str]] = []

    def measure(settings: Settings, architecture: Architecture, *_: object, **__: object) -> Speed:
        seen.append((architecture.base_channels, settings.storage or "plain"))
        return Speed(1e-4 * len(seen), 0.0)

    monkeypatch.setattr(preparation, "measure_speed", measure)
    monkeypatch.setattr(measuring, "measure_speed", measure)
    found = plan(photos, settings=dataclasses.replace(SETTINGS, **open_settings))
    assert [(width, storage.split("+")[0]) for width, storage in seen] == measured
    assert found.base_channels == measured[-1][0]
    # Two batches make a step; by the clock, what is validated between them is in it.
    assert 1 - 1e-6 <= found.step_seconds / (2e-4 * len(measured)) < 1.2


def test_what_was_given_and_does_not_fit_is_obeyed_and_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = dataclasses.replace(SETTINGS, memory="100MB", size=96, batch_size=4, storage="plain")
    found = plan(photos, settings=given)
    assert found.batch_size == 4
    assert found.memory is not None
    assert not found.memory.fit.fits
    assert "NOT to fit" in capsys.readouterr().out
