"""One file that carries everything: weights, and in its header all that is needed to use them.

The format is safetensors; nothing is ever unpickled. The header holds a `ModelCard` as JSON under ``maskwright``, and
so do the headers of exported files.
"""

import dataclasses
import json
import math
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from maskwright.config import Architecture
from maskwright.data.input_format import PHOTOGRAPH, InputFormat
from maskwright.data.labels import BLACK_AND_WHITE, LabelMap
from maskwright.data.reading import Formats
from maskwright.data.resizing import Resize
from maskwright.errors import InputError
from maskwright.files import replacing
from maskwright.terminal import first_few

FORMAT = 1
# Where in the header of a file its card stands.
HEADER = "maskwright"
# What `export` writes and nothing here opens, by its suffix: what it is, and what to do.
_NOT_OPENED = {
    ".pt2": "is a program for PyTorch alone; use the .safetensors that it was made of, or to predict an .onnx or .xml",
    ".pth": "holds nothing but weights; `maskwright import` makes a model file of them, a .safetensors",
}


@dataclass(frozen=True)
class Parent:
    """The file whose weights a training started from, or that a model was imported from.

    Attributes:
        name: The folder and the name of the file.
        fingerprint: A hash of that file's content.
    """

    name: str
    fingerprint: str


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself.

    Attributes:
        architecture: The network that the weights belong to.
        size: Pictures are resized so that their longer side has so many pixels; None where ``factor`` says their size.
        labels: The classes, and which raw values of a mask mean them.
        input: How stored pixels become the network's input.
        threshold: Probability from which a pixel is foreground, of two classes; of several, the likeliest is taken.
        metrics: Scores of these weights, as training measured them.
        trained_on: Fingerprints of the pictures that training saw, that of the models it started from included.
        chosen_on: Fingerprints of the pictures that the best weights were chosen on, likewise.
        looks: What the pictures that training saw look like, coarsely, so that copies of them are recognised; likewise.
        groups: Hashes of the names of the groups that these belong to; likewise.
        group: Regular expression that found in the pictures' names which of them belong together, where one did.
        parent: The model that training started from, or the file that was imported, where there was one.
        settings: The settings of the run; of an imported model, whose it was.
        factor: Pictures are resized by it, at most 1.
        tile: Training saw cut-outs of so many pixels a side; None where it saw whole pictures.
        versions: What made the file.
    """

    architecture: Architecture
    size: int | None
    labels: LabelMap = BLACK_AND_WHITE
    input: InputFormat = PHOTOGRAPH
    threshold: float = 0.5
    metrics: dict[str, float] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    chosen_on: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    group: str | None = None
    parent: Parent | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    factor: float | None = None
    tile: int | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a threshold that tells no probabilities apart, pictures of two sizes or none, and a broken pattern."""
        _ = self.resize
        if not 0 < self.threshold < 1:
            raise InputError(f"The threshold must lie between 0 and 1, not at {self.threshold}.")
        re.compile(self.group or "")

    @property
    def is_imported(self) -> bool:
        """Whether nothing is known of the pictures that the weights have learnt from."""
        return not self.trained_on

    @property
    def class_names(self) -> tuple[str, ...]:
        """One for each class."""
        return self.labels.class_names

    @property
    def threshold_logit(self) -> float:
        """The same for logits: by how much the foreground's leads there, where a single one is that lead itself."""
        return math.log(self.threshold / (1 - self.threshold))

    @property
    def resize(self) -> Resize:
        """How pictures come to the size that the network sees."""
        return Resize(self.size, self.factor)

    @property
    def formats(self) -> Formats:
        """How pictures and masks are read for this model."""
        return Formats(self.labels, self.input)


def versions_here() -> dict[str, str]:
    """What makes a model file on this machine."""
    packages = {name: version(name) for name in ("maskwright", "torch")}
    return {**packages, "python": platform.python_version()}


def save_model(path: Path, card: ModelCard, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write a model file, whole or not at all.

    Raises:
        OSError: The disk is full, say.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in weights.items()}
    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={HEADER: card_to_json(card)})
        except SafetensorError as error:  # it says of an error of the system nothing but its number, in its words
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def load_model(path: Path) -> tuple[ModelCard, dict[str, NDArray[Any]]]:
    """Read a model file.

    Raises:
        InputError: The file is missing, damaged, or not one of ours.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there; `maskwright train` leaves a model.safetensors in its run folder.")
    if what := _NOT_OPENED.get(path.suffix.lower()):
        raise InputError(f"{path} {what}.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole safetensors file; use the model file of another run.") from error
    return card_from_header(metadata, path), weights


def require_finite(path: Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Refuse weights that nothing can be learnt from.

    Raises:
        InputError: Some of them are no numbers, or infinite.
    """
    unsound = [name for name, array in weights.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if unsound:
        raise InputError(
            f"{path} holds weights that are no numbers ({first_few(unsound)}), from which nothing can be learnt; take "
            "another file."
        )


def card_to_json(card: ModelCard) -> str:
    """What stands in the header of a file."""
    header = {"format": FORMAT, **dataclasses.asdict(card)}
    header["metrics"] = {name: value for name, value in card.metrics.items() if not math.isnan(value)}  # not JSON
    return json.dumps(header)


def card_from_header(header: Mapping[str, str], path: Path) -> ModelCard:
    """The card in the header of a file.

    Raises:
        InputError: There is none, or it is damaged.
    """
    if HEADER not in header:
        raise InputError(f"{path} holds weights but was not written by maskwright, so nothing says how to use them.")
    try:
        return _read_card(json.loads(header[HEADER]), path)
    except (ValueError, KeyError, TypeError, AttributeError, re.error) as error:
        raise InputError(f"{path} has a damaged header; use the model file of another run.") from error


def _read_card(header: dict[str, Any], path: Path) -> ModelCard:
    if header.pop("format") != FORMAT:
        raise InputError(f"{path} was written by a newer maskwright; update this one to read it.")
    header["architecture"] = Architecture(**header["architecture"])
    header["labels"] = LabelMap(**_as_tuples(header["labels"]))
    header["parent"] = Parent(**header["parent"]) if header.get("parent") else None  # older files have no word for it
    header["input"] = InputFormat(**_as_tuples(header["input"]))
    # Older files have no looks and no groups.
    seen = {name: tuple(header.get(name, ())) for name in ("trained_on", "chosen_on", "looks", "groups")}
    return ModelCard(**{**header, **seen})


def _as_tuples(table: dict[str, Any]) -> dict[str, Any]:
    """The lists of JSON as the tuples that were written, at any depth."""

    def convert(value: object) -> object:
        return tuple(convert(entry) for entry in value) if isinstance(value, list) else value

    return {name: convert(value) for name, value in table.items()}
