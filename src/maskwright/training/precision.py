"""Whether 16 bit is sound here, tried on the first batch of a run before anything is learnt from it.

Some devices compute what is no number, many of them only for larger batches; those that are known stand in `device`,
and this finds the others.
"""

import math
from collections.abc import Sequence

import torch

from maskwright.config import Settings
from maskwright.data.dataset import Batch
from maskwright.training.out_of_memory import begin, begin_again, retrying
from maskwright.training.state import Learner, clip_gradients
from maskwright.training.step import add_gradients, compute_logits, loss_of, parts_of

# The loss may differ from that in fp32 by this share of it, and by so much in any case: rounding makes a hundredth.
CLOSE_SHARE, CLOSE = 0.1, 0.05
# Gradients of a first batch neither vanish nor overflow at this loss scale; the scaler of the run finds its own.
TRIED_SCALE = 256.0


def find_fault(
    learner: Learner, batch: Batch, settings: Settings, *, class_weights: Sequence[float] = ()
) -> str | None:
    """What is wrong with the learner's 16 bit on a batch, in words; None where it is sound, or was not asked for.

    Forward and backward pass in 16 bit, a forward pass in fp32; weights, statistics of batches, random states and the
    loss scaling are as before.

    Raises:
        DoesNotFitError: Memory is too small for a single picture.
    """
    if learner.precision == "fp32":
        return None
    own = learner.scaler
    learner.scaler = torch.amp.GradScaler(batch.images.device.type, TRIED_SCALE, enabled=own.is_enabled())

    def attempt() -> tuple[float, float]:
        try:
            loss = add_gradients(learner, batch, settings, class_weights=class_weights).loss
        except FloatingPointError:
            return math.nan, math.nan
        return loss, float(clip_gradients(learner.network, learner.optimizer, learner.scaler, clip_norm=0.0))

    try:
        loss, norm = retrying(learner, len(batch.images), settings, attempt)
        begin_again(learner)
        begin(learner)
        expected = _loss_in_fp32(learner, batch, settings, class_weights)
        begin_again(learner)
    finally:
        learner.scaler = own
    if not math.isfinite(expected):
        return None  # 16 bit is not to blame for that
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return "its loss or gradients are no numbers"
    if abs(loss - expected) > CLOSE_SHARE * abs(expected) + CLOSE:
        return f"its loss is {loss:.3g} where fp32 has {expected:.3g}"
    return None


@torch.no_grad()
def _loss_in_fp32(learner: Learner, batch: Batch, settings: Settings, class_weights: Sequence[float]) -> float:
    """The loss that a step would have."""
    return sum(
        share * float(loss_of(compute_logits(learner.network, part.images, "fp32"), part, settings, class_weights))
        for part, share in parts_of(batch, learner.position.micro_batch)
    )
