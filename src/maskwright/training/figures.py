"""Logits and targets to the figures that a run shows: sums over batches, and what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maskwright.data.dataset import Batch
from maskwright.training.state import Tally


@dataclass(frozen=True)
class Figures:
    """How an epoch or a validation went: means over pictures. ``dice`` is measured at training size."""

    loss: float
    dice: float
    images_per_second: float


def figures_of(tally: Tally) -> Figures:
    """Sums to means; NaN where there is nothing to average."""
    nan = float("nan")
    return Figures(
        loss=tally.loss / tally.images if tally.images else nan,
        dice=tally.dice / tally.scored if tally.scored else nan,
        images_per_second=tally.images / tally.seconds if tally.seconds else nan,
    )


def count(tally: Tally, loss: float, dices: Tensor) -> None:
    """Add one batch to a tally: its mean loss, and the Dice of each class of each picture ``(N, K)``."""
    dice = dices.nanmean(dim=1)
    present = ~dice.isnan()
    tally.images += len(dice)
    tally.loss += loss * len(dice)
    tally.dice += float(dice[present].sum())
    tally.scored += int(present.sum())


def pixels_of_classes(logits: Tensor, batch: Batch) -> tuple[list[float], list[float]]:
    """The pixels of each class, predicted and true; of the true ones the shares, which thin lines leave few of."""
    weight = (batch.weights > 0).float()  # (N, 1, H, W)
    if logits.shape[1] == 1:
        counted, foreground = weight.sum(), ((logits > 0) * weight).sum()
        true_foreground = (batch.targets * weight).sum()
        predicted = torch.stack([counted - foreground, foreground])
        true = torch.stack([counted - true_foreground, true_foreground])
    else:
        predicted = torch.bincount(logits.argmax(1)[weight[:, 0] > 0], minlength=logits.shape[1]).float()
        true = (batch.targets * weight).sum((0, 2, 3))
    return predicted.tolist(), true.tolist()


def count_classes(tally: Tally, predicted: Sequence[float], true: Sequence[float]) -> None:
    """Add the pixels of each class, predicted and true."""
    for mine, new in ((tally.predicted, predicted), (tally.true, true)):
        mine[:] = [old + added for old, added in zip(mine or [0.0] * len(new), new, strict=True)]


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
