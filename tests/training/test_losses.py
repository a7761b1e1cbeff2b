import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from maskwright.training.losses import (
    compute_loss,
    cross_entropy_loss,
    lovasz_loss,
    outline_of,
    soft_dice_loss,
    soft_iou_loss,
    tversky_loss,
)

TERMS = ("ce", "focal", "dice", "iou", "tversky")  # and lovasz, whose targets are 0 or 1
ALL = (*TERMS, "lovasz")


def make(channels: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, a soft target and a weight with holes, in fp64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, channels, 5, 7, generator=generator, dtype=torch.float64) * 2
    target = torch.rand(2, channels, 5, 7, generator=generator, dtype=torch.float64)
    if channels > 1:
        target = target / target.sum(1, keepdim=True)
    weight = (torch.rand(2, 1, 5, 7, generator=generator) > 0.3).double()
    return logits, target, weight


def probabilities_of(logits: Tensor) -> Tensor:
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def logits_of(probabilities: Tensor) -> Tensor:
    """Logits that a loss reads as these probabilities."""
    return probabilities.logit() if probabilities.shape[1] == 1 else probabilities.log()


def pixels(logits: Tensor) -> list[tuple[int, int, int]]:
    return list(product(range(logits.shape[0]), range(logits.shape[2]), range(logits.shape[3])))


# --- Each loss against a plain loop


def test_cross_entropy_of_one_channel_is_the_binary_one() -> None:
    logits, target, weight = make(1)
    total = counted = 0.0
    for n, y, x in pixels(logits):
        if weight[n, 0, y, x]:
            p, t = 1 / (1 + math.exp(-logits[n, 0, y, x])), float(target[n, 0, y, x])
            total -= t * math.log(p) + (1 - t) * math.log(1 - p)
            counted += 1
    assert float(cross_entropy_loss(logits, target, weight)) == pytest.approx(total / counted)


@pytest.mark.parametrize("channels", [1, 3])
def test_bce_is_another_name_for_cross_entropy(channels: int) -> None:
    assert compute_loss(["bce"], *make(channels)) == compute_loss(["ce"], *make(channels))


def test_cross_entropy_equals_a_plain_loop() -> None:
    logits, target, weight = make(3)
    total = counted = 0.0
    for n, y, x in pixels(logits):
        if weight[n, 0, y, x]:
            powers = [math.exp(value) for value in logits[n, :, y, x]]
            total -= sum(float(target[n, c, y, x]) * math.log(powers[c] / sum(powers)) for c in range(3))
            counted += 1
    assert float(cross_entropy_loss(logits, target, weight)) == pytest.approx(total / counted)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_each_class_count_by_its_weight(channels: int) -> None:
    logits, target, weight = make(channels)
    class_weights = (0.5, 3.0) if channels == 1 else (0.5, 3.0, 7.0)
    probabilities = probabilities_of(logits)
    total = counted = 0.0
    for n, y, x in pixels(logits):
        p, t = probabilities[n, :, y, x].tolist(), target[n, :, y, x].tolist()
        if channels == 1:
            p, t = [1 - p[0], p[0]], [1 - t[0], t[0]]
        w = float(weight[n, 0, y, x]) * sum(a * b for a, b in zip(class_weights, t, strict=True))
        total -= w * sum(b * math.log(a) for a, b in zip(p, t, strict=True))
        counted += w
    assert float(compute_loss(["ce"], logits, target, weight, class_weights=class_weights)) == pytest.approx(
        total / counted
    )


@pytest.mark.parametrize("term", ["dice", "iou", "tversky", "lovasz"])
def test_losses_over_regions_weigh_classes_by_themselves(term: str) -> None:
    logits, target, weight = make(3)
    assert compute_loss([term], logits, target, weight, class_weights=(9, 1, 1)) == compute_loss(
        [term], logits, target, weight
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_dice_and_iou_equal_a_plain_loop(channels: int) -> None:
    logits, target, weight = make(channels)
    probabilities = probabilities_of(logits)
    dice, iou = np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        overlap = squares = 0.0
        for n, y, x in pixels(logits):
            p, t, w = (float(values[n, k, y, x]) for values, k in ((probabilities, c), (target, c), (weight, 0)))
            overlap += w * p * t
            squares += w * (p * p + t * t)
        dice[c] = (2 * overlap + 1) / (squares + 1)
        iou[c] = (overlap + 1) / (squares - overlap + 1)
    assert float(soft_dice_loss(logits, target, weight)) == pytest.approx(1 - dice.mean())
    assert float(soft_iou_loss(logits, target, weight)) == pytest.approx(1 - iou.mean())


def loss_of_slices(term: str, logits: Tensor, target: Tensor, weight: Tensor) -> list[float]:
    """The loss of each picture of a batch, where it is told the sums over the whole."""
    told: list[list[Tensor]] = []

    def note(sums: Tensor) -> Tensor:
        told[-1].append(sums)
        return sums

    slices = [(logits[[n]], target[[n]], weight[[n]]) for n in range(len(logits))]
    for mine in slices:
        told.append([])
        compute_loss([term], *mine, total=note)
    losses = []
    for mine in slices:
        totals = [torch.stack(sums).sum(0) for sums in zip(*told, strict=True)]
        losses.append(float(compute_loss([term], *mine, total=lambda _, left=totals: left.pop(0))))  # type: ignore[misc]
    return losses


@pytest.mark.parametrize("term", TERMS)
def test_a_slice_that_is_told_of_the_others_has_the_loss_of_the_batch(term: str) -> None:
    logits, target, weight = make(3)
    target[0, 1] += target[0, 2]
    target[0, 2] = 0  # a class that one of them does not show
    weight[0, :, 2:] = 0
    whole = float(compute_loss([term], logits, target, weight))
    assert loss_of_slices(term, logits, target, weight) == pytest.approx([whole, whole], rel=1e-6)


def test_the_lovasz_loss_of_slices_is_the_mean_of_theirs() -> None:
    logits, target, weight = make(3)
    alone = [float(compute_loss(["lovasz"], logits[[n]], target[[n]], weight[[n]])) for n in (0, 1)]
    assert alone[0] != alone[1]
    assert loss_of_slices("lovasz", logits, target, weight) == pytest.approx([sum(alone) / 2] * 2)


@pytest.mark.parametrize("loss", [soft_dice_loss, soft_iou_loss])
def test_a_class_that_the_batch_does_not_show_is_left_out(loss: Callable[..., Tensor]) -> None:
    logits, target, weight = make(3)
    target[:, 1] += target[:, 2]
    target[:, 2] = 0
    shown = [loss(logits_of(probabilities_of(logits)[:, [k]]), target[:, [k]], weight) for k in (0, 1)]
    assert float(loss(logits, target, weight)) == pytest.approx(float(sum(shown)) / 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_focal_equals_a_plain_loop(channels: int) -> None:
    logits, target, weight = make(channels)
    probabilities = probabilities_of(logits)
    total = counted = 0.0
    for n, y, x in pixels(logits):
        if weight[n, 0, y, x]:
            p, t = probabilities[n, :, y, x].tolist(), target[n, :, y, x].tolist()
            if channels == 1:
                p, t = [p[0], 1 - p[0]], [t[0], 1 - t[0]]
            distance = sum(abs(a - b) for a, b in zip(p, t, strict=True)) / 2
            total -= distance**2 * sum(b * math.log(a) for a, b in zip(p, t, strict=True))
            counted += 1
    assert float(compute_loss(["focal"], logits, target, weight)) == pytest.approx(total / counted)


def test_tversky_makes_missing_dearer_than_inventing() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    weight = torch.ones_like(target)
    narrow, wide = torch.full_like(target, -50.0), torch.full_like(target, -50.0)
    narrow[..., :3], wide[..., :5] = 50, 50
    missed, invented = (float(tversky_loss(logits, target, weight)) for logits in (narrow, wide))
    assert missed == pytest.approx(1 - 25 / (25 + 0.7 * 8))
    assert invented == pytest.approx(1 - 33 / (33 + 0.3 * 8))


@pytest.mark.parametrize("channels", [1, 3])
def test_lovasz_at_certain_predictions_is_one_minus_iou(channels: int) -> None:
    _, target, weight = make(channels)
    logits = make(channels, seed=3)[0]
    if channels == 1:
        truth, called = target[:, 0] >= 0.5, logits[:, 0] > 0
        sure = torch.where(called, 1.0, -1.0)[:, None]  # the hinge of a wrong pixel is 2
        classes = [(truth, called)]
    else:
        target = torch.nn.functional.one_hot(target.argmax(1), channels).movedim(-1, 1).double()
        sure = torch.nn.functional.one_hot(logits.argmax(1), channels).movedim(-1, 1) * 200.0
        classes = [(target[:, k] > 0, logits.argmax(1) == k) for k in range(channels)]
    counts = weight[:, 0] > 0
    ious = [float((a & b & counts).sum() / ((a | b) & counts).sum()) for a, b in classes]
    factor = 2 if channels == 1 else 1
    assert float(lovasz_loss(sure, target, weight)) == pytest.approx(factor * (1 - sum(ious) / len(ious)))


def test_outlines_count_more_and_regions_as_before() -> None:
    target = torch.zeros(1, 1, 32, 32)
    target[..., :16] = 1
    outline = outline_of(target, torch.ones_like(target))
    assert outline[0, 0, 16].argmax() in (15, 16)
    assert float(outline.max()) > 0.9
    assert not outline[..., :12].any()
    assert not outline[..., 20:].any()
    weight = torch.ones_like(target)
    far, near = torch.zeros_like(target), torch.zeros_like(target)
    far[..., 2], near[..., 15] = -3, -3
    plain = [compute_loss(["ce"], logits, target, weight) for logits in (far, near)]
    assert plain[0] == plain[1]
    emphasised = [compute_loss(["ce"], logits, target, weight, boundary_weight=5) for logits in (far, near)]
    assert emphasised[1] > emphasised[0]
    regions = [compute_loss(["dice"], near, target, weight, boundary_weight=value) for value in (0, 5)]
    assert regions[0] == regions[1]


def test_where_foreground_meets_pixels_that_say_nothing_is_no_outline() -> None:
    target, weight = torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    target[..., :16] = 1
    weight[..., 16:] = 0
    assert outline_of(target, weight).max() < 1e-6


def test_overlap_is_summed_over_the_batch_and_not_averaged_over_pictures() -> None:
    logits, target, weight = make(1)
    beside = [torch.cat([tensor[:1], tensor[1:]], dim=-1) for tensor in (logits, target, weight)]
    assert soft_dice_loss(logits, target, weight) == pytest.approx(float(soft_dice_loss(*beside)))


# --- What all of them keep


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("term", ALL)
def test_ignored_pixels_change_nothing(term: str, channels: int) -> None:
    logits, target, weight = make(channels)
    other_logits, other_target, _ = make(channels, seed=1)
    counts = weight.bool()
    logits2 = torch.where(counts, logits, other_logits)
    target2 = torch.where(counts, target, other_target)
    gradients = []
    losses = []
    for these, those in ((logits, target), (logits2, target2)):
        leaf = these.clone().requires_grad_()
        loss = compute_loss([term], leaf, those, weight)
        loss.backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        losses.append(float(loss.detach()))
        gradients.append(leaf.grad)
    assert losses[0] == losses[1]
    assert torch.equal(*gradients)
    assert not gradients[0][~counts.expand_as(logits)].any()
    assert gradients[0][counts.expand_as(logits)].any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("term", ALL)
def test_a_perfect_prediction_has_no_loss(term: str, channels: int) -> None:
    _, target, weight = make(channels)
    if channels == 1:
        hard = (target > 0.5).double()
    else:
        hard = torch.nn.functional.one_hot(target.argmax(1), channels).movedim(-1, 1).double()
    assert float(compute_loss([term], (hard - 0.5) * 200, hard, weight)) == pytest.approx(0, abs=1e-6)
    assert float(compute_loss([term], (0.5 - hard) * 200, hard, weight)) > 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("term", TERMS)
def test_a_grey_target_is_met_exactly_at_the_least_loss(term: str, channels: int) -> None:
    _, target, weight = make(channels)
    best = logits_of(target)
    leaf = best.clone().requires_grad_()
    least = compute_loss([term], leaf, target, weight)
    least.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    if term != "tversky":  # which has a kink there
        assert leaf.grad.abs().max() < 1e-6
    for seed in range(5):
        nudge = torch.randn(best.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert compute_loss([term], best + nudge, target, weight) > least


@pytest.mark.parametrize("term", ["focal", "dice", "iou", "tversky"])
def test_overlap_losses_are_zero_for_a_grey_target_that_is_met(term: str) -> None:
    _, target, weight = make(1)
    assert float(compute_loss([term], logits_of(target), target, weight)) == pytest.approx(0, abs=1e-6)


def test_terms_are_added() -> None:
    logits, target, weight = make(1)
    apart = [float(compute_loss([term], logits, target, weight)) for term in TERMS]
    assert float(compute_loss(TERMS, logits, target, weight)) == pytest.approx(sum(apart))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("term", ALL)
def test_16_bit_logits_of_a_large_picture_do_not_overflow(term: str, dtype: torch.dtype) -> None:
    logits = torch.full((1, 1, 400, 400), 8.0, dtype=dtype, requires_grad=True)  # 160 000 pixels, fp16 ends at 65 504
    target, weight = torch.ones(1, 1, 400, 400), torch.ones(1, 1, 400, 400)
    loss = compute_loss([term], logits, target, weight)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(0, abs=1e-3)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("term", ALL)
def test_16_bit_logits_are_computed_with_in_32_bit(term: str, dtype: torch.dtype) -> None:
    logits, target, weight = (tensor.float() for tensor in make(3))
    rounded = logits.to(dtype)
    loss = compute_loss([term], rounded, target, weight)
    assert float(loss) == float(compute_loss([term], rounded.float(), target, weight))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("term", ALL)
def test_a_batch_in_which_nothing_counts_has_no_loss(term: str, channels: int) -> None:
    logits, target, weight = make(channels)
    assert float(compute_loss([term], logits, target, torch.zeros_like(weight))) == 0


@pytest.mark.parametrize("term", ["dice", "iou"])
def test_a_picture_without_foreground_that_is_found_empty_has_no_loss(term: str) -> None:
    nothing = torch.zeros(1, 1, 8, 8)
    assert float(compute_loss([term], nothing - 100, nothing, torch.ones(1, 1, 8, 8))) == pytest.approx(0, abs=1e-6)
