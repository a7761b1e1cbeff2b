"""Pretrained weights that stay as they are: some in the beginning of a run, some throughout.

The gradients of a head that knows nothing yet are large and point nowhere in particular; they would spoil weights that
are good already. And the finest levels of an encoder see edges, which are edges in every picture, while their large
maps take most of the time of a backward pass.
"""

from collections.abc import Collection, Iterable

from torch import nn

from maskwright.models.encoders.encoder import Encoder

# Where the way down of a network lies: of the classic U-Net, of one on an encoder.
WAY_DOWN = ("stem", "downs", "encoder")


def pretrained_layers(network: nn.Module, fresh: Collection[str] = ()) -> tuple[nn.Module, ...]:
    """The layers of a network's encoder that hold weights, but for those whose tensors are named as fresh."""
    return tuple(
        module
        for layer, module in network.named_modules()
        if layer.partition(".")[0] in WAY_DOWN
        and (own := [f"{layer}.{name}" for name, _ in module.named_parameters(recurse=False)])
        and not any(name in fresh for name in own)
    )


def in_finest_levels(
    network: nn.Module, layers: Iterable[nn.Module], levels: int
) -> tuple[tuple[nn.Module, ...], tuple[nn.Module, ...]]:
    """Layers of a network that belong to its encoder's finest levels, and the others.

    A level is held as a whole or not at all: behind weights that are fresh, nothing is left of what was learnt.
    """
    layers = tuple(layers)
    encoder = getattr(network, "encoder", None)
    finest = encoder.finest(levels) if isinstance(encoder, Encoder) else ()
    inside = {id(module) for part in finest for module in part.modules() if _has_weights(module)}
    if not inside <= {id(layer) for layer in layers}:
        return (), layers
    held = tuple(layer for layer in layers if id(layer) in inside)
    return held, tuple(layer for layer in layers if id(layer) not in inside)


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def hold(layers: Iterable[nn.Module], *, held: bool) -> None:
    """Keep weights, and the statistics of batches, as they are; or let them learn (again)."""
    for layer in layers:
        layer.train(not held)
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(not held)
