"""`maskwright plan`: what `train` would do with a folder on this machine, and why."""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from maskwright import terminal
from maskwright.config import Settings, nearest_preset
from maskwright.data.resizing import Resize
from maskwright.device import choose_device, require_torch, why_unusable
from maskwright.errors import InputError
from maskwright.interop.weights import read_encoder_weights
from maskwright.training.starting_point import default_settings, read_starting_point

if TYPE_CHECKING:
    from maskwright.training.memory_budget import MemoryUse
    from maskwright.training.minutes import Closing, Minutes
    from maskwright.training.preparation import Preparation


@dataclass(frozen=True)
class Plan:
    """What one training run would be like; seconds are expected ones, and NaN for a device that is not here.

    Attributes:
        models: How many such runs there would be, one for each of the --folds.
        preset: The one that the settings are those of, or nearest to.
        pictures: In each part.
        groups: Likewise.
        grouping: How the groups were found.
        left_out: Pictures that there is no time to read.
        network: In words.
        parameters: Numbers that are learnt.
        size: Longer side, in pixels; None where there is a factor.
        factor: Of the pictures' own size.
        crop: Side of cut-outs, in pixels; None where pictures are seen whole.
        batch_size: Pictures in a forward pass.
        accumulate: Forward passes before a step.
        storage: What is kept for the backward pass.
        base_channels: At full resolution.
        held_levels: Of the encoder, the finest, which learn nothing.
        optimizer: What moves the weights.
        learning_rate: At its height.
        schedule: How it falls from there.
        device: Where it computes.
        precision: What in.
        reasons: A sentence for each of these that was chosen.
        memory: What it would hold, and what other ways would; None where nobody knows how much there is.
        step_seconds: A step, on average over the run.
        epochs: Passes over the pictures.
        steps: All of them; None where nobody knows.
        preparing_seconds: Until the first step, as it took now; what is read already is not read again.
        training_seconds: For the steps and what is validated between them.
        validation_seconds: For one validation.
        validated: Pictures of it.
        scoring_seconds: For scoring at the pictures' own size.
        scored: Pictures of it.
        total_seconds: Of the whole command.
    """

    models: int
    preset: str
    pictures: dict[str, int]
    groups: dict[str, int]
    grouping: str
    left_out: int
    network: str
    parameters: int
    size: int | None
    factor: float | None
    crop: int | None
    batch_size: int
    accumulate: int
    storage: str
    base_channels: int
    held_levels: int
    optimizer: str
    learning_rate: float
    schedule: str
    device: str
    precision: str
    reasons: tuple[str, ...]
    memory: "MemoryUse | None"
    step_seconds: float
    epochs: float
    steps: int | None
    preparing_seconds: float
    training_seconds: float
    validation_seconds: float
    validated: int
    scoring_seconds: float
    scored: int
    total_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Everything, seconds rounded; what nobody knows is null."""
        content = {name: value for name, value in vars(self).items() if name != "memory"}
        known = {name: None if value != value else value for name, value in content.items()}  # noqa: PLR0124 - NaN
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in known.items()}
        return {**rounded, "memory": None if self.memory is None else self.memory.to_json()}


def plan(
    photos: str | Path,
    *,
    preset: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    start_from: str | Path | None = None,
    settings: Settings | None = None,
    as_json: bool = False,
) -> Plan:
    """Say what `train` would do with a folder here, and why.

    The pictures are read as `train` reads them, and kept in the cache for it; a few steps, a validation and a picture's
    score are measured, and a pilot run is made where `train` makes one. Nothing else is written. With a memory named,
    the device need not be here: then nobody knows how fast it is.

    Args:
        photos: The folder.
        preset: The settings to start from; by default `quick`, or `best` with three hours or a large GPU.
        minutes: Of the whole command.
        epochs: Passes over the pictures.
        start_from: A model file whose weights `train` would start from; its network and size count where there are no
            ``settings``.
        settings: All settings; ``preset`` is not read then.
        as_json: Print JSON instead of a table.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    started = time.monotonic()
    start = read_starting_point(Path(start_from)) if start_from else None
    settings = (settings or default_settings(preset, start, minutes, epochs=epochs)).with_length(minutes, epochs)
    device, is_here = _find_device(settings)
    from maskwright.training.minutes import Minutes
    from maskwright.training.pilot import choose_by_pilot
    from maskwright.training.preparation import prepare

    models = 1
    if settings.folds is not None and settings.fold is None:
        models = settings.folds
        settings = dataclasses.replace(settings, fold=0, minutes=settings.minutes and settings.minutes / models)
    budget = None if settings.minutes is None else Minutes(settings.minutes * 60, started)
    say = terminal.warn if as_json else terminal.say
    prepared = prepare(
        Path(photos), settings, device=device, is_here=is_here, minutes=budget, always_measure=True, say=say
    )
    if prepared.finer is not None and start is None:
        encoder_weights = read_encoder_weights(settings.encoder, settings.encoder_weights)
        prepared = choose_by_pilot(prepared, encoder_weights, device, budget, say=say)
    minutes_left = budget or Minutes(math.inf, started)
    if prepared.speed is not None and _is_another_network(prepared.settings, settings):
        prepared, minutes_left = _measured_again(prepared, device, minutes_left)
    found = _plan(prepared, device, minutes_left, models, is_here=is_here)
    if as_json:
        terminal.say(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    return found


def _find_device(settings: Settings) -> tuple[str, bool]:
    """The device to plan for, and whether it is here."""
    require_torch()
    if settings.device == "auto" or why_unusable(settings.device) is None:
        return choose_device(settings.device), True
    if settings.memory is None:
        raise InputError(
            f"--device {settings.device} cannot be used here; to plan for one elsewhere, name its --memory, as in 4GB."
        )
    return settings.device, False


def _is_another_network(chosen: Settings, asked: Settings) -> bool:
    """Whether the network was made wider, is stored in another way, or holds more, after its steps were measured."""
    from maskwright.training.recipe import NARROW, choose_held_levels

    width, storage = asked.base_channels or NARROW[asked.encoder != "none"], asked.storage or "plain"
    measured = width, storage, choose_held_levels(asked)
    return (chosen.base_channels, chosen.storage or "plain", chosen.held_levels) != measured


def _measured_again(prepared: "Preparation", device: str, minutes: "Minutes") -> "tuple[Preparation, Minutes]":
    """The speed of the network that was chosen, and the minutes without what `train` does not take for that."""
    from maskwright.training.measuring import measure_speed
    from maskwright.training.minutes import PROBING_SHARE
    from maskwright.training.session import architecture_for

    before = minutes.used()
    architecture = architecture_for(prepared.settings, prepared.material.formats)
    spent = minutes.part(PROBING_SHARE)
    speed = measure_speed(prepared.settings, architecture, device, prepared.precision, spent=spent)
    later = dataclasses.replace(minutes, started=minutes.started + minutes.used() - before)
    return dataclasses.replace(prepared, speed=speed), later


def _plan(prepared: "Preparation", device: str, minutes: "Minutes", models: int, *, is_here: bool) -> Plan:
    """Measure what is not known yet, and reckon."""
    from maskwright.models.build import count_parameters
    from maskwright.training.material import scored_part
    from maskwright.training.measuring import measure_costs
    from maskwright.training.minutes import Costs, plan_closing
    from maskwright.training.run_folder import RunFolder
    from maskwright.training.session import Session, architecture_for, build_learner_for

    settings, material = prepared.settings, prepared.material
    architecture = architecture_for(settings, material.formats)
    learner = build_learner_for(settings, architecture, device if is_here else "cpu", prepared.precision, None)
    # Nothing is written: the folder is never asked for.
    session = Session(material, RunFolder(Path()), settings, learner, device, None)
    part = scored_part(material, folds=settings.folds is not None)
    costs = measure_costs(session, part) if is_here else Costs(0.0, 0.0, 0.0)
    available, held_out = len(material.indices(part)), len(material.indices("val"))
    closing = plan_closing(costs, minutes.seconds, part=part, available=available, held_out=held_out)
    course = _reckon(prepared, minutes, closing)
    checks = _seconds_of_checks(settings)
    ending = costs.saving + (closing.validation_seconds if settings.minutes is not None else 0.0)
    return Plan(
        models=models,
        preset=nearest_preset(settings),
        pictures={part: len(material.indices(part)) for part in ("train", "val", "test")},
        groups={part: len(material.groups_of(part)) for part in ("train", "val", "test")},
        grouping=material.groups.rule,
        left_out=len(material.unread),
        network=architecture.in_words(),
        parameters=count_parameters(learner.network),
        size=settings.size,
        factor=settings.factor,
        crop=settings.crop,
        batch_size=settings.chosen("batch_size"),
        accumulate=settings.accumulate or 1,
        storage=settings.storage or "plain",
        base_channels=architecture.base_channels,
        held_levels=settings.held_levels or 0,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        device=device,
        precision=prepared.precision,
        reasons=prepared.reasons,
        memory=prepared.memory,
        step_seconds=course.step_seconds,
        epochs=course.epochs,
        steps=course.steps,
        preparing_seconds=minutes.used() + checks,
        training_seconds=course.seconds,
        validation_seconds=closing.validation_seconds if is_here else math.nan,
        validated=closing.validated,
        scoring_seconds=closing.scoring_seconds if is_here else math.nan,
        scored=closing.scored,
        total_seconds=minutes.used() + checks + course.seconds + ending + closing.scoring_seconds,
    )


@dataclass(frozen=True)
class _Course:
    """What the training itself is expected to be like."""

    step_seconds: float
    epochs: float
    steps: int | None
    seconds: float


def _reckon(prepared: "Preparation", minutes: "Minutes", closing: "Closing") -> _Course:
    """How many steps there will be, from what a few took; whichever of epochs and minutes ends first."""
    from maskwright.data.dataset import cuts_of
    from maskwright.training.loop import VALIDATION_SHARE

    settings, material, speed = prepared.settings, prepared.material, prepared.speed
    accumulate = settings.accumulate or 1
    shapes = [material.cache.shapes[index] for index in material.indices("train")]
    cuts = [cuts_of(shape, settings.crop) for shape in shapes]
    batch = min(settings.chosen("batch_size"), sum(cuts))
    batches = sum(cuts) // batch
    steps_of_epoch = math.ceil(batches / accumulate)  # the last one of an epoch may be of fewer batches
    if speed is None:  # the device is not here
        steps = None if settings.epochs is None else math.ceil(settings.epochs * steps_of_epoch)
        return _Course(math.nan, settings.epochs or math.nan, steps, math.nan)
    most = settings.crop or max(map(max, shapes))
    areas = [min(height, most) * min(width, most) for height, width in shapes]
    pixels = batch * fmean(areas, cuts) / 1e6
    whole, half, small = speed.of(pixels), speed.of(pixels / 4), settings.small_first
    courses: list[tuple[float, float, float]] = []
    if settings.epochs is not None:
        each = (1 - small) * whole + small * half
        courses.append((settings.epochs, settings.epochs * (batches * each + closing.validation_seconds), each))
    if settings.minutes is not None:
        seconds = max(0.0, minutes.left() - _seconds_of_checks(settings) - closing.seconds)
        passes = seconds * (1 - VALIDATION_SHARE) * ((1 - small) / whole + small / half)
        courses.append((passes / batches, seconds, seconds / max(1.0, passes)))
    epochs, seconds, each = min(courses, key=lambda course: course[1])
    return _Course(each * accumulate, epochs, math.ceil(epochs * steps_of_epoch), seconds)


def _seconds_of_checks(settings: Settings) -> float:
    """What the checks before the first step take at most of a run by the clock."""
    from maskwright.training import overfit, rate_search

    seconds = 60 * (settings.minutes or 0.0)
    check = overfit.seconds_of(seconds) if settings.overfit_check else 0.0
    return check + (rate_search.SHARE_OF_RUN * seconds if settings.find_rate else 0.0)


def _show(found: Plan) -> None:
    """A table, what is special about it below."""
    parts = [part for part, count in found.pictures.items() if count]
    rows = [
        ("pictures", " + ".join(f"{found.pictures[part]} {part}" for part in parts)),
        ("groups", " + ".join(f"{found.groups[part]} {part}" for part in parts)),
        ("network", f"{found.network}, {found.parameters / 1e6:.1f} M parameters, {found.base_channels} channels"),
        ("their size", Resize(found.size, found.factor).in_words()),
        ("batch", _batch_in_words(found)),
        ("learns with", f"{found.optimizer}, rate {found.learning_rate:g}, {found.schedule} schedule"),
        ("preset", f"{found.preset}, or nearest to it"),
        ("computes", f"{found.device} in {found.precision}"),
    ]
    if found.memory is not None:
        peak, limit = found.memory.peak.total, found.memory.limit
        rows.append(("memory", f"{peak / 1e9:.1f} GB at most, of {limit / 1e9:.1f} GB that may be used"))
    if math.isnan(found.step_seconds):
        rows.append(("how long", "unknown: that device is not here to be measured"))
    else:
        rows += [
            ("a step", f"{found.step_seconds:.2f} s"),
            ("training", f"{found.epochs:.1f} epochs, {found.steps} steps, {found.training_seconds:.0f} s"),
            ("a validation", f"{found.validation_seconds:.1f} s for {found.validated} pictures"),
            ("scoring", f"{found.scoring_seconds:.1f} s for {found.scored} pictures at their own size"),
            ("before the first step", f"{found.preparing_seconds:.0f} s, less when the pictures have been read"),
            ("in all", f"{found.total_seconds / 60:.1f} minutes"),
        ]
    terminal.show_table("What train would do here", ("", "expected"), rows)
    if found.memory is not None:
        _show_memory(found.memory)
    if found.models > 1:
        terminal.say(f"{found.models} such runs, one for each part that is held out: {found.models} times the minutes.")


def _batch_in_words(found: Plan) -> str:
    pictures = f"{found.batch_size} {'pictures' if found.crop is None else f'cut-outs of {found.crop} pixels'}"
    stored = "" if found.storage == "plain" else f", stored {found.storage}"
    return f"{pictures}{stored}" if found.accumulate == 1 else f"{found.accumulate} times {pictures} a step{stored}"


def _show_memory(memory: "MemoryUse") -> None:
    """What takes the memory, and what other ways would take."""
    parts = [(name, f"{size / 1e6:.0f} MB") for name, size in memory.peak.parts().items() if round(size / 1e6)]
    terminal.show_table("At the largest moment", ("", "predicted"), parts)
    rows = [
        (
            f"{other.way.in_words()}{' (chosen)' if other.way == memory.fit.way else ''}",
            f"{other.peak / 1e9:.1f} GB{'' if other.peak <= memory.limit else ' (too much)'}",
            f"{other.time:.2f}",
        )
        for other in memory.alternatives
    ]
    terminal.show_table("Other ways to train", ("way", "predicted at most", "time of a step"), rows)
