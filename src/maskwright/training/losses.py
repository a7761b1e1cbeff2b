"""How far logits are from their target.

Every loss takes logits ``(N, C, H, W)``, a target of the same shape that holds shares in ``[0, 1]`` (a mask averaged to
the training size is grey along its outline), and a weight ``(N, 1, H, W)`` that is 0 where a pixel says nothing: beyond
the edge of a turned picture, or in the padding that makes a batch rectangular. With ``C == 1`` the only channel is the
foreground; with more, the channels are classes that sum to one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def compute_loss(terms: Sequence[str], logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The sum of the named losses: ``ce`` (or ``bce``, its name for two classes), ``dice``, ``iou``."""
    functions = {
        "ce": cross_entropy_loss,
        "bce": cross_entropy_loss,
        "dice": soft_dice_loss,
        "iou": soft_iou_loss,
    }
    logits = logits.float()  # sums over a picture overflow in 16 bit
    return torch.stack([functions[term](logits, target, weight) for term in terms]).sum()


def cross_entropy_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy over classes, averaged over the pixels that count.

    One channel is read as foreground against background, which makes it the binary cross-entropy.
    """
    if logits.shape[1] == 1:
        per_pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    else:
        per_pixel = F.cross_entropy(logits, target, reduction="none").unsqueeze(1)
    return _weighted_mean(per_pixel, weight)


def soft_dice_loss(logits: Tensor, target: Tensor, weight: Tensor, *, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice coefficient over the whole batch, averaged over the classes that it shows.

    Sums run over the batch, not per image: for an image without foreground the score would otherwise be decided by
    ``smooth`` alone. Of several classes, one that no picture of the batch shows is left out, for it would count as
    perfect. Squares stand in the denominator, so that a grey target is met exactly at the least loss; with plain sums a
    share of 0.5 would ask for 0 or 1.

    Args:
        logits: Raw network output, ``(N, C, H, W)``.
        target: Share of each class in each pixel, ``(N, C, H, W)``.
        weight: Which pixels count, ``(N, 1, H, W)``.
        smooth: Pixels added to both sides of the fraction.

    Returns:
        Scalar in ``[0, 1]``; 0 is a perfect prediction.

    Source: Milletari, Navab and Ahmadi, "V-Net" (2016), section 3.
    """
    overlap, squares = _overlap_and_squares(logits, target, weight)
    return 1 - _mean_over_present((2 * overlap + smooth) / (squares + smooth), target, weight)


def soft_iou_loss(logits: Tensor, target: Tensor, weight: Tensor, *, smooth: float = 1.0) -> Tensor:
    """One minus the soft Jaccard index over the whole batch, averaged over the classes that it shows.

    Sums and squares as in `soft_dice_loss`, for the same reasons.
    """
    overlap, squares = _overlap_and_squares(logits, target, weight)
    return 1 - _mean_over_present((overlap + smooth) / (squares - overlap + smooth), target, weight)


def _overlap_and_squares(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Per class: the sum of p * t, and the sum of p^2 + t^2."""
    probabilities = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
    pixels = (0, 2, 3)
    overlap = (weight * probabilities * target).sum(pixels)
    squares = (weight * (probabilities.square() + target.square())).sum(pixels)
    return overlap, squares


def _mean_over_present(scores: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The mean of scores ``(C,)`` over the classes that the batch shows; of one class, its score."""
    if len(scores) == 1:
        return scores.mean()
    present = ((weight * target).sum((0, 2, 3)) > 0).to(scores.dtype)
    return (scores * present).sum() / present.sum().clamp(min=1)


def _weighted_mean(per_pixel: Tensor, weight: Tensor) -> Tensor:
    return (per_pixel * weight).sum() / weight.sum().clamp(min=1)
