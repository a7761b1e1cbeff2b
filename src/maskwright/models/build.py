"""From an architecture to a network."""

from collections.abc import Mapping

from torch import Tensor, nn

from maskwright.config import SMP, Architecture
from maskwright.models.encoder_unet import EncoderUNet
from maskwright.models.encoders.encoder import load_weights
from maskwright.models.smp import SmpNetwork
from maskwright.models.unet import UNet


def build_network(architecture: Architecture, *, encoder_weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A network with fresh weights, and with pretrained ones in its encoder where they are handed in."""
    if architecture.encoder == "none":
        return UNet(
            architecture.in_channels,
            architecture.num_classes,
            base_channels=architecture.base_channels,
            depth=architecture.depth,
            norm=architecture.norm,
            upsampling=architecture.upsampling,
            unshuffle=architecture.unshuffle,
        )
    if architecture.encoder.startswith(f"{SMP}:"):
        return SmpNetwork(
            architecture.in_channels,
            architecture.num_classes,
            name=architecture.encoder.removeprefix(f"{SMP}:"),
            options=architecture.options,
        )
    network = EncoderUNet(
        architecture.in_channels,
        architecture.num_classes,
        encoder=architecture.encoder,
        base_channels=architecture.base_channels,
        widest=architecture.widest,
        norm=architecture.norm,
        upsampling=architecture.upsampling,
        unshuffle=architecture.unshuffle,
    )
    if encoder_weights is not None:
        load_weights(network.encoder, encoder_weights)
    return network


def build_trained_network(architecture: Architecture, weights: Mapping[str, Tensor]) -> nn.Module:
    """A network with all of its weights, ready to be used.

    Raises:
        ValueError: They are those of another network.
    """
    network = build_network(architecture)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return network.eval()


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers in a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
