"""Samples and a network to weights: one function for an epoch, one for validation, one for the run."""

import dataclasses
import functools
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from maskwright.config import Settings
from maskwright.data.dataset import Batch, EpochBatches
from maskwright.device import ComputePrecision
from maskwright.errors import DoesNotFitError, InputError, OthersEndedError, is_out_of_memory
from maskwright.files import write_json
from maskwright.signals import Stopped
from maskwright.training import ranks
from maskwright.training.figures import (
    Figures,
    count,
    count_classes,
    dice_per_picture,
    figures_of,
    pixels_of_classes,
)
from maskwright.training.freezing import hold
from maskwright.training.health import (
    Circumstances,
    Finding,
    find_new,
    given_up,
    is_diverging,
    not_saved,
    recovered,
    shrunk,
    unsound,
)
from maskwright.training.minutes import LEAST_SECONDS
from maskwright.training.out_of_memory import MemoryPressesError, begin, begin_again, looking_at_fewer, shrink
from maskwright.training.recovery import can_go_back, go_back, has_sound_weights, remember_good
from maskwright.training.run_folder import write_metrics
from maskwright.training.saving import KeepBest, Saver
from maskwright.training.schedules import Length, learning_rate_at
from maskwright.training.state import Learner, Position, Tally, fall_back_to_fp32, set_rate
from maskwright.training.step import add_gradients, loss_of, move_weights, parts_of
from maskwright.training.whole_pictures import whole_logits, whole_pictures_at_once

# In a run by the clock, validating and saving may take this share of the time.
VALIDATION_SHARE = 0.05
# An epoch that takes more than this share of it does not have to be over before, and nor does one in which validations
# are so far apart that they take no more than this share.
LONG_EPOCH, LONG_EPOCH_SHARE = 0.1, 0.1
# Patience goes by the median of so many scores: one lucky validation on a few pictures is no progress.
SMOOTHED = 3
# What is said where nothing smaller is left to try.
SAVED = "The run is saved: --resume goes on with it where there is more memory."
# Of several processes it is the writer that saves, when it notices that another one ends.
SAVED_BY_WRITER = "--resume goes on from where the run was saved."
# What is said where several processes would have to do it together.
TOGETHER = "Of several processes none can take less by itself; more of them need less each, as does another --storage."


@dataclass(frozen=True)
class Status:
    """What a progress bar shows."""

    progress: float
    epoch: int
    figures: Figures
    best_dice: float


@dataclass(frozen=True)
class Run:
    """What stays the same throughout a run.

    Attributes:
        settings: What the user asked for.
        device: Where the network lies.
        length: When the run ends.
        scored_classes: Channels of the logits that Dice is measured on, where there are several.
        state_path: Where the state is saved.
        metrics_path: Where a line is written for each epoch.
        health_path: Where the findings are written.
        circumstances: What the figures are judged by.
        tell: Called with each finding.
        keep_best: Called with validation figures and weights whenever the score is the best so far, once that is saved.
        show: Called after each batch.
        stop_asked: Whether a signal asked the run to stop after this step.
        correct: Called after each validation; what the run's length is, now that the clock says more.
        now: The clock, in seconds.
        agree: Called after each batch and each validation; `now` and ``stop_asked`` say the same on all ranks from one
            call to the next.
        watch: A clock that moves between two of those, for what this process takes by itself.
        validation_seconds: What a validation is expected to take, while none was measured.
        stop_here: Whether this process was asked to stop; a validation is broken off for it.
        class_weights: How much a pixel of each class counts in the losses over pixels; empty where all count alike.
        record: Called with each line of metrics after it is written.
        scores_start: Whether the weights that the run starts from are worth keeping until there are better ones.
    """

    settings: Settings
    device: str
    length: Length
    scored_classes: tuple[int, ...]
    state_path: Path
    metrics_path: Path
    health_path: Path
    circumstances: Circumstances
    tell: Callable[[Finding], None]
    keep_best: KeepBest
    show: Callable[[Status], None]
    stop_asked: Callable[[], bool]
    correct: Callable[[Length], Length] = lambda length: length
    now: Callable[[], float] = time.monotonic
    agree: Callable[[], None] = lambda: None
    watch: Callable[[], float] | None = None
    validation_seconds: float = 0.0
    stop_here: Callable[[], bool] | None = None
    class_weights: tuple[float, ...] = ()
    record: Callable[[dict[str, float]], None] = lambda _: None
    scores_start: bool = False


class Clock:
    """Seconds spent on a run, those before a resume included; and whether this process has learnt from a batch."""

    def __init__(self, spent: float, now: Callable[[], float] = time.monotonic) -> None:
        self.is_running = False
        self._now = now
        self._zero = now() - spent

    def seconds(self) -> float:
        """Seconds so far."""
        return self._now() - self._zero


def fit(
    learner: Learner,
    train: DataLoader[Batch],
    order: EpochBatches,
    val: DataLoader[Batch],
    run: Run,
) -> bool:
    """Train until the run's length is reached or patience ends, or until a signal asks to stop.

    Returns:
        Whether the run came to its end; False after a signal. Either way the state is saved.

    Raises:
        OSError: That state could not be written.
        DoesNotFitError: Memory is too small for a single picture at a time; the state is saved.
        OthersEndedError: Another rank ended; the state is saved as it was before the step that it left.
    """
    position = learner.position
    clock = Clock(position.seconds, run.now)
    saver = build_saver(learner, run, clock)
    if learner.good is None:
        remember_good(learner)
    finished = is_finished(learner, run)
    try:
        if run.scores_start and position.step == 0 and position.validated_step < 0:
            run = _validate_start(learner, val, run, clock, saver)
        while not finished:
            order.epoch, order.skip = position.epoch, position.batch
            order.is_half = functools.partial(_is_half, run, position, len(order), clock)
            # Stopped after its last step and resumed, a run has only to validate.
            is_learnt = is_over(learner, run)
            ending = "time" if is_learnt else _train_or_shrink(learner, train, order, run, clock, saver)
            if ending != "memory":
                run, finished = _end_epoch(learner, val, run, clock, saver, ending)
            if run.stop_asked() and not finished:
                raise Stopped
    except Stopped:
        saver.save()
        return False
    except DoesNotFitError as error:
        saver.save()
        raise DoesNotFitError(f"{error} {SAVED if learner.shared is None else SAVED_BY_WRITER}") from None
    except (OthersEndedError, RuntimeError) as error:
        if not ranks.others_ended(error):
            raise
        begin_again(learner)
        saver.save()
        raise OthersEndedError from error
    return True


def build_saver(learner: Learner, run: Run, clock: Clock) -> Saver:
    """What saves the run, as often as its settings say."""
    return Saver(
        learner,
        run.state_path,
        every=run.settings.save_every,
        seconds=clock.seconds,
        keep_best=run.keep_best,
        tell=run.tell,
        watch=run.watch,
    )


def _validate_start(learner: Learner, val: DataLoader[Batch], run: Run, clock: Clock, saver: Saver) -> Run:
    """Score and keep the model that the run starts from, so that nothing worse takes its place.

    Returns:
        The run, whose schedule begins only now, and which has time for a step.

    Raises:
        Stopped: A signal asked to; resumed, the run begins with this.
        DoesNotFitError: Memory is too small to validate; likewise.
        OthersEndedError: Another rank ended; likewise.
    """
    figures = _validate_and_remember(learner, val, run, clock)
    learner.health.start_dice = learner.position.best_dice
    set_rate(learner.optimizer, learning_rate_at(run.settings, 0.0, 0.0))
    _write_metrics(learner, run, figures_of(Tally()), figures)
    saver.try_to_save(figures)
    position, length = learner.position, run.length
    if length.seconds is not None:
        end = max(length.seconds, position.seconds + LEAST_SECONDS)
        length = run.correct(Length(length.epochs, end, paced_seconds=position.seconds))
        position.paced_seconds, position.paced_progress = position.seconds, 0.0
    return dataclasses.replace(run, length=length)


def _end_epoch(
    learner: Learner,
    val: DataLoader[Batch],
    run: Run,
    clock: Clock,
    saver: Saver,
    ending: Literal["whole", "time", "due"],
) -> tuple[Run, bool]:
    """Validate where that is due, write down how the epoch went, and save.

    Returns:
        The run, its length corrected; and whether it is finished.

    Raises:
        Stopped: A signal asked to in the validation; the position is that before it.
        DoesNotFitError: Memory is too small to validate; likewise.
        OthersEndedError: Another rank ended; likewise.
    """
    position, figures = learner.position, figures_of(learner.tally)
    before = dataclasses.replace(position), learner.tally
    if ending == "whole":
        position.epoch, position.batch, learner.tally = position.epoch + 1, 0, Tally()
    position.seconds = clock.seconds()
    finished = is_over(learner, run)
    val_figures = None
    if finished or ending == "due" or _validation_is_due(learner, run, saver):
        try:
            val_figures = _validate_and_remember(learner, val, run, clock)
        except (Stopped, DoesNotFitError, OthersEndedError):
            # Resumed, the epoch has no batches left, so that this comes next.
            learner.position, learner.tally = before
            raise
        finished = finished or is_over(learner, run)
    _write_metrics(learner, run, figures, val_figures)
    _look_for_findings(learner, run, is_over=finished)
    _write_health(learner, run)
    best = val_figures if position.is_best else None
    if finished:
        saver.save(best)
    elif val_figures is not None:
        saver.try_to_save(best)
    if val_figures is not None:
        run = dataclasses.replace(run, length=run.correct(run.length))
    return run, finished


def _is_half(run: Run, position: Position, batches: int, clock: Clock, batch: int) -> bool:
    """Whether a batch of the epoch is learnt at half size."""
    return run.length.progress(position.epoch + batch / batches, clock.seconds()) < run.settings.small_first


def is_finished(learner: Learner, run: Run) -> bool:
    """Whether the run is over and what it learnt last has been validated, too: a stop may have come in between."""
    return is_over(learner, run) and learner.position.validated_step == learner.position.step


def is_over(learner: Learner, run: Run) -> bool:
    """Whether the run's length is reached, or its patience at an end."""
    position, patience = learner.position, run.settings.patience
    if run.length.progress(position.epoch, position.seconds) >= 1:
        return True
    return 0 < patience <= position.validations_since_best


def _train_or_shrink(
    learner: Learner, train: DataLoader[Batch], order: EpochBatches, run: Run, clock: Clock, saver: Saver
) -> Literal["whole", "time", "due", "memory"]:
    """Train for an epoch; where memory runs out, undo the step and hold less at a time.

    Raises:
        Stopped: A signal asked to.
        DoesNotFitError: There is nothing smaller; all is as it was before the step.
    """
    try:
        return train_epoch(learner, train, len(order), run, clock, saver)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        seen = "is nearly used up" if isinstance(error, MemoryPressesError) else "ran out"
    begin_again(learner)
    if learner.shared is not None:
        raise DoesNotFitError(f"The memory of {run.device} {seen} in a step. {TOGETHER}")
    shrink(learner, order.size, run.settings)
    position, seen = learner.position, f"The memory of {run.device} {seen} in a step"
    _tell(learner, run, shrunk(order.size, position.micro_batch, seen, position.storage))
    return "memory"


def train_epoch(
    learner: Learner, loader: DataLoader[Batch], batches: int, run: Run, clock: Clock, saver: Saver
) -> Literal["whole", "time", "due"]:
    """Learn from every batch once, or from those that are left after a resume.

    Returns:
        What ended it: the epoch, the minutes, or a validation that is due long before the epoch's end.

    Raises:
        Stopped: A signal asked to.
    """
    settings, position, tally = run.settings, learner.position, learner.tally
    learner.begin_to_learn()
    watch = run.watch or clock.seconds
    started, ready = clock.seconds(), watch()
    for number, batch in enumerate(loader):
        waiting = watch() - ready
        epochs = position.epoch + position.batch / batches
        # Loading the first batch may take longer than there is; a step at a rate of zero would be none.
        progress = run.length.progress(epochs, clock.seconds() if number else position.seconds)
        rate = learning_rate_at(settings, progress, epochs) * position.rate_factor
        if settings.freeze:
            hold(learner.pretrained, held=progress < settings.freeze)
        try:
            _learn(learner, batch.to(run.device), rate, run, batches, progress)
        except FloatingPointError:
            _recover(learner, run)
        run.agree()
        now = clock.seconds()
        # The first of the process waits for the workers to start; half of a size is computed faster than prepared.
        if clock.is_running and progress >= settings.small_first:
            learner.health.note_times(waiting, watch() - ready - waiting)
        clock.is_running = True
        tally.seconds, started = tally.seconds + now - started, now
        run.show(Status(progress, position.epoch + 1, figures_of(tally), position.best_dice))
        _look_for_findings(learner, run)
        ready = watch()
        if position.batch % (settings.accumulate or 1) and position.batch < batches:
            continue  # gradients of a step half done are in no state
        if run.stop_asked():
            raise Stopped
        if position.batch < batches and run.length.progress(0, now) >= 1:
            return "time"
        if position.batch < batches and _validation_is_overdue(learner, run, clock):
            return "due"
        if saver.is_due():
            saver.try_to_save()
    return "whole"


def _learn(learner: Learner, batch: Batch, rate: float, run: Run, batches: int, progress: float) -> None:
    """Add the gradients of one batch, and step when those of a step, or of the epoch's rest, are together.

    Raises:
        FloatingPointError: The loss or its gradients are no numbers, or far above what they were; no step was made.
    """
    settings, position = run.settings, learner.position
    passes = settings.accumulate or 1
    first = position.batch - position.batch % passes
    together = min(passes, batches - first)
    if position.batch == first:
        begin(learner)
    position.batch += 1
    outcome = add_gradients(
        learner,
        batch,
        settings,
        class_weights=run.class_weights,
        scored_classes=run.scored_classes,
        together=together,
        last=position.batch == first + together,
    )
    learner.health.note_batch(outcome.loss, progress)
    if is_diverging(learner.health, run.circumstances):
        raise FloatingPointError
    count(learner.tally, outcome.loss, outcome.dices)
    if position.batch == first + together:
        set_rate(learner.optimizer, rate)
        move_weights(learner, settings.clip_norm)


def _recover(learner: Learner, run: Run) -> None:
    """Go back to the last good weights with half the learning rate, or give up.

    Raises:
        InputError: There are no such weights, or it was done often enough.
    """
    health, position = learner.health, learner.position
    epoch, step = position.epoch + 1, position.step
    if learner.precision != "fp32" and not is_diverging(health, run.circumstances) and has_sound_weights(learner):
        finding = unsound(learner.precision, epoch=epoch, step=step)
        go_back(learner, slower=False)
        fall_back_to_fp32(learner)
        _tell(learner, run, finding)
        return
    if not can_go_back(learner):
        finding = given_up(health, epoch=epoch, step=step, has_model=position.best_dice > -1)
        _note_finding(learner, run, finding)
        raise InputError(finding.sentence)
    peak = run.settings.learning_rate * position.rate_factor / 2
    finding = recovered(health, epoch=epoch, step=step, peak=peak)
    go_back(learner)
    _tell(learner, run, finding)


def _look_for_findings(learner: Learner, run: Run, *, is_over: bool = False) -> None:
    for finding in find_new(learner.health, run.circumstances, best_dice=learner.position.best_dice, is_over=is_over):
        _tell(learner, run, finding)


def _tell(learner: Learner, run: Run, finding: Finding) -> None:
    """Say a finding and keep it."""
    _note_finding(learner, run, finding)
    run.tell(finding)


def _note_finding(learner: Learner, run: Run, finding: Finding) -> None:
    """Keep a finding for the state and for `health.json`."""
    learner.health.note_finding(finding, epoch=learner.position.epoch + 1, step=learner.position.step)
    _write_health(learner, run)


def _write_health(learner: Learner, run: Run) -> None:
    """Write the findings and figures of the run, and how it computes now."""
    if not ranks.is_writer():
        return
    position = learner.position
    now = {
        "precision": learner.precision,
        "micro_batch": position.micro_batch,
        "val_micro_batch": position.val_micro_batch,
        "storage": position.storage,
    }
    try:
        write_json(run.health_path, learner.health.to_json() | now)
    except OSError as error:
        run.tell(not_saved(error))


class _Look(NamedTuple):
    """What a validation sees of some pictures: their mean loss, their scores, and pixels of each class."""

    loss: float
    dices: Tensor
    predicted: list[float]
    true: list[float]


def look_at_batches(
    network: nn.Module, loader: DataLoader[Batch], run: Run, precision: ComputePrecision, most: int | None
) -> tuple[list[list[_Look]], float] | None:
    """What a network makes of pictures that it does not learn from, at training size; of this rank's batches of them.

    Args:
        network: Is told that it does not train.
        loader: Of the pictures.
        run: Decides the loss.
        precision: What to compute in.
        most: Pictures that go through the network at a time; None for whole batches.

    Returns:
        A look at each part of each batch, and the seconds that they took; None where a signal asked to stop.
    """
    network.eval()
    started = time.monotonic()
    looks = []
    with torch.inference_mode():
        for cpu_batch in loader:
            if (run.stop_here or run.stop_asked)():
                return None
            parts = parts_of(cpu_batch.to(run.device), most)
            looks.append([_look(network, part, run, precision) for part, _ in parts])
    return looks, time.monotonic() - started


def _look(network: nn.Module, part: Batch, run: Run, precision: ComputePrecision) -> _Look:
    logits = whole_logits(network, part.images, run.settings, precision)
    loss = loss_of(logits, part, run.settings, run.class_weights)
    dices = dice_per_picture(logits, part.targets, part.weights, run.scored_classes)
    return _Look(float(loss), dices.cpu(), *pixels_of_classes(logits, part))


def add_up(mine: tuple[list[list[_Look]], float] | None) -> Tally:
    """Sums over what all ranks have seen, in the order of one that saw all; pixels of each class among them.

    Raises:
        Stopped: One of them was asked to stop.
    """
    shares = ranks.gathered(mine)
    tally = Tally()
    if None in shares:
        raise Stopped
    seen = [share for share in shares if share is not None]
    for look in itertools.chain.from_iterable(ranks.in_order([looks for looks, _ in seen])):
        count(tally, look.loss, look.dices)
        count_classes(tally, look.predicted, look.true)
    tally.seconds = max(seconds for _, seconds in seen)
    return tally


def _validation_is_due(learner: Learner, run: Run, saver: Saver) -> bool:
    """By epochs: after each. By the clock: when it and the save after it cost no more than their share of the time."""
    position = learner.position
    if run.length.seconds is None:
        return True
    since = position.seconds - position.validated_at
    saving = max(ranks.gathered(saver.took))  # one process saves, and all decide alike
    return since * VALIDATION_SHARE >= position.validation_seconds + saving


def _validation_is_overdue(learner: Learner, run: Run, clock: Clock) -> bool:
    """By the clock: whether an epoch is so long that it is to be interrupted for a validation."""
    position = learner.position
    expected = position.validation_seconds or run.validation_seconds
    if run.length.seconds is None or not expected:
        return False
    since = clock.seconds() - position.validated_at
    return since >= max(expected / LONG_EPOCH_SHARE, LONG_EPOCH * run.length.seconds)


def _validate_and_remember(learner: Learner, val: DataLoader[Batch], run: Run, clock: Clock) -> Figures:
    """Validate the weights worth keeping, and note whether they are the best so far.

    Raises:
        InputError: Their loss is no number, and going back to earlier ones was of no use.
    """
    position = learner.position
    started = clock.seconds()
    tally = _validate_in_memory(learner, val, run)
    while not math.isfinite(tally.loss):
        _recover(learner, run)
        tally = _validate_in_memory(learner, val, run)
    run.agree()
    figures = figures_of(tally)
    if learner.health.note_validation(figures.loss, tally.predicted, tally.true):
        remember_good(learner)
    # Without any overlap, or any foreground, Dice tells nothing apart; then the loss decides, below any Dice.
    score = figures.dice if figures.dice > 0 else -figures.loss / (1 + figures.loss)
    if score > position.best_dice:
        position.best_dice, position.best_epoch, position.best_batch = score, position.epoch, position.batch
    if run.length.progress(position.epoch, position.seconds) > max(run.settings.small_first, run.settings.freeze):
        # Before that, a run that gets no better has not begun to learn as it will.
        _count_patience(position, score)
    position.validated_step = position.step
    position.validated_at = position.seconds = clock.seconds()
    position.validation_seconds = position.validated_at - started
    return figures


def _validate_in_memory(learner: Learner, val: DataLoader[Batch], run: Run) -> Tally:
    """Validate; where memory runs out, fewer pictures at a time, now and later."""
    position = learner.position
    if learner.shared is not None:
        learner.shared.follow_writer(learner.kept())
    look = functools.partial(look_at_batches, learner.kept(), val, run, learner.precision)
    before = position.val_micro_batch or position.micro_batch
    pictures = whole_pictures_at_once(run.settings)
    looks, most = looking_at_fewer(look, before, pictures)
    if most != before:
        position.val_micro_batch = most
        _tell(learner, run, shrunk(pictures, most, f"The memory of {run.device} ran out in a validation"))
    return add_up(looks)


def _count_patience(position: Position, score: float) -> None:
    """Count the validations whose smoothed score is no better than the best smoothed one."""
    position.recent = [*position.recent, score][-SMOOTHED:]
    if len(position.recent) < SMOOTHED:
        return
    smoothed = statistics.median(position.recent)
    position.validations_since_best += 1
    if smoothed > position.best_smoothed:
        position.best_smoothed, position.validations_since_best = smoothed, 0


def _write_metrics(learner: Learner, run: Run, figures: Figures, val: Figures | None) -> None:
    """Add a line of JSON. NaN is no JSON: what was not measured is left out."""
    position = learner.position
    line: dict[str, float] = {
        "epoch": position.epoch + (1 if position.batch else 0),
        "step": position.step,
        "seconds": round(position.seconds, 2),
        "learning_rate": learner.optimizer.param_groups[0]["lr"],
        "train_loss": figures.loss,
        "train_dice": figures.dice,
        "images_per_second": round(figures.images_per_second, 2),
    }
    if val is not None:
        line |= {"val_loss": val.loss, "val_dice": val.dice}
    known = {name: value for name, value in line.items() if not math.isnan(value)}
    learner.lines.append(json.dumps(known) + "\n")
    if not ranks.is_writer():
        return
    try:
        write_metrics(run.metrics_path, learner.lines)
    except OSError as error:
        run.tell(not_saved(error))
    run.record(known)
