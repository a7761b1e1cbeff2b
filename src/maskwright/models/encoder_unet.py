"""A U-Net whose way down is an encoder, most often a pretrained one."""

from torch import Tensor, nn

from maskwright.config import Norm, Upsampling
from maskwright.models.encoders.by_name import TimmEncoder, TorchvisionEncoder
from maskwright.models.encoders.efficientnet_lite import EfficientNetLite
from maskwright.models.encoders.encoder import Encoder
from maskwright.models.unet import Up, pad_to_multiple, shuffle_pixels


class EncoderUNet(nn.Module):
    """A U-Net whose way down is an encoder.

    The decoder doubles the resolution level by level; where the encoder has a map of that level, it stands beside.

    Args:
        in_channels: Channels of the input, scaled to 0..1.
        num_classes: Channels of the logits.
        encoder: One of ours, or ``torchvision:`` or ``timm:`` with a name of theirs.
        base_channels: Channels of the decoder at full resolution, doubled at each level below.
        widest: Most channels of a level of the decoder; None for no such bound.
        norm: Normalisation in the decoder; the encoder keeps its own.
        upsampling: How the decoder doubles the resolution.
        unshuffle: The decoder ends at so many pixels to one, 1, 2 or 4, and the head gives each of them logits of its
            own. The levels left out are the largest, and know the least.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1,
        *,
        encoder: str = "efficientnet_lite0",
        base_channels: int = 16,
        widest: int | None = None,
        norm: Norm = "batch",
        upsampling: Upsampling = "transposed",
        unshuffle: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder, in_channels)
        *skip_strides, self.coarsest = self.encoder.strides
        skips = dict(zip(skip_strides, self.encoder.channels, strict=False))
        self.decoder_strides = []
        self.ups = nn.ModuleList()
        deeper, stride = self.encoder.channels[-1], self.coarsest // 2
        while stride >= unshuffle:
            width = base_channels * stride if widest is None else min(base_channels * stride, widest)
            self.ups.append(Up(deeper, skips.get(stride, 0), width, norm=norm, upsampling=upsampling))
            self.decoder_strides.append(stride)
            deeper, stride = width, stride // 2
        self.head = nn.Conv2d(deeper, num_classes * unshuffle**2, kernel_size=1)
        self.unshuffle = unshuffle

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        height, width = x.shape[-2:]
        # Twice the coarsest stride leaves more than one value per channel: batch normalisation cannot learn from one.
        maps = self.encoder(pad_to_multiple(x, self.coarsest, at_least=2 * self.coarsest))
        *finer, x = maps if self._decoder_is_channels_last() else [level.contiguous() for level in maps]
        skips = dict(zip(self.encoder.strides, finer, strict=False))
        for stride, up in zip(self.decoder_strides, self.ups, strict=True):
            x = up(x, skips.get(stride))
        return shuffle_pixels(self.head(x), self.unshuffle)[..., :height, :width]

    def _decoder_is_channels_last(self) -> bool:
        """Whether the decoder's weights, and so its maps, lie in memory with the channels of a pixel side by side.

        An encoder may be laid out in another way: see `maskwright.training.state.lay_out`.
        """
        weight = self.ups[0].get_submodule("conv.0").get_parameter("weight")
        return not weight.is_contiguous()


def build_encoder(word: str, in_channels: int = 3) -> Encoder:
    """An encoder with fresh weights.

    Raises:
        InputError: There is none of that name, or it cannot serve as an encoder.
        MissingExtraError: The package that it lives in is not installed.
    """
    source, _, name = word.partition(":")
    match source:
        case "torchvision":
            return TorchvisionEncoder(name, in_channels)
        case "timm":
            return TimmEncoder(name, in_channels)
    return EfficientNetLite(in_channels, name=word)
