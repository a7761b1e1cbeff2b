import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from maskwright.config import Settings, read_settings
from maskwright.data.splits import Groups
from maskwright.errors import InputError
from maskwright.training.run_folder import RunFolder, choose_folder, keep_metrics_until, open_run, read_unread

SPLIT = {"a_1": "train", "a_2": "train", "b_1": "val", "c_1": "test"}
GROUPS = Groups({"a_1": "a", "a_2": "a", "b_1": "b", "c_1": "c"}, "by hand")


@pytest.fixture
def started(tmp_path: Path) -> RunFolder:
    """A run that has saved its state."""
    folder = RunFolder(tmp_path / "run")
    open_run(folder, Settings(epochs=3), SPLIT, GROUPS)
    folder.state.touch()
    return folder


# --- Which folder


@pytest.mark.parametrize("exists", [True, False])
def test_a_new_or_empty_folder_is_taken(exists: bool, tmp_path: Path) -> None:
    if exists:
        (tmp_path / "run").mkdir()
    assert choose_folder(tmp_path / "run", "cars", resume=False).path == tmp_path / "run"


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match=f"^{tmp_path} is not empty.*--resume"):
        choose_folder(tmp_path, "cars", resume=False)


def test_a_folder_that_is_not_empty_is_resumed_where_that_is_asked(started: RunFolder) -> None:
    assert choose_folder(started.path, "cars", resume=True) == started


@pytest.mark.parametrize("resume", [True, False])
def test_a_file_is_refused(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match=r"--out .*run is a file"):
        choose_folder(tmp_path / "run", "cars", resume=resume)


def test_without_a_name_a_dated_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = choose_folder(None, "cars", resume=False).path
    assert folder.parent == Path("runs")
    assert folder.name.endswith("-cars")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["cars", "cars[2024]", "*"])
def test_the_latest_run_of_that_name_is_resumed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in (f"2026-01-02-030405-{name}", f"2026-01-02-030406-{name}", "2026-01-02-030407-old-cars"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "state.pth").touch()
    (tmp_path / "runs" / f"2026-01-02-030408-{name}").mkdir()  # it never saved its state
    assert choose_folder(None, name, resume=True).path == Path("runs") / f"2026-01-02-030406-{name}"


# --- What it must agree with


def test_a_new_run_writes_its_settings_and_its_split(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not open_run(folder, Settings(epochs=3), SPLIT, GROUPS)
    assert read_settings(folder.config) == Settings(epochs=3)
    assert json.loads(folder.split.read_text()) == {
        "rule": "by hand",
        "pictures": {"train": ["a_1", "a_2"], "val": ["b_1"], "test": ["c_1"]},
        "groups": {"train": ["a"], "val": ["b"], "test": ["c"]},
    }


def test_the_same_settings_and_pictures_are_resumed(started: RunFolder) -> None:
    assert open_run(started, Settings(epochs=3), SPLIT, GROUPS)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("learning_rate", 0.5, "--learning-rate 0.001, not 0.5"),
        ("epochs", None, "--epochs 3, not None"),
        ("group", "x", "--group None, not x"),
    ],
)
def test_other_settings_are_refused(name: str, value: object, sentence: str, started: RunFolder) -> None:
    settings = dataclasses.replace(Settings(epochs=3), **{name: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=sentence) as raised:
        open_run(started, settings, SPLIT, GROUPS)
    assert str(started.path) in str(raised.value)
    assert read_settings(started.config) == Settings(epochs=3)


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
    open_run(folder, Settings(epochs=3), SPLIT, GROUPS, started_from=before)
    folder.state.touch()
    assert open_run(folder, Settings(epochs=3), SPLIT, GROUPS, started_from=before)
    with pytest.raises(InputError, match=sentence):
        open_run(folder, Settings(epochs=3), SPLIT, GROUPS, started_from=after)


@pytest.mark.parametrize(
    ("split", "changed"),
    [
        ({**SPLIT, "d_1": "train"}, "d_1"),
        ({name: part for name, part in SPLIT.items() if name != "a_2"}, "a_2"),
        ({**SPLIT, "b_1": "train"}, "b_1"),
    ],
    ids=["new", "gone", "in another part"],
)
def test_other_pictures_are_refused(split: dict[str, str], changed: str, started: RunFolder) -> None:
    with pytest.raises(InputError, match=rf"pictures changed .*\({changed} is"):
        open_run(started, Settings(epochs=3), split, GROUPS)


def test_a_run_that_never_saved_starts_anew(started: RunFolder) -> None:
    started.state.unlink()
    started.metrics.write_text('{"step": 1}\n')
    assert not open_run(started, Settings(epochs=9), SPLIT, GROUPS)
    assert read_settings(started.config) == Settings(epochs=9)
    assert not started.metrics.exists()


def test_pictures_that_were_not_read_are_written_down(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert read_unread(folder) == set()
    open_run(folder, Settings(epochs=3), SPLIT, GROUPS, ["z_2", "z_1"])
    assert json.loads(folder.split.read_text())["unread"] == ["z_1", "z_2"]
    assert read_unread(folder) == {"z_1", "z_2"}


# --- Metrics


@pytest.mark.parametrize(("step", "kept"), [(0, []), (20, [10, 20]), (25, [10, 20]), (99, [10, 20, 30])])
def test_metrics_are_cut_after_the_step_of_the_state(step: int, kept: list[int], tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}\n{"step": 20}\n{"step": 30}\n')
    keep_metrics_until(path, step)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == kept


def test_a_line_that_was_half_written_when_the_power_went_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}\n{"step": 20}\n{"step": 2')
    keep_metrics_until(path, 20)
    assert path.read_text() == '{"step": 10}\n{"step": 20}\n'


def test_a_run_without_metrics_has_none_to_cut(tmp_path: Path) -> None:
    keep_metrics_until(tmp_path / "metrics.jsonl", 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", ["config", "split"])
def test_a_run_that_lost_a_file_is_refused(lost: str, started: RunFolder) -> None:
    started.state.touch()
    getattr(started, lost).unlink()
    with pytest.raises(InputError, match="cannot be resumed"):
        open_run(started, Settings(epochs=3), SPLIT, GROUPS)


def test_a_folder_that_holds_something_else_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("mine")
    with pytest.raises(InputError, match="holds no run"):
        choose_folder(tmp_path, "cars", resume=True)
    assert (tmp_path / "metrics.jsonl").read_text() == "mine"


@pytest.mark.parametrize("setting", [{"device": "cuda"}, {"workers": 3}, {"precision": "bf16"}, {"storage": "lean"}])
def test_a_run_goes_on_on_another_machine(setting: dict[str, Any], started: RunFolder) -> None:
    started.state.touch()
    assert open_run(started, Settings(epochs=3, **setting), SPLIT, GROUPS)
