"""U-Nets of milesial/Pytorch-UNet and of the original commands: the same network as ours, under their names or ours."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from maskwright.config import Architecture, Norm, Upsampling
from maskwright.data.pairs import Colour
from maskwright.errors import InputError
from maskwright.interop.imported import Imported
from maskwright.interop.weights import read_state_dict, require_tensors

if TYPE_CHECKING:
    from torch import Tensor

MILESIAL = "milesial/Pytorch-UNet"
ORIGINAL = "the original commands"
# Their names of the layers of a U-Net, and ours; theirs count from 1.
MILESIAL_LAYERS = (
    (r"inc\.double_conv\.", "stem."),
    (r"down(\d+)\.maxpool_conv\.1\.double_conv\.", "downs.{}.conv."),
    (r"up(\d+)\.conv\.double_conv\.", "ups.{}.conv."),
    (r"up(\d+)\.up\.", "ups.{}.up."),
    (r"outc\.conv\.", "head."),
)
# What wrappers of PyTorch put before all names.
WRAPPERS = ("module.", "_orig_mod.")


def read_unet(path: Path, normalisation: str | None) -> Imported:
    """A U-Net of a project that keeps plain state dicts.

    Args:
        path: The file.
        normalisation: Refused: these see pictures in 0..1.

    Raises:
        InputError: It is no such U-Net.
    """
    _refuse_model_file(path)
    state = read_state_dict(path)
    mask_values = _read_mask_values(state.pop("mask_values", ()))
    theirs = {_without_wrapper(name): tensor for name, tensor in require_tensors(state, path).items()}
    weights = {_our_name(name): tensor for name, tensor in theirs.items()}
    _fold_biases(weights)
    if not _is_unet(weights):
        raise InputError(
            f"{path} holds weights of a network that is not known here ({next(iter(theirs))}, ...); import those of "
            f"{MILESIAL} or of {ORIGINAL}, or a folder that segmentation_models.pytorch saved."
        )
    if normalisation is not None:
        raise InputError(f"{path} is a U-Net that sees pictures in 0..1; leave --normalisation out.")
    found = Imported(
        MILESIAL if "inc.double_conv.0.weight" in theirs else ORIGINAL,
        _unet_architecture(weights),
        weights,
        path,
        mask_values,
    )
    _require_fit(found)
    return found


def _refuse_model_file(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            is_ours = "maskwright" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return  # what else it is, whoever reads it says
    if is_ours:
        raise InputError(f"{path} is a model file already; use it as it is.")


def _read_mask_values(values: object) -> tuple[int | Colour, ...]:
    """Raw values or colours; nothing where the masks held something else."""
    if not isinstance(values, list | tuple):
        return ()
    numbers = tuple(int(value) for value in values if isinstance(value, int))
    colours = tuple(
        (int(value[0]), int(value[1]), int(value[2]))
        for value in values
        if isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(part, int) for part in value)
    )
    return next((found for found in (numbers, colours) if found and len(found) == len(values)), ())


def _without_wrapper(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _our_name(name: str) -> str:
    """Our name of a weight; the same where it is none of theirs."""
    for pattern, ours in MILESIAL_LAYERS:
        if match := re.match(pattern, name):
            return ours.format(*(int(number) - 1 for number in match.groups())) + name[match.end() :]
    return name


def _fold_biases(weights: "dict[str, Tensor]") -> None:
    """Take the biases of convolutions, which older versions had, off the means that the normalisation subtracts."""
    for name in [name for name in weights if name.endswith((".0.bias", ".3.bias"))]:
        block, place, _ = name.rsplit(".", 2)
        mean = f"{block}.{int(place) + 1}.running_mean"
        if mean in weights:
            weights[mean] = weights[mean] - weights.pop(name)


def _is_unet(weights: "Mapping[str, Tensor]") -> bool:
    return all(name in weights and weights[name].ndim == 4 for name in ("stem.0.weight", "head.weight"))


def _unet_architecture(weights: "Mapping[str, Tensor]") -> Architecture:
    """The U-Net that has such weights."""
    width, in_channels = weights["stem.0.weight"].shape[:2]
    norm: Norm = "none"
    if "stem.1.weight" in weights:
        norm = "batch" if "stem.1.running_mean" in weights else "group"
    upsampling: Upsampling = "bilinear_aligned"  # which has no weights
    if "ups.0.up.weight" in weights:
        upsampling = "transposed"
    elif "ups.0.up.0.weight" in weights:
        upsampling = "bilinear"
    return Architecture(
        in_channels=in_channels,
        num_classes=weights["head.weight"].shape[0],
        base_channels=width,
        depth=len({name.split(".")[1] for name in weights if name.startswith("downs.")}),
        norm=norm,
        upsampling=upsampling,
    )


def _require_fit(found: Imported) -> None:
    """Refuse weights that are not those of the network they look like."""
    import torch

    from maskwright.models.build import build_network

    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in build_network(found.architecture).state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in found.weights.items()}
    odd = next((name for name in {**wanted, **shapes} if wanted.get(name) != shapes.get(name)), None)
    if odd is not None:
        raise InputError(
            f"{found.file} looks like a U-Net of {found.project}, but {odd} has the shape {shapes.get(odd)} instead of "
            f"{wanted.get(odd)}; only networks as that project builds them can be imported."
        )
