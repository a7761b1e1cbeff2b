"""One step of training, the same wherever a network learns: in a run, and where a rate or a speed is tried out.

Gradients are made first and weights moved last, so that a step which fails on the way has changed no weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.data.dataset import Batch
from maskwright.device import ComputePrecision
from maskwright.training.figures import dice_per_picture
from maskwright.training.health import MEASURED_EVERY, SETTLED
from maskwright.training.losses import compute_loss
from maskwright.training.movement import movement, sample_weights
from maskwright.training.state import Learner, clip_gradients


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
    """Learn from one batch.

    Raises:
        FloatingPointError: The loss or its gradients are no numbers; no weight has moved.
    """
    learner.optimizer.zero_grad(set_to_none=True)
    outcome = add_gradients(learner, batch, settings, class_weights=class_weights, scored_classes=scored_classes)
    move_weights(learner, settings.clip_norm)
    return outcome


def add_gradients(
    learner: Learner,
    batch: Batch,
    settings: Settings,
    *,
    class_weights: Sequence[float] = (),
    scored_classes: tuple[int, ...] = (),
    together: int = 1,
) -> Outcome:
    """Add the gradients of a batch to those that the network has.

    Args:
        learner: Its network gets them.
        batch: On the network's device.
        settings: Decide the loss.
        class_weights: As in `losses.compute_loss`.
        scored_classes: Channels of the logits that Dice is measured on, where there are several.
        together: How many batches make a step; each gives its share of the gradients.

    Raises:
        FloatingPointError: The loss is no number.
    """
    logits = compute_logits(learner.network, batch.images, learner.precision)
    loss = loss_of(logits, batch, settings, class_weights)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError
    if loss.requires_grad:  # nothing does in a network that is frozen as a whole
        learner.scaler.scale(loss / together).backward()  # type: ignore[no-untyped-call]
    return Outcome(value, dice_per_picture(logits.detach(), batch.targets, batch.weights, scored_classes))


def move_weights(learner: Learner, clip_norm: float) -> None:
    """Let the optimizer use the gradients; now and then, how far it moves the weights is measured.

    Args:
        learner: Has gradients.
        clip_norm: The largest norm that they may have; 0 leaves them as they are.

    Raises:
        FloatingPointError: The gradients are no numbers; no weight has moved.
    """
    network, position = learner.network, learner.position
    norm = clip_gradients(network, learner.optimizer, learner.scaler, clip_norm)
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


def compute_logits(network: nn.Module, images: Tensor, precision: ComputePrecision) -> Tensor:
    """What the network makes of images ``(N, C, H, W)``, computed in a precision."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(images.device.type, dtype, enabled=precision != "fp32"):
        logits: Tensor = network(images)
    return logits


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
