import pytest
import torch
from torch import Tensor, nn

from maskwright.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_singular_values_come_close_to_each_other_and_vectors_stay(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonalised(u @ torch.diag(torch.logspace(0, 1.5, len(values), dtype=torch.float64)) @ v)
    along = u.T @ made @ v.T
    torch.testing.assert_close(along, torch.diag(along.diag()), atol=1e-6, rtol=0)
    assert along.diag().min() > 0.6
    assert along.diag().max() < 1.3


def test_scale_and_rank_one_change_nothing_but_the_length() -> None:
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonalised(matrix), orthogonalised(1000 * matrix), atol=1e-4, rtol=0)
    assert torch.equal(orthogonalised(torch.zeros(4, 5)), torch.zeros(4, 5))


def test_what_is_no_matrix_steps_as_with_adamw() -> None:
    start = torch.randn(5, generator=torch.Generator().manual_seed(2))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    pair = (
        (ours, Muon([{"params": [ours], "weight_decay": 0.1}], lr=0.01)),
        (theirs, torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)),
    )
    for step in range(5):
        for parameter, optimizer in pair:
            parameter.grad = torch.sin(parameter.detach() * (step + 1))
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_a_convolution_moves_as_far_as_adamw_would_move_it() -> None:
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3))
    gradient: Tensor = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 1e-6
    optimizer = Muon([{"params": [weight], "orthogonal": True}], lr=0.01)
    weight.grad = gradient
    optimizer.step()
    assert 0.5 * 0.2 * 0.01 < float(weight.detach().square().mean().sqrt()) < 1.5 * 0.2 * 0.01


def test_parameters_without_a_gradient_stay() -> None:
    weight = nn.Parameter(torch.ones(8, 8))
    Muon([{"params": [weight], "orthogonal": True, "weight_decay": 0.5}], lr=0.1).step()
    assert torch.equal(weight, torch.ones(8, 8))
