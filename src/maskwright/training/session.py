"""The pieces of one training run, put together: pictures, learner, device, length, and what is kept of them."""

import dataclasses
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from maskwright.config import Architecture, Settings
from maskwright.data.dataset import Batch, EpochBatches, InOrder, Samples, build_loader
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats
from maskwright.device import ComputePrecision
from maskwright.evaluation.evaluate import Scores, score_pair
from maskwright.files import write_json
from maskwright.inference.engines import TorchEngine
from maskwright.inference.model_file import ModelCard, load_model, save_model
from maskwright.inference.predictor import Predictor
from maskwright.models.build import build_network
from maskwright.training.balance import choose_weights
from maskwright.training.freezing import pretrained_layers
from maskwright.training.loop import Figures, Run, Status
from maskwright.training.material import Material
from maskwright.training.run_folder import RunFolder, keep_metrics_until
from maskwright.training.schedules import Length
from maskwright.training.starting_point import StartingPoint, with_those_of
from maskwright.training.state import Learner, build_learner, load_state
from maskwright.training.tensorboard import PICTURES, draw_validation, open_events

# In a run by the clock, scoring at the end may take this share of it; of more held-out pictures a sample is scored.
SCORING_SHARE = 0.15
# Seconds for what else comes after the last step: a last validation, saving, drawing the curves.
CLOSING_SECONDS = 5.0
# Of the minutes, training gets at least this share.
LEAST_SHARE = 0.1
MOST_WORKERS = 4


@dataclass(frozen=True)
class Closing:
    """What is scored at the end of a run.

    Attributes:
        part: ``test`` or ``val``.
        pairs: The pairs of it that are scored.
        available: How many pairs the part has.
        seconds: What a run by the clock sets aside for what comes after its last step.
    """

    part: str
    pairs: list[Pair]
    available: int
    seconds: float


@dataclass(frozen=True)
class Session:
    """Everything a run is made of.

    Attributes:
        material: The pictures.
        folder: Where the results go.
        settings: What the user asked for.
        learner: The network and what teaches it.
        device: Where the network lies.
        precision: What the forward pass computes in.
        started: `time.monotonic` when the command began; the minutes count from there.
        start: The model whose weights it starts from, where there is one.
    """

    material: Material
    folder: RunFolder
    settings: Settings
    learner: Learner
    device: str
    precision: ComputePrecision
    started: float
    start: StartingPoint | None = None


def architecture_for(settings: Settings, formats: Formats) -> Architecture:
    """The network that the settings ask for, with the channels that the pictures and their classes need."""
    channels = formats.labels.logit_channels
    # Fewer features than classes cannot tell them apart; a multiple of 8 keeps group normalisation possible.
    width = max(settings.base_channels, 8 * math.ceil(channels / 8))
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
    network = build_network(architecture, encoder_weights=encoder_weights)
    if taken is not None:
        network.load_state_dict(taken, strict=False)
    learner = build_learner(network.to(device), settings, scaled=precision == "fp16")
    if taken is not None:
        learner.pretrained = pretrained_layers(network, fresh=network.state_dict().keys() - taken.keys())
    elif encoder_weights is not None:
        learner.pretrained = pretrained_layers(network)
    return learner


def resume_learner(session: Session) -> None:
    """Put the learner and its metrics where the run was saved."""
    load_state(session.folder.state, session.learner)
    keep_metrics_until(session.folder.metrics, session.learner.position.step)


def build_loaders(session: Session) -> tuple[DataLoader[Batch], EpochBatches, DataLoader[Batch]]:
    """Training batches, their order, and validation batches."""
    settings, material = session.settings, session.material
    on_gpu = session.device.startswith("cuda")
    workers = settings.workers
    if workers is None:
        # On a CPU the cores are busy with the network, and handing tensors between processes costs more than it saves.
        workers = min(MOST_WORKERS, torch.get_num_threads()) if on_gpu else 0
    order = EpochBatches(material.indices("train"), settings)
    train = build_loader(
        Samples(material.cache, settings, augment=settings.augment),
        order,
        workers=workers,
        pin=on_gpu,
    )
    in_order = InOrder(material.indices("val"), settings.batch_size)
    val = build_loader(Samples(material.cache, settings, augment=False), in_order, workers=0, pin=on_gpu)
    return train, order, val


def plan_closing(session: Session) -> Closing:
    """Decide what is scored at the end, and with minutes how long that will take.

    The test part is scored where there is one, else the validation part; a sample where all of it would take too large
    a share of the minutes.
    """
    part = "test" if session.material.indices("test") else "val"
    pairs = session.material.pairs(part)
    minutes = session.settings.minutes
    if minutes is None:
        return Closing(part, pairs, len(pairs), seconds=0.0)
    each = 1.25 * _scoring_seconds(session, pairs[0])  # not all pictures are alike
    affordable = max(1, int(minutes * 60 * SCORING_SHARE / each))
    # Drawn, since every n-th picture may be the same view of each car.
    chosen = np.random.default_rng(session.settings.seed).permutation(len(pairs))[:affordable]
    sample = [pairs[index] for index in sorted(chosen)]
    return Closing(part, sample, len(pairs), seconds=CLOSING_SECONDS + each * len(sample))


def build_run(
    session: Session, closing: Closing, *, show: Callable[[Status], None], stop_asked: Callable[[], bool]
) -> Run:
    """What stays the same throughout the run; with minutes, this decides how many seconds the training gets."""
    position, folder, minutes = session.learner.position, session.folder, session.settings.minutes
    if minutes is not None and position.budget is None:
        left = minutes * 60 - (time.monotonic() - session.started) - closing.seconds
        # However short the minutes are, some of them are for training.
        position.budget = max(left, LEAST_SHARE * minutes * 60)
    return Run(
        settings=session.settings,
        device=session.device,
        precision=session.precision,
        length=Length(session.settings.epochs, position.budget),
        scored_classes=session.material.formats.labels.scored_classes,
        state_path=folder.state,
        metrics_path=folder.metrics,
        keep_best=lambda figures: _keep_best(session, figures),
        show=show,
        stop_asked=stop_asked,
        class_weights=choose_weights(session.material, session.settings),
        record=_record_for(session),
    )


def _record_for(session: Session) -> Callable[[dict[str, float]], None]:
    """What takes each line of metrics besides their file."""
    if not session.settings.tensorboard:
        return lambda _: None
    events = open_events(session.folder.metrics)
    samples = Samples(session.material.cache, session.settings, augment=False)
    indices, labels = session.material.indices("val")[:PICTURES], session.material.formats.labels
    events.draw = lambda: draw_validation(session.learner.kept(), samples, indices, labels, session.device)
    return events.write_line


def keep_last(session: Session) -> None:
    """Write the weights at the end of the run."""
    _save(session, session.folder.last, {})


def keep_scores(session: Session, scores: Scores) -> None:
    """Write the scores, beside the model and into it."""
    write_json(session.folder.scores, scores.to_json())
    card, weights = load_model(session.folder.model)
    metrics = {**card.metrics, "dice": scores.dice.mean, "iou": scores.iou.mean}
    save_model(session.folder.model, dataclasses.replace(card, metrics=metrics), weights)


def _scoring_seconds(session: Session, pair: Pair) -> float:
    """Seconds to read, predict and score one picture; the second time counts, when everything is warm."""
    card = _card(session, {})
    predictor = Predictor(card, TorchEngine(card.architecture, _weights(session.learner), session.device))
    score_pair(predictor, pair, "")
    started = time.monotonic()
    score_pair(predictor, pair, "")
    return time.monotonic() - started


def _keep_best(session: Session, figures: Figures) -> None:
    _save(
        session,
        session.folder.model,
        {"val_dice_at_training_size": figures.dice, "val_loss": figures.loss},
    )


def _save(session: Session, path: Path, metrics: dict[str, float]) -> None:
    save_model(path, _card(session, metrics), _weights(session.learner))


def _weights(learner: Learner) -> dict[str, NDArray[Any]]:
    """The weights worth keeping, as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in learner.kept().state_dict().items()}


def _card(session: Session, metrics: dict[str, float]) -> ModelCard:
    """What the model file says of itself."""
    return ModelCard(
        architecture=architecture_for(session.settings, session.material.formats),
        size=session.settings.size,
        labels=session.material.formats.labels,
        input=session.material.formats.input,
        metrics=metrics,
        **with_those_of(session.start, session.material.fingerprints("train"), session.material.fingerprints("val")),
        parent=session.start.parent if session.start else None,
        settings={name: value for name, value in dataclasses.asdict(session.settings).items() if value is not None},
        versions={
            "maskwright": version("maskwright"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )
