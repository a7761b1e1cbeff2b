"""The classic U-Net, from scratch.

Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015),
figure 1. It deviates in three things: convolutions are padded, so that the logits have the size of the input;
a normalisation follows each convolution; and inputs of any height and width are padded on the way in and cropped on
the way out.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.config import Norm, Upsampling


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """The normalisation after a convolution; groups hold eight channels or more."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "group":
            most = min(32, channels // 8)
            return nn.GroupNorm(next(groups for groups in range(most, 0, -1) if channels % groups == 0), channels)
        case "none":
            return nn.Identity()


class DoubleConv(nn.Sequential):
    """Twice: 3x3 convolution, normalisation, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm = "batch", *, mid_channels: int | None = None
    ) -> None:
        bias = norm == "none"  # a normalisation subtracts the mean, and any bias with it
        mid_channels = mid_channels or out_channels
        super().__init__(
            nn.Conv2d(in_channels, mid_channels, kernel_size=3, padding=1, bias=bias),
            norm_layer(norm, mid_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1, bias=bias),
            norm_layer(norm, out_channels),
            nn.ReLU(inplace=True),
        )


class Down(nn.Module):
    """Halve the resolution, then a double convolution."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.conv = DoubleConv(in_channels, out_channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H/2, W/2)``."""
        return self.conv(self.pool(x))  # type: ignore[no-any-return]


class Up(nn.Module):
    """Double the resolution, put the skip connection beside it, then a double convolution."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        norm: Norm = "batch",
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        self.up: nn.Module
        mid_channels = up_channels = out_channels
        match upsampling:
            case "transposed":
                self.up = nn.ConvTranspose2d(in_channels, up_channels, kernel_size=2, stride=2)
            case "bilinear":
                # Narrowed first, while there are four times fewer pixels.
                self.up = nn.Sequential(
                    nn.Conv2d(in_channels, up_channels, kernel_size=1),
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                )
            case "bilinear_aligned":
                self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
                up_channels = in_channels
                mid_channels = (in_channels + skip_channels) // 2  # the double convolution narrows in two steps
        self.conv = DoubleConv(up_channels + skip_channels, out_channels, norm, mid_channels=mid_channels)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """``(N, C, H, W)`` and a skip ``(N, S, 2H, 2W)`` to ``(N, C', 2H, 2W)``."""
        x = self.up(x)
        if skip is not None:
            x = torch.cat([skip, x], dim=1)
        return self.conv(x)  # type: ignore[no-any-return]


class UNet(nn.Module):
    """The classic U-Net: four halvings, four doublings, 64 to 1024 channels, 31 million parameters.

    Args:
        in_channels: Channels of the input, scaled to 0..1.
        num_classes: Channels of the logits.
        base_channels: Channels at full resolution, doubled at each level below.
        depth: Number of halvings.
        norm: Normalisation after each convolution.
        upsampling: How the decoder doubles the resolution.
        unshuffle: The network works on squares of so many pixels a side, 1, 2 or 4, as on one with all their channels;
            the head gives each pixel logits of its own. Channels and depth count from there.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1,
        *,
        base_channels: int = 64,
        depth: int = 4,
        norm: Norm = "batch",
        upsampling: Upsampling = "transposed",
        unshuffle: int = 1,
    ) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.coarsest = unshuffle * 2**depth
        widths = [base_channels * 2**level for level in range(depth + 1)]
        narrow = upsampling == "bilinear_aligned"  # no convolution comes before a skip: what lies below has its width
        if narrow:
            widths[-1] = widths[-2]
        self.stem = DoubleConv(in_channels * unshuffle**2, widths[0], norm)
        self.downs = nn.ModuleList(Down(upper, lower, norm) for upper, lower in pairwise(widths))
        ups = []
        deeper = widths[-1]
        for level in reversed(range(depth)):
            width = widths[max(level - 1, 0)] if narrow else widths[level]
            ups.append(Up(deeper, widths[level], width, norm=norm, upsampling=upsampling))
            deeper = width
        self.ups = nn.ModuleList(ups)
        self.head = nn.Conv2d(widths[0], num_classes * unshuffle**2, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        height, width = x.shape[-2:]
        # Twice the pixels under one value of the lowest level, which needs two to be normalised.
        x = pad_to_multiple(x, self.coarsest, at_least=2 * self.coarsest)
        x = self.stem(F.pixel_unshuffle(x, self.unshuffle) if self.unshuffle > 1 else x)
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        for up in self.ups:
            x = up(x, skips.pop())
        return shuffle_pixels(self.head(x), self.unshuffle)[..., :height, :width]


def shuffle_pixels(logits: Tensor, factor: int) -> Tensor:
    """``(N, C * factor**2, H, W)`` to ``(N, C, factor * H, factor * W)``."""
    return F.pixel_shuffle(logits, factor) if factor > 1 else logits


def pad_to_multiple(x: Tensor, multiple: int, *, at_least: int = 1) -> Tensor:
    """Repeat the last row and column until both sides divide by ``multiple`` and are ``at_least`` so long.

    Repeating brings no edge into the picture that the network would have to explain.
    """
    height, width = x.shape[-2:]
    bottom = max(-height % multiple, at_least - height)
    right = max(-width % multiple, at_least - width)
    if bottom == 0 and right == 0:
        return x
    return F.pad(x, (0, right, 0, bottom), mode="replicate")
