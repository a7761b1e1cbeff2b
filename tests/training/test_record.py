"""What a run folder says of its model, for the report."""

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from maskwright import cli
from maskwright.config import Architecture, Settings, preset_names, read_preset
from maskwright.data.groups import Groups
from maskwright.evaluation.evaluate import TITLES
from maskwright.evaluation.machine import Effort, machine_here
from maskwright.inference.model_file import ModelCard
from maskwright.training.record import read_record, train_command, write_run_report
from maskwright.training.run_folder import RunFolder, start_run
from tests.parsed_pages import parse
from tests.tiny_models import TINY, write_lively_model

SETTINGS = replace(read_preset("quick"), minutes=2.0, size=48, batch_size=4, base_channels=8)
SPLIT = {"a_1": "train", "a_2": "train", "b_1": "val"}
GROUPS = Groups({"a_1": "a", "a_2": "a", "b_1": "b"}, "2 groups by hand")


def card_of(settings: Settings) -> ModelCard:
    known = {name: value for name, value in asdict(settings).items() if value is not None}
    return ModelCard(TINY, size=48, trained_on=("x",), settings=known)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that came to its end."""
    run = RunFolder(tmp_path / "a run")
    start_run(run, SETTINGS, SPLIT, GROUPS, unread=["c_1"], photos=tmp_path / "photos")
    write_lively_model(run.model, card_of(SETTINGS))
    run.metrics.write_text('{"epoch": 1, "step": 3, "train_loss": 0.5}\n')
    run.health.write_text(json.dumps({"findings": [{"name": "n", "sentence": "It is slow."}]}))
    run.machine.write_text(json.dumps(asdict(Effort(61.0, 1e9, machine_here("cpu")))))
    interval = {"mean": 0.8765, "low": None, "high": None}
    row = {"name": "b_1", "group": "b", "classes": [], **dict.fromkeys(TITLES, 0.8765)}
    scores = {"pictures": [row], "groups": 1, "classes": [], "problems": [], **dict.fromkeys(TITLES, interval)}
    run.scores.write_text(json.dumps({"part": "val", "scored": 1, "available": 4, "validated_on": 1, **scores}))
    return run


def test_a_run_says_how_its_model_came_about(folder: RunFolder) -> None:
    found = read_record(folder, card_of(SETTINGS))
    assert found is not None
    assert found.photos == str((folder.path.parent / "photos").resolve())
    assert found.parts == {"train": (2, 1), "val": (1, 1)}
    assert (found.rule, found.unread, found.findings) == ("2 groups by hand", 1, ("It is slow.",))
    assert found.lines == ({"epoch": 1, "step": 3, "train_loss": 0.5},)
    assert found.effort is not None
    assert found.effort.seconds == 61.0


def test_a_folder_below_the_working_directory_is_named_from_there(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.path.parent)
    found = read_record(folder, card_of(SETTINGS))
    assert found is not None
    assert found.photos == "photos"
    assert found.command.startswith("maskwright train photos --preset")


def test_the_folder_of_another_run_says_nothing_of_a_model(folder: RunFolder) -> None:
    assert read_record(folder, card_of(replace(SETTINGS, seed=7))) is None
    assert read_record(folder, ModelCard(Architecture(), size=48)) is None


def test_a_run_that_went_on_on_another_machine_is_the_same_run(folder: RunFolder) -> None:
    assert read_record(folder, card_of(replace(SETTINGS, device="cuda", storage="lean"))) is not None


@pytest.mark.parametrize("name", ["metrics.jsonl", "health.json", "machine.json"])
def test_what_is_missing_is_left_out(name: str, folder: RunFolder) -> None:
    (folder.path / name).unlink()
    assert read_record(folder, card_of(SETTINGS)) is not None


@pytest.mark.parametrize("name", ["config.toml", "split.json"])
def test_a_folder_that_lacks_what_every_run_has_says_nothing(name: str, folder: RunFolder) -> None:
    (folder.path / name).unlink()
    assert read_record(folder, card_of(SETTINGS)) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.toml", "size = 48\nno such setting = 1\n"),
        ("split.json", "[]"),
        ("split.json", "{}"),
        ("split.json", '{"pictures": {"train": 3}, "groups": {"train": 3}, "rule": ""}'),
        ("metrics.jsonl", '{"epoch": 1, "st'),
        ("metrics.jsonl", '{"epoch": 1}\n3\n'),
        ("metrics.jsonl", '{"step": 1}\n'),
        ("metrics.jsonl", '{"epoch": 1, "train_loss": null}\n'),
        ("health.json", "[]"),
        ("machine.json", '{"seconds": "long", "peak_memory": null, "machine": {}}'),
    ],
)
def test_a_folder_that_was_changed_by_hand_says_nothing(name: str, content: str, folder: RunFolder) -> None:
    (folder.path / name).write_text(content)
    assert read_record(folder, card_of(SETTINGS)) is None


def test_the_report_of_a_run_is_made_of_what_it_left(folder: RunFolder) -> None:
    scores = json.loads(folder.scores.read_text())
    folder.scores.write_text(json.dumps({**scores, "remarks": ["LEAK: some."]}))
    write_run_report(folder)
    page = parse(folder.report.read_text(encoding="utf-8"))
    assert page.headings[0] == "a run"
    assert "0.8765" in page.text
    assert "may flatter the model" in page.text
    assert "A sample of the 4 pictures" in page.text
    assert "Scored on the validation pictures of " in page.text
    assert "LEAK: some." in page.text
    assert "1 min 1 s" in page.text or "61.0 s" in page.text
    assert f"maskwright evaluate '{folder.model}'" in page.text


@pytest.mark.parametrize(("part", "words"), [("test", "the test pictures of "), ("", "the held-out pictures of ")])
def test_scores_of_pictures_that_chose_nothing_flatter_nobody(part: str, words: str, folder: RunFolder) -> None:
    scores = json.loads(folder.scores.read_text())
    folder.scores.write_text(json.dumps({**scores, "part": part, "available": 1}))
    write_run_report(folder, effort=Effort(7.5, None, machine_here("a device of its own")))
    text = parse(folder.report.read_text(encoding="utf-8")).text
    assert words in text
    assert "may flatter the model" not in text
    assert "A sample of" not in text
    assert "7.5 s, 7.50 s a picture" in text
    assert "a device of its own" in text


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_as_it_is_needs_no_further_words(name: str) -> None:
    assert train_command("photos", read_preset(name)) == f"maskwright train photos --preset {name}"


def test_the_command_gives_the_settings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(
        SETTINGS, augment=False, seed=3, ignore="11", group=r"(\d+)_", loss="focal+dice", learning_rate=1e-4, crop=None
    )
    command = train_command("my photos", replace(settings, device="cuda"))
    assert command.startswith("maskwright train 'my photos' --preset quick ")
    found: list[Settings] = []

    def take(photos: Path, *, settings: Settings, **options: object) -> object:
        found.append(settings)
        raise SystemExit(photos)

    monkeypatch.setattr("maskwright.commands.train.train", take)
    with pytest.raises(SystemExit, match="my photos"):
        cli.main(shlex.split(command)[1:])
    assert found == [settings]


def test_the_command_names_the_model_that_a_run_started_from() -> None:
    command = train_command("photos", read_preset("classic"), started_from={"name": "old run/model.safetensors"})
    assert command == "maskwright train photos --preset classic --from 'old run/model.safetensors'"
    found = {"name": "old run/model.safetensors", "path": "runs/old run/model.safetensors"}
    command = train_command("photos", read_preset("classic"), started_from=found)
    assert command == "maskwright train photos --preset classic --from 'runs/old run/model.safetensors'"
