import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskwright.commands.plan import plan
from maskwright.commands.train import train
from maskwright.config import Settings, read_preset, read_settings
from maskwright.data.dataset import Batch, Draw, Samples
from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.labels import LabelMap
from maskwright.data.pairs import Pair
from maskwright.data.reading import choose_formats
from maskwright.errors import DoesNotFitError
from maskwright.inference.predictor import load
from maskwright.interop.weights import read_imagenet_weights
from maskwright.training import measuring, pilot, preparation, ranks, recipe
from maskwright.training.fitting import Fit, Way
from maskwright.training.material import read_pictures
from maskwright.training.memory_budget import MemoryUse
from maskwright.training.memory_plan import Peak
from maskwright.training.minutes import ENDING_SECONDS, PILOT_SHARE, Minutes
from maskwright.training.pilot import Errors, choose_asked, choose_by_pilot, run_pilot
from maskwright.training.preparation import Preparation, prepare
from maskwright.training.recipe import Speed
from maskwright.training.step import make_step

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = dataclasses.replace(read_preset("quick"), minutes=1.0, val_share=0.25)
AT_OUTLINES, ELSEWHERE = Errors(0.05, 0.01, 4, 50), Errors(0.05, 0.3, 4, 50)


def in_time() -> Minutes:
    """A clock that stands still."""
    return Minutes(1e6, 0.0, lambda: 0.0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cars, two views each, a little larger than the sides to choose among here."""
    folder = tmp_path_factory.mktemp("cars")
    list(write_drawn_cars(folder, cars=8, views=2, width=160, height=120))
    return folder


def measure(settings: Settings, *_: object, **__: object) -> Speed:
    """No speed that matters, of the network that is chosen at first."""
    assert settings.held_levels == (2 if settings.encoder != "none" else 0)
    return Speed(0.0, 1.0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ladder of sizes for small pictures, of which time allows the first, and a short pilot run."""
    monkeypatch.setattr(recipe, "LADDER", (96, 128, 2000))
    monkeypatch.setattr(recipe, "WITHOUT_CLOCK", 96)
    monkeypatch.setattr(recipe, "CUT_FROM", 64)
    monkeypatch.setattr(recipe, "ENOUGH_BOUND", 0.5)
    monkeypatch.setattr(recipe, "MOST_SEEN", 10**12)
    monkeypatch.setattr(recipe, "ENOUGH_EPOCHS", 10**9)
    monkeypatch.setattr(preparation, "measure_speed", measure)
    monkeypatch.setattr(pilot, "SIDE", 64)
    monkeypatch.setattr(pilot, "LEAST_STEPS", 2)
    monkeypatch.setattr(pilot, "MOST_STEPS", 3)
    monkeypatch.setattr(pilot, "LEAST_ASKED", 2)


@pytest.fixture
def prepared(photos: Path, small: None) -> Preparation:
    return prepare(photos, QUICK, device="cpu", minutes=in_time())


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    found = read_imagenet_weights("efficientnet_lite0")
    assert found is not None
    return found


def found_by(
    errors: Errors | None, prepared: Preparation, monkeypatch: pytest.MonkeyPatch
) -> tuple[Preparation, list[str]]:
    """What comes of a pilot run with such errors, and what is said."""
    said: list[str] = []
    monkeypatch.setattr(pilot, "run_pilot", lambda *_, **__: errors)
    return choose_by_pilot(prepared, {}, "cpu", in_time(), say=said.append), said


def pilot_of(prepared: Preparation, weights: dict[str, Tensor], minutes: Minutes | None = None) -> Errors | None:
    """What a pilot run finds."""
    material, settings, minutes = prepared.material, prepared.settings, minutes or in_time()
    return run_pilot(material, settings, weights, "cpu", "fp32", minutes, show=lambda _: None)


# --- What comes of it


def test_where_outlines_are_hard_cut_outs_of_larger_pictures_are_learnt_from(
    prepared: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, said = found_by(AT_OUTLINES, prepared, monkeypatch)
    before, after = prepared.settings, chosen.settings
    assert (before.size, before.crop) == (96, None)
    assert after == dataclasses.replace(before, size=128, crop=96, held_levels=3)
    assert (chosen.recipe.size, chosen.recipe.crop) == (128, 96)
    assert {max(shape) for shape in prepared.material.cache.shapes} == {96}
    assert {max(shape) for shape in chosen.material.cache.shapes} == {128}
    assert chosen.material.split == prepared.material.split
    assert chosen.material.looks == prepared.material.looks
    assert chosen.material.contents() == prepared.material.contents()
    assert chosen.reasons == (*prepared.reasons, *said)
    assert said == [
        "Longer side 128 instead, in cut-outs of 96 pixels, with 3 levels of the encoder as they are: after 50 small "
        "steps the error at outlines is 0.050 and elsewhere 0.010, on 4 pictures held back for this, and outlines are "
        "learnt finer there."
    ]


def test_levels_that_are_not_held_are_not_told_of(prepared: Preparation, monkeypatch: pytest.MonkeyPatch) -> None:
    finer = prepared.finer
    assert finer is not None
    free = dataclasses.replace(finer, settings=dataclasses.replace(finer.settings, held_levels=0))
    _, said = found_by(AT_OUTLINES, dataclasses.replace(prepared, finer=free), monkeypatch)
    assert said[0].startswith("Longer side 128 instead, in cut-outs of 96 pixels: after 50 small steps")


def test_where_something_else_is_hard_pictures_stay_whole_and_it_is_said(
    prepared: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, said = found_by(ELSEWHERE, prepared, monkeypatch)
    assert chosen == dataclasses.replace(prepared, reasons=(*prepared.reasons, *said))
    assert "elsewhere 0.300" in said[0]


def test_where_nothing_was_found_out_nothing_changes(prepared: Preparation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_by(None, prepared, monkeypatch) == (prepared, [])


@pytest.mark.parametrize("lost", ["time", "room"])
def test_pictures_that_cannot_all_be_read_again_or_kept_stay_whole(
    lost: str, prepared: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = prepared.material.cache
    homeless = tuple(dataclasses.replace(entry, path=None) for entry in cache.entries)
    fewer = dataclasses.replace(cache, pairs=cache.pairs[1:], entries=cache.entries[1:])
    read = fewer if lost == "time" else dataclasses.replace(cache, entries=homeless)
    monkeypatch.setattr(pilot, "read_pictures", lambda *_, **__: (read, ()))
    chosen, said = found_by(AT_OUTLINES, prepared, monkeypatch)
    assert chosen == dataclasses.replace(prepared, reasons=(*prepared.reasons, *said))
    assert "no time or room" in said[0]


def test_without_a_finer_way_or_weights_or_minutes_nothing_is_tried(
    prepared: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot, "run_pilot", lambda *_, **__: pytest.fail("it was tried"))
    assert prepared.finer is not None
    whole = dataclasses.replace(prepared, finer=None)
    assert choose_by_pilot(whole, {}, "cpu", in_time()) is whole
    assert choose_by_pilot(prepared, None, "cpu", in_time()) is prepared
    assert choose_by_pilot(prepared, {}, "cpu", None) is prepared


def test_train_and_plan_do_as_it_says(
    photos: Path, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Minutes, "part", lambda *_: lambda: 0.0)  # whatever a busy machine takes to read
    monkeypatch.setattr(pilot, "_has_time", lambda *_: True)
    measured: list[int | None] = []

    def measure_again(settings: Settings, *_: object, **__: object) -> Speed:
        measured.append(settings.held_levels)
        return Speed(0.0, 1.0)

    monkeypatch.setattr(measuring, "measure_speed", measure_again)
    settings = dataclasses.replace(QUICK, minutes=0.1)
    found = {}
    for errors in (AT_OUTLINES, ELSEWHERE):
        monkeypatch.setattr(pilot, "run_pilot", lambda *_, errors=errors, **__: errors)
        planned = plan(photos, settings=settings)
        run = train(photos, out=tmp_path / f"{errors.elsewhere}", settings=settings)
        card = load(run.model_path).card
        used = read_settings(run.folder / "config.toml")
        assert (planned.size, planned.crop) == (card.size, card.tile) == (used.size, used.crop)
        assert any("small steps" in reason for reason in planned.reasons)
        found[errors] = card.size, card.tile
    assert found == {AT_OUTLINES: (128, 96), ELSEWHERE: (96, None)}
    assert measured == [3]  # a plan's steps are those with as many levels held as it says


def test_where_there_is_no_time_for_enough_steps_none_is_made(
    prepared: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = 4 * 64 * 48 / 1e6
    slow = dataclasses.replace(prepared, speed=Speed(0.0, 30.0 / batch))  # of two steps that are needed
    tried: list[bool] = []
    monkeypatch.setattr(pilot, "run_pilot", lambda *_, **__: tried.append(True))
    for seconds, is_tried in ((59, False), (61, True)):
        minutes = Minutes(ENDING_SECONDS + pilot.MARGIN * seconds / PILOT_SHARE, 0.0, lambda: 0.0)
        assert choose_by_pilot(slow, {}, "cpu", minutes) is slow
        assert bool(tried) is is_tried
    tried.clear()
    monkeypatch.setattr(ranks, "size", lambda: 2)  # which share out the steps of a run, but not of this one
    assert choose_by_pilot(dataclasses.replace(slow, speed=slow.speed and slow.speed.shared_by(2)), {}, "cpu", minutes)
    assert tried
    assert choose_by_pilot(slow, {}, "cpu", minutes) is slow
    assert len(tried) == 1


# --- Whether there is a finer way


@pytest.mark.parametrize("given", [{"size": 96}, {"crop": 64}, {"encoder": "none"}, {"minutes": None, "epochs": 2}])
def test_there_is_no_finer_way_where_a_size_is_given_or_no_clock(
    given: dict[str, Any], photos: Path, small: None
) -> None:
    settings = dataclasses.replace(QUICK, **given)
    minutes = None if settings.minutes is None else in_time()
    assert prepare(photos, settings, device="cpu", minutes=minutes).finer is None


def test_pictures_that_take_long_to_read_are_not_read_twice(photos: Path, small: None) -> None:
    for each_look, is_read_again in ((0.5, True), (100, False)):
        clock = itertools.count(0.0, each_look)
        minutes = Minutes(10_000, 0.0, lambda clock=clock: float(next(clock)))  # type: ignore[misc]
        assert (prepare(photos, QUICK, device="cpu", minutes=minutes).finer is not None) is is_read_again


def test_more_classes_than_two_are_seen_whole(
    prepared: Preparation, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepared.finer is not None
    shades = tuple(range(1, 128)), tuple(range(128, 256))  # outlines are soft
    three = LabelMap("indices", ("background", "glow", "car"), ((0,), *shades))

    def choose(*given: Any, **named: Any) -> Any:
        formats, decision = choose_formats(*given, **named)
        return dataclasses.replace(formats, labels=three), decision

    monkeypatch.setattr(preparation, "choose_formats", choose)
    assert prepare(photos, QUICK, device="cpu", minutes=in_time()).finer is None


@pytest.mark.parametrize("change", [{}, {"batch_size": 2}, None])
@pytest.mark.parametrize("is_whole", [True, False])
def test_what_does_not_fit_into_memory_as_it_is_is_not_tried(
    change: dict[str, Any] | None, is_whole: bool, photos: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole pictures or cut-outs fit, fit after a change, or do not fit at all."""

    def fit(wish: Way, settings: Settings, *_: object, **__: object) -> MemoryUse | None:
        assert settings.held_levels == (2 if wish.crop is None else 3)
        if (wish.crop is None) is not is_whole:
            return None
        way = dataclasses.replace(wish, **(change or {}))
        return MemoryUse(1e9, Fit(way, 1.0, change is not None, ""), Peak(*[1.0] * 7), 1.0, "cpu")

    monkeypatch.setattr(preparation, "fit_into_memory", fit)
    assert (prepare(photos, QUICK, device="cpu", minutes=in_time()).finer is not None) is (change == {})


@pytest.mark.parametrize("is_whole", [True, False])
def test_cut_outs_keep_what_is_freed_where_they_themselves_have_plenty_of_memory(
    is_whole: bool, photos: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "fits_without_doubt", lambda wish, *_: (wish.crop is None) is is_whole)
    monkeypatch.setattr(preparation, "fit_into_memory", lambda *_, **__: None)
    prepared = prepare(photos, QUICK, device="cpu", minutes=in_time())
    assert prepared.finer is not None
    assert (prepared.keeps_freed, prepared.finer.keeps_freed) == (is_whole, not is_whole)


# --- The run itself


def test_only_pictures_to_learn_from_are_looked_at_and_nothing_is_left_behind(
    prepared: Preparation, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def note(pairs: Sequence[Pair], *given: Any, **named: Any) -> Any:
        looked_at.extend(pair.name for pair in pairs)
        return read_pictures(pairs, *given, **named)

    drawn: dict[bool, set[int]] = {True: set(), False: set()}
    made = Samples.__getitems__

    def draw(samples: Samples, draws: Sequence[Draw]) -> Batch:
        drawn[samples.augment].update(draw.picture for draw in draws)
        return made(samples, draws)

    monkeypatch.setattr(pilot, "read_pictures", note)
    monkeypatch.setattr(Samples, "__getitems__", draw)
    shown: list[float] = []
    before, kept = torch.get_rng_state(), {name: tensor.clone() for name, tensor in weights.items()}
    errors = run_pilot(prepared.material, prepared.settings, weights, "cpu", "fp32", in_time(), show=shown.append)
    assert sorted(looked_at) == sorted(pair.name for pair in prepared.material.pairs("train"))
    assert errors is not None
    assert errors.steps == 3
    asked, learnt = ({prepared.material.groups.of[looked_at[place]] for place in drawn[way]} for way in (False, True))
    assert errors.pictures == len(drawn[False]) > 0
    assert learnt
    assert asked.isdisjoint(learnt)
    assert errors.at_outlines > 0
    assert shown == sorted(shown)
    assert shown[-1] == 1
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(weights, kept, atol=0, rtol=0)


@pytest.mark.parametrize(("steps", "is_enough"), [(1, False), (2, True)])
def test_too_few_steps_say_nothing(
    steps: int, is_enough: bool, prepared: Preparation, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that steps alone move."""
    now = [0.0]

    def step(*given: Any, **named: Any) -> Any:
        now[0] += 1
        return make_step(*given, **named)

    monkeypatch.setattr(pilot, "make_step", step)
    minutes = Minutes(ENDING_SECONDS + (steps - 0.5) / PILOT_SHARE, 0.0, lambda: now[0])
    errors = pilot_of(prepared, weights, minutes)
    assert (errors is not None) is is_enough
    assert now == [steps]


@pytest.mark.parametrize("error", [FloatingPointError, DoesNotFitError])
def test_steps_that_fail_say_nothing_and_end_nothing(
    error: type[Exception], prepared: Preparation, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pilot, "make_step", fail)
    assert pilot_of(prepared, weights) is None


def test_pictures_that_take_too_long_to_read_say_nothing(
    prepared: Preparation, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot, "make_step", lambda *_: pytest.fail("it went on"))
    cache = prepared.material.cache
    fewer = dataclasses.replace(cache, pairs=cache.pairs[:6], entries=cache.entries[:6])
    monkeypatch.setattr(pilot, "read_pictures", lambda *_, **__: (fewer, ()))
    assert pilot_of(prepared, weights) is None


@pytest.mark.parametrize(("shift", "is_at_outlines"), [(1, True), (None, False)])
def test_errors_are_told_apart_by_where_they_lie(
    shift: int | None,
    is_at_outlines: bool,
    prepared: Preparation,
    weights: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answers are the truth moved by a pixel, or nothing at all."""
    truths: list[Tensor] = []
    made = Samples.__getitems__

    def remember(samples: Samples, draws: Any) -> Any:
        batch = made(samples, draws)
        truths.append(batch.targets)
        return batch

    def answer(_network: nn.Module, images: Tensor, _precision: str) -> Tensor:
        if shift is None:
            return torch.full((len(images), 1, *images.shape[2:]), -1.0)
        return truths[-1].roll(shift, -1) - 0.5

    monkeypatch.setattr(Samples, "__getitems__", remember)
    monkeypatch.setattr(pilot, "compute_logits", answer)
    errors = pilot_of(prepared, weights)
    assert errors is not None
    assert errors.lie_at_outlines is is_at_outlines
    if is_at_outlines:
        assert errors.elsewhere == 0 < errors.at_outlines
    else:
        assert errors.at_outlines + errors.elsewhere == pytest.approx(1)


def test_pictures_without_foreground_are_no_answer(
    prepared: Preparation, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Samples.__getitems__

    def empty(samples: Samples, draws: Sequence[Draw]) -> Batch:
        batch = made(samples, draws)
        if not samples.augment and len(asked) < nothing:
            asked.append(draws[0].picture)
            batch.targets.fill_(0.4)
        return batch

    found = {}
    for nothing in (0, 1, 1000):
        asked: list[int] = []
        monkeypatch.setattr(Samples, "__getitems__", empty)
        errors = pilot_of(prepared, weights)
        found[nothing] = None if errors is None else errors.pictures
    assert found[1000] is None
    assert found[0] is not None
    assert found[1] == found[0] - 1


def test_pictures_at_the_first_size_stay_where_there_is_no_room_for_others(
    prepared: Preparation, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a folder that would hold either of them."""
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path))
    material, finer = prepared.material, prepared.finer
    assert finer is not None
    cache, _ = read_pictures(material.cache.pairs, material.formats, prepared.settings, advance=lambda: None)
    kept = [entry.path for entry in cache.entries]
    full = sum(path.stat().st_size for path in kept if path) / 1e9 + 1e-5
    prepared = dataclasses.replace(
        prepared,
        material=dataclasses.replace(material, cache=cache),
        settings=dataclasses.replace(prepared.settings, cache_gb=full),
        finer=dataclasses.replace(finer, settings=dataclasses.replace(finer.settings, cache_gb=full)),
    )
    assert pilot_of(prepared, weights) is not None
    chosen, said = found_by(AT_OUTLINES, prepared, monkeypatch)
    assert "no time or room" in said[0]
    assert chosen.material.cache is cache
    assert all(path is not None and path.exists() for path in kept)


def test_few_answers_are_none(
    prepared: Preparation, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for least in (4, 5):
        monkeypatch.setattr(pilot, "LEAST_ASKED", least)
        found.append(pilot_of(prepared, weights))
    assert [None if errors is None else errors.pictures for errors in found] == [4, None]


def test_never_most_of_the_pictures_are_asked_about() -> None:
    groups = ["large"] * 9 + ["small"] * 3 + ["smaller"] * 2
    for seed in range(9):
        assert {groups[index] for index in choose_asked(groups, seed=seed)} == {"small", "smaller"}


def test_without_another_group_to_ask_about_nothing_is_tried(prepared: Preparation, weights: dict[str, Tensor]) -> None:
    one = dict.fromkeys(prepared.material.groups.of, "the same")
    material = dataclasses.replace(prepared.material, groups=dataclasses.replace(prepared.material.groups, of=one))
    minutes = Minutes(9.0, 0.0, lambda: pytest.fail("steps were made"))
    assert run_pilot(material, prepared.settings, weights, "cpu", "fp32", minutes, show=lambda _: None) is None


@pytest.mark.parametrize("count", [2, 3, 9, 40])
@pytest.mark.parametrize("size", [1, 5])
def test_whole_groups_are_asked_about_and_some_are_always_learnt_from(count: int, size: int) -> None:
    groups = [f"group {index // size}" for index in range(count * size)]
    asked = choose_asked(groups, seed=3)
    learnt = sorted(set(range(len(groups))) - set(asked))
    assert {groups[index] for index in asked}.isdisjoint(groups[index] for index in learnt)
    assert 0 < len(asked) <= np.ceil(len(groups) * pilot.ASKED_SHARE / size) * size < len(groups)
    assert asked == choose_asked(groups, seed=3)
