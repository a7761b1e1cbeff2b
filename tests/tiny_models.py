"""Model files of a few channels, for tests that use or export them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from maskwright.config import Architecture
from maskwright.inference.model_file import ModelCard, save_model
from maskwright.models.build import build_network

TINY = Architecture(base_channels=8, depth=2)


def lively_network(architecture: Architecture = TINY) -> nn.Module:
    """A network with first weights, whose normalisations know other statistics and whose logits vary around zero."""
    torch.manual_seed(0)
    network = build_network(architecture)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert isinstance(module.running_mean, Tensor)
                assert isinstance(module.running_var, Tensor)
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.05, 0.2)
        *_, weight, bias = network.eval().parameters()
        logits = network(torch.rand(1, architecture.in_channels, 64, 96))
        weight.mul_(4 / logits.std())
        bias.copy_(4 / logits.std() * (bias - logits.mean(dim=(0, 2, 3))))
    return network


def write_lively_model(path: Path, card: ModelCard | None = None) -> Path:
    """The network of a card, in a model file."""
    card = card or ModelCard(TINY, size=48, threshold=0.4)
    weights = {name: tensor.numpy() for name, tensor in lively_network(card.architecture).state_dict().items()}
    save_model(path, card, weights)
    return path
