"""The blocks of the networks, storing the outputs of their convolutions and nothing else.

Weights, their names, and what is computed are those of the plain blocks. Where a plain block hands a tensor on, these
hand on a `Remade`. `storage.store` puts them in their place.
"""

from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from maskwright.models.encoders.efficientnet_lite import ConvNorm, InvertedResidual, SameConv
from maskwright.models.remade import Convolution, Remade, activate, convolve, convolve_again, forgetting, through
from maskwright.models.unet import DoubleConv, Down, Up


class LeanDoubleConv(DoubleConv):
    """Stores the outputs of its two convolutions, or of the second alone.

    Attributes:
        forgets: Whether the first is computed again in the backward pass.
        sparing: Whether memory counts more than time where its gradients are computed: at the fullest moment of a step.
    """

    forgets = False
    sparing = False

    def forward(self, *parts: Tensor | Remade) -> Remade:
        """Maps ``(N, C_i, H, W)``, put side by side, to ``(N, C', H, W)``."""
        layers: tuple[Any, ...] = (*self,)
        conv1, norm1, relu1, conv2, norm2, relu2 = layers
        first = convolve(parts, conv1)
        with forgetting(first, parts, conv1) if self.forgets else nullcontext():
            second = convolve([activate(first, norm1, relu1)], conv2, sparing=self.sparing)
        return activate(second, norm2, relu2)


class ForgetfulDoubleConv(LeanDoubleConv):
    """Stores the output of its second convolution alone; the first is computed again in the backward pass."""

    forgets = True


class LeanDown(Down):
    """Stores nothing of its own."""

    def forward(self, x: Remade) -> Remade:  # type: ignore[override]
        """``(N, C, H, W)`` to ``(N, C', H/2, W/2)``."""
        *rest, height, width = x.token.shape
        halved = through(x, self.pool.forward, (*rest, height // 2, width // 2), make=_largest_of_four)
        return self.conv(halved)  # type: ignore[no-any-return]


class LeanUp(Up):
    """Stores what a bilinear enlargement starts from, and else nothing of its own."""

    def forward(self, x: Tensor | Remade, skip: Tensor | Remade | None = None) -> Remade:  # type: ignore[override]
        """``(N, C, H, W)`` and a skip ``(N, S, 2H, 2W)`` to ``(N, C', 2H, 2W)``."""
        enlarged = self._enlarged(Remade.of(x))
        return self.conv(enlarged) if skip is None else self.conv(skip, enlarged)  # type: ignore[no-any-return]

    def _enlarged(self, x: Remade) -> Remade:
        count, channels, height, width = x.token.shape
        match self.up:
            case nn.ConvTranspose2d():
                return convolve_again(x, self.up, (count, self.up.out_channels, 2 * height, 2 * width))
            case nn.Sequential():
                narrow, enlarge = self.up
                narrowed = convolve([x], cast(Convolution, narrow))
                return through(Remade.of(narrowed), enlarge.forward, (*narrowed.shape[:2], 2 * height, 2 * width))
        return through(x, self.up.forward, (count, channels, 2 * height, 2 * width))


class LeanHead(nn.Conv2d):
    """The convolution that turns the last map into logits."""

    def forward(self, x: Remade) -> Tensor:  # type: ignore[override]
        """``(N, C, H, W)`` to ``(N, C', H, W)``."""
        return convolve([x], self, super().forward, sparing=True)


class LeanStem(ConvNorm):
    """The first layers of an EfficientNet-Lite; stores the output of their convolution."""

    def forward(self, x: Tensor | Remade) -> Remade:  # type: ignore[override]
        """``(N, C, H, W)`` to ``(N, C', H/stride, W/stride)``."""
        return _convolve_and_activate(x, self)


class LeanInvertedResidual(InvertedResidual):
    """Stores the outputs of its three convolutions."""

    def forward(self, x: Tensor | Remade) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H/stride, W/stride)``."""
        wide = _convolve_and_activate(x, self.expand) if isinstance(self.expand, nn.Sequential) else x
        conv, norm = self.project
        out = norm(_convolve_same(_convolve_and_activate(wide, self.filter), cast(SameConv, conv)))
        return x + out if self.shortcut else out  # type: ignore[no-any-return]


def _largest_of_four(x: Tensor) -> Tensor:
    """What ``nn.MaxPool2d(2)`` makes, but faster on a CPU: where the largest lay is not looked up."""
    height, width = (side // 2 * 2 for side in x.shape[2:])
    upper, lower = x[:, :, 0:height:2], x[:, :, 1:height:2]
    largest = torch.maximum(upper, lower)
    return torch.maximum(largest[..., 0:width:2], largest[..., 1:width:2])


def _convolve_and_activate(x: Tensor | Remade, layers: nn.Sequential) -> Remade:
    conv, norm, activation = layers
    return activate(_convolve_same(x, cast(SameConv, conv)), norm, activation)


def _convolve_same(x: Tensor | Remade, conv: SameConv) -> Tensor:
    """A convolution of an EfficientNet-Lite, whose padding is a function of its own."""
    if conv.same_padding is not None:
        x = Remade.of(x)
        *rest, height, width = x.token.shape
        left, right, top, bottom = conv.same_padding
        x = through(x, conv.pad, (*rest, height + top + bottom, width + left + right))
    return convolve([x], conv, conv.convolve)
