"""What every encoder offers, and how weights that others trained come into it. They are handed in, never read here."""

from collections.abc import Mapping

from torch import Tensor, nn


class Encoder(nn.Module):
    """Pictures to feature maps.

    Each encoder brings pictures in 0..1 into the range that it was trained on, by itself.

    Attributes:
        strides: Of the maps: a value of a map stands for so many pixels a side. Powers of two, finest first.
        channels: Of the maps.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(N, in_channels, H, W)`` in 0..1, sides divisible by the last stride, to the maps, finest first."""
        raise NotImplementedError

    def finest(self, levels: int) -> tuple[nn.Module, ...]:  # noqa: ARG002
        """What makes the first so many maps; empty where an encoder cannot tell."""
        return ()

    def reference_name(self, name: str) -> str | None:
        """What those who trained the weights call a parameter or buffer of ours; None for one that they do not have."""
        raise NotImplementedError

    def reference_names(self) -> set[str]:
        """All names in a file of weights for this network, with those of the classifier, which has no place here."""
        raise NotImplementedError


def load_weights(encoder: Encoder, weights: Mapping[str, Tensor]) -> None:
    """Take weights under their reference names.

    A first convolution of another number of input channels gets the mean over theirs, scaled so that a grey picture
    excites it equally.
    """
    state = encoder.state_dict()
    state.update({ours: _fitted(encoder, ours, weights[theirs]) for ours, theirs in _names(encoder, weights).items()})
    encoder.load_state_dict(state)


def find_misfit(encoder: Encoder, weights: Mapping[str, Tensor]) -> str | None:
    """The first reason, in words, why weights are not those of an encoder; None where they are."""
    state = encoder.state_dict()
    for ours, theirs in _names(encoder, weights).items():
        if theirs not in weights:
            return f"{theirs} is missing"
        wanted, found = tuple(state[ours].shape), tuple(_fitted(encoder, ours, weights[theirs]).shape)
        if wanted != found:
            return f"{theirs} has the shape {found} instead of {wanted}"
    known = encoder.reference_names()
    unexpected = next((name for name in weights if name not in known), None)
    return f"{unexpected} is not a part of it" if unexpected else None


def _names(encoder: Encoder, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Our names with theirs, of all that has to be in the weights."""
    names = {ours: encoder.reference_name(ours) for ours in encoder.state_dict()}
    return {
        ours: theirs
        for ours, theirs in names.items()
        # Files from before PyTorch 0.4.1 do not count batches, and nothing depends on it.
        if theirs is not None and not (theirs not in weights and theirs.endswith("num_batches_tracked"))
    }


def _fitted(encoder: Encoder, name: str, source: Tensor) -> Tensor:
    """Weights as they are; those of the first convolution for the number of channels that ours has."""
    first, convolution = first_convolution(encoder)
    channels = convolution.in_channels
    if name != f"{first}.weight" or source.ndim != 4 or source.shape[1] == channels:
        return source
    return source.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1) * (source.shape[1] / channels)


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d]:
    """The convolution that looks at the picture, and its name."""
    return next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
