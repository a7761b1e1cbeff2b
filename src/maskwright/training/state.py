"""Everything that a run needs to go on as if it had never stopped.

The state lies apart from the model files, is written whole or not at all, beside the one before it, is checked when it
is read, and is loaded without unpickling code.
"""

import errno
import math
import shutil
import zipfile
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from maskwright.config import Settings, Storage
from maskwright.device import ComputePrecision, prefers_channels_last, prefers_fused_steps
from maskwright.errors import InputError
from maskwright.files import replacing
from maskwright.models.encoder_unet import EncoderUNet
from maskwright.models.encoders.efficientnet_lite import EfficientNetLite
from maskwright.models.storage import store
from maskwright.training.freezing import hold, in_finest_levels
from maskwright.training.health import Health, restored
from maskwright.training.muon import Muon
from maskwright.training.shared_network import SharedNetwork

# Of a matrix with fewer rows or columns, such as a head's, little is to be made equal.
LEAST_RANK = 8

# What decoupled weight decay is by default.
WEIGHT_DECAY = 1e-2

# What the system says when a disk, a user's share of it, or the largest size of a file is used up.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MEGABYTE = 10**6


@dataclass
class Tally:
    """Sums over the batches of an epoch so far.

    Attributes:
        images: Pictures counted.
        loss: Sum of the loss over pictures.
        dice: Sum of the Dice coefficient over pictures and classes, at training size.
        scored: How many coefficients that sum holds; an absent class has none.
        seconds: Time taken.
        predicted: In a validation, pixels of each class that were predicted.
        true: In a validation, pixels of each class that the masks have.
    """

    images: int = 0
    loss: float = 0.0
    dice: float = 0.0
    scored: int = 0
    seconds: float = 0.0
    predicted: list[float] = field(default_factory=list)
    true: list[float] = field(default_factory=list)


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: Epochs wholly done.
        batch: Batches done in the epoch after that.
        step: Optimizer steps.
        seconds: Time spent, validation included.
        budget: Seconds that the run may spend; None without `--minutes`.
        best_dice: Best validation score so far, -1 before the first.
        best_epoch: The epoch it came from.
        best_batch: ``batch`` when it was measured, -1 before the first.
        validations_since_best: Validations since the smoothed score was better, which is what patience counts.
        validated_at: Seconds spent when the last validation ended.
        validation_seconds: What that validation took.
        recent: The last few validation scores, which are smoothed.
        best_smoothed: Best smoothed score so far.
        overhead: Seconds of the minutes that were used outside of ``seconds``: for reading and measuring.
        paced_seconds: ``seconds`` when the budget was last corrected.
        paced_progress: Progress then.
        validated_step: ``step`` when the last validation looked at the weights, -1 before the first.
        validated: Pictures that each validation looks at; None before that was decided.
        rate_factor: What the learning rate is multiplied by; halved when the loss diverged.
        micro_batch: Pictures that go through the network at a time in a step; None where whole batches fit into memory.
        val_micro_batch: Likewise in a validation.
        storage: How activations are kept for the backward pass, where memory was too short for what the settings say.
        full_precision: Whether 16 bit was given up.
        skipped: Steps in a row that the loss scaling of fp16 left out.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    budget: float | None = None
    best_dice: float = -1.0
    best_epoch: int = 0
    best_batch: int = -1
    validations_since_best: int = 0
    validated_at: float = 0.0
    validation_seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    best_smoothed: float = -math.inf
    overhead: float = 0.0
    paced_seconds: float = 0.0
    paced_progress: float = 0.0
    validated_step: int = -1
    validated: int | None = None
    rate_factor: float = 1.0
    micro_batch: int | None = None
    val_micro_batch: int | None = None
    storage: Storage | None = None
    full_precision: bool = False
    skipped: int = 0

    @property
    def is_best(self) -> bool:
        """Whether the weights as they are are the best so far."""
        return (self.best_epoch, self.best_batch) == (self.epoch, self.batch)


@dataclass(frozen=True)
class Beginning:
    """What a step changes before any weight moves, as it was when the step began.

    Attributes:
        batch: Batches done in the epoch.
        tally: Sums over them.
        buffers: The network's running statistics of batches.
        random: See `random_states`.
    """

    batch: int
    tally: Tally
    buffers: tuple[Tensor, ...]
    random: dict[str, Tensor]


@dataclass
class Learner:
    """A network, what teaches it, and how far they have come.

    ``lines`` are those of `metrics.jsonl`: the file follows the state, so that neither lacks what the other has.
    ``good`` are the weights to go back to, in main memory; see `recovery`.
    ``pretrained`` are the layers of its encoder that did not start from random weights; see `Settings.freeze`.
    ``held`` did not either, and never learn; see `Settings.held_levels`.
    ``precision`` is what forward passes compute in.
    ``beginning`` is where the step that is under way can be begun again; None between steps.
    ``shared`` makes one learner of those of several ranks; None where this one learns alone.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    position: Position = field(default_factory=Position)
    tally: Tally = field(default_factory=Tally)
    health: Health = field(default_factory=Health)
    lines: list[str] = field(default_factory=list)
    good: dict[str, Tensor] | None = None
    pretrained: tuple[nn.Module, ...] = ()
    held: tuple[nn.Module, ...] = ()
    precision: ComputePrecision = "fp32"
    beginning: Beginning | None = None
    shared: SharedNetwork | None = None

    def begin_to_learn(self) -> None:
        """Put the network into training mode, but for the layers that are held."""
        self.network.train()
        hold(self.held, held=True)

    def kept(self) -> nn.Module:
        """The network worth keeping: the averaged one where there is one."""
        return self.network if self.average is None else self.average.module


def random_apart(device: str) -> AbstractContextManager[None]:
    """What is drawn at random inside changes nothing that is drawn after."""
    return torch.random.fork_rng(devices=[device] if device.startswith("cuda") else [])


def build_learner(
    network: nn.Module, settings: Settings, *, precision: ComputePrecision, pretrained: tuple[nn.Module, ...] = ()
) -> Learner:
    """A learner at the start of its run, in the memory layout and with the loss scaling that its precision needs."""
    device = next(network.parameters()).device.type
    lay_out(network, device, precision)
    held, pretrained = in_finest_levels(network, pretrained, settings.held_levels or 0)
    hold(held, held=True)
    optimizer = build_optimizer(network, settings, pretrained)
    average = None
    if settings.ema > 0:
        average = AveragedModel(network, multi_avg_fn=_averaging(settings.ema), use_buffers=True)
    return Learner(
        network,
        optimizer,
        average,
        build_scaler(device, precision),
        pretrained=pretrained,
        held=held,
        precision=precision,
    )


def lay_out(network: nn.Module, device: str, precision: ComputePrecision) -> None:
    """Arrange a network's weights, which its maps follow, in memory as its device computes fastest.

    A processor in fp32 takes most convolutions with each channel by itself, but those that filter channel by channel,
    of which the Lite encoders consist, several times as fast with the channels of a pixel side by side.
    """
    if prefers_channels_last(device, precision):
        network.to(memory_format=torch.channels_last)
    elif device == "cpu" and isinstance(network, EncoderUNet) and isinstance(network.encoder, EfficientNetLite):
        network.encoder.to(memory_format=torch.channels_last)


def build_scaler(device: str, precision: ComputePrecision) -> torch.amp.GradScaler:
    """The loss scaling that a precision needs; in all but fp16 it does nothing."""
    return torch.amp.GradScaler(device.partition(":")[0], enabled=precision == "fp16")


def fall_back_to_fp32(learner: Learner) -> None:
    """Give 16 bit up for the rest of the run, and the loss scaling and the memory layout that belong to it."""
    learner.position.full_precision = True
    learner.precision = "fp32"
    device = next(learner.network.parameters()).device.type
    learner.scaler = build_scaler(device, "fp32")
    for network in (learner.network, learner.kept()):
        network.to(memory_format=torch.contiguous_format)
        lay_out(network, device, "fp32")
    suit_weights(learner.optimizer)


def suit_weights(optimizer: torch.optim.Optimizer) -> None:
    """Lay an optimizer's averages out in memory as the weights that they belong to, and let it step as suits them.

    A step that passes over the memory once pairs numbers by where they lie. The averages may have been made, or saved,
    where weights lay otherwise: on another device, or in 16 bit.
    """
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = prefers_fused_steps(group["params"][0].device.type)
    for weight, averages in optimizer.state.items():
        for name, average in averages.items():
            if isinstance(average, Tensor) and average.shape == weight.shape and average.stride() != weight.stride():
                averages[name] = torch.empty_like(weight, dtype=average.dtype).copy_(average)


def build_optimizer(
    network: nn.Module, settings: Settings, pretrained: tuple[nn.Module, ...] = ()
) -> torch.optim.Optimizer:
    """The optimizer asked for.

    Weight decay pulls at convolutions only: a bias has no reason to be small. Pretrained layers have a learning rate of
    their own; `set_rate` knows of it.
    """
    known = {id(parameter) for layer in pretrained for parameter in layer.parameters(recurse=False)}
    groups = []
    for is_known, share in ((False, 1.0), (True, settings.encoder_rate)):
        own = [
            parameter
            for parameter in network.parameters()
            if (id(parameter) in known) == is_known and parameter.requires_grad
        ]
        for parameters, decay in (
            ([parameter for parameter in own if parameter.ndim > 1], _weight_decay(settings)),
            ([parameter for parameter in own if parameter.ndim <= 1], 0.0),
        ):
            if parameters:
                groups.append({"params": parameters, "weight_decay": decay, "rate_share": share})
    if settings.optimizer == "muon":
        groups = [half for group in groups for half in _by_orthogonality(group, known)]
    rate = settings.learning_rate
    fused = prefers_fused_steps(next(network.parameters()).device.type)
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, fused=fused)
        case "muon":
            return Muon(groups, rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=0.99, nesterov=True, fused=fused)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=rate, momentum=0.9)


def _weight_decay(settings: Settings) -> float:
    """What was asked for, or else none where it would be added to the gradients, as with Adam and momentum."""
    if settings.weight_decay is not None:
        return settings.weight_decay
    return WEIGHT_DECAY if settings.optimizer in ("adamw", "muon") else 0.0


def _by_orthogonality(group: dict[str, Any], known: set[int]) -> list[dict[str, Any]]:
    """A group in two: matrices that Muon suits, and the rest.

    A depthwise convolution is no matrix, and pretrained weights lie in a valley that AdamW's shorter steps stay in.
    """
    halves: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in group["params"]:
        is_matrix = parameter.ndim > 1 and min(parameter.flatten(1).shape) >= LEAST_RANK and parameter.shape[1] > 1
        halves[is_matrix and id(parameter) not in known].append(parameter)
    return [{**group, "params": own, "orthogonal": kind} for kind, own in halves.items() if own]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, and the share of it that pretrained layers have."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_share", 1.0)  # a state of an older version has none


def clip_gradients(
    network: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, clip_norm: float
) -> Tensor:
    """Take the loss scaling off the gradients and shorten them, 0 not at all; returns the norm that they had."""
    scaler.unscale_(optimizer)
    return nn.utils.clip_grad_norm_(network.parameters(), clip_norm or math.inf)


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights in main memory."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}


def save_state(path: Path, learner: Learner) -> None:
    """Write the state, whole or not at all; the one before it is kept beside it.

    Raises:
        OSError: The state could not be written; where that is for want of room, the error says how much it takes.
    """
    content = {
        "network": learner.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "average": None if learner.average is None else learner.average.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "position": asdict(learner.position),
        "tally": asdict(learner.tally),
        "health": asdict(learner.health),
        "lines": learner.lines,
        "good": learner.good,
        "random": random_states(learner.network),
    }
    with replacing(path, keep_previous=True) as temporary, _Sink(temporary) as sink:
        torch.save(content, sink)
        sink.raise_error()


def read_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Every part of the file has a checksum, as in any zip archive; torch writes them and looks at none.

    Raises:
        InputError: The file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return content
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        raise InputError(f"{path} is damaged ({type(error).__name__}).") from error
    raise InputError(f"{path} is damaged: the checksum of {damaged} is another.")


def restore(learner: Learner, content: dict[str, Any], path: Path) -> None:
    """Put a learner where a state left it.

    Raises:
        InputError: The state is that of another network; ``path`` is where it was read from.
    """
    try:
        learner.network.load_state_dict(content["network"])
        learner.optimizer.load_state_dict(content["optimizer"])
        suit_weights(learner.optimizer)
        if learner.average is not None:
            learner.average.load_state_dict(content["average"])
        if content["scaler"] and learner.scaler.is_enabled():  # another machine may compute in another precision
            learner.scaler.load_state_dict(content["scaler"])
        learner.position = Position(**content["position"])
        learner.tally = Tally(**content["tally"])
        learner.health = restored(content["health"])
        learner.lines = content["lines"]
        learner.good = content["good"]
        store(learner.network, learner.position.storage)
        if learner.position.full_precision:
            fall_back_to_fp32(learner)
        restore_random_states(content["random"], learner.network)
    except Exception as error:
        raise InputError(f"{path} cannot be resumed from: it is of another network, or of another version.") from error


def random_states(network: nn.Module) -> dict[str, Tensor]:
    """The random states that a step may draw from, such as for dropout; pictures have generators of their own."""
    device = next(network.parameters()).device
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Tensor], network: nn.Module) -> None:
    """Set what `random_states` found; on a device of another kind the run goes on with other numbers."""
    device = next(network.parameters()).device
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


class _Sink(FileIO):
    """A file for `torch.save`, which makes its own error of any: the first is kept, and what comes after it counted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:  # noqa: ANN401 - bytes of any kind
        """Write all of it, as far as that is possible."""
        left = memoryview(data)
        length = len(left)
        self.size += length
        try:
            while self.error is None and left:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return length

    def raise_error(self) -> None:
        """Raise the error that was kept; where it was for want of room, it says how much the whole takes."""
        if self.error is None:
            return
        if self.error.errno in NO_ROOM:
            free = shutil.disk_usage(Path(str(self.name)).parent).free
            takes = f"it takes {self.size / MEGABYTE:.1f} MB, and {free / MEGABYTE:.1f} MB are free"
            self.error.strerror = f"{self.error.strerror}; {takes}"
        raise self.error


def _averaging(decay: float) -> Any:  # noqa: ANN401 - torch names this type only in a stub
    """An exponential moving average that forgets its random start quickly: the decay grows from 0.1."""

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        seen = int(count)
        share = 1 - min(decay, (1 + seen) / (10 + seen))
        for kept, new in zip(averaged, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, share)
            else:
                kept.copy_(new)

    return update
