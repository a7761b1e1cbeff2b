"""What can go wrong while `train` is at work, done to it: nothing learnt is lost, and a sentence says what it was."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from maskwright.cli import main
from maskwright.commands import train as command
from maskwright.commands.train import train
from maskwright.config import Settings, read_preset
from maskwright.errors import InputError
from maskwright.evaluation import evaluate
from maskwright.inference import predictor
from maskwright.training import closing, diagnosis, keeping, loop, out_of_memory, preparation, saving

pytestmark = pytest.mark.usefixtures("one_thread")

# Two steps an epoch, saved after each of them.
TINY = Settings(
    base_channels=8, depth=1, size=32, epochs=3, batch_size=4, learning_rate=3e-3, tint=0.0, save_every=1, workers=0
)

Stop = Callable[[int], None]


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    """Six cars, two views each."""
    return drawn_cars


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(photos, out=folder, settings=TINY)
    return folder


@pytest.fixture(scope="module")
def stopped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its second epoch; who goes on with it makes a copy."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        after_batch(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert not train(photos, out=folder, settings=TINY).finished
    return folder


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Send SIGTERM to this process after its n-th batch."""

    def arrange(batches: int) -> None:
        after_batch(monkeypatch, batches, lambda: os.kill(os.getpid(), signal.SIGTERM))

    return arrange


def after_batch(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Do something after the n-th batch, when the progress bar is told of it."""
    calls, words = itertools.count(1), command._words

    def words_and_act(status: loop.Status) -> str:
        if next(calls) == number:
            act()
        return words(status)

    monkeypatch.setattr(command, "_words", words_and_act)


def before_call(monkeypatch: pytest.MonkeyPatch, room: object, name: str, act: Callable[[], object]) -> None:
    """Do something just before a function is called for the first time."""
    function, acts = getattr(room, name), [act]

    def act_and_call(*arguments: Any, **options: Any) -> Any:
        if acts:
            acts.pop()()
        return function(*arguments, **options)

    monkeypatch.setattr(room, name, act_and_call)


def die() -> None:
    """End as a kill does, as far as files can tell: no handler of ours catches this."""
    raise SystemExit


def copy_of(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "run"))


def resume(photos: Path, folder: Path, **changes: Any) -> bool:
    return train(photos, out=folder, settings=dataclasses.replace(TINY, **changes), resume=True).finished


def results(folder: Path) -> list[Any]:
    """Everything but what a clock decides."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["images_per_second"]
    return [lines, json.loads((folder / "scores.json").read_text()), sorted(path.name for path in folder.iterdir())]


def assert_equal(folder: Path, whole: Path) -> None:
    assert results(folder) == results(whole)
    for name in ("model.safetensors", "last.safetensors"):
        found, expected = load_file(folder / name), load_file(whole / name)
        assert all(np.array_equal(found[entry], expected[entry]) for entry in expected), name


# --- A signal at any moment


@pytest.mark.parametrize(
    ("room", "name", "is_saved"),
    [
        (preparation, "read_pictures", False),
        (diagnosis, "learn_by_heart", False),
        (loop, "look_at_batches", True),
        (closing, "count_pairs", True),
    ],
    ids=["reading", "checking that it learns", "validating", "scoring"],
)
def test_a_signal_ends_whatever_is_under_way(
    room: object,
    name: str,
    is_saved: bool,
    photos: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before_call(monkeypatch, room, name, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert not train(photos, out=tmp_path / "run", settings=TINY).finished
    said = "Stopped and saved; " if is_saved else "Stopped before there was anything to save; "
    assert said in capsys.readouterr().err
    assert resume(photos, tmp_path / "run")
    assert_equal(tmp_path / "run", whole)


@pytest.mark.parametrize(
    ("room", "name"),
    [
        (command, "start_run"),
        (keeping, "save_model"),
        (saving, "save_state"),
        (keeping, "write_json"),
    ],
    ids=["before its config", "before its best weights", "before its state", "before its scores"],
)
def test_a_run_that_was_killed_between_two_files_goes_on(
    room: object, name: str, photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(TINY, save_every=0)  # only validations save
    before_call(monkeypatch, room, name, die)
    with pytest.raises(SystemExit):
        train(photos, out=tmp_path / "run", settings=settings)
    assert resume(photos, tmp_path / "run")
    assert_equal(tmp_path / "run", whole)


# --- Damaged states


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_of_a_damaged_state_the_one_before_is_used_and_said(
    damage: str, photos: Path, whole: Path, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(stopped, tmp_path)
    state = folder / "state.pth"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    damaged: dict[str, bytes | bytearray] = {"truncated": content[:-1000], "flipped": content, "empty": b""}
    state.write_bytes(damaged[damage])
    assert resume(photos, folder)
    said = "".join(capsys.readouterr().err.splitlines())
    assert f"{state} is damaged" in said
    assert "The run goes on from state.previous.pth" in said
    assert_equal(folder, whole)


def test_a_run_that_was_killed_between_two_renames_goes_on(
    photos: Path, whole: Path, stopped: Path, tmp_path: Path
) -> None:
    folder = copy_of(stopped, tmp_path)
    (folder / "state.pth").rename(folder / "state.previous.pth")
    (folder / ".0123456789abcdef.pth").write_bytes(b"half a st")
    assert resume(photos, folder)
    assert_equal(folder, whole)


def test_without_any_whole_state_the_run_is_refused(photos: Path, stopped: Path, tmp_path: Path) -> None:
    folder = copy_of(stopped, tmp_path)
    for state in folder.glob("*.pth"):
        state.write_bytes(b"")
    with pytest.raises(InputError, match=r"state\.previous\.pth is damaged"):
        resume(photos, folder)


# --- Disks


def test_a_disk_that_is_full_at_the_end_ends_the_run_with_a_sentence_and_a_whole_state(
    photos: Path,
    whole: Path,
    tmp_path: Path,
    largest_file: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    after_batch(monkeypatch, 4, lambda: largest_file(60_000))
    assert main(["train", str(photos), "--out", str(folder), *words_of(TINY)]) == 2
    said = capsys.readouterr().err
    assert f"{folder / 'state.pth'} cannot be read or written: File too large; it takes 0." in said
    assert "Traceback" not in said
    largest_file(10**9)
    assert resume(photos, folder)
    assert_equal(folder, whole)


def test_a_folder_that_may_not_be_written_to_is_refused_with_a_sentence(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(photos), "--out", "/sys/run", *words_of(TINY)]) == 2  # not even by root
    said = capsys.readouterr().err
    assert said.startswith("/sys/run cannot be read or written: ")
    assert said.count("\n") == 1


def test_a_folder_that_cannot_be_reached_for_a_while_is_written_to_later(
    photos: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"

    def take_away() -> None:
        folder.rename(elsewhere)
        folder.touch()

    def put_back() -> None:
        folder.unlink()
        elsewhere.rename(folder)

    after_batch(monkeypatch, 1, take_away)
    after_batch(monkeypatch, 5, put_back)
    assert train(photos, out=folder, settings=TINY).finished
    assert "cannot be written" in capsys.readouterr().err
    assert_equal(folder, whole)


# --- Pictures


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_goes_in_mid_run_is_named_and_put_back_the_run_goes_on(
    workers: int, photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "cache"))
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    picture = learnt_from(whole, mine)
    aside = tmp_path / picture.name
    after_batch(monkeypatch, 1, lambda: picture.rename(aside))
    with pytest.raises(InputError, match=f"^[^\n]*{picture.name}[^\n]*$"):
        train(mine, out=tmp_path / "run", settings=dataclasses.replace(TINY, cache_gb=0.0, workers=workers))
    aside.rename(picture)
    assert resume(mine, tmp_path / "run", cache_gb=0.0)
    assert_equal(tmp_path / "run", whole)


def test_a_picture_that_is_kept_decoded_may_go_until_the_run_is_resumed(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    picture = learnt_from(whole, mine)
    after_batch(monkeypatch, 1, picture.unlink)
    assert train(mine, out=tmp_path / "run", settings=TINY).finished
    assert_equal(tmp_path / "run", whole)


def test_a_picture_that_goes_before_it_is_scored_is_named(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    picture = pictures_of(whole, "val", mine)[0]
    after_batch(monkeypatch, 1, picture.unlink)
    for how in ((), ("--resume",)):  # it is finished, and says so
        assert main(["train", str(mine), "--out", str(tmp_path / "run"), *words_of(TINY), *how]) == 1
        assert f"Not scored: {picture}" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["problems"]


def test_a_run_of_which_no_picture_can_be_scored_is_scored_when_they_are_back(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    held_out = pictures_of(whole, "val", mine)
    after_batch(monkeypatch, 1, lambda: [picture.rename(tmp_path / picture.name) for picture in held_out])
    with pytest.raises(
        InputError, match=f"^None of the pictures held out can be scored: [^\n]*{held_out[0].name}.*--resume"
    ):
        train(mine, out=tmp_path / "run", settings=TINY)
    for picture in held_out:
        (tmp_path / picture.name).rename(picture)
    assert resume(mine, tmp_path / "run")
    assert_equal(tmp_path / "run", whole)


def run_out() -> None:
    raise MemoryError


def test_a_picture_that_takes_too_much_memory_to_be_scored_is_named(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before_call(monkeypatch, evaluate, "score_pair", run_out)
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *words_of(TINY)]) == 1
    assert "Not scored: " in (said := capsys.readouterr().err)
    assert "takes more memory than there is" in said
    found, expected = (json.loads((folder / "scores.json").read_text()) for folder in (tmp_path / "run", whole))
    assert len(found["pictures"]) == len(expected["pictures"]) - 1


def test_a_picture_that_a_gpu_has_too_little_memory_for_is_scored_by_the_cpu(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over, load = out_of_memory.on_device_or_cpu, predictor.load
    monkeypatch.setattr(out_of_memory, "on_device_or_cpu", lambda work, _: take_over(work, "cuda"))
    monkeypatch.setattr(predictor, "load", lambda path, **_: load(path, device="cpu"))
    before_call(monkeypatch, evaluate, "score_pair", run_out)
    assert train(photos, out=tmp_path / "run", settings=TINY).finished
    assert_equal(tmp_path / "run", whole)


@pytest.mark.parametrize("kind", ["train", "train_masks"])
def test_a_picture_or_mask_of_another_content_is_refused_and_named(
    kind: str, photos: Path, tmp_path: Path, stop_after: Stop
) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    stop_after(1)
    train(mine, out=tmp_path / "run", settings=TINY)
    first, second, *_ = sorted((mine / kind).iterdir())
    shutil.copyfile(second, first)
    with pytest.raises(InputError, match=rf"\(train/{first.stem.removesuffix('_mask')} is with another content\)"):
        resume(mine, tmp_path / "run")


# --- The clock


def test_a_clock_that_is_set_back_changes_nothing(
    photos: Path, whole: Path, tmp_path: Path, stop_after: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    backwards = itertools.count(4e9, -1e6)
    monkeypatch.setattr(time, "time", lambda: next(backwards))
    stop_after(3)
    train(photos, out=folder, settings=TINY)
    for path in folder.iterdir():
        os.utime(path, (5e9, 5e9))
    assert resume(photos, folder)
    assert_equal(folder, whole)


# --- Nothing left to do


def test_a_finished_run_says_what_it_reached_and_does_nothing(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in whole.iterdir()}
    run = train(tmp_path / "no pictures are needed", out=whole, settings=TINY, resume=True)
    scores = json.loads((whole / "scores.json").read_text())
    assert run.finished
    assert run.scores is not None
    assert run.scores.to_json().items() <= scores.items()
    assert f"is finished already: Dice {scores['dice']['mean']:.4f} " in capsys.readouterr().out
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in whole.iterdir()} == before


def test_more_epochs_than_a_finished_run_had_are_refused(whole: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=rf"--epochs 3, not 4, .*--from {whole / 'model.safetensors'}"):
        resume(photos, whole, epochs=4)


def learnt_from(whole: Path, photos: Path) -> Path:
    """A picture that the last batch of an epoch may hold, so that it is not read before it goes."""
    return pictures_of(whole, "train", photos)[0]


def pictures_of(run: Path, part: str, photos: Path) -> list[Path]:
    names = json.loads((run / "split.json").read_text())["pictures"][part]
    return [next(photos.glob(f"{name}.*")) for name in names]


def words_of(settings: Settings) -> list[str]:
    """The options that make these settings."""
    usual = dataclasses.asdict(read_preset("classic"))
    changed = {name: value for name, value in dataclasses.asdict(settings).items() if value != usual[name]}
    return ["--preset", "classic", *(word for name, value in changed.items() for word in (option(name), str(value)))]


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
