"""One step of training, the same wherever a network learns: in a run, and where a rate or a speed is tried out.

Gradients are made first and weights moved last, so that a step which fails on the way has changed no weight.

Where memory is short, a batch goes through the network in parts whose gradients are added up, each by its share of the
pixels that count. For losses over pixels (`ce`, `focal`) that is the whole batch's gradient, but for rounding and for
where outlines or rare classes weigh more. Losses over regions (`dice`, `iou`, `tversky`, `lovasz`) become means over
the parts: a pixel counts for more in a part with little foreground. Batch normalisation takes the statistics of a part
for those of the batch, which are noisier, and its running statistics move once for each part; group normalisation knows
no difference. One picture is enough for both: networks pad it to two values a side at their lowest level or more.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.data.dataset import Batch
from maskwright.device import ComputePrecision
from maskwright.training import ranks
from maskwright.training.figures import dice_per_picture
from maskwright.training.health import MEASURED_EVERY, SETTLED
from maskwright.training.losses import Total, alone, compute_loss
from maskwright.training.movement import movement, sample_weights
from maskwright.training.out_of_memory import can_shrink, retrying, watching_memory
from maskwright.training.state import Learner, clip_gradients

# A loss scale below one makes gradients smaller than they are; so many steps left out in a row are no search for one.
LEAST_SCALE, MOST_SKIPPED = 1.0, 20


@dataclass(frozen=True)
class Outcome:
    """How a batch went, before any weight moved.

    Attributes:
        loss: The mean over the batch.
        dices: Of each scored class of each picture, ``(N, K)``; see `figures.dice_per_picture`.
    """

    loss: float
    dices: Tensor


def make_step(
    learner: Learner,
    batch: Batch,
    settings: Settings,
    *,
    class_weights: Sequence[float] = (),
    scored_classes: tuple[int, ...] = (),
) -> Outcome:
    """Learn from one batch, in as many parts as memory asks for.

    Raises:
        FloatingPointError: As in `add_gradients` and `move_weights`.
        DoesNotFitError: Memory is too small for a single picture.
    """

    def attempt() -> Outcome:
        outcome = add_gradients(learner, batch, settings, class_weights=class_weights, scored_classes=scored_classes)
        move_weights(learner, settings.clip_norm)
        return outcome

    return retrying(learner, len(batch.images), settings, attempt)


def add_gradients(
    learner: Learner,
    batch: Batch,
    settings: Settings,
    *,
    class_weights: Sequence[float] = (),
    scored_classes: tuple[int, ...] = (),
    together: int = 1,
    last: bool = True,
) -> Outcome:
    """Add the gradients of a batch to those that the network has.

    A learner that is shared adds those of its slice of the batch. Its loss and its scores are those of the whole.

    Args:
        learner: Its network gets them.
        batch: On the network's device.
        settings: Decide the loss.
        class_weights: As in `losses.compute_loss`.
        scored_classes: Channels of the logits that Dice is measured on, where there are several.
        together: How many batches make a step; each gives its share of the gradients.
        last: Whether this is the last of them; then the gradients are the same on all ranks.

    Raises:
        FloatingPointError: The loss is no number.
    """
    mean, dices = 0.0, []
    total = alone if learner.shared is None else learner.shared.total
    parts = _parts_to_learn(learner, batch)
    for number, (part, share) in enumerate(parts, start=1):
        device, smaller = part.images.device.type, can_shrink(learner, len(part.images), settings)
        look = watching_memory(device, can_shrink=smaller)
        with _passing(learner, last=last and number == len(parts)) as network:
            logits = compute_logits(network, part.images, learner.precision)
            look()
            loss = share * loss_of(logits, part, settings, class_weights, total)
            mean += float(loss.detach())
            if not math.isfinite(mean):
                raise FloatingPointError
            if loss.requires_grad:  # nothing does in a network that is frozen as a whole
                learner.scaler.scale(loss / together).backward()  # type: ignore[no-untyped-call]
        dices.append(dice_per_picture(logits.detach(), part.targets, part.weights, scored_classes))
        del logits, loss  # or the next part would be computed beside them
    of_all = torch.cat(dices)
    return Outcome(mean, of_all if learner.shared is None else _side_by_side(of_all))


def _passing(learner: Learner, *, last: bool) -> AbstractContextManager[nn.Module]:
    return nullcontext(learner.network) if learner.shared is None else learner.shared.passing(last=last)


def _parts_to_learn(learner: Learner, batch: Batch) -> list[tuple[Batch, float]]:
    """The parts that go through the network at a time: as many on each rank, with the shares of all of them."""
    most = learner.position.micro_batch
    if learner.shared is None or most is None:
        return list(parts_of(batch, most))
    slices = ranks.gathered(len(batch.images))
    count = min(math.ceil(max(slices) / most), *slices)
    parts = [Batch(*tensors) for tensors in zip(*(tensor.tensor_split(count) for tensor in batch), strict=True)]
    counted = ranks.total(torch.tensor([float(part.weights.sum()) for part in parts]))
    return list(zip(parts, (counted / counted.sum().clamp(min=1)).tolist(), strict=True))


def _side_by_side(dices: Tensor) -> Tensor:
    """The scores of all pictures of a batch, of which each rank has some; in their order."""
    return torch.cat(ranks.gathered(dices.cpu()))


def move_weights(learner: Learner, clip_norm: float) -> None:
    """Let the optimizer use the gradients; now and then, how far it moves the weights is measured.

    Args:
        learner: Has gradients.
        clip_norm: The largest norm that they may have; 0 leaves them as they are.

    Raises:
        FloatingPointError: The gradients are no numbers, or the loss scaling finds no scale for them; no weight has
            moved.
    """
    network, position = learner.network, learner.position
    _find_room(learner.optimizer)
    norm = clip_gradients(network, learner.optimizer, learner.scaler, clip_norm)
    if not learner.scaler.is_enabled() and not torch.isfinite(norm):  # the scaler skips such steps by itself
        raise FloatingPointError
    before = sample_weights(network) if position.step % MEASURED_EVERY == SETTLED else None
    learner.beginning = None  # from here on there is no way back
    learner.scaler.step(learner.optimizer)
    scale = learner.scaler.get_scale()
    learner.scaler.update()
    if before is not None:
        learner.health.note_update(movement(before, sample_weights(network)))
    if learner.average is not None:
        learner.average.update_parameters(network)
    position.step += 1
    if learner.scaler.is_enabled():
        position.skipped = position.skipped + 1 if learner.scaler.get_scale() < scale else 0
        if learner.scaler.get_scale() < LEAST_SCALE or position.skipped >= MOST_SKIPPED:
            raise FloatingPointError


def _find_room(optimizer: torch.optim.Optimizer) -> None:
    """Take the memory that the optimizer will need, and give it back: where it is short, no weight has moved yet."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
    new = [weight for weight in weights if weight not in optimizer.state]
    room = [torch.empty_like(weight) for weight in (*weights, *new, *new)]  # two moments, and something in between
    del room


def parts_of(batch: Batch, most: int | None) -> Iterator[tuple[Batch, float]]:
    """A batch in parts of nearly the same size, and by which share of the pixels that count each is in the whole.

    Args:
        batch: Of any number of pictures.
        most: Pictures in a part; None leaves the batch whole.
    """
    pictures = len(batch.images)
    if most is None or most >= pictures:
        yield batch, 1.0
        return
    count = math.ceil(pictures / most)
    counted = float(batch.weights.mean())
    for tensors in zip(*(tensor.tensor_split(count) for tensor in batch), strict=True):
        part = Batch(*tensors)
        density = float(part.weights.mean()) / counted if counted else 1.0
        yield part, density * len(part.images) / pictures


def compute_logits(network: nn.Module, images: Tensor, precision: ComputePrecision) -> Tensor:
    """What the network makes of images ``(N, C, H, W)``, computed in a precision."""
    with autocast(images.device.type, precision):
        logits: Tensor = network(images)
    return logits


def autocast(device: str, precision: ComputePrecision) -> torch.autocast:
    """The precision of the forward pass."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.partition(":")[0], dtype, enabled=precision != "fp32")


def loss_of(
    logits: Tensor, batch: Batch, settings: Settings, class_weights: Sequence[float] = (), total: Total = alone
) -> Tensor:
    """The loss that the settings ask for; of a slice of a batch, ``total`` makes that of the batch of it."""
    return compute_loss(
        settings.loss_terms(),
        logits,
        batch.targets,
        batch.weights,
        boundary_weight=settings.boundary_weight,
        class_weights=class_weights,
        total=total,
    )
