"""`maskwright train`: from a folder of photographs and masks to a model file."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.config import Settings
from maskwright.data.resizing import resize_for
from maskwright.device import ComputePrecision, choose_device, unused_gpu_hint
from maskwright.errors import InputError, OthersEndedError
from maskwright.files import unfinished_in
from maskwright.interop.weights import read_encoder_weights
from maskwright.signals import Signals, Stopped, catching_signals
from maskwright.training import ranks
from maskwright.training.lock import locked
from maskwright.training.run_folder import (
    RunFolder,
    as_started,
    check_pictures,
    check_settings,
    choose_folder,
    fold_folder,
    start_run,
)
from maskwright.training.starting_point import default_settings, read_starting_point, take_weights

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader

    from maskwright.data.dataset import Batch, EpochBatches
    from maskwright.data.reading import Formats
    from maskwright.evaluation.evaluate import Scores
    from maskwright.training.closing import Scored
    from maskwright.training.loop import Status
    from maskwright.training.material import Material
    from maskwright.training.memory_budget import MemoryUse
    from maskwright.training.minutes import Closing, Minutes
    from maskwright.training.preparation import Preparation
    from maskwright.training.session import Checked, Session
    from maskwright.training.starting_point import StartingPoint
    from maskwright.training.state import Learner


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


def train(  # noqa: PLR0913 - each is an option
    photos: str | Path,
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    settings: Settings | None = None,
    began: float | None = None,
    again: str | None = None,
) -> TrainedRun:
    """Learn from a folder of photographs and masks; of several processes under torchrun, all together.

    Args:
        photos: The folder.
        out: The run folder; by default a new one under ``runs/``.
        preset: The settings to start from; by default `quick`, or `best` with three hours or a large GPU.
        minutes: The whole call ends within so many minutes.
        epochs: Passes over the pictures.
        resume: Continue the run in ``out``, or the latest of this folder.
        start_from: A model file whose weights training starts from; without ``settings``, the network and the size are
            those of that model.
        settings: All settings; ``preset`` is not read then.
        began: What `time.monotonic` said when the minutes began; by default now.
        again: What goes on with the run when a signal has stopped it; by default these words with ``--out``.

    Returns:
        Where the model is, and its scores.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
        OthersEndedError: Another process of the run ended before its time.
    """
    started = time.monotonic() if began is None else began
    start = read_starting_point(Path(start_from)) if start_from else None
    settings = (settings or default_settings(preset, start, minutes, epochs=epochs)).with_length(minutes, epochs)
    if settings.folds is not None and settings.fold is None:
        raise InputError(
            "This trains one model: name a --fold, or let cross_validate train one for each of the --folds."
        )
    resume = resume or ranks.was_restarted()
    with catching_signals() as signals, ranks.joined():
        if ranks.was_restarted() and ranks.is_writer():
            terminal.warn("A process of this run ended: all of them go on from where it was saved.")
        folder = ranks.on_writer(lambda: choose_folder(Path(out) if out else None, Path(photos), resume=resume))
        folder = dataclasses.replace(folder, said_again=again)
        try:
            with locked(folder.path) if ranks.is_writer() else nullcontext():
                return _open_and_train(Path(photos), folder, settings, start, signals, resume=resume, started=started)
        except RuntimeError as error:
            if not ranks.others_ended(error):
                raise
            raise OthersEndedError from error
        except Stopped:
            if not ranks.is_writer():
                return TrainedRun(folder.path, folder.model, finished=False, scores=None)
            if folder.is_saved:
                terminal.warn(f"Stopped and saved; {folder.again} goes on from here.")
            else:
                terminal.warn(f"Stopped before there was anything to save; {folder.again} begins this run anew.")
            return TrainedRun(folder.path, folder.model, finished=False, scores=None)


@dataclass(frozen=True)
class _Opened:
    """What the writer found and decided before there is a network; all ranks are told.

    ``taken`` are weights of the model that the run starts from, where there is one.
    """

    prepared: "Preparation"
    taken: "Mapping[str, Tensor] | None"
    resuming: bool


def _open_and_train(
    photos: Path,
    folder: RunFolder,
    settings: Settings,
    start: "StartingPoint | None",
    signals: Signals,
    *,
    resume: bool,
    started: float,
) -> TrainedRun:
    """Begin a run, or go on with it, or say that there is nothing left to do."""
    started_from = start.noted() if start else None
    found = ranks.on_writer(lambda: _look_into(folder, settings, started_from, resume=resume))
    if isinstance(found, TrainedRun):
        return found
    settings = found
    device = choose_device(settings.device)
    ranks.check_devices(device)
    from maskwright.training.machine_memory import keep_freed_memory, return_freed_memory
    from maskwright.training.material import kept_here
    from maskwright.training.minutes import Minutes  # only now is it known that there is a torch to import
    from maskwright.training.session import Session
    from maskwright.training.tensorboard import require_tensorboard

    if settings.tensorboard:
        require_tensorboard()
    budget = None if settings.minutes is None else Minutes(settings.minutes * 60, started)
    encoder_weights = None
    if start is None or start.card.architecture.encoder != settings.encoder:
        encoder_weights = read_encoder_weights(settings.encoder, settings.encoder_weights)
    elif settings.encoder_weights is not None:
        raise InputError("--from and --encoder-weights both bring weights for the same encoder; leave one of them out.")
    opened = ranks.on_writer(lambda: _open(photos, folder, settings, start, device, budget, encoder_weights))
    ranks.write_log(folder.path)
    settings, memory = opened.prepared.settings, opened.prepared.memory
    material = kept_here(opened.prepared.material, settings)
    if memory is not None and memory.returns_freed:
        return_freed_memory()
    elif opened.prepared.keeps_freed:
        keep_freed_memory()
    precision = opened.prepared.precision
    learner = _build_learner(settings, material.formats, device, precision, encoder_weights, opened.taken)
    session = Session(material, folder, settings, learner, device, budget, start)
    # The first steps of a resumed run are no measure of what one from the beginning takes.
    return _train(session, None if opened.resuming else memory, signals, resuming=opened.resuming)


def _look_into(
    folder: RunFolder, settings: Settings, started_from: dict[str, str] | None, *, resume: bool
) -> Settings | TrainedRun:
    """The settings that a run in this folder has, or the run where it is finished."""
    for left_behind in unfinished_in(folder.path):
        left_behind.unlink()
    if folder.is_saved or folder.is_finished:
        settings = as_started(folder, settings)
        check_settings(folder, settings, started_from=started_from)
    elif resume:
        terminal.say(f"There is nothing to resume; this is a new run in {folder.path}")
    return _already_finished(folder) if folder.is_finished else settings


def _open(
    photos: Path,
    folder: RunFolder,
    settings: Settings,
    start: "StartingPoint | None",
    device: str,
    minutes: "Minutes | None",
    encoder_weights: "Mapping[str, Tensor] | None",
) -> _Opened:
    """Read the pictures and choose what is open, then write what the run is made of, or see that it is what it was."""
    from maskwright.training.pilot import choose_by_pilot
    from maskwright.training.preparation import prepare

    resuming = folder.is_saved
    prepared = prepare(
        photos,
        settings,
        device=device,
        minutes=minutes,
        resumed=folder if resuming else None,
        read_before=_first_of_folds(folder, settings),
    )
    prepared = choose_by_pilot(prepared, encoder_weights, device, minutes)
    settings, material = prepared.settings, prepared.material
    taken = _start_from(start, settings, material) if start else None
    if resuming:
        check_pictures(folder, material.split, material.contents())
    else:
        start_run(
            folder,
            settings,
            material.split,
            material.groups,
            material.unread,
            contents=material.contents(),
            photos=photos,
            started_from=start.noted() if start else None,
        )
    return _Opened(prepared, taken, resuming)


def _first_of_folds(folder: RunFolder, settings: Settings) -> RunFolder | None:
    """The run of the first fold beside one of another: with other pictures, groups would be dealt out differently."""
    first = fold_folder(folder.path.parent, 0) if settings.fold else None
    return first if first is not None and first.split.is_file() else None


def _already_finished(folder: RunFolder) -> TrainedRun:
    """Say what a finished run has left."""
    from maskwright.evaluation.evaluate import scores_from_json

    scores = scores_from_json(json.loads(folder.scores.read_text(encoding="utf-8")))
    terminal.say(
        f"{folder.path} is finished already: Dice {scores.dice.mean:.4f} ({scores.dice.range_in_words()}), IoU "
        f"{scores.iou.mean:.4f} at full size on {len(scores.pictures)} pictures of {scores.groups} groups. "
        f"Another --out trains again; --from {folder.model} goes on from its weights."
    )
    if not folder.report.is_file():  # it was killed after its scores were written
        from maskwright.training.record import write_run_report

        write_run_report(folder)
    terminal.say(f"Report: {folder.report}")
    _tell_unscored(scores)
    return TrainedRun(folder.path, folder.model, finished=True, scores=scores)


def _start_from(start: "StartingPoint", settings: Settings, material: "Material") -> "Mapping[str, Tensor]":
    """Take what fits of a model; say what does not, and which pictures that are held out it has learnt from."""
    from maskwright.training.session import architecture_for

    taken = take_weights(start, architecture_for(settings, material.formats), material.formats.labels)
    (terminal.warn if taken.fresh else terminal.say)(f"Starting from {start.path}: {taken.in_words()}")
    split = start.path.with_name("split.json")
    hint = f"; --split {split} holds out what it held out" if split.is_file() else ""
    for part in ("val", "test"):
        if leak := start.leak(material, part):
            terminal.warn(f"{leak}{hint}.")
    return taken.weights


def _build_learner(
    settings: Settings,
    formats: "Formats",
    device: str,
    precision: ComputePrecision,
    encoder_weights: "Mapping[str, Tensor] | None",
    taken: "Mapping[str, Tensor] | None",
) -> "Learner":
    """Build the network, and say what it is."""
    from maskwright.models.build import count_parameters
    from maskwright.training.session import architecture_for, build_learner_for

    if settings.device == "auto":
        hint = unused_gpu_hint()
        if hint:
            terminal.warn(hint)
    architecture = architecture_for(settings, formats)
    learner = build_learner_for(settings, architecture, device, precision, encoder_weights, taken)
    cut = "" if settings.crop is None else f" in cut-outs of {settings.crop}"
    terminal.say(
        f"{architecture.in_words()}, {count_parameters(learner.network) / 1e6:.1f} M parameters, "
        f"{resize_for(settings).in_words()}{cut}, "
        f"{settings.base_channels} channels, batch {settings.batch_size}, {device} in {precision}"
    )
    if settings.encoder != "none" and encoder_weights is None and taken is None:
        terminal.warn(f"{settings.encoder} starts from random weights; --encoder-weights FILE gives it trained ones.")
    if ranks.size() > 1 and device == "cpu" and (settings.norm == "batch" or settings.encoder != "none"):
        terminal.say(
            "Batch normalisation takes the statistics of each process's slice of a batch, since PyTorch synchronises "
            "them on GPUs alone."
        )
    if settings.boundary_weight and not {"ce", "bce", "focal"} & set(settings.loss_terms()):
        terminal.warn(f"--boundary-weight does nothing with --loss {settings.loss}: it counts in ce and focal.")
    if settings.freeze and not learner.pretrained:
        why = "--held-levels holds all that is known" if learner.held else "the network starts from random weights"
        terminal.warn(f"--freeze does nothing here: {why}.")
    return learner


def _train(session: "Session", memory: "MemoryUse | None", signals: Signals, *, resuming: bool) -> TrainedRun:
    """Run the loop, then score what it kept."""
    from maskwright.data.dataset import telling_of_workers
    from maskwright.training.diagnosis import tell
    from maskwright.training.keeping import keep_best, keep_best_again
    from maskwright.training.loop import fit, is_finished
    from maskwright.training.session import (
        build_run,
        build_training_loader,
        build_validation_loader,
        resume_learner,
        share_learner,
    )

    folder, learner = session.folder, session.learner
    train, order = build_training_loader(session)
    if resuming:
        session = resume_learner(session)
        ranks.on_writer(lambda: keep_best_again(session))
        position = learner.position
        terminal.say(f"Resuming {folder.path} after {position.epoch} epochs and {position.step} steps")
    with telling_of_workers():
        checked = ranks.on_writer(lambda: _check(session, train, order, resuming=resuming))
        session, closing = share_learner(session, checked), checked.closing
        watch = _watch(session, memory)
        with signals.waiting(), terminal.progressing("Training") as update:

            def show(status: "Status") -> None:
                update(status.progress, _words(status))
                watch(status.progress)

            run = build_run(
                session,
                closing,
                keep_best=functools.partial(keep_best, session),
                tell=tell,
                show=show,
                stop_asked=signals.asked,
            )
            if is_finished(learner, run):
                terminal.say("All is learnt already; what is left is to score it.")
            elif not fit(learner, train, order, build_validation_loader(session), run):
                raise Stopped  # the signal may have come to another process alone
    return TrainedRun(folder.path, folder.model, finished=True, scores=_close(session, closing))


def _check(session: "Session", train: "DataLoader[Batch]", order: "EpochBatches", *, resuming: bool) -> "Checked":
    """Try the network and the machine before anything is learnt, and decide what comes after the last step."""
    from maskwright.training.closing import choose_closing
    from maskwright.training.diagnosis import check_overfit, check_precision, search_rate
    from maskwright.training.session import Checked

    check_precision(session, train)
    if not resuming:
        if session.settings.overfit_check:
            check_overfit(session)
        if session.settings.find_rate:
            session = search_rate(session, train, order)
    return Checked(session.settings, session.learner.position, choose_closing(session))


def _watch(session: "Session", memory: "MemoryUse | None") -> Callable[[float], None]:
    """What measures the first whole steps, where their memory was predicted; it is told the progress of each batch."""
    from maskwright.training.correction import PeakWatch

    if memory is None or not memory.can_be_measured or not ranks.is_writer():
        return lambda _: None
    settings = session.settings
    watch = PeakWatch(
        memory.peak,
        memory.correction,
        device=session.device,
        precision=session.learner.precision,
        batches=settings.accumulate or 1,
        small_until=settings.small_first,
    )

    def note(progress: float) -> None:
        position = session.learner.position
        if (position.micro_batch, position.storage) != (None, None):  # less at a time than was predicted for
            watch.note_shortage(memory.limit)
            return
        real = watch.note_batch(progress)
        if real is not None and real > memory.limit:
            terminal.warn(
                f"The first whole steps took {real / 1e9:.1f} GB of memory; {memory.peak.total / 1e9:.1f} GB were "
                f"predicted, and {memory.limit / 1e9:.1f} GB may be used. Later plans know it."
            )

    return note


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
    from maskwright.inference.predictor import load
    from maskwright.training.closing import score
    from maskwright.training.curves import draw_curves
    from maskwright.training.keeping import keep_effort, keep_last
    from maskwright.training.out_of_memory import let_go, on_device_or_cpu

    folder = session.folder

    def keep() -> None:
        keep_last(session)
        keep_effort(session)
        draw_curves(folder.metrics, folder.curves)

    ranks.on_writer(keep)  # so that nobody reads the best weights before they are there
    let_go(session.learner)
    with terminal.counting("Scoring", len(range(closing.scored)[ranks.every_nth()])) as advance:
        scored = on_device_or_cpu(
            lambda device: score(
                load(folder.model, device=device), session, closing, must_fit=device != "cpu", advance=advance
            ),
            session.device,
        )
    scores = scored.scores
    if scores.problems and not scores.pictures:
        raise InputError(
            f"None of the pictures held out can be scored: {scores.problems[0].sentence} When that is mended, "
            f"{folder.again} scores the model that is there."
        )
    if ranks.is_writer():
        _conclude(session, closing, scored)
    ranks.gathered(None)  # it is not finished before that is written
    return scores


def _conclude(session: "Session", closing: "Closing", scored: "Scored") -> None:
    """Write the scores down, say them, and draw the report."""
    from maskwright.training.keeping import keep_scores

    folder, scores = session.folder, scored.scores
    _tell_unscored(scores)
    leak = session.start.leak(session.material, closing.part) if session.start else ""
    keep_scores(session, scores, closing, leaks=[f"{leak}."] if leak else [])
    sample = f" (a sample of {closing.available}, for time)" if len(scores.pictures) < closing.available else ""
    chosen = "" if closing.part == "test" else "; the best weights were chosen on them"
    terminal.say(
        f"Dice {scores.dice.mean:.4f} ({scores.dice.range_in_words()}), IoU {scores.iou.mean:.4f} at full size "
        f"on {len(scores.pictures)} {'' if leak else 'unseen '}pictures of {scores.groups} groups{sample}{chosen}."
    )
    if len(scores.classes) > 1:
        rows = [(of.name, f"{of.dice.mean:.4f}", f"{of.iou.mean:.4f}") for of in scores.classes]
        terminal.show_table("Classes", ("class", "Dice", "IoU"), rows)
    terminal.say(f"Model: {folder.model}")
    _report(folder, scored)


def _tell_unscored(scores: "Scores") -> None:
    for problem in scores.problems:
        terminal.warn(f"Not scored: {problem.sentence}")


def _report(folder: RunFolder, scored: "Scored") -> None:
    """Write the report and say where it is. All else is written by now: without it, the run is as good."""
    from maskwright.training.record import write_run_report

    try:
        write_run_report(folder, gallery=scored.gallery, effort=scored.effort)
    except (OSError, MemoryError) as error:
        terminal.warn(
            f"{folder.report} could not be written ({error}); the run is finished without it, and "
            "the same command with --resume writes it."
        )
    else:
        terminal.say(f"Report: {folder.report}")
