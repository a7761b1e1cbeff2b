"""The same function with less to compute, for networks that no longer learn."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def simplify(network: nn.Module) -> None:
    """Rewrite a network in evaluation mode, in place.

    A batch normalisation right after its convolution becomes part of the convolution's weights. A transposed
    convolution that doubles, each of whose outputs sees one input, becomes a plain one with four times the channels and
    a pixel shuffle: runtimes know how to compute those in 8 bits.

    The outputs differ from the original's by rounding alone.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            _fold_norms(module)
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ConvTranspose2d) and child.kernel_size == child.stride == (2, 2):
                setattr(module, name, _as_shuffle(child))


def _fold_norms(layers: nn.Sequential) -> None:
    for (name, layer), (following, norm) in pairwise(list(layers.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(layers, name, fuse_conv_bn_eval(layer, norm))
            setattr(layers, following, nn.Identity())


def _as_shuffle(doubling: nn.ConvTranspose2d) -> nn.Sequential:
    plain = nn.Conv2d(doubling.in_channels, 4 * doubling.out_channels, kernel_size=1)
    # (in, out, 2, 2) to (4 out, in): a pixel shuffle takes the four places of a channel from neighbouring channels.
    plain.weight.data = doubling.weight.data.permute(1, 2, 3, 0).reshape(plain.weight.shape)
    if doubling.bias is not None and plain.bias is not None:
        plain.bias.data = doubling.bias.data.repeat_interleave(4)
    return nn.Sequential(plain, nn.PixelShuffle(2)).train(doubling.training)
