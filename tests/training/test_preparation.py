import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from maskwright.config import Settings
from maskwright.data import cache
from maskwright.data.finding import find_dataset
from maskwright.training import preparation
from maskwright.training.minutes import Minutes
from maskwright.training.preparation import prepare
from maskwright.training.recipe import Speed
from maskwright.training.run_folder import RunFolder, start_run

pytestmark = pytest.mark.usefixtures("one_thread")

# The width is not left open, so that steps take no time to measure; `test_recipe` chooses it.
OPEN = Settings(depth=1, minutes=1.0, base_channels=8)


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    """Six cars, two views each."""
    return drawn_cars


def in_time() -> Minutes:
    """A clock that stands still."""
    return Minutes(1e6, 0.0, lambda: 0.0)


def test_pictures_that_are_all_read_in_time_lie_in_the_order_they_were_found_in(photos: Path) -> None:
    prepared = prepare(photos, OPEN, device="cpu", minutes=in_time())
    assert prepared.material.cache.pairs == find_dataset(photos).pairs
    assert prepared.material.unread == ()
    assert None not in (prepared.settings.size, prepared.settings.batch_size)


def test_what_is_read_in_the_time_there_is_depends_on_the_seed_and_is_no_mere_beginning(photos: Path) -> None:
    read = []
    for seed in (0, 0, 1):
        late = Minutes(0.0, 0.0, lambda: 99.0)
        settings = dataclasses.replace(OPEN, seed=seed, val_share=0.5)
        material = prepare(photos, settings, device="cpu", minutes=late).material
        names = [pair.name for pair in material.cache.pairs]
        assert sorted([*names, *material.unread]) == sorted(pair.name for pair in find_dataset(photos).pairs)
        read.append(names)
    assert read[0] == read[1] != read[2]
    assert read[0] != [pair.name for pair in find_dataset(photos).pairs][: len(read[0])]


def test_a_run_that_goes_on_takes_what_was_chosen_and_leaves_out_what_was_left_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    late = Minutes(0.0, 0.0, lambda: 99.0)
    first = prepare(photos, OPEN, device="cpu", minutes=late)
    start_run(folder, first.settings, first.material.split, first.material.groups, first.material.unread)
    folder.state.touch()
    second = prepare(photos, OPEN, device="cpu", minutes=in_time(), resumed=folder)
    assert second.settings == first.settings
    assert second.material.split == first.material.split
    assert second.material.unread == first.material.unread
    assert f"as in {folder.path} when it began" in capsys.readouterr().err


def test_a_run_that_is_compared_with_another_has_its_pictures_whatever_the_clock_says(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, late = RunFolder(tmp_path / "run"), Minutes(0.0, 0.0, lambda: 99.0)
    first = prepare(photos, OPEN, device="cpu", minutes=in_time()).material
    unread = sorted(pair.name for pair in first.cache.pairs)[:3]
    start_run(folder, OPEN, first.split, first.groups, unread)
    second = prepare(photos, OPEN, device="cpu", minutes=late, read_before=folder).material
    assert sorted(second.unread) == unread
    assert sorted(second.split) == sorted(set(first.split) - set(unread))
    assert f"as in {folder.path} when it began" in capsys.readouterr().err


@pytest.mark.parametrize(("test_share", "said"), [(0.0, "chosen and scored on"), (0.2, "that is scored"), (0.5, "")])
def test_few_pictures_are_told_of_the_part_that_is_scored(
    test_share: float, said: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(OPEN, test_share=test_share)
    prepare(photos, settings, device="cpu", minutes=in_time())
    warned = capsys.readouterr().err
    assert ("Few pictures" in warned) is bool(said)
    assert said in warned
    assert ("--folds" in warned) is (test_share == 0)


def test_of_each_part_of_an_earlier_split_a_picture_is_read_however_little_time_there_is(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "LEAST_READ", 3)
    monkeypatch.setattr(cache, "LEAST_READ", 3)
    late = Minutes(0.0, 0.0, lambda: 99.0)
    names = [pair.name for pair in find_dataset(photos).pairs]
    for held_out in names[:6]:
        parts = {"train": names[7:], "val": [held_out], "test": [name for name in names[:7] if name != held_out]}
        (tmp_path / "split.json").write_text(json.dumps({"pictures": parts}))
        settings = dataclasses.replace(OPEN, split=str(tmp_path / "split.json"))
        material = prepare(photos, settings, device="cpu", minutes=late).material
        assert [len(material.indices(part)) >= 1 for part in ("train", "val", "test")] == [True] * 3
        assert material.unread


def test_a_plan_by_epochs_has_seconds_to_measure_steps_in(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []

    def measure(*_: object, spent_here: list[float] = spent, **options: Callable[[], float]) -> Speed:
        spent_here.append(options["spent"]())
        return Speed(0.1, 1.0)

    monkeypatch.setattr(preparation, "measure_speed", measure)
    settings = dataclasses.replace(OPEN, minutes=None, epochs=1)
    prepare(photos, settings, device="cpu", minutes=None, always_measure=True)
    assert len(spent) == 1
    assert spent[0] < 0.5


def test_freed_memory_is_kept_only_where_there_is_plenty_also_when_a_run_goes_on(photos: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    short = dataclasses.replace(OPEN, memory="100MB")  # the process alone holds more
    first = prepare(photos, short, device="cpu", minutes=in_time())
    start_run(folder, first.settings, first.material.split, first.material.groups, first.material.unread)
    folder.state.touch()
    again = prepare(photos, short, device="cpu", minutes=in_time(), resumed=folder)
    moved = prepare(photos, dataclasses.replace(OPEN, memory="100GB"), device="cpu", minutes=in_time(), resumed=folder)
    assert first.memory is not None
    assert first.memory.returns_freed
    assert again.memory is not None
    assert again.memory.returns_freed
    assert (first.keeps_freed, again.keeps_freed, moved.keeps_freed) == (False, False, True)
    assert again.settings == first.settings
    assert moved.memory is None


def test_by_epochs_nothing_is_measured_unless_that_is_asked(photos: Path) -> None:
    settings = dataclasses.replace(OPEN, minutes=None, epochs=1)
    assert prepare(photos, settings, device="cpu", minutes=None).speed is None
    measured = prepare(photos, settings, device="cpu", minutes=None, always_measure=True)
    assert measured.speed is not None
    assert measured.recipe == prepare(photos, settings, device="cpu", minutes=None).recipe
