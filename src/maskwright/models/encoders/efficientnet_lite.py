"""EfficientNet-Lite 0, 1 and 2, written here.

Source: Tan and Le, "EfficientNet" (2019), and the Lite variants of tensorflow/tpu: no squeeze-and-excitation, ReLU6
instead of swish; stem, head and the number of blocks in the first and the last stage do not grow. Padding is
TensorFlow's "SAME", which is asymmetric at stride 2.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from maskwright.models.encoders.encoder import Encoder

STEM_CHANNELS = 32
BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# How much wider and deeper than Lite0 the others are.
SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
# What their files hold besides the encoder.
CLASSIFIER = (
    "_conv_head.weight",
    *(f"_bn1.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    "_fc.weight",
    "_fc.bias",
)


def lite_stages(name: str) -> tuple[Stage, ...]:
    """The stages of one of the networks in `SCALES`."""
    width, depth = SCALES[name]
    middle = [replace(stage, blocks=math.ceil(depth * stage.blocks)) for stage in LITE0[1:-1]]
    return tuple(
        replace(stage, channels=_round_channels(width * stage.channels)) for stage in (LITE0[0], *middle, LITE0[-1])
    )


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME" pads sides that divide by the stride."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        symmetric = 0 if stride > 1 else kernel // 2
        super().__init__(in_channels, out_channels, kernel, stride, padding=symmetric, groups=groups, bias=False)
        total = kernel - stride
        self.same_padding = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H/stride, W/stride)``."""
        return self.convolve(self.pad(x))

    def pad(self, x: Tensor) -> Tensor:
        """What a convolution over halves would lack at its edges."""
        return x if self.same_padding is None else F.pad(x, self.same_padding)

    def convolve(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """The convolution of what was padded, with weights of its own or others of their shape."""
        if weight is None:
            weight, bias = self.weight, self.bias
        if self.groups > 1 and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Channel by channel there is nothing to multiply as a matrix, and processors are slower at it in 16 bit.
            with torch.autocast("cpu", enabled=False):
                return self._conv_forward(x.float(), weight, bias)  # type: ignore[no-any-return]
        return self._conv_forward(x, weight, bias)  # type: ignore[no-any-return]


class ConvNorm(nn.Sequential):
    """A convolution, its normalisation, and perhaps an activation.

    While neither of the two learns, one convolution does the work of both: of the maps of an encoder's finest levels,
    a pass over each is a good part of a step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H/stride, W/stride)``."""
        conv, norm, *others = self
        if not (isinstance(conv, SameConv) and isinstance(norm, nn.BatchNorm2d)) or _learns(conv) or _learns(norm):
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        weight, bias = fuse_conv_bn_weights(conv.weight, None, mean, variance, norm.eps, norm.weight, norm.bias)
        x = conv.convolve(conv.pad(x), weight, bias)
        for layer in others:
            x = layer(x)
        return x


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project back; with a shortcut where the shape allows it."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_channels * expansion
        self.expand = (
            nn.Identity()
            if expansion == 1
            else ConvNorm(SameConv(in_channels, middle, 1), _batch_norm(middle), nn.ReLU6(inplace=True))
        )
        self.filter = ConvNorm(
            SameConv(middle, middle, kernel, stride, groups=middle),
            _batch_norm(middle),
            nn.ReLU6(inplace=True),
        )
        self.project = ConvNorm(SameConv(middle, out_channels, 1), _batch_norm(out_channels))
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H/stride, W/stride)``."""
        out = self.project(self.filter(self.expand(x)))
        return x + out if self.shortcut else out  # type: ignore[no-any-return]


class EfficientNetLite(Encoder):
    """The feature maps of an EfficientNet-Lite at strides 2, 4, 8, 16 and 32."""

    strides = (2, 4, 8, 16, 32)

    def __init__(self, in_channels: int = 3, *, name: str = "efficientnet_lite0") -> None:
        super().__init__()
        self.stem = ConvNorm(
            SameConv(in_channels, STEM_CHANNELS, 3, stride=2),
            _batch_norm(STEM_CHANNELS),
            nn.ReLU6(inplace=True),
        )
        self.plan = lite_stages(name)
        # The next stage halves, or there is none: such a stage is the last at its resolution.
        followers = (*self.plan[1:], None)
        self.last_of_stride = [following is None or following.stride == 2 for following in followers]
        self.channels = tuple(
            stage.channels for stage, last in zip(self.plan, self.last_of_stride, strict=True) if last
        )
        self.stages = nn.ModuleList()
        width = STEM_CHANNELS
        for plan in self.plan:
            stage = nn.Sequential()
            for block in range(plan.blocks):
                stride = plan.stride if block == 0 else 1
                stage.append(InvertedResidual(width, plan.channels, plan.kernel, stride, plan.expansion))
                width = plan.channels
            self.stages.append(stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(N, in_channels, H, W)`` in 0..1, sides divisible by 32, to five maps, finest first."""
        x = self.stem(x * (255 / 128) - 127 / 128)  # the range that its ImageNet weights were trained on
        maps = []
        for stage, last in zip(self.stages, self.last_of_stride, strict=True):
            x = stage(x)
            if last:
                maps.append(x)
        return maps

    def finest(self, levels: int) -> tuple[nn.Module, ...]:
        """The stem, and the stages up to the last one of the level."""
        if levels < 1:
            return ()
        lasts = [index for index, last in enumerate(self.last_of_stride) if last]
        return self.stem, *self.stages[: lasts[min(levels, len(lasts)) - 1] + 1]

    def reference_name(self, name: str) -> str:
        """Our name of a parameter or buffer as in the EfficientNet-Lite packages (``_blocks.3._bn1.weight``)."""
        part, *rest = name.split(".")
        if part == "stem":
            layer, leaf = rest
            return f"{('_conv_stem', '_bn0')[int(layer)]}.{leaf}"
        stage, block, section, layer, leaf = rest
        index = sum(plan.blocks for plan in self.plan[: int(stage)]) + int(block)
        pair = {
            "expand": ("_expand_conv", "_bn0"),
            "filter": ("_depthwise_conv", "_bn1"),
            "project": ("_project_conv", "_bn2"),
        }[section]
        return f"_blocks.{index}.{pair[int(layer)]}.{leaf}"

    def reference_names(self) -> set[str]:
        """All names in one of their files."""
        return {self.reference_name(name) for name in self.state_dict()} | set(CLASSIFIER)


def _learns(layer: nn.Module) -> bool:
    return layer.training or any(parameter.requires_grad for parameter in layer.parameters())


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)


def _round_channels(channels: float) -> int:
    """To the nearest multiple of 8 that takes no more than a tenth away."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
