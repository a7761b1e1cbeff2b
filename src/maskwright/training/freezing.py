"""Pretrained weights that stay as they are in the beginning of a run.

The gradients of a head that knows nothing yet are large and point nowhere in particular; they would spoil weights that
are good already.
"""

from collections.abc import Collection, Iterable

from torch import nn

# Where the way down of a network lies: of the classic U-Net, of one on an encoder.
ENCODERS = ("stem", "downs", "encoder")


def pretrained_layers(network: nn.Module, fresh: Collection[str] = ()) -> tuple[nn.Module, ...]:
    """The layers of a network's encoder that hold weights, but for those whose tensors are named as fresh."""
    return tuple(
        module
        for layer, module in network.named_modules()
        if layer.partition(".")[0] in ENCODERS
        and (own := [f"{layer}.{name}" for name, _ in module.named_parameters(recurse=False)])
        and not any(name in fresh for name in own)
    )


def hold(layers: Iterable[nn.Module], *, held: bool) -> None:
    """Keep weights, and the statistics of batches, as they are; or let them learn (again)."""
    for layer in layers:
        layer.train(not held)
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(not held)
