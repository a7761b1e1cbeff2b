"""A trained model to a graph of any batch and any size: `torch.export`'s form, which all exported files are made of."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import Dim, ExportedProgram

from maskwright.errors import InputError
from maskwright.inference.model_file import HEADER, ModelCard, card_to_json
from maskwright.inference.tiling import choose_tiling
from maskwright.interop.parity import Compute
from maskwright.interop.picture_to_mask import PictureToMask
from maskwright.models.build import build_trained_network
from maskwright.models.simplify import simplify

OUTPUTS = ("mask", "probabilities", "logits")
# Batch, height and width that the graph is traced with: more than one picture, of sides that divide by nothing.
TRACED = (2, 90, 121)


def trace(card: ModelCard, weights: Mapping[str, NDArray[Any]]) -> ExportedProgram:
    """The whole way from stored pictures to masks, as `PictureToMask.forward` says, in `torch.export`'s form.

    Raises:
        InputError: The network has something that cannot be traced for any size.
    """
    network = build_trained_network(
        card.architecture, {name: torch.from_numpy(array) for name, array in weights.items()}
    )
    simplify(network)
    network.requires_grad_(requires_grad=False)
    _keep_inputs(network)
    whole = PictureToMask(network, card).eval()
    image = torch.zeros(*TRACED, card.input.channels, dtype=torch.uint8)
    any_size: dict[str, Any] = {"image": {0: Dim("batch"), 1: Dim("height"), 2: Dim("width")}}
    given: tuple[torch.Tensor, ...] = (image,)
    if may_be_tiled(card):
        any_size["resized"] = None
        given = (image, torch.tensor(data=False))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch, about itself
        try:
            return torch.export.export(whole, given, dynamic_shapes=any_size, strict=False)
        except Exception as error:  # whatever the encoder of another project trips over
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"A network on {card.architecture.encoder} cannot be exported for pictures of any size ({reason})."
            ) from error


def _keep_inputs(network: nn.Module) -> None:
    """Let no activation overwrite its input.

    What makes another format of the graph would undo that first: of an EfficientNet-Lite, in a third of its time.
    """
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.Hardtanh | nn.Hardswish | nn.SiLU):
            module.inplace = False


def inputs(card: ModelCard) -> tuple[str, ...]:
    """Names of what a graph takes. A tile does not tell that its picture has been resized; it has to be said."""
    return ("image", "resized") if may_be_tiled(card) else ("image",)


def may_be_tiled(card: ModelCard) -> bool:
    """Whether the predictor may look at a picture in tiles."""
    return card.size is None or card.size > choose_tiling(card.architecture, card.tile).window


def write_program(path: Path, program: ExportedProgram, card: ModelCard) -> None:
    """Write a traced model for `torch.export.load`, with the card as JSON among its extra files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about itself
        torch.export.save(program, path, extra_files={f"{HEADER}.json": card_to_json(card)})


def run_whole(path: Path) -> Compute:
    """A file as a program without this project uses it: stored pictures in, masks and logits at their size out."""
    program = torch.export.load(path)
    module = program.module()
    others = [torch.tensor(data=False)] * (len(program.graph_signature.user_inputs) - 1)

    def compute(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        mask, _, logits = module(torch.from_numpy(image[np.newaxis]), *others)
        return mask[0].numpy(), logits[0].numpy()

    return compute
