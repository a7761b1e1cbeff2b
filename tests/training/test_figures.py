import dataclasses

import numpy as np
import pytest
import torch

from maskwright.data.dataset import Batch
from maskwright.training.figures import count, count_classes, dice_per_picture, figures_of, pixels_of_classes
from maskwright.training.state import Tally


@pytest.mark.parametrize("channels", [1, 4])
def test_dice_per_picture_equals_numpy(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, channels, 6, 7, generator=generator)
    target = torch.rand(3, channels, 6, 7, generator=generator)
    weight = (torch.rand(3, 1, 6, 7, generator=generator) > 0.3).float()
    found = dice_per_picture(logits, target, weight, (0, 2))
    if channels == 1:
        pairs = [((logits[:, 0] > 0).numpy(), (target[:, 0] >= 0.5).numpy())]
    else:
        called, true = logits.numpy().argmax(1), target.numpy().argmax(1)
        pairs = [(called == k, true == k) for k in (0, 2)]
    assert found.shape == (3, len(pairs))
    for k, (called, true) in enumerate(pairs):
        for n in range(3):
            counts = weight[n, 0].numpy() > 0
            a, b = called[n][counts], true[n][counts]
            assert float(found[n, k]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_dice_of_a_class_that_is_nowhere_is_no_number() -> None:
    nothing = torch.zeros(1, 1, 4, 4)
    assert dice_per_picture(nothing - 1, nothing, nothing + 1, (1,)).isnan().all()


def test_an_absent_class_does_not_count_in_the_mean() -> None:
    tally = Tally()
    target = torch.zeros(2, 1, 4, 4)
    target[0] = 1
    batch_logits = torch.cat([torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4)])
    count(tally, 0.5, dice_per_picture(batch_logits, target, torch.ones(2, 1, 4, 4), (1,)))
    assert (tally.images, tally.scored) == (2, 1)
    assert figures_of(tally).dice == 1.0
    assert figures_of(tally).loss == 0.5


def test_an_empty_tally_has_no_figures() -> None:
    assert all(np.isnan(value) for value in dataclasses.astuple(figures_of(Tally())))


def test_pixels_of_several_classes_are_counted_where_they_count() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = (torch.randn(2, 4, 5, 6, generator=generator) for _ in range(2))
    target = target.softmax(dim=1)
    weight = (torch.rand(2, 1, 5, 6, generator=generator) > 0.3).float()
    tally = Tally()
    for _ in range(2):
        count_classes(tally, *pixels_of_classes(logits, Batch(torch.zeros(2, 3, 5, 6), target, weight)))
    called, counts = logits.numpy().argmax(1), weight.numpy()[:, 0] > 0
    assert tally.predicted == [2 * int((called[counts] == k).sum()) for k in range(4)]
    assert tally.true == pytest.approx([2 * float(target.numpy()[:, k][counts].sum()) for k in range(4)], rel=1e-5)
