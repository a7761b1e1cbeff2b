import pytest
import torch
from torch import nn

from maskwright.training.movement import SAMPLED, movement, sample_weights


def test_movement_is_the_change_as_a_share_of_what_was_there() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    before = sample_weights(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.01)
    assert movement(before, sample_weights(network)) == pytest.approx(0.01, rel=1e-3)


def test_biases_normalisation_and_frozen_weights_do_not_count() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1).requires_grad_(False))
    assert [len(sample) for sample in sample_weights(network)] == [108]


def test_of_a_large_weight_a_part_is_enough() -> None:
    assert [len(sample) for sample in sample_weights(nn.Linear(1000, 1000))] == [SAMPLED]


def test_where_nothing_learns_nothing_moves() -> None:
    frozen = nn.Conv2d(3, 4, 3).requires_grad_(False)
    assert movement(sample_weights(frozen), sample_weights(frozen)) == 0
