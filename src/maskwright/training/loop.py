"""Samples and a network to weights: one function for a step, one for an epoch, one for validation, one for the run."""

import dataclasses
import functools
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from maskwright.config import Settings
from maskwright.data.dataset import Batch, EpochBatches
from maskwright.device import ComputePrecision
from maskwright.errors import InputError
from maskwright.files import write_json
from maskwright.signals import Stopped
from maskwright.training.freezing import hold
from maskwright.training.health import (
    MEASURED_EVERY,
    SETTLED,
    Circumstances,
    Finding,
    find_new,
    given_up,
    is_diverging,
    not_saved,
    recovered,
)
from maskwright.training.losses import compute_loss
from maskwright.training.movement import movement, sample_weights
from maskwright.training.recovery import can_go_back, go_back, remember_good
from maskwright.training.run_folder import write_metrics
from maskwright.training.schedules import Length, learning_rate_at
from maskwright.training.state import Learner, Position, Tally, clip_gradients, copied, save_state, set_rate

# In a run by the clock, validating and saving may take this share of the time.
VALIDATION_SHARE = 0.1
# Patience goes by the median of so many scores: one lucky validation on a few pictures is no progress.
SMOOTHED = 3
# Without --save-every, a long epoch is saved in between this often, but for more than this share of the time.
SAVE_SECONDS, SAVING_SHARE = 120.0, 0.05


@dataclass(frozen=True)
class Figures:
    """How an epoch or a validation went: means over pictures. ``dice`` is measured at training size."""

    loss: float
    dice: float
    images_per_second: float


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
        precision: What the forward pass computes in.
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
        class_weights: How much a pixel of each class counts in the losses over pixels; empty where all count alike.
        record: Called with each line of metrics after it is written.
    """

    settings: Settings
    device: str
    precision: ComputePrecision
    length: Length
    scored_classes: tuple[int, ...]
    state_path: Path
    metrics_path: Path
    health_path: Path
    circumstances: Circumstances
    tell: Callable[[Finding], None]
    keep_best: Callable[[Figures, Mapping[str, Tensor]], None]
    show: Callable[[Status], None]
    stop_asked: Callable[[], bool]
    correct: Callable[[Length], Length] = lambda length: length
    now: Callable[[], float] = time.monotonic
    class_weights: tuple[float, ...] = ()
    record: Callable[[dict[str, float]], None] = lambda _: None


class Clock:
    """Seconds spent on a run, those before a resume included."""

    def __init__(self, spent: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._zero = now() - spent

    def seconds(self) -> float:
        """Seconds so far."""
        return self._now() - self._zero


class Saver:
    """What is written to the disk while a run goes on, such that it can be killed at any moment.

    First the state, then the best weights: the model file is never of a later time than the state that says so.
    """

    def __init__(self, learner: Learner, run: Run, clock: Clock) -> None:
        self.learner, self.run, self.clock = learner, run, clock
        self.step, self.at = learner.position.step, clock.seconds()
        self.took = 0.0
        # The best weights so far, in main memory, while there was no room for them on the disk.
        self.waiting: tuple[Figures, Mapping[str, Tensor]] | None = None

    def is_due(self) -> bool:
        """Whether a kill would lose as much as it may."""
        if self.run.settings.save_every:
            return self.learner.position.step - self.step >= self.run.settings.save_every
        return self.clock.seconds() - self.at > max(SAVE_SECONDS, self.took / SAVING_SHARE)

    def save(self, best: Figures | None = None) -> None:
        """Write all there is; ``best`` are the figures of the weights as they are, where they are the best so far.

        Raises:
            OSError: The disk is full, say; what lay there before is whole.
        """
        learner, kept = self.learner, self.learner.kept()
        self.step, self.at = learner.position.step, self.clock.seconds()
        learner.position.seconds = self.at
        try:
            if self.waiting is not None and best is None:
                self.run.keep_best(*self.waiting)
            save_state(self.run.state_path, learner)
            if best is not None:
                self.run.keep_best(best, kept.state_dict())
        except OSError:
            if best is not None:
                self.waiting = best, copied(kept)
            raise
        self.waiting = None
        self.took = self.clock.seconds() - self.at

    def try_to_save(self, best: Figures | None = None) -> None:
        """Write all there is; where that is impossible, say so and go on: it is tried again when it is due again."""
        try:
            self.save(best)
        except OSError as error:
            self.run.tell(not_saved(error))


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
    """
    position = learner.position
    clock = Clock(position.seconds, run.now)
    saver = Saver(learner, run, clock)
    if learner.good is None:
        remember_good(learner)
    finished = is_finished(learner, run)
    try:
        while not finished:
            order.epoch, order.skip = position.epoch, position.batch
            order.is_half = functools.partial(_is_half, run, position, len(order), clock)
            is_whole = train_epoch(learner, train, len(order), run, clock, saver)
            run, finished = _end_epoch(learner, val, run, clock, saver, is_whole=is_whole)
            if run.stop_asked() and not finished:
                raise Stopped
    except Stopped:
        saver.save()
        return False
    return True


def _end_epoch(
    learner: Learner, val: DataLoader[Batch], run: Run, clock: Clock, saver: Saver, *, is_whole: bool
) -> tuple[Run, bool]:
    """Validate where that is due, write down how the epoch went, and save.

    Returns:
        The run, its length corrected; and whether it is finished.

    Raises:
        Stopped: A signal asked to in the validation; the position is that before it.
    """
    position, figures = learner.position, figures_of(learner.tally)
    before = dataclasses.replace(position), learner.tally
    if is_whole:
        position.epoch, position.batch, learner.tally = position.epoch + 1, 0, Tally()
    position.seconds = clock.seconds()
    finished = is_finished(learner, run)
    val_figures = None
    if finished or _validation_is_due(learner, run):
        try:
            val_figures = _validate_and_remember(learner, val, run, clock)
        except Stopped:  # resumed, the epoch has no batches left, so that this comes next
            learner.position, learner.tally = before
            raise
        finished = finished or is_finished(learner, run)
    _write_metrics(learner, run, figures, val_figures)
    _look_for_findings(learner, run)
    _write_health(learner, run)
    best = val_figures if position.best_step == position.step else None
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
    """Whether the run's length is reached, or its patience at an end."""
    position, patience = learner.position, run.settings.patience
    if run.length.progress(position.epoch, position.seconds) >= 1:
        return True
    return 0 < patience <= position.validations_since_best


def train_epoch(
    learner: Learner, loader: DataLoader[Batch], batches: int, run: Run, clock: Clock, saver: Saver
) -> bool:
    """Learn from every batch once, or from those that are left after a resume.

    Returns:
        Whether that were all of them; else the minutes ended before.

    Raises:
        Stopped: A signal asked to.
    """
    settings, position, tally = run.settings, learner.position, learner.tally
    learner.network.train()
    started = ready = clock.seconds()
    for number, batch in enumerate(loader):
        waiting = clock.seconds() - ready
        epochs = position.epoch + position.batch / batches
        progress = run.length.progress(epochs, clock.seconds())
        rate = learning_rate_at(settings, progress, epochs) * position.rate_factor
        if settings.freeze:
            hold(learner.pretrained, held=progress < settings.freeze)
        try:
            _learn(learner, batch.to(run.device), rate, run, batches, progress)
        except FloatingPointError:
            _recover(learner, run)
        now = clock.seconds()
        if number > 0:  # the first waits for the workers to start
            learner.health.note_times(waiting, now - ready - waiting)
        tally.seconds, started = tally.seconds + now - started, now
        run.show(Status(progress, position.epoch + 1, figures_of(tally), position.best_dice))
        _look_for_findings(learner, run)
        ready = clock.seconds()
        if position.batch % settings.accumulate and position.batch < batches:
            continue  # gradients of a step half done are in no state
        if run.stop_asked():
            raise Stopped
        if position.batch < batches and run.length.progress(0, now) >= 1:
            return False
        if saver.is_due():
            saver.try_to_save()
    return True


def _learn(learner: Learner, batch: Batch, rate: float, run: Run, batches: int, progress: float) -> None:
    """Add the gradients of one batch, and step when those of a step, or of the epoch's rest, are together.

    Raises:
        FloatingPointError: The loss or its gradients are no numbers, or far above what they were; no step was made.
    """
    settings, position = run.settings, learner.position
    first = position.batch - position.batch % settings.accumulate
    together = min(settings.accumulate, batches - first)
    if position.batch == first:
        learner.optimizer.zero_grad(set_to_none=True)
    with autocast(run.device, run.precision):
        logits = learner.network(batch.images)
    loss = loss_of(logits, batch, settings, run.class_weights)
    position.batch += 1
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError
    learner.health.note_batch(value, progress)
    if is_diverging(learner.health, run.circumstances):
        raise FloatingPointError
    learner.scaler.scale(loss / together).backward()  # type: ignore[no-untyped-call]
    count(learner.tally, value, logits.detach(), batch, run.scored_classes)
    if position.batch < first + together:
        return
    set_rate(learner.optimizer, rate)
    _step(learner, settings)


def _step(learner: Learner, settings: Settings) -> None:
    """One step of the optimizer; now and then, how far it moves the weights is measured."""
    network, position = learner.network, learner.position
    norm = clip_gradients(network, learner.optimizer, learner.scaler, settings.clip_norm)
    if not learner.scaler.is_enabled() and not torch.isfinite(norm):  # the scaler skips such steps by itself
        raise FloatingPointError
    before = sample_weights(network) if position.step % MEASURED_EVERY == SETTLED else None
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    if before is not None:
        learner.health.note_update(movement(before, sample_weights(network)))
    if learner.average is not None:
        learner.average.update_parameters(network)
    position.step += 1


def _recover(learner: Learner, run: Run) -> None:
    """Go back to the last good weights with half the learning rate, or give up.

    Raises:
        InputError: There are no such weights, or it was done often enough.
    """
    health, position = learner.health, learner.position
    epoch, step = position.epoch + 1, position.step
    if not can_go_back(learner):
        finding = given_up(health, epoch=epoch, step=step, has_model=position.best_dice > -1)
        _note_finding(learner, run, finding)
        raise InputError(finding.sentence)
    peak = run.settings.learning_rate * position.rate_factor / 2
    finding = recovered(health, epoch=epoch, step=step, peak=peak)
    go_back(learner)
    _note_finding(learner, run, finding)
    run.tell(finding)


def _look_for_findings(learner: Learner, run: Run) -> None:
    for finding in find_new(learner.health, run.circumstances, best_dice=learner.position.best_dice):
        _note_finding(learner, run, finding)
        run.tell(finding)


def _note_finding(learner: Learner, run: Run, finding: Finding) -> None:
    """Keep a finding for the state and for `health.json`."""
    learner.health.note_finding(finding, epoch=learner.position.epoch + 1, step=learner.position.step)
    _write_health(learner, run)


def _write_health(learner: Learner, run: Run) -> None:
    try:
        write_json(run.health_path, learner.health.to_json())
    except OSError as error:
        run.tell(not_saved(error))


def loss_of(logits: Tensor, batch: Batch, settings: Settings, class_weights: Sequence[float] = ()) -> Tensor:
    """The loss that the settings ask for."""
    return compute_loss(
        settings.loss_terms(),
        logits,
        batch.targets,
        batch.weights,
        boundary_weight=settings.boundary_weight,
        class_weights=class_weights,
    )


def validate(network: nn.Module, loader: DataLoader[Batch], run: Run) -> Tally:
    """Sums over pictures that are not learnt from, at training size; those of each class's pixels among them.

    Raises:
        Stopped: A signal asked to.
    """
    network.eval()
    tally = Tally()
    started = time.monotonic()
    with torch.inference_mode():
        for cpu_batch in loader:
            if run.stop_asked():
                raise Stopped
            batch = cpu_batch.to(run.device)
            with autocast(run.device, run.precision):
                logits = network(batch.images)
            loss = loss_of(logits, batch, run.settings, run.class_weights)
            count(tally, float(loss), logits, batch, run.scored_classes)
            count_classes(tally, logits, batch)
    tally.seconds = time.monotonic() - started
    return tally


def autocast(device: str, precision: ComputePrecision) -> torch.autocast:
    """The precision of the forward pass."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.partition(":")[0], dtype, enabled=precision != "fp32")


def count(tally: Tally, loss: float, logits: Tensor, batch: Batch, scored_classes: tuple[int, ...]) -> None:
    """Add one batch to a tally."""
    dice = dice_per_picture(logits, batch.targets, batch.weights, scored_classes).nanmean(dim=1)
    present = ~dice.isnan()
    tally.images += len(logits)
    tally.loss += loss * len(logits)
    tally.dice += float(dice[present].sum())
    tally.scored += int(present.sum())


def count_classes(tally: Tally, logits: Tensor, batch: Batch) -> None:
    """Add the pixels of each class, predicted and true; of the true ones the shares, which thin lines leave few of."""
    weight = (batch.weights > 0).float()  # (N, 1, H, W)
    if logits.shape[1] == 1:
        counted, foreground = weight.sum(), ((logits > 0) * weight).sum()
        true_foreground = (batch.targets * weight).sum()
        predicted = torch.stack([counted - foreground, foreground])
        true = torch.stack([counted - true_foreground, true_foreground])
    else:
        predicted = torch.bincount(logits.argmax(1)[weight[:, 0] > 0], minlength=logits.shape[1]).float()
        true = (batch.targets * weight).sum((0, 2, 3))
    for mine, new in ((tally.predicted, predicted), (tally.true, true)):
        mine[:] = [old + added for old, added in zip(mine or [0.0] * len(new), new.tolist(), strict=True)]


def figures_of(tally: Tally) -> Figures:
    """Sums to means; NaN where there is nothing to average."""
    nan = float("nan")
    return Figures(
        loss=tally.loss / tally.images if tally.images else nan,
        dice=tally.dice / tally.scored if tally.scored else nan,
        images_per_second=tally.images / tally.seconds if tally.seconds else nan,
    )


def dice_per_picture(logits: Tensor, target: Tensor, weight: Tensor, scored_classes: tuple[int, ...]) -> Tensor:
    """Dice coefficient of each scored class of each picture, ``(N, K)``; NaN where a class is nowhere.

    Of one channel, shares of at least a half are foreground; of several, the largest is the class.
    """
    if logits.shape[1] == 1:
        predicted, truth = logits > 0, target >= 0.5
    else:
        predicted, truth = (
            F.one_hot(scores.argmax(1), scores.shape[1]).movedim(-1, 1)[:, scored_classes].bool()
            for scores in (logits, target)
        )
    counts = weight > 0
    overlap = (predicted & truth & counts).sum((2, 3))
    total = (predicted & counts).sum((2, 3)) + (truth & counts).sum((2, 3))
    return 2 * overlap / total  # 0 / 0 is NaN


def _validation_is_due(learner: Learner, run: Run) -> bool:
    """By epochs: after each. By the clock: when it costs no more than its share of the time since the last."""
    position = learner.position
    if run.length.seconds is None:
        return True
    since = position.seconds - position.validated_at
    return since * VALIDATION_SHARE >= position.validation_seconds


def _validate_and_remember(learner: Learner, val: DataLoader[Batch], run: Run, clock: Clock) -> Figures:
    """Validate the weights worth keeping, and note whether they are the best so far."""
    position = learner.position
    started = clock.seconds()
    tally = validate(learner.kept(), val, run)
    figures = figures_of(tally)
    if learner.health.note_validation(figures.loss, tally.predicted, tally.true):
        remember_good(learner)
    # Without any overlap, or any foreground, Dice tells nothing apart; then the loss decides, below any Dice.
    score = figures.dice if figures.dice > 0 else -figures.loss / (1 + figures.loss)
    if score > position.best_dice:
        position.best_dice, position.best_step = score, position.step
    _count_patience(position, score)
    position.validated_at = clock.seconds()
    position.validation_seconds = position.validated_at - started
    return figures


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
    try:
        write_metrics(run.metrics_path, learner.lines)
    except OSError as error:
        run.tell(not_saved(error))
    run.record(known)
