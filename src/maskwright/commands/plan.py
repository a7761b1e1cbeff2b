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
from maskwright.config import Settings
from maskwright.device import choose_device
from maskwright.training.starting_point import default_settings

if TYPE_CHECKING:
    from maskwright.training.minutes import Closing, Minutes
    from maskwright.training.preparation import Preparation


@dataclass(frozen=True)
class Plan:
    """What one training run would be like; seconds are expected ones.

    Attributes:
        models: How many such runs there would be, one for each of the --folds.
        pictures: In each part.
        groups: Likewise.
        grouping: How the groups were found.
        left_out: Pictures that there is no time to read.
        network: In words.
        parameters: Numbers that are learnt.
        size: Longer side, in pixels.
        batch_size: Pictures in a forward pass.
        base_channels: At full resolution.
        device: Where it computes.
        precision: What in.
        reasons: A sentence for each of these that was chosen.
        step_seconds: A step, on average over the run.
        epochs: Passes over the pictures.
        steps: All of them.
        preparing_seconds: Until the first step, as it took now; what is read already is not read again.
        training_seconds: For the steps and what is validated between them.
        validation_seconds: For one validation.
        validated: Pictures of it.
        scoring_seconds: For scoring at the pictures' own size.
        scored: Pictures of it.
        total_seconds: Of the whole command.
    """

    models: int
    pictures: dict[str, int]
    groups: dict[str, int]
    grouping: str
    left_out: int
    network: str
    parameters: int
    size: int
    batch_size: int
    base_channels: int
    device: str
    precision: str
    reasons: tuple[str, ...]
    step_seconds: float
    epochs: float
    steps: int
    preparing_seconds: float
    training_seconds: float
    validation_seconds: float
    validated: int
    scoring_seconds: float
    scored: int
    total_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Everything, seconds rounded."""
        content = dataclasses.asdict(self)
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in content.items()}


def plan(
    photos: str | Path,
    *,
    preset: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    settings: Settings | None = None,
    as_json: bool = False,
) -> Plan:
    """Say what `train` would do with a folder here, and why.

    The pictures are read as `train` reads them, and kept in the cache for it; a few steps, a validation and a picture's
    score are measured. Nothing else is written.

    Args:
        photos: The folder.
        preset: The settings to start from; by default `quick`, or `best` with an hour or a large GPU.
        minutes: Of the whole command.
        epochs: Passes over the pictures.
        settings: All settings; ``preset`` is not read then.
        as_json: Print JSON instead of a table.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    started = time.monotonic()
    settings = (settings or default_settings(preset, None, minutes, may_use_gpu=epochs is None)).with_length(
        minutes, epochs
    )
    device = choose_device(settings.device)
    from maskwright.training.minutes import Minutes
    from maskwright.training.preparation import prepare

    models = 1
    if settings.folds is not None and settings.fold is None:
        models = settings.folds
        settings = dataclasses.replace(settings, fold=0, minutes=settings.minutes and settings.minutes / models)
    budget = None if settings.minutes is None else Minutes(settings.minutes * 60, started)
    say = terminal.warn if as_json else terminal.say
    prepared = prepare(Path(photos), settings, device=device, minutes=budget, always_measure=True, say=say)
    found = _plan(prepared, device, budget or Minutes(math.inf, started), models)
    if as_json:
        terminal.say(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    return found


def _plan(prepared: "Preparation", device: str, minutes: "Minutes", models: int) -> Plan:
    """Measure what is not known yet, and reckon."""
    from maskwright.models.build import count_parameters
    from maskwright.training.closing import scored_part
    from maskwright.training.measuring import measure_costs
    from maskwright.training.minutes import plan_closing
    from maskwright.training.run_folder import RunFolder
    from maskwright.training.session import Session, architecture_for, build_learner_for

    settings, material = prepared.settings, prepared.material
    architecture = architecture_for(settings, material.formats)
    learner = build_learner_for(settings, architecture, device, prepared.precision, None)
    # Nothing is written: the folder is never asked for.
    session = Session(material, RunFolder(Path()), settings, learner, device, None)
    part = scored_part(material, folds=settings.folds is not None)
    costs = measure_costs(session, part)
    available, held_out = len(material.indices(part)), len(material.indices("val"))
    closing = plan_closing(costs, minutes.seconds, part=part, available=available, held_out=held_out)
    course = _reckon(prepared, minutes, closing)
    ending = costs.saving + (closing.validation_seconds if settings.minutes is not None else 0.0)
    return Plan(
        models=models,
        pictures={part: len(material.indices(part)) for part in ("train", "val", "test")},
        groups={part: len(material.groups_of(part)) for part in ("train", "val", "test")},
        grouping=material.groups.rule,
        left_out=len(material.unread),
        network="classic U-Net" if settings.encoder == "none" else f"U-Net on {settings.encoder}",
        parameters=count_parameters(learner.network),
        size=settings.chosen("size"),
        batch_size=settings.chosen("batch_size"),
        base_channels=architecture.base_channels,
        device=device,
        precision=prepared.precision,
        reasons=prepared.recipe.reasons,
        step_seconds=course.step_seconds,
        epochs=course.epochs,
        steps=course.steps,
        preparing_seconds=minutes.used(),
        training_seconds=course.seconds,
        validation_seconds=closing.validation_seconds,
        validated=closing.validated,
        scoring_seconds=closing.scoring_seconds,
        scored=closing.scored,
        total_seconds=minutes.used() + course.seconds + ending + closing.scoring_seconds,
    )


@dataclass(frozen=True)
class _Course:
    """What the training itself is expected to be like."""

    step_seconds: float
    epochs: float
    steps: int
    seconds: float


def _reckon(prepared: "Preparation", minutes: "Minutes", closing: "Closing") -> _Course:
    """How many steps there will be, from what a few took; whichever of epochs and minutes ends first."""
    from maskwright.training.loop import VALIDATION_SHARE

    settings, material, speed = prepared.settings, prepared.material, prepared.speed
    assert speed is not None  # noqa: S101 - it was to be measured in any case
    shapes = [material.cache.shapes[index] for index in material.indices("train")]
    batch = min(settings.chosen("batch_size"), len(shapes))
    batches = len(shapes) // batch
    pixels = batch * fmean(height * width for height, width in shapes) / 1e6
    whole, half, small = speed.of(pixels), speed.of(pixels / 4), settings.small_first
    courses: list[tuple[float, float, float]] = []
    if settings.epochs is not None:
        each = (1 - small) * whole + small * half
        courses.append((settings.epochs, settings.epochs * (batches * each + closing.validation_seconds), each))
    if settings.minutes is not None:
        seconds = max(0.0, minutes.left() - closing.seconds)
        passes = seconds * (1 - VALIDATION_SHARE) * ((1 - small) / whole + small / half)
        courses.append((passes / batches, seconds, seconds / max(1.0, passes)))
    epochs, seconds, each = min(courses, key=lambda course: course[1])
    return _Course(each * settings.accumulate, epochs, math.ceil(epochs * batches / settings.accumulate), seconds)


def _show(found: Plan) -> None:
    """A table, what is special about it below."""
    parts = [part for part, count in found.pictures.items() if count]
    rows = [
        ("pictures", " + ".join(f"{found.pictures[part]} {part}" for part in parts)),
        ("groups", " + ".join(f"{found.groups[part]} {part}" for part in parts)),
        ("network", f"{found.network}, {found.parameters / 1e6:.1f} M parameters, {found.base_channels} channels"),
        ("longer side", f"{found.size} pixels"),
        ("batch", f"{found.batch_size} pictures"),
        ("computes", f"{found.device} in {found.precision}"),
        ("a step", f"{found.step_seconds:.2f} s"),
        ("training", f"{found.epochs:.1f} epochs, {found.steps} steps, {found.training_seconds:.0f} s"),
        ("a validation", f"{found.validation_seconds:.1f} s for {found.validated} pictures"),
        ("scoring", f"{found.scoring_seconds:.1f} s for {found.scored} pictures at their own size"),
        ("before the first step", f"{found.preparing_seconds:.0f} s, less when the pictures have been read"),
        ("in all", f"{found.total_seconds / 60:.1f} minutes"),
    ]
    terminal.show_table("What train would do here", ("", "expected"), rows)
    if found.models > 1:
        terminal.say(f"{found.models} such runs, one for each part that is held out: {found.models} times the minutes.")
