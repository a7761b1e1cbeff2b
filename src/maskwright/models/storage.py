"""What a network keeps between its forward and its backward pass: the same gradients, from more memory or more time."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from maskwright.config import Storage
from maskwright.models.encoder_unet import EncoderUNet
from maskwright.models.encoders.by_name import TimmEncoder, TorchvisionEncoder
from maskwright.models.encoders.efficientnet_lite import EfficientNetLite, InvertedResidual
from maskwright.models.lean import (
    ForgetfulDoubleConv,
    LeanDoubleConv,
    LeanDown,
    LeanHead,
    LeanInvertedResidual,
    LeanStem,
    LeanUp,
)
from maskwright.models.unet import DoubleConv, Down, UNet, Up

_CHECKPOINTED: dict[type[nn.Module], type[nn.Module]] = {}


class Checkpointed(nn.Module):
    """Stands before the class of a block, which then keeps what comes in, and computes the rest again when asked."""

    def forward(self, *inputs: Any) -> Any:  # noqa: ANN401 - whatever the block takes and gives
        """What the block makes of its inputs."""
        compute = super().forward
        if not torch.is_grad_enabled():
            return compute(*inputs)
        return checkpoint(
            compute, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _buffers_spared(self))
        )


def store(network: nn.Module, storage: Storage | None) -> nn.Module:
    """Let a network of `build_network` keep what its gradients need in another way; plain where nothing is said.

    Its blocks become blocks of another class, in place: weights, and their names, stay what they are. A lean network
    may become one that is checkpointed too.
    """
    if storage is None or storage == "plain":
        return network
    is_lean, is_checkpointed = "lean" in storage, "checkpointed" in storage
    if is_lean:
        _make_lean(network, forgetful=is_checkpointed)
    if is_checkpointed:
        blocks = [] if is_lean else _own_blocks(network)  # lean ones forget by themselves
        for block in (*blocks, *_encoder_blocks(network)):
            block.__class__ = _checkpointed(type(block))
    return network


def _make_lean(network: nn.Module, *, forgetful: bool) -> None:
    """The blocks that are written here; encoders of torchvision and timm stay as they are."""
    lean = {
        DoubleConv: ForgetfulDoubleConv if forgetful else LeanDoubleConv,
        LeanDoubleConv: ForgetfulDoubleConv if forgetful else LeanDoubleConv,
        Down: LeanDown,
        Up: LeanUp,
        InvertedResidual: LeanInvertedResidual,
    }
    for module in network.modules():
        module.__class__ = lean.get(type(module), type(module))
    network.get_submodule("head").__class__ = LeanHead
    *_, last = (block for block in network.modules() if isinstance(block, LeanDoubleConv))
    last.sparing = True
    if isinstance(network, EncoderUNet) and isinstance(network.encoder, EfficientNetLite):
        network.encoder.stem.__class__ = LeanStem


def _own_blocks(network: nn.Module) -> list[nn.Module]:
    """The stages of the classic U-Net, or of a decoder."""
    match network:
        case UNet():
            return [network.stem, *network.downs, *network.ups]
        case EncoderUNet():
            return list(network.ups)
    return []


def _encoder_blocks(network: nn.Module) -> list[nn.Module]:
    if not isinstance(network, EncoderUNet):
        return []
    match network.encoder:
        case EfficientNetLite():
            return [block for block in network.encoder.modules() if isinstance(block, InvertedResidual)]
        case TorchvisionEncoder():
            return list(_composed(network.encoder.network))
        case TimmEncoder():
            return list(_composed(network.encoder.network.get_submodule("model")))
    return []


def _composed(network: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that are more than a list of others."""
    for child in network.children():
        if type(child) in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
            yield from _composed(child)
        elif any(True for _ in child.children()):
            yield child


def _checkpointed(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of such blocks that are checkpointed, the same whenever it is asked for."""
    if kind not in _CHECKPOINTED:
        _CHECKPOINTED[kind] = type(f"Checkpointed{kind.__name__}", (Checkpointed, kind), {})
    return _CHECKPOINTED[kind]


@contextmanager
def _buffers_spared(block: nn.Module) -> Iterator[None]:
    """Lend a block copies of its buffers, such as the statistics of batches: they have taken note of this one."""
    own = [(module, name, buffer) for module in block.modules() for name, buffer in module.named_buffers(recurse=False)]
    for module, name, buffer in own:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in own:
            setattr(module, name, buffer)
