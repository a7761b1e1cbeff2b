"""Networks as other projects have them, and how what is imported of them is compared."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.inference.model_file import ModelCard
from maskwright.models.build import build_trained_network


def two_convolutions(before: int, after: int, between: int | None = None, *, bias: bool = False) -> nn.Module:
    between = between or after
    layers = [
        *(nn.Conv2d(before, between, 3, padding=1, bias=bias), nn.BatchNorm2d(between), nn.ReLU()),
        *(nn.Conv2d(between, after, 3, padding=1, bias=bias), nn.BatchNorm2d(after), nn.ReLU()),
    ]
    return nn.ModuleDict({"double_conv": nn.Sequential(*layers)})


class MilesialLike(nn.Module):
    """The names and shapes of milesial/Pytorch-UNet's files, written here from these facts.

    Four halvings; its interpolating kind narrows within the second half's convolutions.
    """

    def __init__(self, classes: int, *, interpolating: bool, channels: int = 3, bias: bool = False) -> None:
        super().__init__()
        self.interpolating = interpolating
        base = 4  # theirs has 64
        widths = [base * 2**level for level in range(5)]
        lowest = widths[4] // 2 if interpolating else widths[4]
        self.inc = two_convolutions(channels, base, bias=bias)
        for level, (before, after) in enumerate(zip(widths, [*widths[1:4], lowest], strict=False), start=1):
            halving = nn.ModuleList([nn.MaxPool2d(2), two_convolutions(before, after, bias=bias)])
            self.add_module(f"down{level}", nn.ModuleDict({"maxpool_conv": halving}))
        for level in range(1, 5):
            joined = widths[5 - level]
            after = widths[max(3 - level, 0)] if interpolating else widths[4 - level]
            between = joined // 2 if interpolating else None
            up: dict[str, nn.Module] = {"conv": two_convolutions(joined, after, between, bias=bias)}
            if not interpolating:
                up["up"] = nn.ConvTranspose2d(joined, joined // 2, 2, stride=2)
            self.add_module(f"up{level}", nn.ModuleDict(up))
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(base, classes, 1)})

    def forward(self, x: Tensor) -> Tensor:
        parts: dict[str, Any] = dict(self.named_children())
        x = parts["inc"]["double_conv"](x)
        skips = [x]
        for level in range(1, 5):
            pool, convolutions = parts[f"down{level}"]["maxpool_conv"]
            x = convolutions["double_conv"](pool(x))
            skips.append(x)
        skips.pop()
        for level in range(1, 5):
            up = parts[f"up{level}"]
            if self.interpolating:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            else:
                x = up["up"](x)
            x = up["conv"]["double_conv"](torch.cat([skips.pop(), x], dim=1))
        logits: Tensor = parts["outc"]["conv"](x)
        return logits


def trained(network: nn.Module) -> nn.Module:
    """The network with statistics as training leaves them: neither 0 nor 1."""
    torch.manual_seed(1)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else -0.5))
    return network.eval()


def some_picture(height: int = 48, width: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))


def logits_of(card: ModelCard, weights: Mapping[str, Any], picture: Tensor) -> Tensor:
    """Of the network itself; the engine's differ by rounding."""
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    with torch.inference_mode():
        logits: Tensor = build_trained_network(card.architecture, state)(picture)
        return logits
