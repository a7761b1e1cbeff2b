"""A model for each fold, and every picture scored once."""

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskwright.cli import main
from maskwright.commands import cross_validate as module
from maskwright.commands.cross_validate import cross_validate
from maskwright.commands.train import TrainedRun, train
from maskwright.config import Settings, read_settings
from maskwright.errors import InputError
from maskwright.training import preparation
from maskwright.training.material import read_pictures

TINY = Settings(base_channels=8, depth=1, epochs=1, learning_rate=3e-3, loss="ce+dice")


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    """Six cars, two views each."""
    return drawn_cars


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "all"
    words = ["--preset", "classic", "--base-channels", "8", "--depth", "1", "--size", "64", "--epochs", "1"]
    assert main(["train", str(photos), "--out", str(folder), "--folds", "3", *words]) == 0
    return folder


def test_every_picture_is_scored_once_by_a_model_that_did_not_learn_from_its_group(finished: Path) -> None:
    summary = json.loads((finished / "scores.json").read_text())
    names = [picture["name"] for picture in summary["pictures"]]
    assert len(names) == len(set(names)) == summary["scored"] == summary["available"] == 12
    assert summary["groups"] == 6
    for picture in summary["pictures"]:
        split = json.loads((finished / f"fold-{picture['fold']}" / "split.json").read_text())
        assert picture["name"] in split["pictures"]["val"]
        assert picture["group"] not in split["groups"]["train"]


def test_the_mean_is_over_pictures_and_the_interval_over_groups(finished: Path) -> None:
    summary = json.loads((finished / "scores.json").read_text())
    mean = sum(picture["dice"] for picture in summary["pictures"]) / 12
    assert summary["dice"]["mean"] == pytest.approx(mean)
    assert summary["dice"]["low"] <= mean <= summary["dice"]["high"]
    assert len(summary["folds"]) == 3


def test_two_cross_validations_are_compared_without_their_pictures(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = json.loads((finished / "scores.json").read_text())
    for picture in better["pictures"]:
        picture["dice"] += 0.01
    (tmp_path / "scores.json").write_text(json.dumps(better))
    both = ["evaluate", "--compare", str(finished), str(tmp_path)]
    assert main([*both, "--out", str(tmp_path / "compared")]) == 0
    said = capsys.readouterr()
    assert f"No pictures are shown: {finished} is a cross-validation" in said.err
    assert "12 pictures of 6 groups" in said.out
    found = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    assert found["dice"]["mean"] == pytest.approx(0.01)
    assert "B is better" in (tmp_path / "compared" / "report.html").read_text(encoding="utf-8")


def test_the_minutes_and_what_was_chosen_are_shared(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []
    began: list[object] = []

    def note(*args: object, settings: Settings, **options: object) -> TrainedRun:
        asked.append(settings)
        began.append(options["began"])
        run = dataclasses.replace(settings, minutes=None, epochs=1)  # the same without a clock
        return train(*args, settings=run, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train", note)
    found = cross_validate(
        photos, folds=3, minutes=6, out=tmp_path / "all", settings=dataclasses.replace(TINY, epochs=None), began=1.5
    )
    assert found.finished
    assert began == [1.5, None, None]
    assert [settings.minutes for settings in asked] == [2.0, 2.0, 2.0]
    assert [settings.fold for settings in asked] == [0, 1, 2]
    chosen = read_settings(tmp_path / "all" / "fold-0" / "config.toml")
    assert asked[0].size is None
    assert {settings.size for settings in asked[1:]} == {chosen.size} != {None}


def test_what_the_first_fold_had_no_time_to_read_is_left_out_of_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(*args: object, settings: Settings, out: Path, **options: object) -> TrainedRun:
        run = train(*args, settings=settings, out=out, **options)  # type: ignore[arg-type]
        if settings.fold == 0:
            split = json.loads((out / "split.json").read_text())
            split["unread"] = [split["pictures"]["train"].pop()]
            (out / "split.json").write_text(json.dumps(split))
        return run

    monkeypatch.setattr(module, "train", note)
    assert cross_validate(photos, folds=3, out=tmp_path / "all", settings=TINY).finished
    splits = [json.loads((tmp_path / "all" / f"fold-{fold}" / "split.json").read_text()) for fold in range(3)]
    assert splits[0]["unread"] == splits[1]["unread"] == splits[2]["unread"]
    assert all(not {*splits[0]["unread"]} & {*names} for split in splits for names in split["pictures"].values())


def test_a_rate_is_searched_for_the_first_fold_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []

    def note(*args: object, settings: Settings, **options: object) -> TrainedRun:
        asked.append(settings)
        return train(*args, settings=settings, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train", note)
    searching = dataclasses.replace(TINY, find_rate=True)
    assert cross_validate(photos, folds=2, out=tmp_path / "all", settings=searching).finished
    found = read_settings(tmp_path / "all" / "fold-0" / "config.toml").learning_rate
    assert [settings.find_rate for settings in asked] == [True, False]
    assert asked[1].learning_rate == found != TINY.learning_rate


def test_folds_that_were_stopped_go_on_where_they_were(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int | None] = []

    def stop_at(fold: int | None) -> Callable[..., TrainedRun]:
        def note(*args: object, settings: Settings, **options: object) -> TrainedRun:
            trained.append(settings.fold)
            if settings.fold == fold:
                return TrainedRun(tmp_path, tmp_path, finished=False, scores=None)
            return train(*args, settings=settings, **options)  # type: ignore[arg-type]

        return note

    monkeypatch.setattr(module, "train", stop_at(1))
    assert not cross_validate(photos, folds=3, out=tmp_path / "all", settings=TINY).finished
    monkeypatch.setattr(module, "train", stop_at(None))
    first = (tmp_path / "all" / "fold-0" / "model.safetensors").stat()
    found = cross_validate(photos, folds=3, out=tmp_path / "all", settings=TINY, resume=True)
    assert trained == [0, 1, 0, 1, 2]
    assert (tmp_path / "all" / "fold-0" / "model.safetensors").stat() == first  # it was finished already
    assert (found.finished, found.pictures) == (True, 12)


def test_folds_that_a_signal_stopped_say_what_goes_on_with_all_of_them(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_and_stop(*args: Any, **options: Any) -> Any:
        if (tmp_path / "all" / "fold-0" / "scores.json").is_file():
            os.kill(os.getpid(), signal.SIGTERM)
        return read_pictures(*args, **options)

    monkeypatch.setattr(preparation, "read_pictures", read_and_stop)
    assert not cross_validate(photos, folds=2, out=tmp_path / "all", settings=TINY).finished
    said = capsys.readouterr().err
    assert f"the same command with --out {tmp_path / 'all'} --resume begins this run anew" in said


def test_folds_that_start_from_a_model_that_knows_their_pictures_are_no_scores_of_unseen_ones(
    photos: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cross_validate(
        photos, folds=2, out=tmp_path / "all", settings=TINY, start_from=finished / "fold-0" / "model.safetensors"
    )
    said = capsys.readouterr().out
    assert "each scored by a model that did not learn from it" not in said
    remarks = json.loads((tmp_path / "all" / "scores.json").read_text())["remarks"]
    assert [remark[:12] for remark in remarks] == ["Fold 0: LEAK", "Fold 1: LEAK"]


def test_folds_of_other_photos_of_the_same_name_are_not_gone_on_with(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(photos, tmp_path / "copy" / photos.name)
    folders = [cross_validate(pictures, folds=2, settings=TINY, resume=True).folder for pictures in (photos, copy)]
    assert folders[0] != folders[1]
    assert cross_validate(photos, folds=2, settings=TINY, resume=True).folder == folders[0]


def test_a_folder_that_is_not_empty_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="--resume"):
        cross_validate(photos, folds=3, out=tmp_path, settings=TINY)
