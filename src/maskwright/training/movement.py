"""How far the weights of a network move in a step, as a share of their size."""

import math

import torch
from torch import Tensor, nn

# Of each weight tensor the first so many numbers: enough to tell a thousandth from a tenth, and next to no memory.
SAMPLED = 4096


def sample_weights(network: nn.Module) -> list[Tensor]:
    """Copies of a part of each weight that learns; biases and normalisation are small at first and tell little."""
    learning = (parameter for parameter in network.parameters() if parameter.ndim > 1 and parameter.requires_grad)
    return [parameter.detach().flatten()[:SAMPLED].clone() for parameter in learning]


def movement(before: list[Tensor], after: list[Tensor]) -> float:
    """The norm of the change over the norm of what was there; 0 where nothing learns.

    >>> movement([torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 4.5])])
    0.1
    """
    if not before:
        return 0.0
    change = torch.stack([(new - old).float().square().sum() for old, new in zip(before, after, strict=True)]).sum()
    size = torch.stack([old.float().square().sum() for old in before]).sum()
    return math.sqrt(float(change / size.clamp(min=1e-30)))
