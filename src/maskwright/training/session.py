"""The pieces of one training run, put together: pictures, learner, device, loaders, length."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from maskwright import terminal
from maskwright.config import Architecture, Settings
from maskwright.data.dataset import Batch, EpochBatches, InOrder, Samples, build_loader
from maskwright.data.reading import Formats
from maskwright.device import ComputePrecision
from maskwright.errors import InputError
from maskwright.files import write_text
from maskwright.models.build import build_network
from maskwright.models.storage import store
from maskwright.training import ranks
from maskwright.training.balance import choose_weights
from maskwright.training.circumstances import circumstances_of
from maskwright.training.freezing import pretrained_layers
from maskwright.training.health import Finding
from maskwright.training.loop import Run, Status
from maskwright.training.material import Material
from maskwright.training.minutes import Closing, Minutes, drawn, pace
from maskwright.training.run_folder import RunFolder
from maskwright.training.saving import KeepBest
from maskwright.training.schedules import Length
from maskwright.training.shared_network import SharedNetwork, synchronises
from maskwright.training.starting_point import StartingPoint, take_weights
from maskwright.training.state import (
    Learner,
    Position,
    build_learner,
    fall_back_to_fp32,
    read_state,
    restore,
)
from maskwright.training.tensorboard import PICTURES, draw_validation, open_events, written_while_it_can
from maskwright.training.whole_pictures import whole_pictures_at_once

MOST_WORKERS = 4


@dataclass(frozen=True)
class Session:
    """Everything a run is made of.

    Attributes:
        material: The pictures.
        folder: Where the results go.
        settings: What the user asked for, with what was chosen for the rest.
        learner: The network and what teaches it.
        device: Where the network lies.
        minutes: What the command may still take; None in a run by epochs.
        start: The model whose weights it starts from, where there is one.
    """

    material: Material
    folder: RunFolder
    settings: Settings
    learner: Learner
    device: str
    minutes: Minutes | None
    start: StartingPoint | None = None


def architecture_for(settings: Settings, formats: Formats) -> Architecture:
    """The network that the settings ask for, with the channels that the pictures and their classes need."""
    channels = formats.labels.logit_channels
    # Fewer features than classes cannot tell them apart; a multiple of 8 keeps group normalisation possible.
    width = max(settings.chosen("base_channels"), 8 * math.ceil(channels / 8))
    settings = dataclasses.replace(settings, base_channels=width)
    return settings.architecture(in_channels=formats.input.channels, num_classes=channels)


def build_learner_for(
    settings: Settings,
    architecture: Architecture,
    device: str,
    precision: ComputePrecision,
    encoder_weights: Mapping[str, Tensor] | None,
    taken: Mapping[str, Tensor] | None = None,
) -> Learner:
    """A learner on a device; its first weights are decided by the seed, but for those of its encoder or of a model."""
    torch.manual_seed(settings.seed)
    network = store(build_network(architecture, encoder_weights=encoder_weights), settings.storage)
    if taken is not None:
        network.load_state_dict(taken, strict=False)
    pretrained: tuple[nn.Module, ...] = ()
    if taken is not None:
        known = set(taken)
        if encoder_weights is not None:
            known |= {name for name in network.state_dict() if name.startswith("encoder.")}
        pretrained = pretrained_layers(network, fresh=network.state_dict().keys() - known)
    elif encoder_weights is not None:
        pretrained = pretrained_layers(network)
    return build_learner(network.to(device), settings, precision=precision, pretrained=pretrained)


@dataclass(frozen=True)
class Checked:
    """What was found out and decided before the first step; all ranks are told.

    Attributes:
        settings: With the learning rate that was found.
        position: With what does not fit into memory, and whether 16 bit is sound.
        closing: What comes after the last step.
    """

    settings: Settings
    position: Position
    closing: Closing


def share_learner(session: Session, checked: Checked) -> Session:
    """Do on this rank as was decided for all, and let them learn together where there are several."""
    learner = session.learner
    if not ranks.is_writer():
        learner.position = checked.position
        store(learner.network, checked.position.storage)
        if checked.position.full_precision:
            fall_back_to_fp32(learner)
    if ranks.size() > 1:
        learner.shared = SharedNetwork(learner.network, session.device)
    return dataclasses.replace(session, settings=checked.settings)


def resume_learner(session: Session) -> Session:
    """Put the learner and its metrics where the run was saved; what it took until then is off the minutes.

    Raises:
        InputError: There is no whole state, or it is that of another network.
    """
    content, path = ranks.on_writer(lambda: _read_newest_state(session.folder))
    if synchronises(session.settings, session.device):  # it may have become leaner while it was alone
        content["position"]["storage"] = None
    restore(session.learner, content, path)
    position = session.learner.position
    if ranks.is_writer():
        write_text(session.folder.metrics, "".join(session.learner.lines))
    if session.minutes is None:
        return session
    return dataclasses.replace(session, minutes=session.minutes.after(position.seconds + position.overhead))


def _read_newest_state(folder: RunFolder) -> tuple[dict[str, Any], Path]:
    """The newest state that is whole, and where it lies."""
    newest, *earlier = (path for path in (folder.state, folder.previous_state) if path.is_file())
    try:
        return read_state(newest), newest
    except InputError as error:
        if not earlier:
            raise InputError(f"{error} There is no other state to resume from: start a new run.") from error
        terminal.warn(f"{error} The run goes on from {earlier[0].name}, the state before it.")
        return read_state(earlier[0]), earlier[0]


def _choose_workers(settings: Settings, device: str) -> int:
    """How many processes prepare samples."""
    if settings.workers is not None:
        return settings.workers
    # On a CPU the cores are busy with the network, and handing tensors between processes costs more than it saves.
    return min(MOST_WORKERS, torch.get_num_threads()) if device.startswith("cuda") else 0


def build_training_loader(session: Session) -> tuple[DataLoader[Batch], EpochBatches]:
    """Training batches, or this rank's slices of them, and their order.

    Raises:
        InputError: A batch has fewer pictures than there are ranks.
    """
    settings, material = session.settings, session.material
    order = EpochBatches(material.indices("train"), settings, material.cache.shapes, share_of=ranks.share_of)
    if order.size < ranks.size():
        has_more = order.size < len(material.indices("train"))
        raise InputError(
            f"A batch of {order.size} pictures cannot be shared out to {ranks.size()} processes: start {order.size}"
            f"{', or say a larger --batch-size' if has_more else ': there are no more pictures to learn from'}."
        )
    train = build_loader(
        Samples(material.cache, settings, augment=settings.augment, crop=settings.crop, to_learn=True),
        order,
        workers=_choose_workers(settings, session.device),
        pin=session.device.startswith("cuda"),
    )
    return train, order


def build_validation_loader(session: Session) -> DataLoader[Batch]:
    """Validation batches, or every n-th: of as many pictures as a validation may look at, once that is decided."""
    settings, material = session.settings, session.material
    held_out = material.indices("val")
    validated = session.learner.position.validated
    chosen = sorted(drawn(held_out, len(held_out) if validated is None else validated, settings.seed))
    in_order = InOrder(chosen, whole_pictures_at_once(settings), batches=ranks.every_nth())
    plain = Samples(material.cache, settings, augment=False)
    return build_loader(plain, in_order, workers=0, pin=session.device.startswith("cuda"))


def build_run(
    session: Session,
    closing: Closing,
    *,
    keep_best: KeepBest,
    tell: Callable[[Finding], None],
    show: Callable[[Status], None],
    stop_asked: Callable[[], bool],
) -> Run:
    """What stays the same throughout the run; with minutes, this decides how many seconds the training gets."""
    settings, position = session.settings, session.learner.position
    length = Length(settings.epochs, position.budget, position.paced_seconds, position.paced_progress)
    position.validated = closing.validated
    minutes = session.minutes
    now = time.monotonic if minutes is None else minutes.now
    pulse = ranks.Pulse(now, stop_asked)
    run = Run(
        settings=settings,
        device=session.device,
        length=length,
        scored_classes=session.material.formats.labels.scored_classes,
        state_path=session.folder.state,
        metrics_path=session.folder.metrics,
        health_path=session.folder.health,
        circumstances=circumstances_of(
            session.material,
            settings,
            session.device,
            _choose_workers(settings, session.device),
            is_tuned=session.start is not None,
        ),
        tell=tell,
        keep_best=keep_best,
        show=show,
        stop_asked=pulse.stop_asked,
        now=pulse.now,
        stop_here=stop_asked,
        agree=pulse.beat,
        watch=now,
        validation_seconds=closing.validation_seconds,
        class_weights=choose_weights(session.material, session.settings),
        record=_record_for(session),
        scores_start=_starts_from_what_can_be_scored(session),
    )
    if minutes is None or length.progress(position.epoch, position.seconds) >= 1:
        return run
    left, used = ranks.on_writer(lambda: (minutes.left(), minutes.used()))
    end = position.seconds + left
    position.overhead += used
    return dataclasses.replace(
        run,
        length=pace(length, position, end, closing),
        correct=lambda length: pace(length, position, end, closing),
    )


def _starts_from_what_can_be_scored(session: Session) -> bool:
    """Whether all of the network is that of a model which has not learnt from the pictures of validation.

    No new model could reach the score of one that has, and of an imported one nobody knows.
    """
    start, formats = session.start, session.material.formats
    if start is None or start.card.is_imported or start.leak(session.material, "val"):
        return False
    return not take_weights(start, architecture_for(session.settings, formats), formats.labels).fresh


def _record_for(session: Session) -> Callable[[dict[str, float]], None]:
    """What takes each line of metrics besides their file."""
    if not session.settings.tensorboard or not ranks.is_writer():
        return lambda _: None
    events = open_events(session.folder.metrics)
    samples = Samples(session.material.cache, session.settings, augment=False)
    indices, labels = session.material.indices("val")[:PICTURES], session.material.formats.labels
    learner = session.learner
    events.draw = lambda: draw_validation(learner.kept(), samples, indices, labels, session.device, learner.precision)
    return written_while_it_can(events)
