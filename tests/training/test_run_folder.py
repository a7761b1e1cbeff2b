import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from maskwright.config import Settings, read_settings
from maskwright.data.groups import Groups
from maskwright.errors import InputError
from maskwright.training.run_folder import (
    RunFolder,
    as_started,
    check_pictures,
    check_settings,
    choose_folder,
    read_unread,
    start_run,
    write_metrics,
)

SPLIT = {"a_1": "train", "a_2": "train", "b_1": "val", "c_1": "test"}
CONTENTS = {name: f"hash of {name}" for name in SPLIT}
GROUPS = Groups({"a_1": "a", "a_2": "a", "b_1": "b", "c_1": "c"}, "by hand")


@pytest.fixture
def started(tmp_path: Path) -> RunFolder:
    """A run that has saved its state."""
    folder = RunFolder(tmp_path / "run")
    start_run(folder, Settings(epochs=3), SPLIT, GROUPS, contents=CONTENTS)
    folder.state.touch()
    return folder


# --- Which folder


@pytest.mark.parametrize("exists", [True, False])
def test_a_new_or_empty_folder_is_taken(exists: bool, tmp_path: Path) -> None:
    if exists:
        (tmp_path / "run").mkdir()
    assert choose_folder(tmp_path / "run", Path("cars"), resume=False).path == tmp_path / "run"


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match=f"^{tmp_path} is not empty.*--resume"):
        choose_folder(tmp_path, Path("cars"), resume=False)


def test_a_folder_that_is_not_empty_is_resumed_where_that_is_asked(started: RunFolder) -> None:
    assert choose_folder(started.path, Path("cars"), resume=True) == started


@pytest.mark.parametrize("resume", [True, False])
def test_a_file_is_refused(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match=r"--out .*run is a file"):
        choose_folder(tmp_path / "run", Path("cars"), resume=resume)


def test_without_a_name_a_dated_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = choose_folder(None, Path("cars"), resume=False).path
    assert folder.parent == Path("runs")
    assert folder.name.endswith("-cars")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["cars", "cars[2024]", "*"])
def test_the_latest_run_of_that_name_is_resumed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in (f"2026-01-02-030405-{name}", f"2026-01-02-030406-{name}", "2026-01-02-030407-old-cars"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "config.toml").touch()
    (tmp_path / "runs" / f"2026-01-02-030408-{name}").mkdir()  # it never began
    assert choose_folder(None, Path(name), resume=True).path == Path("runs") / f"2026-01-02-030406-{name}"


def test_a_run_on_other_photos_of_the_same_name_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine, others = tmp_path / "mine" / "cars", tmp_path / "others" / "cars"
    run = RunFolder(Path("runs/2026-01-02-030405-cars"))
    start_run(run, Settings(epochs=3), SPLIT, GROUPS, photos=mine)
    assert choose_folder(None, mine, resume=True) == run
    assert choose_folder(None, others, resume=True).path not in list(Path("runs").iterdir())


def test_a_run_says_what_goes_on_with_it() -> None:
    assert RunFolder(Path("runs/cars")).again == "the same command with --out runs/cars --resume"
    assert RunFolder(Path("all/fold-2"), "the same with --resume").again == "the same with --resume"


# --- What it must agree with


def test_a_new_run_writes_its_settings_and_its_split(started: RunFolder) -> None:
    assert read_settings(started.config) == Settings(epochs=3)
    assert json.loads(started.split.read_text()) == {
        "rule": "by hand",
        "pictures": {"train": ["a_1", "a_2"], "val": ["b_1"], "test": ["c_1"]},
        "groups": {"train": ["a"], "val": ["b"], "test": ["c"]},
        "contents": CONTENTS,
    }


def test_the_same_settings_and_pictures_are_resumed(started: RunFolder) -> None:
    check_settings(started, Settings(epochs=3))
    check_pictures(started, SPLIT, CONTENTS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learning_rate": 0.5}, r"--learning-rate 0\.001, not 0\.5: repeat its options"),
        ({"epochs": 2}, "--epochs 3, not 2: repeat its options"),
        ({"group": "x"}, "--group None, not x: repeat its options"),
        ({"seed": 1, "loss": "dice"}, "--loss ce, not dice; --seed 0, not 1: repeat its options"),
    ],
)
def test_other_settings_are_refused_and_all_named(changes: dict[str, Any], sentence: str, started: RunFolder) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        check_settings(started, dataclasses.replace(Settings(epochs=3), **changes))
    assert str(started.path) in str(raised.value)


def test_more_epochs_are_refused_and_pointed_to_a_new_run(started: RunFolder) -> None:
    with pytest.raises(InputError, match=f"--epochs 3, not 4, .*--from {started.model}"):
        check_settings(started, Settings(epochs=4))


def test_whoever_forgets_the_epochs_is_told_to_repeat_them(started: RunFolder) -> None:
    with pytest.raises(InputError, match=r"--epochs 3, not None.*: repeat its options"):
        check_settings(started, Settings().with_length(None, None))


def test_what_was_left_open_is_resumed_with_what_was_chosen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    asked = Settings(epochs=3, batch_size=2, find_rate=True)
    chosen = dataclasses.replace(asked, size=96, base_channels=16, held_levels=3, tint=0.5, learning_rate=0.02)
    assert as_started(folder, asked) == asked
    start_run(folder, chosen, SPLIT, GROUPS)
    assert as_started(folder, asked) == asked  # it never saved its state: all is chosen anew
    folder.state.touch()
    assert as_started(folder, asked) == chosen
    assert as_started(folder, dataclasses.replace(asked, size=64)).size == 64
    folder.state.unlink()
    folder.scores.touch()
    assert as_started(folder, asked) == chosen  # finished, and its states deleted


def test_a_run_from_before_levels_could_be_held_goes_on_without(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    start_run(folder, Settings(epochs=3, size=96), SPLIT, GROUPS)
    folder.state.touch()
    assert "held_levels" not in folder.config.read_text()
    again = as_started(folder, Settings(epochs=3))
    assert again.held_levels == 0
    check_settings(folder, again)
    other = as_started(folder, Settings(epochs=3, held_levels=2))
    assert other.held_levels == 2
    with pytest.raises(InputError, match="--held-levels 0, not 2"):
        check_settings(folder, other)


@pytest.mark.parametrize(
    ("earlier", "now", "sentence"),
    [
        (("a/m", "12"), None, "started --from a/m: repeat its options"),
        (("a/m", "12"), ("b/m", "34"), "started --from a/m: repeat its options"),
        (("a/m", "12"), ("a/m", "34"), "started --from a/m, a file that has changed since: "),
        (None, ("a/m", "12"), "started without --from"),
    ],
)
def test_a_run_that_started_from_another_model_is_refused(
    earlier: tuple[str, str] | None, now: tuple[str, str] | None, sentence: str, tmp_path: Path
) -> None:
    before, after = (dict(zip(("name", "fingerprint"), of, strict=True)) if of else None for of in (earlier, now))
    folder = RunFolder(tmp_path / "run")
    start_run(folder, Settings(epochs=3), SPLIT, GROUPS, started_from=before)
    check_settings(folder, Settings(epochs=3), started_from=before)
    with pytest.raises(InputError, match=sentence):
        check_settings(folder, Settings(epochs=3), started_from=after)


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ({**SPLIT, "d_1": "train"}, "d_1 is new"),
        ({name: part for name, part in SPLIT.items() if name[0] != "a"}, "a_1, a_2 are gone"),
        ({**SPLIT, "b_1": "train", "d_1": "val"}, "d_1 is new; b_1 is in another part"),
    ],
)
def test_other_pictures_are_refused_and_named(split: dict[str, str], sentence: str, started: RunFolder) -> None:
    with pytest.raises(InputError, match=rf"pictures .*changed .*\({sentence}\)"):
        check_pictures(started, split, CONTENTS)


def test_pictures_of_another_content_are_refused_and_named(started: RunFolder) -> None:
    with pytest.raises(InputError, match=r"\(b_1 is with another content\)"):
        check_pictures(started, SPLIT, {**CONTENTS, "b_1": "another hash"})


def test_of_many_changed_pictures_some_are_named_and_the_rest_counted(started: RunFolder) -> None:
    with pytest.raises(InputError, match=r"p_00, .*, p_05 and 6 more are new"):
        check_pictures(started, {**SPLIT, **{f"p_{n:02}": "val" for n in range(12)}}, CONTENTS)


def test_a_run_that_never_saved_starts_anew(started: RunFolder) -> None:
    started.state.unlink()
    started.metrics.write_text('{"step": 1}\n')
    start_run(started, Settings(epochs=9), SPLIT, GROUPS)
    assert read_settings(started.config) == Settings(epochs=9)
    assert not started.metrics.exists()


@pytest.mark.parametrize("left", [["state.pth"], ["state.previous.pth"], ["state.pth", "state.previous.pth"]])
def test_a_run_is_saved_where_any_of_its_two_states_is_there(left: list[str], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.is_saved
    for name in left:
        (tmp_path / name).touch()
    assert folder.is_saved


@pytest.mark.parametrize("resume", [True, False])
def test_what_a_run_left_that_was_killed_in_its_first_moments_is_nothing(resume: bool, tmp_path: Path) -> None:
    for name in (".lock", ".0123456789abcdef.toml"):
        (tmp_path / name).touch()
    assert choose_folder(tmp_path, Path("cars"), resume=resume).path == tmp_path


def test_pictures_that_were_not_read_are_written_down(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert read_unread(folder) == set()
    start_run(folder, Settings(epochs=3), SPLIT, GROUPS, ["z_2", "z_1"])
    assert json.loads(folder.split.read_text())["unread"] == ["z_1", "z_2"]
    assert read_unread(folder) == {"z_1", "z_2"}


# --- Metrics


LINES = [f'{{"step": {step}}}\n' for step in (10, 20, 30)]


@pytest.mark.parametrize(
    "there", [None, "", "".join(LINES[:2]), LINES[0], "".join(LINES[:2]) + '{"st', "".join(LINES), "mine"]
)
def test_metrics_are_added_to_those_before_which_are_mended(there: str | None, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    if there is not None:
        path.write_text(there)
    write_metrics(path, LINES)
    assert path.read_text() == "".join(LINES)


def test_a_line_is_added_in_place_for_those_who_follow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, LINES[:2])
    before = path.stat().st_ino
    write_metrics(path, LINES)
    assert path.stat().st_ino == before


@pytest.mark.parametrize("lost", ["config", "split"])
def test_a_run_that_lost_a_file_is_refused(lost: str, started: RunFolder) -> None:
    getattr(started, lost).unlink()
    with pytest.raises(InputError, match="cannot be resumed"):
        check_settings(started, Settings(epochs=3))


def test_a_folder_that_holds_something_else_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("mine")
    with pytest.raises(InputError, match="holds no run"):
        choose_folder(tmp_path, Path("cars"), resume=True)
    assert (tmp_path / "metrics.jsonl").read_text() == "mine"


@pytest.mark.parametrize(
    "setting", [{"device": "cuda"}, {"workers": 3}, {"precision": "bf16"}, {"storage": "lean"}, {"save_every": 9}]
)
def test_a_run_goes_on_on_another_machine(setting: dict[str, Any], started: RunFolder) -> None:
    check_settings(started, Settings(epochs=3, **setting))
