"""`maskwright train`: from a folder of photographs and masks to a model file."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.config import Settings, read_preset
from maskwright.data.finding import find_dataset
from maskwright.data.label_survey import read_options
from maskwright.data.pairs import Pairing, Problem
from maskwright.device import ComputePrecision, choose_device, choose_precision, read_facts, unused_gpu_hint
from maskwright.errors import InputError
from maskwright.interop.weights import read_imagenet_weights
from maskwright.training.run_folder import choose_folder, open_run
from maskwright.training.starting_point import read_starting_point, take_weights, with_architecture_of

if TYPE_CHECKING:
    from torch import Tensor

    from maskwright.data.reading import Formats
    from maskwright.evaluation.evaluate import Scores
    from maskwright.training.loop import Status
    from maskwright.training.material import Material
    from maskwright.training.session import Closing, Session
    from maskwright.training.starting_point import StartingPoint
    from maskwright.training.state import Learner

DEFAULT_MINUTES = 10.0
# Pictures that cannot be used are listed up to this many.
LISTED = 10


@dataclass(frozen=True)
class TrainedRun:
    """What a run left behind.

    Attributes:
        folder: The run folder.
        model_path: The best weights; `maskwright.load` reads them.
        finished: False when a signal stopped the run; `resume` continues it.
        scores: Of the best weights on pictures held out, at their own size; None when a signal stopped the run.
    """

    folder: Path
    model_path: Path
    finished: bool
    scores: "Scores | None"


def train(
    photos: str | Path,
    *,
    out: str | Path | None = None,
    preset: str = "quick",
    minutes: float | None = None,
    epochs: int | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    settings: Settings | None = None,
) -> TrainedRun:
    """Learn from a folder of photographs and masks.

    Args:
        photos: The folder.
        out: The run folder; by default a new one under ``runs/``.
        preset: The settings to start from.
        minutes: The whole call ends within so many minutes.
        epochs: Passes over the pictures.
        resume: Continue the run in ``out``, or the latest of this folder.
        start_from: A model file whose weights training starts from; without ``settings``, the network and the size are
            those of that model.
        settings: All settings; ``preset`` is not read then.

    Returns:
        Where the model is, and its scores.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    started = time.monotonic()
    start = read_starting_point(Path(start_from)) if start_from else None
    settings = _with_length(settings or default_settings(preset, start), minutes, epochs)
    device = choose_device(settings.device)
    from maskwright.training.session import Session  # only now is it known that there is a torch to import
    from maskwright.training.tensorboard import require_tensorboard

    if settings.tensorboard:
        require_tensorboard()
    # A model to start from has an encoder's weights with it.
    encoder_weights = None if start else read_imagenet_weights(settings.encoder)
    folder = choose_folder(Path(out) if out else None, Path(photos).resolve().name, resume=resume)
    material = _prepare_pictures(_find_pairs(Path(photos), settings), settings)
    taken = _start_from(start, settings, material) if start else None
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        started_from = dataclasses.asdict(start.parent) if start else None
        resuming = open_run(folder, settings, material.split, material.groups, started_from=started_from)
        if resume and not resuming:
            terminal.say(f"There is nothing to resume; this is a new run in {folder.path}")
        learner, precision = _build_learner(settings, material.formats, device, encoder_weights, taken)
        session = Session(material, folder, settings, learner, device, precision, started, start)
        return _train(session, resuming=resuming)
    finally:
        with contextlib.suppress(OSError):
            folder.path.rmdir()  # a run that could not start leaves nothing; any other folder is not empty


def default_settings(preset: str, start: "StartingPoint | None") -> Settings:
    """The settings of a preset; with a model to start from, its network and size instead of the preset's."""
    settings = read_preset(preset)
    return with_architecture_of(settings, start.card) if start else settings


def _with_length(settings: Settings, minutes: float | None, epochs: int | None) -> Settings:
    """The settings with what was asked for besides, and with some end to the run."""
    minutes = settings.minutes if minutes is None else minutes
    epochs = settings.epochs if epochs is None else epochs
    if minutes is None and epochs is None:
        minutes = DEFAULT_MINUTES
    return dataclasses.replace(settings, minutes=minutes, epochs=epochs)


def _find_pairs(photos: Path, settings: Settings) -> Pairing:
    """Find the pictures, and refuse what could not be used before anything is read."""
    pairing = find_dataset(photos)
    _refuse_problems(pairing.problems, settings)
    terminal.say(f"{photos}: {len(pairing.pairs)} pictures with masks ({pairing.layout})")
    return pairing


def _prepare_pictures(pairing: Pairing, settings: Settings) -> "Material":
    """Read, check and split the pictures; say what was found."""
    from maskwright.training.material import deal_out, read_pictures

    formats = _choose_formats(pairing, settings)
    with terminal.counting("Reading", len(pairing.pairs)) as advance:
        cache, problems = read_pictures(pairing.pairs, formats, settings, advance=advance)
    _refuse_problems(problems, settings)
    if cache.uncached:
        terminal.warn(f"{cache.uncached} pictures are read again each time: there is no room to keep them decoded.")
    material = deal_out(cache, formats, settings)
    counts = " + ".join(
        f"{len(found)} {part} ({len(material.groups_of(part))} groups)"
        for part in ("train", "val", "test")
        if (found := material.indices(part))
    )
    terminal.say(f"Split: {counts}; {material.groups.rule}")
    _check_parts(material)
    return material


def _check_parts(material: "Material") -> None:
    """Refuse a part without foreground to learn, and say where parts are not independent."""
    if not material.has_foreground("train"):
        raise InputError("No mask of the pictures to learn from has any foreground; check what the masks hold.")
    for part in ("val", "test"):
        if not material.indices(part):
            continue
        if not material.has_foreground(part):
            terminal.warn(f"No mask of the {part} part has any foreground: there will be no Dice to go by.")
        shared = material.groups_of("train") & material.groups_of(part)
        if shared:
            terminal.warn(f"LEAK: {len(shared)} groups have pictures in train and in {part}, as the folders give them.")
        copies = set(material.fingerprints("train")) & set(material.fingerprints(part))
        if copies:
            terminal.warn(f"LEAK: {len(copies)} pictures of {part} are in train too, byte for byte.")


def _start_from(start: "StartingPoint", settings: Settings, material: "Material") -> "Mapping[str, Tensor]":
    """Take what fits of a model; say what does not, and which pictures that are held out it has learnt from."""
    from maskwright.training.session import architecture_for

    taken = take_weights(start, architecture_for(settings, material.formats), material.formats.labels)
    (terminal.warn if taken.fresh else terminal.say)(f"Starting from {start.path}: {taken.in_words()}")
    split = start.path.with_name("split.json")
    hint = f"; --split {split} holds out what it held out" if split.is_file() else ""
    for part in ("val", "test"):
        held_out = material.fingerprints(part)
        if known := start.has_learnt_from(held_out):
            terminal.warn(
                f"LEAK: {start.path} has learnt from {known} of the {len(held_out)} pictures of {part}{hint}."
            )
    return taken.weights


def _choose_formats(pairing: Pairing, settings: Settings) -> "Formats":
    """Find out how the files are to be read, and say so; a question does not stop a run."""
    from maskwright.data.reading import choose_formats

    with terminal.counting("Looking at masks", len(pairing.pairs)) as advance:
        formats, decision = choose_formats(pairing.pairs, read_options(settings, pairing.classes), advance=advance)
    for remark in decision.remarks:
        (terminal.warn if remark.kind == "question" else terminal.say)(remark.sentence)
    return formats


def _refuse_problems(problems: Sequence[Problem], settings: Settings) -> None:
    """Refuse to start, or with `--skip-bad` say what is left out."""
    if not problems:
        return
    sentences = [problem.sentence for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        sentences.append(f"... and {len(problems) - LISTED} more.")
    if not settings.skip_bad:
        raise InputError("\n".join([*sentences, "--skip-bad leaves such pictures out."]))
    for sentence in sentences:
        terminal.warn(f"Left out: {sentence}")


def _build_learner(
    settings: Settings,
    formats: "Formats",
    device: str,
    encoder_weights: "Mapping[str, Tensor] | None",
    taken: "Mapping[str, Tensor] | None",
) -> "tuple[Learner, ComputePrecision]":
    """Choose the precision, build the network, and say so."""
    from maskwright.models.build import count_parameters
    from maskwright.training.session import architecture_for, build_learner_for

    if settings.device == "auto":
        hint = unused_gpu_hint()
        if hint:
            terminal.warn(hint)
    precision = choose_precision(read_facts(device), settings.precision)
    architecture = architecture_for(settings, formats)
    learner = build_learner_for(settings, architecture, device, precision, encoder_weights, taken)
    kind = "classic U-Net" if settings.encoder == "none" else f"U-Net on {settings.encoder}"
    terminal.say(
        f"{kind}, {count_parameters(learner.network) / 1e6:.1f} M parameters, longer side {settings.size}, "
        f"batch {settings.batch_size}, {device} in {precision}"
    )
    if settings.freeze and not learner.pretrained:
        terminal.warn("--freeze does nothing here: the network starts from random weights.")
    return learner, precision


def _train(session: "Session", *, resuming: bool) -> TrainedRun:
    """Run the loop, then score what it kept."""
    from maskwright.training.loop import fit, is_finished
    from maskwright.training.session import build_loaders, build_run, plan_closing, resume_learner
    from maskwright.training.signals import catching_signals

    folder, learner = session.folder, session.learner
    if resuming:
        resume_learner(session)
        terminal.say(f"Resuming {folder.path} after {learner.position.epoch} epochs")
    closing = plan_closing(session)
    with catching_signals() as stop_asked, terminal.progressing("Training") as update:
        run = build_run(
            session,
            closing,
            show=lambda status: update(status.progress, _words(status)),
            stop_asked=stop_asked,
        )
        if is_finished(learner, run):
            terminal.say("This run is finished already; another --out trains again.")
        elif not fit(learner, *build_loaders(session), run):
            terminal.warn(f"Stopped and saved; the same command with --out {folder.path} --resume goes on from here.")
            return TrainedRun(folder.path, folder.model, finished=False, scores=None)
    return TrainedRun(folder.path, folder.model, finished=True, scores=_close(session, closing))


def _words(status: "Status") -> str:
    """What stands beside the progress bar."""
    best = f" · best val Dice {status.best_dice:.4f}" if status.best_dice >= 0 else ""
    figures = status.figures
    return (
        f"epoch {status.epoch} · loss {figures.loss:.4f} · Dice {figures.dice:.4f} · "
        f"{figures.images_per_second:.1f} images/s{best}"
    )


def _close(session: "Session", closing: "Closing") -> "Scores":
    """Draw the curves, score the best weights at the pictures' own size, and write it all down."""
    from maskwright.evaluation.evaluate import evaluate_pairs
    from maskwright.inference.predictor import load
    from maskwright.training.curves import draw_curves
    from maskwright.training.session import keep_last, keep_scores

    folder = session.folder
    keep_last(session)
    draw_curves(folder.metrics, folder.curves)
    with terminal.counting("Scoring", len(closing.pairs)) as advance:
        predictor = load(folder.model, device=session.device)
        scores = evaluate_pairs(predictor, closing.pairs, session.material.groups.of, advance=advance)
    keep_scores(session, scores)
    known = session.start is not None and session.start.has_learnt_from(session.material.fingerprints(closing.part))
    sample = f" (a sample of {closing.available}, for time)" if len(closing.pairs) < closing.available else ""
    chosen = "" if closing.part == "test" else "; the best weights were chosen on them"
    terminal.say(
        f"Dice {scores.dice.mean:.4f} ({scores.dice.range_in_words()}), IoU {scores.iou.mean:.4f} at full size "
        f"on {len(scores.pictures)} {'' if known else 'unseen '}pictures of {scores.groups} groups{sample}{chosen}."
    )
    if len(scores.classes) > 1:
        rows = [(score.name, f"{score.dice.mean:.4f}", f"{score.iou.mean:.4f}") for score in scores.classes]
        terminal.show_table("Classes", ("class", "Dice", "IoU"), rows)
    terminal.say(f"Model: {folder.model}")
    return scores
