"""`train` on tiny drawn data: what it leaves, what it refuses, and how it goes on."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torchvision import models

from maskwright.commands.train import train
from maskwright.config import Settings, read_settings
from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.image_files import write_image
from maskwright.errors import InputError
from maskwright.inference.model_file import load_model
from maskwright.inference.predictor import load
from maskwright.training import loop

TINY = Settings(
    base_channels=8, depth=2, size=64, epochs=3, batch_size=4, learning_rate=3e-3, loss="bce+dice", small_first=0.4
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cars, two views each."""
    folder = tmp_path_factory.mktemp("drawn")
    assert len(list(write_drawn_cars(folder, cars=6, views=2, width=96, height=64))) == 12
    return folder


@pytest.fixture(scope="module")
def run_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(photos, out=folder, settings=TINY)
    return folder


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Send SIGTERM to this process while its n-th batch is learnt."""

    def arrange(batches: int) -> None:
        calls = itertools.count(1)
        learn = loop._learn

        def learn_and_signal(*args: Any, **options: Any) -> None:
            learn(*args, **options)
            if next(calls) == batches:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(loop, "_learn", learn_and_signal)

    return arrange


def weights_equal(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines without what a clock decides."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "images_per_second")} for line in lines
    ]


def test_a_run_leaves_the_files_that_scripts_rely_on(run_folder: Path) -> None:
    left = {path.name for path in run_folder.iterdir()}
    assert left == {
        "config.toml",
        "curves.png",
        "last.safetensors",
        "metrics.jsonl",
        "model.safetensors",
        "scores.json",
        "split.json",
        "state.pth",
    }


def test_metrics_have_a_line_for_each_epoch(run_folder: Path) -> None:
    lines = metrics_of(run_folder)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all({"train_loss", "train_dice", "val_loss", "val_dice", "learning_rate"} <= line.keys() for line in lines)


def test_the_split_is_by_car(run_folder: Path) -> None:
    split = json.loads((run_folder / "split.json").read_text())
    cars = {
        part: {name.rpartition("/")[2].partition("_")[0] for name in names} for part, names in split["pictures"].items()
    }
    assert len(cars["train"]) == 5
    assert len(cars["val"]) == 1
    assert not cars["train"] & cars["val"]


def test_the_model_file_says_what_it_was_trained_on_and_how_well_it_does(run_folder: Path) -> None:
    card, _ = load_model(run_folder / "model.safetensors")
    scores = json.loads((run_folder / "scores.json").read_text())
    assert len(card.trained_on) == 10
    assert len(card.chosen_on) == 2
    assert card.size == 64
    assert card.metrics["dice"] == pytest.approx(scores["dice"]["mean"])
    assert len(scores["pictures"]) == 2


def test_an_encoder_of_others_learns_from_a_local_file_and_its_model_file_needs_neither(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(models.shufflenet_v2_x0_5(weights=None).state_dict(), weights)
    settings = dataclasses.replace(
        TINY, encoder="torchvision:shufflenet_v2_x0_5", encoder_weights=str(weights), unshuffle=2, epochs=1
    )
    run = train(photos, out=tmp_path / "run", settings=settings)
    assert "random weights" not in "".join(capsys.readouterr())
    weights.unlink()
    assert load(run.model_path)(np.zeros((40, 60, 3), np.uint8)).shape == (40, 60)


def test_an_encoder_without_weights_is_said_to_start_from_random_ones(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(photos, out=tmp_path, settings=dataclasses.replace(TINY, encoder="timm:lcnet_050", epochs=1))
    said = " ".join("".join(capsys.readouterr()).split())
    assert "timm:lcnet_050 starts from random weights; --encoder-weights FILE gives it trained ones." in said


def test_weights_of_another_network_are_refused_before_a_picture_is_read(photos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save({"conv.weight": torch.zeros(3)}, weights)
    settings = dataclasses.replace(TINY, encoder="torchvision:resnet18", encoder_weights=str(weights))
    with pytest.raises(InputError, match=f"^{weights} does not fit --encoder torchvision:resnet18: conv1.weight is"):
        train(tmp_path / "no pictures here", out=tmp_path / "run", settings=settings)


def test_the_settings_are_kept(run_folder: Path) -> None:
    assert read_settings(run_folder / "config.toml") == TINY


def test_the_same_seed_gives_the_same_weights(photos: Path, run_folder: Path, tmp_path: Path) -> None:
    again = train(photos, out=tmp_path / "again", settings=TINY)
    assert weights_equal(run_folder / "last.safetensors", again.folder / "last.safetensors")


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    photos: Path, run_folder: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    stop_after(3)  # in the middle of the second epoch
    stopped = train(photos, out=tmp_path / "run", settings=TINY)
    assert not stopped.finished
    resumed = train(photos, out=tmp_path / "run", settings=TINY, resume=True)
    assert resumed.finished
    assert weights_equal(run_folder / "last.safetensors", tmp_path / "run" / "last.safetensors")
    assert metrics_of(run_folder) == metrics_of(tmp_path / "run")


def test_resuming_a_finished_run_changes_nothing(photos: Path, run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    assert train(photos, out=copy, settings=TINY, resume=True).finished
    assert weights_equal(run_folder / "model.safetensors", copy / "model.safetensors")
    assert metrics_of(copy) == metrics_of(run_folder)


def test_resuming_with_other_settings_is_refused_and_says_which(photos: Path, run_folder: Path) -> None:
    with pytest.raises(InputError, match=r"--learning-rate 0\.003, not 0\.1"):
        train(photos, out=run_folder, settings=dataclasses.replace(TINY, learning_rate=0.1), resume=True)


def test_a_folder_that_holds_a_run_is_not_written_into(photos: Path, run_folder: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        train(photos, out=run_folder, settings=TINY)


def test_minutes_end_the_run_and_the_schedule(photos: Path, tmp_path: Path) -> None:
    run = train(photos, out=tmp_path / "run", settings=dataclasses.replace(TINY, epochs=None, minutes=0.15))
    lines = metrics_of(run.folder)
    assert run.finished
    assert lines[-1]["learning_rate"] < 0.2 * TINY.learning_rate  # a last step on a busy machine is long
    assert "val_dice" in lines[-1]


def test_a_mask_of_another_shape_is_refused_by_name_unless_bad_ones_are_skipped(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    bad = sorted((folder / "train").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:400])
    with pytest.raises(InputError, match=bad.name):
        train(folder, out=tmp_path / "run", settings=TINY)
    run = train(folder, out=tmp_path / "run", settings=dataclasses.replace(TINY, skip_bad=True, epochs=1))
    assert run.finished


def test_pictures_in_two_parts_are_called_a_leak(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "val"):
        for kind in ("train", "train_masks"):
            target = tmp_path / "split" / part / kind.replace("train_masks", "masks").replace("train", "images")
            shutil.copytree(photos / kind, target)
    train(tmp_path / "split", out=tmp_path / "run", settings=dataclasses.replace(TINY, epochs=1))
    said = capsys.readouterr().err
    assert "LEAK: 6 groups have pictures in train and in val" in said
    assert "LEAK: 12 pictures of val are in train too" in said


def test_masks_without_any_foreground_are_refused(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    for mask in (tmp_path / "photos" / "train_masks").iterdir():
        write_image(mask, np.zeros((64, 96), np.uint8))
    with pytest.raises(InputError, match=r"No mask .* has any foreground"):
        train(tmp_path / "photos", out=tmp_path / "run", settings=TINY)
    assert not (tmp_path / "run").exists()


def test_a_run_by_the_clock_scores_a_sample_where_all_would_take_too_long(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(TINY, epochs=None, minutes=1e-4)
    run = train(photos, out=tmp_path / "run", settings=settings)
    assert run.scores is not None
    assert len(run.scores.pictures) == 1
    assert "a sample of 2, for time" in capsys.readouterr().out
