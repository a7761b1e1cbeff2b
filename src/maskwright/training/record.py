"""What a run folder says of its model: how it came about, and how good it is. Read for the report, without torch."""

import dataclasses
import json
import shlex
from collections.abc import Mapping
from itertools import filterfalse
from pathlib import Path
from typing import Any

from maskwright.config import Settings, nearest_preset, read_preset, read_settings, read_started_from
from maskwright.data.splits import PARTS
from maskwright.errors import InputError
from maskwright.evaluation.evaluate import is_leak, remarks_on, scores_from_json
from maskwright.evaluation.machine import Effort, effort_from_json
from maskwright.evaluation.pages.gallery import Gallery
from maskwright.evaluation.pages.report import Report, Training, write_report
from maskwright.inference.model_file import ModelCard, load_model
from maskwright.training.run_folder import MACHINE_SETTINGS, RunFolder, read_metrics

# The parts of a split, in words.
_PARTS = {"val": "validation", "test": "test"}


def read_record(folder: RunFolder, card: ModelCard) -> Training | None:
    """How a model came about, from the folder that it lies in; None where that is not the folder of its run.

    Args:
        folder: Where the model file lies.
        card: What the model file says of itself.
    """
    try:
        settings = read_settings(folder.config)
        split = json.loads(folder.split.read_text(encoding="utf-8"))
        if not _is_of(card, settings):
            return None
        photos = _from_here(split.get("photos"))
        return Training(
            photos=photos,
            parts={
                part: (len(split["pictures"][part]), len(split["groups"][part]))
                for part in PARTS
                if split["pictures"].get(part)
            },
            rule=str(split["rule"]),
            unread=len(split.get("unread", ())),
            lines=tuple(map(_figures, read_metrics(folder.metrics))),
            findings=tuple(str(finding["sentence"]) for finding in _read(folder.health).get("findings", ())),
            effort=effort_from_json(found) if (found := _read(folder.machine)) else None,
            command=train_command(photos or "PHOTOS", settings, started_from=read_started_from(folder.config)),
        )
    except (OSError, InputError, ValueError, LookupError, TypeError, AttributeError):
        return None  # another folder, or one that was changed by hand: the report does without


def write_run_report(folder: RunFolder, *, gallery: Gallery | None = None, effort: Effort | None = None) -> None:
    """Write the report of a run that is finished, from what it left.

    Args:
        folder: Of the run.
        gallery: The worst and the best pictures, where they were looked at.
        effort: What the scoring took.

    Raises:
        OSError: The report cannot be written, or a file of the run cannot be read.
        InputError: A file of the run is damaged.
    """
    content = json.loads(folder.scores.read_text(encoding="utf-8"))
    card, _ = load_model(folder.model)
    training = read_record(folder, card)
    photos, remarks = (training and training.photos) or "PHOTOS", remarks_on(content)
    report = Report(
        model=folder.model,
        photos=photos,
        scored=f"the {_PARTS.get(content.get('part', ''), 'held-out')} pictures of {photos}",
        card=card,
        scores=scores_from_json(content),
        gallery=gallery or Gallery(card.labels),
        leaks=[*filter(is_leak, remarks)],
        remarks=[*filterfalse(is_leak, remarks)],
        effort=effort,
        training=training,
    )
    write_report(folder.report, report)


def train_command(photos: str, settings: Settings, *, started_from: Mapping[str, str] | None = None) -> str:
    """The command that trains with these settings: the preset that is nearest to them, and what differs.

    >>> train_command("my photos", dataclasses.replace(read_preset("quick"), minutes=5.0, augment=False))
    "maskwright train 'my photos' --preset quick --no-augment --minutes 5.0"
    """
    nearest = nearest_preset(settings)
    words = ["maskwright", "train", photos, "--preset", nearest, *_differences(settings, read_preset(nearest))]
    if started_from:
        words += ["--from", started_from.get("path", started_from["name"])]
    return shlex.join(words)


def _differences(settings: Settings, preset: Settings) -> list[str]:
    words: list[str] = []
    for field in dataclasses.fields(Settings):
        value = getattr(settings, field.name)
        if value == getattr(preset, field.name) or field.name in MACHINE_SETTINGS:
            continue
        option = field.name.replace("_", "-")
        match value:
            case bool():
                words.append(f"--{option}" if value else f"--no-{option}")
            case _:
                words += [f"--{option}", str(value)]
    return words


def _from_here(photos: str | None) -> str | None:
    """A folder as it is called from the working directory: a page that is passed on names no more than it must."""
    here = Path.cwd()
    return str(Path(photos).relative_to(here)) if photos and Path(photos).is_relative_to(here) else photos


def _figures(line: Mapping[str, Any]) -> dict[str, float]:
    """What was measured in an epoch, which has a number and figures alone."""
    return {"epoch": float(line["epoch"]), **{name: float(figure) for name, figure in line.items()}}


def _is_of(card: ModelCard, settings: Settings) -> bool:
    """Whether a model was trained with these settings; those of the machine may have changed when it was resumed."""
    known = {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}
    return all(
        known.get(name) == card.settings.get(name) for name in {*known, *card.settings} if name not in MACHINE_SETTINGS
    )


def _read(path: Path) -> dict[str, Any]:
    """A JSON file; empty where there is none."""
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
