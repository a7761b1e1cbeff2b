"""`maskwright train --folds 5`: as many models, each scored on pictures that it never learnt from; all of them once."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.commands.train import train
from maskwright.config import Settings, read_settings
from maskwright.device import require_torch
from maskwright.errors import InputError
from maskwright.files import dated_folder, write_json
from maskwright.training.run_folder import CHOSEN_SETTINGS, fold_folder, latest_folder
from maskwright.training.starting_point import default_settings, read_starting_point

if TYPE_CHECKING:
    from maskwright.evaluation.metrics import Interval


# Where nobody says how many.
DEFAULT_FOLDS = 5


@dataclass(frozen=True)
class CrossValidation:
    """What was left behind by a model for each fold.

    Attributes:
        folder: Holds ``fold-0`` and so on, each a run folder, and ``scores.json``.
        finished: False when a signal stopped one of them; ``resume`` goes on.
        dice: Mean over all pictures that were scored, each by the model that did not learn from it; None when stopped.
        iou: Likewise.
        pictures: How many these are.
    """

    folder: Path
    finished: bool
    dice: "Interval | None" = None
    iou: "Interval | None" = None
    pictures: int = 0


def cross_validate(  # noqa: PLR0913 - each is an option
    photos: str | Path,
    *,
    folds: int | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    settings: Settings | None = None,
    began: float | None = None,
) -> CrossValidation:
    """Train a model for each fold, one after another, and score every picture by the one that never learnt from it.

    Args:
        photos: The folder.
        folds: How many; by default as many as the settings say, or 5.
        out: Folder for all of it; by default a new one under ``runs/``.
        preset: The settings to start from; by default `quick`, or `best` with three hours or a large GPU.
        minutes: The whole call ends within so many; each model gets an equal share.
        epochs: Of each model.
        resume: Go on with those in ``out``, or with the latest of this folder.
        start_from: A model file whose weights each of them starts from; without ``settings``, the network and the size
            are those of that model.
        settings: All settings; ``preset`` is not read then.
        began: What `time.monotonic` said when the minutes of the first model began; by default when it begins.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    require_torch()
    start = read_starting_point(Path(start_from)) if start_from else None
    settings = (
        settings or default_settings(preset, start, minutes and minutes / (folds or DEFAULT_FOLDS), epochs=epochs)
    ).with_length(minutes, epochs)
    folds = folds or settings.folds or DEFAULT_FOLDS
    each = None if settings.minutes is None else settings.minutes / folds
    settings = dataclasses.replace(settings, folds=folds, minutes=each)
    folder = _choose_folder(Path(out) if out else None, Path(photos), resume=resume)
    for fold in range(folds):
        run_folder = fold_folder(folder, fold).path
        terminal.say(f"Fold {fold} of {folds} (counted from 0), in {run_folder}")
        settings = _as_chosen_before(dataclasses.replace(settings, fold=fold), folder)
        started_before = resume and run_folder.is_dir() and any(run_folder.iterdir())
        run = train(
            photos,
            out=run_folder,
            settings=settings,
            resume=started_before,
            start_from=start_from,
            began=began,
            again=f"the same command with --out {folder} --resume",
        )
        if not run.finished:
            return CrossValidation(folder, finished=False)
        began = None  # what the process took to begin is the first model's
    return _sum_up(folder, folds)


def _choose_folder(out: Path | None, photos: Path, *, resume: bool) -> Path:
    name = f"{photos.resolve().name}-folds"
    if resume:
        return out or latest_folder(name, photos, run=fold_folder(Path(), 0).path.name) or dated_folder(name)
    folder = out or dated_folder(name)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; continue its folds with --resume, or choose another --out.")
    return folder


def _as_chosen_before(settings: Settings, folder: Path) -> Settings:
    """The settings with what was chosen for the first fold, so that the models differ in their pictures alone."""
    first = fold_folder(folder, 0).config
    if not first.is_file():
        return settings
    chosen = read_settings(first)
    settings = dataclasses.replace(settings, **{name: getattr(chosen, name) for name in CHOSEN_SETTINGS})
    if settings.find_rate and settings.fold:  # the first fold has found it
        settings = dataclasses.replace(settings, find_rate=False, learning_rate=chosen.learning_rate)
    return settings


def _sum_up(folder: Path, folds: int) -> CrossValidation:
    """Put the scores of all folds together: means over pictures, intervals over groups."""
    from maskwright.evaluation.evaluate import number_or_nan, without_nan
    from maskwright.evaluation.metrics import bootstrap_interval

    contents = [json.loads(fold_folder(folder, fold).scores.read_text("utf-8")) for fold in range(folds)]
    pictures = [{**picture, "fold": fold} for fold, content in enumerate(contents) for picture in content["pictures"]]
    groups = [picture["group"] for picture in pictures]
    dice, iou = (
        bootstrap_interval([number_or_nan(picture[name]) for picture in pictures], groups) for name in ("dice", "iou")
    )
    available = sum(content["available"] for content in contents)
    means = [number_or_nan(content["dice"]["mean"]) for content in contents]
    leaks = [f"Fold {fold}: {remark}" for fold, content in enumerate(contents) for remark in content.get("remarks", ())]
    summary = {
        "dice": without_nan(dataclasses.asdict(dice)),
        "iou": without_nan(dataclasses.asdict(iou)),
        "groups": len(set(groups)),
        "scored": len(pictures),
        "available": available,
        "folds": [content["dice"] for content in contents],
        "remarks": leaks,
        "pictures": pictures,
    }
    write_json(folder / "scores.json", summary)
    sample = f" (a sample of {available}, for time)" if len(pictures) < available else ""
    unseen = "" if leaks else ", each scored by a model that did not learn from it"
    terminal.say(
        f"Dice {dice.mean:.4f} ({dice.range_in_words()}), IoU {iou.mean:.4f} at full size on {len(pictures)} "
        f"pictures of {len(set(groups))} groups{sample}{unseen}; the best "
        f"weights of each model were chosen on them. Folds: {', '.join(f'{mean:.4f}' for mean in means)}."
    )
    terminal.say(f"Scores: {folder / 'scores.json'}")
    return CrossValidation(folder, True, dice, iou, len(pictures))
