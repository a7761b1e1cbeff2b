"""How far logits are from their target.

Every loss takes logits ``(N, C, H, W)``, a target of the same shape that holds shares in ``[0, 1]`` (a mask averaged to
the training size is grey along its outline), and a weight ``(N, 1, H, W)`` that is 0 where a pixel says nothing: beyond
the edge of a turned picture, or in what makes a batch rectangular. With ``C == 1`` the only channel is the
foreground; with more, the channels are classes that sum to one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Takes sums over the pixels of a batch, and gives those over all of its slices.
Total = Callable[[Tensor], Tensor]


def alone(sums: Tensor) -> Tensor:
    """The sums as they are, of a batch that is here as a whole."""
    return sums


def compute_loss(
    terms: Sequence[str],
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    boundary_weight: float = 0.0,
    class_weights: Sequence[float] = (),
    total: Total = alone,
) -> Tensor:
    """The sum of the named losses.

    Args:
        terms: Of ``ce`` (or ``bce``, its name for two classes), ``focal``, ``dice``, ``iou``, ``tversky``, ``lovasz``.
        logits: Raw network output, ``(N, C, H, W)``.
        target: Share of each class in each pixel, ``(N, C, H, W)``.
        weight: Which pixels count, ``(N, 1, H, W)``.
        boundary_weight: How many times more a pixel on an outline counts in the losses that are sums over pixels.
        class_weights: How much a pixel of each class counts in them, the background included; empty where all count
            alike.
        total: Where this is a slice of a batch, what makes sums over the batch of sums over it. The Lovász extension,
            which is no function of sums, becomes the mean over slices.
    """
    logits = logits.float()  # sums over a picture overflow in 16 bit
    per_pixel = {"ce": cross_entropy_loss, "bce": cross_entropy_loss, "focal": focal_loss}
    per_region = {"dice": soft_dice_loss, "iou": soft_iou_loss, "tversky": tversky_loss, "lovasz": lovasz_loss}
    emphasised = weight * (1 + boundary_weight * outline_of(target, weight)) if boundary_weight else weight
    if class_weights:
        emphasised = emphasised * _weight_of_classes(target, class_weights)
    losses = [
        per_pixel[term](logits, target, emphasised, total=total)
        if term in per_pixel
        else per_region[term](logits, target, weight, total=total)
        for term in terms
    ]
    return torch.stack(losses).sum()


def _weight_of_classes(target: Tensor, class_weights: Sequence[float]) -> Tensor:
    """How much each pixel of a target ``(N, C, H, W)`` counts, ``(N, 1, H, W)``; a grey one by its shares."""
    if target.shape[1] == 1:
        background, foreground = class_weights
        return background + (foreground - background) * target
    return torch.einsum("nchw,c->nhw", target, target.new_tensor(class_weights)).unsqueeze(1)


def outline_of(target: Tensor, weight: Tensor, *, reach: int = 3) -> Tensor:
    """1 along the outlines of a target ``(N, C, H, W)``, falling to 0 within ``reach`` pixels; ``(N, 1, H, W)``.

    Where foreground meets pixels without weight is no outline: nobody knows what lies there.
    """

    def around(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)

    local = around(weight * target) / around(weight).clamp(min=1e-6)
    # Half and half is right on an outline, where the product of the shares is largest.
    return (4 * local * (1 - local)).amax(dim=1, keepdim=True)


def cross_entropy_loss(logits: Tensor, target: Tensor, weight: Tensor, *, total: Total = alone) -> Tensor:
    """Cross-entropy over classes, averaged over the pixels that count.

    One channel is read as foreground against background, which makes it the binary cross-entropy.
    """
    if logits.shape[1] == 1:
        per_pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    else:
        per_pixel = F.cross_entropy(logits, target, reduction="none").unsqueeze(1)
    return _weighted_mean(per_pixel, weight, total)


def focal_loss(logits: Tensor, target: Tensor, weight: Tensor, *, gamma: float = 2.0, total: Total = alone) -> Tensor:
    """Cross-entropy in which a pixel counts the less the better it is predicted.

    The factor is the distance to the target instead of ``1 - p``, so that a grey target is met at the least loss.

    Source: Lin et al., "Focal Loss for Dense Object Detection" (2017); for shares Li et al., "Generalized Focal Loss"
    (2020), equation 3.
    """
    if logits.shape[1] == 1:
        distance = (logits.sigmoid() - target).abs()
        per_pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    else:
        distance = (logits.softmax(dim=1) - target).abs().sum(dim=1, keepdim=True) / 2
        per_pixel = F.cross_entropy(logits, target, reduction="none").unsqueeze(1)
    return _weighted_mean(distance.pow(gamma) * per_pixel, weight, total)


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    missed: float = 0.7,
    invented: float = 0.3,
    smooth: float = 1.0,
    total: Total = alone,
) -> Tensor:
    """One minus the Tversky index over the batch: Dice in which missing a pixel costs more than inventing one.

    For foregrounds of few pixels, such as cracks. Sums as in `soft_dice_loss`.

    Source: Salehi, Erdogmus and Gholipour, "Tversky loss function" (2017), with alpha 0.3 and beta 0.7.
    """
    probabilities = _probabilities(logits)
    pixels = (0, 2, 3)
    overlap = (weight * torch.minimum(probabilities, target)).sum(pixels)
    misses = (weight * (target - probabilities).clamp(min=0)).sum(pixels)
    inventions = (weight * (probabilities - target).clamp(min=0)).sum(pixels)
    overlap, misses, inventions = total(torch.stack([overlap, misses, inventions]))
    index = (overlap + smooth) / (overlap + missed * misses + invented * inventions + smooth)
    return 1 - _mean_over_present(index, target, weight, total)


def lovasz_loss(logits: Tensor, target: Tensor, weight: Tensor, *, total: Total = alone) -> Tensor:
    """The Lovász extension of one minus IoU over the batch, averaged over the classes that it shows.

    Targets are taken as 0 or 1 at a half. One channel has the hinge of its logits, several the errors of their softmax.

    Source: Berman, Triki and Blaschko, "The Lovász-Softmax loss" (2018), algorithm 1.
    """
    counts = weight[:, 0] > 0  # (N, H, W)
    losses = []
    for channel in range(logits.shape[1]):
        truth = (target[:, channel][counts] >= 0.5).to(logits.dtype)
        if logits.shape[1] == 1:
            errors = F.relu(1 - logits[:, 0][counts] * (2 * truth - 1))
        elif truth.any():
            errors = (truth - logits.softmax(dim=1)[:, channel][counts]).abs()
        else:
            continue
        ordered, places = errors.sort(descending=True)
        losses.append(ordered @ _lovasz_gradient(truth[places]))
    loss = torch.stack(losses).mean() if losses else logits.sum() * 0
    both = total(torch.stack([loss, torch.ones_like(loss)]))
    return both[0] / both[1]


def _lovasz_gradient(truth: Tensor) -> Tensor:
    """How much one minus IoU grows with each further error, largest errors first."""
    intersection = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def soft_dice_loss(
    logits: Tensor, target: Tensor, weight: Tensor, *, smooth: float = 1.0, total: Total = alone
) -> Tensor:
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
        total: As in `compute_loss`.

    Returns:
        Scalar in ``[0, 1]``; 0 is a perfect prediction.

    Source: Milletari, Navab and Ahmadi, "V-Net" (2016), section 3.
    """
    overlap, squares = total(_overlap_and_squares(logits, target, weight))
    return 1 - _mean_over_present((2 * overlap + smooth) / (squares + smooth), target, weight, total)


def soft_iou_loss(
    logits: Tensor, target: Tensor, weight: Tensor, *, smooth: float = 1.0, total: Total = alone
) -> Tensor:
    """One minus the soft Jaccard index over the whole batch, averaged over the classes that it shows.

    Sums and squares as in `soft_dice_loss`, for the same reasons.
    """
    overlap, squares = total(_overlap_and_squares(logits, target, weight))
    return 1 - _mean_over_present((overlap + smooth) / (squares - overlap + smooth), target, weight, total)


def _overlap_and_squares(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Per class: the sum of p * t, and the sum of p^2 + t^2; ``(2, C)``."""
    probabilities = _probabilities(logits)
    pixels = (0, 2, 3)
    overlap = (weight * probabilities * target).sum(pixels)
    squares = (weight * (probabilities.square() + target.square())).sum(pixels)
    return torch.stack([overlap, squares])


def _probabilities(logits: Tensor) -> Tensor:
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def _mean_over_present(scores: Tensor, target: Tensor, weight: Tensor, total: Total) -> Tensor:
    """The mean of scores ``(C,)`` over the classes that the batch shows, or 1; of one class, its score."""
    if len(scores) == 1:
        return scores.mean()
    present = (total((weight * target).sum((0, 2, 3))) > 0).to(scores.dtype)
    return torch.where(present.any(), (scores * present).sum() / present.sum().clamp(min=1), 1.0)


def _weighted_mean(per_pixel: Tensor, weight: Tensor, total: Total) -> Tensor:
    of_pixels, counted = total(torch.stack([(per_pixel * weight).sum(), weight.sum()]))
    mean: Tensor = of_pixels / counted.clamp(min=1)
    return mean
