"""Folders that segmentation_models.pytorch's ``save_pretrained`` wrote: its network in a wrapper that normalises."""

import json
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from maskwright.config import SMP, Architecture
from maskwright.errors import InputError
from maskwright.interop.imported import Imported
from maskwright.interop.weights import read_weight_file

PROJECT = "segmentation_models.pytorch"


def read_smp_folder(folder: Path, normalisation: str | None) -> Imported:
    """A network that ``save_pretrained`` wrote.

    Args:
        folder: With its config.json and model.safetensors.
        normalisation: See `parse_normalisation`; it has to be said.

    Raises:
        InputError: Something is missing or does not fit.
        MissingExtraError: segmentation_models.pytorch is not installed.
    """
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
        options={name: value for name, value in config.items() if not name.startswith("_") and name not in NOT_OPTIONS},
    )
    file = folder / "model.safetensors"
    weights = {
        name: tensor
        for name, tensor in read_weight_file(file).items()
        if not name.startswith("classification_head.")  # it says what the whole picture shows
    }
    network = build_network(architecture)
    assert isinstance(network, SmpNetwork)  # noqa: S101 - what such an architecture is
    network.normalise = Normalise(
        *parse_normalisation(normalisation, architecture.in_channels), architecture.in_channels
    )
    try:
        network.network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{file} holds weights of another network than its config.json says.") from error
    return Imported(PROJECT, architecture, network.state_dict(), file)


def parse_normalisation(text: str, channels: int = 3) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and deviations, of pictures in 0..1, that a network's pictures are normalised by.

    >>> parse_normalisation("0.5/0.25")
    ((0.5,), (0.25,))

    Args:
        text: ``none``, ``imagenet``, or means and deviations such as ``0.5,0.5,0.5/0.25,0.25,0.25``; one for all
            channels, or one for each.
        channels: Of the pictures.

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
    if len(mean) not in (1, channels) or len(mean) != len(std) or not all(map(isfinite, mean)) or not min(std) > 0:
        raise InputError(
            f"--normalisation is none, imagenet, or means/deviations for {channels} channels such as "
            f"0.5,0.5,0.5/0.25,0.25,0.25, not {text}."
        )
    return mean, std


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    needed = {"_model_class": str, "encoder_name": str, "in_channels": int, "classes": int}
    with suppress(OSError, ValueError, KeyError, TypeError):
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(config[name], kind) for name, kind in needed.items()):
            return config
    raise InputError(f"{path} is not what {PROJECT}'s save_pretrained writes; save the network with it again.")
