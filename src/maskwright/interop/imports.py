"""Models that other projects saved, as models of ours.

Whose a file is shows in the names of its weights. What it cannot tell, such as the size of the pictures that it was
trained at, the user says. The logits stay the same bit for bit at sizes that the network halves without a rest (sides
divisible by 16 in a U-Net of four halvings, by 32 in those of segmentation_models.pytorch); at other sizes ours pad the
picture, where theirs pad what is inside.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from maskwright.config import SMP, Architecture, Norm, Upsampling
from maskwright.data.formats.class_lists import parse_classes
from maskwright.data.input_format import InputFormat
from maskwright.data.labels import BACKGROUND, LabelMap, describe_raw
from maskwright.data.pairs import ClassEntry, ClassList, Colour
from maskwright.data.reading import fingerprint_of
from maskwright.device import require_torch
from maskwright.errors import InputError
from maskwright.inference.model_file import ModelCard, Parent, versions_here
from maskwright.interop.weights import read_state_dict, read_weight_file, require_tensors

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 32
MILESIAL = "milesial/Pytorch-UNet"
ORIGINAL = "the original commands"
SMP_PROJECT = "segmentation_models.pytorch"
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


@dataclass(frozen=True)
class Imported:
    """A network of another project in our terms.

    Attributes:
        project: Whose it is.
        architecture: What we build it from.
        weights: Under our names.
        file: What they were read from.
        mask_values: The raw value or colour of each class in the masks that it learnt from, where the file says so.
    """

    project: str
    architecture: Architecture
    weights: "dict[str, Tensor]"
    file: Path
    mask_values: tuple[int | Colour, ...] = ()


def import_model(
    path: Path, *, size: int, classes: str | None = None, threshold: float = 0.5, normalisation: str | None = None
) -> tuple[ModelCard, dict[str, NDArray[Any]]]:
    """Read what another project saved.

    Args:
        path: A file of weights, or a folder that segmentation_models.pytorch's ``save_pretrained`` wrote.
        size: Pictures are resized so that their longer side has so many pixels.
        classes: As for ``--classes`` of training; by default what the file says, or numbers.
        threshold: Probability from which a pixel is foreground.
        normalisation: See `parse_normalisation`; only for networks of segmentation_models.pytorch, which do not
            keep theirs.

    Returns:
        What `save_model` takes.

    Raises:
        InputError: It is nothing that is known here, or something is missing.
    """
    require_torch()
    if size < SMALLEST:
        raise InputError(f"--size must be at least {SMALLEST} pixels.")
    found = _read_smp_folder(path, normalisation) if path.is_dir() else _read_file(path, normalisation)
    channels = found.architecture.num_classes
    if channels > 1 and threshold != ModelCard.threshold:
        raise InputError(f"{path} has logits for {channels} classes, of which the highest wins; leave --threshold out.")
    card = ModelCard(
        architecture=found.architecture,
        size=size,
        labels=choose_labels(channels, parse_classes(classes) if classes else None, found.mask_values),
        input=InputFormat(found.architecture.in_channels),
        threshold=threshold,
        parent=Parent(f"{path.resolve().parent.name}/{path.name}", fingerprint_of(found.file)),
        settings={"imported_from": found.project},
        versions=versions_here(),
    )
    return card, {name: _as_array(tensor) for name, tensor in found.weights.items()}


def choose_labels(channels: int, told: ClassList | None, mask_values: Sequence[int | Colour] = ()) -> LabelMap:
    """The classes of a network with so many logits.

    Args:
        channels: One tells two classes apart.
        told: What the user says.
        mask_values: What the file says of them, in the order of the classes.

    Raises:
        InputError: The user names more or fewer classes than there are.
    """
    count = max(channels, 2)
    raw = list(mask_values) if len(mask_values) == count else list(range(count))
    if told is None:
        names = [f"class {describe_raw(value)}" for value in raw[1:]] if count > 2 else ["foreground"]
        told = ClassList((ClassEntry(BACKGROUND), *(ClassEntry(name) for name in names)), "the file")
    entries = told.entries if len(told.entries) > 1 else (ClassEntry(BACKGROUND), *told.entries)
    if len(entries) != count:
        raise InputError(
            f"{told.source} names {len(entries)} classes, and the network tells {count} apart; name them all, in the "
            "order of its logits."
        )
    names = [entry.name for entry in entries]
    if count == 2:
        return LabelMap(class_names=tuple(names))
    pairs = zip(entries, raw, strict=True)
    given = [entry.value if entry.value is not None else entry.colour or value for entry, value in pairs]
    colours = tuple(value for value in given if isinstance(value, tuple))
    if len(colours) not in (0, count):
        raise InputError(f"{told.source} gives some classes numbers and others colours; give all of them one kind.")
    return LabelMap(
        "colours" if colours else "indices", tuple(names), values=tuple((value,) for value in given), colours=colours
    )


def parse_normalisation(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and deviations, of pictures in 0..1, that a network's pictures are normalised by.

    >>> parse_normalisation("0.5/0.25")
    ((0.5,), (0.25,))

    Args:
        text: ``none``, ``imagenet``, or means and deviations such as ``0.5,0.5,0.5/0.25,0.25,0.25``; one for all
            channels, or one for each.

    Raises:
        InputError: It is none of these.
    """
    from maskwright.models.encoders.by_name import IMAGENET_MEAN, IMAGENET_STD

    if text == "none":
        return (0.0,), (1.0,)
    if text == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    try:
        mean, std = (tuple(float(word) for word in part.split(",")) for part in text.split("/"))
    except ValueError:
        mean, std = (), ()
    if not mean or len(mean) != len(std) or min(std) <= 0:
        raise InputError(
            f"--normalisation is none, imagenet, or means/deviations such as 0.5,0.5,0.5/0.25,0.25,0.25, not {text}."
        )
    return mean, std


def _read_file(path: Path, normalisation: str | None) -> Imported:
    """A U-Net of a project that keeps plain state dicts."""
    _refuse_model_file(path)
    state = read_state_dict(path)
    mask_values = _read_mask_values(state.pop("mask_values", ()))
    theirs = {_without_wrapper(name): tensor for name, tensor in require_tensors(state, path).items()}
    weights = {_our_name(name): tensor for name, tensor in theirs.items()}
    _fold_biases(weights)
    if not _is_unet(weights):
        raise InputError(
            f"{path} holds weights of a network that is not known here ({next(iter(theirs))}, ...); import those of "
            f"{MILESIAL} or of {ORIGINAL}, or a folder that {SMP_PROJECT} saved."
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


def _read_smp_folder(folder: Path, normalisation: str | None) -> Imported:
    """A network that ``save_pretrained`` wrote."""
    from maskwright.models.build import build_network
    from maskwright.models.encoders.by_name import Normalise
    from maskwright.models.smp import NOT_OPTIONS, SmpNetwork

    config = _read_config(folder)
    if normalisation is None:
        raise InputError(
            f"{folder} does not say how its pictures were normalised in training; say it with --normalisation: "
            "imagenet, none, or means/deviations such as 0.5,0.5,0.5/0.25,0.25,0.25."
        )
    architecture = Architecture(
        encoder=f"{SMP}:{config['_model_class']}:{config['encoder_name']}",
        in_channels=config["in_channels"],
        num_classes=config["classes"],
        options={name: value for name, value in config.items() if name[0] != "_" and name not in NOT_OPTIONS},
    )
    file = folder / "model.safetensors"
    weights = {
        name: tensor
        for name, tensor in read_weight_file(file).items()
        if not name.startswith("classification_head.")  # it says what the whole picture shows
    }
    network = build_network(architecture)
    assert isinstance(network, SmpNetwork)  # noqa: S101 - what such an architecture is
    network.normalise = Normalise(*parse_normalisation(normalisation), architecture.in_channels)
    try:
        network.network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{file} holds weights of another network than its config.json says.") from error
    return Imported(SMP_PROJECT, architecture, network.state_dict(), file)


def _as_array(tensor: "Tensor") -> NDArray[Any]:
    """Weights as they are computed with; those that were kept in 16 bits come back in 32."""
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
    return array


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    needed = {"_model_class": str, "encoder_name": str, "in_channels": int, "classes": int}
    with suppress(OSError, ValueError, KeyError, TypeError):
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(config[name], kind) for name, kind in needed.items()):
            return config
    raise InputError(f"{path} is not what {SMP_PROJECT}'s save_pretrained writes; save the network with it again.")
