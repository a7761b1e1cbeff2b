"""Starting from the weights of a model file.

The file says what the network is like, so that nothing has to be repeated. What fits is taken; what does not, such as
the head where the classes are others, starts afresh. The pictures that the first model learnt from go into the new
model file too, which has learnt from them as well.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from maskwright.config import Architecture, Settings, choose_preset, read_preset
from maskwright.data.labels import LabelMap
from maskwright.data.matching import join
from maskwright.data.reading import fingerprint_of
from maskwright.device import gpu_gigabytes
from maskwright.errors import InputError
from maskwright.evaluation.unseen import SEEN, Known
from maskwright.inference.model_file import ModelCard, Parent, load_model, require_finite

if TYPE_CHECKING:
    from torch import Tensor

    from maskwright.training.material import Material


@dataclass(frozen=True)
class StartingPoint:
    """A model to start from.

    Attributes:
        path: As the user gave it.
        parent: What the new model file says of it.
        card: What it says of itself.
        weights: Its own.
    """

    path: Path
    parent: Parent
    card: ModelCard
    weights: dict[str, NDArray[Any]]

    def noted(self) -> dict[str, str]:
        """What the settings of a run say of it."""
        return {**dataclasses.asdict(self.parent), "path": str(self.path)}

    def leak(self, material: "Material", part: str) -> str:
        """What is to be said where it has learnt from pictures of a part that is held out; empty where it has not."""
        names = [pair.name for pair in material.pairs(part)]
        looks = (material.looks[index] for index in material.indices(part))
        known = Known(self.card, material.groups.of)
        kinds = [
            known.kind(fingerprint, [look])
            for fingerprint, look in zip(material.fingerprints(part), looks, strict=True)
        ]
        is_new = (kind not in SEEN for kind in kinds)
        counts = {
            "": kinds.count("learnt"),
            "copies of ": kinds.count("alike"),
            "others of the groups of ": sum(known.is_related(name) for name in compress(names, is_new)),
        }
        told = [f"{what}{count}" for what, count in counts.items() if count]
        wholes = (f"the {len(names)} pictures of {part}", "them", "them")
        learnt = join(f"{what} of {whole}" for what, whole in zip(told, wholes, strict=False))
        return f"LEAK: {self.path} has learnt from {learnt}" if learnt else ""


@dataclass(frozen=True)
class Taken:
    """What a network takes over.

    Attributes:
        weights: The tensors that fit, by their names.
        layers: How many layers they make.
        fresh: The parts of the network with a layer that starts afresh, such as ``head``.
        reasons: In which of the architecture's numbers the two networks differ.
    """

    weights: "dict[str, Tensor]"
    layers: int
    fresh: tuple[str, ...]
    reasons: tuple[str, ...]

    def in_words(self) -> str:
        """What is taken and what is not."""
        if not self.fresh:
            return f"all of its {self.layers} layers"
        reasons = f" ({', '.join(self.reasons)})" if self.reasons else ""
        return f"{self.layers} of its layers; {', '.join(self.fresh)} afresh, wholly or in part{reasons}"


def read_starting_point(path: Path) -> StartingPoint:
    """Read a model to start from.

    Raises:
        InputError: The file is missing, damaged, not one of ours, or holds what is no number.
    """
    card, weights = load_model(path)
    require_finite(path, weights)
    whole = path.resolve()
    # The folder of a run tells more than a file that is called the same in all of them.
    parent = Parent(f"{whole.parent.name}/{whole.name}", fingerprint_of(path))
    return StartingPoint(path, parent, card, weights)


def default_settings(
    preset: str | None, start: StartingPoint | None, minutes: float | None, *, epochs: int | None
) -> Settings:
    """The settings of a preset; with a model to start from, its network and size instead of the preset's.

    Where none is named, a run by epochs alone has the same one on every machine.
    """
    is_by_epochs = minutes is None and epochs is not None
    settings = read_preset(preset or choose_preset(minutes, 0.0 if is_by_epochs else gpu_gigabytes()))
    return with_architecture_of(settings, start.card) if start else settings


def with_architecture_of(settings: Settings, card: ModelCard) -> Settings:
    """Settings whose network and size are those of a model."""
    known = {field.name for field in dataclasses.fields(Settings)}
    described = {name: value for name, value in dataclasses.asdict(card.architecture).items() if name in known}
    return dataclasses.replace(settings, **described, size=card.size, factor=card.factor, crop=card.tile)


def take_weights(start: StartingPoint, architecture: Architecture, labels: LabelMap) -> Taken:
    """Find what a network can take over, layer by layer: all tensors of a layer, or none; of another encoder none.

    A head of several classes is taken where the classes are called the same; a head of one is worth starting from
    whatever its foreground is.

    Raises:
        InputError: Nothing fits.
    """
    import torch

    from maskwright.models.build import build_network

    with torch.device("meta"):
        wanted = build_network(architecture).state_dict()
    layers: dict[str, list[str]] = {}
    for name in wanted:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    other_encoder = architecture.encoder != start.card.architecture.encoder  # it has weights of its own
    other_classes = labels.num_classes > 2 and labels.class_names != start.card.class_names
    fitting = {
        layer: names
        for layer, names in layers.items()
        if not (other_classes and layer == "head")
        and not (other_encoder and layer.startswith("encoder."))
        and all(name in start.weights and start.weights[name].shape == wanted[name].shape for name in names)
    }
    reasons = _differences(architecture, start.card.architecture)
    if not fitting:
        raise InputError(
            f"No layer of {start.path} fits the network asked for ({', '.join(reasons)}); leave such options out."
        )
    if other_classes and architecture.num_classes == start.card.architecture.num_classes:
        reasons = (*reasons, "its classes are called otherwise")
    return Taken(
        weights={name: torch.from_numpy(start.weights[name]) for names in fitting.values() for name in names},
        layers=len(fitting),
        fresh=tuple(dict.fromkeys(layer.partition(".")[0] for layer in layers if layer not in fitting)),
        reasons=reasons,
    )


def with_those_of(start: StartingPoint | None, **own: Iterable[str]) -> dict[str, Any]:
    """What recognises the pictures that a model has seen, those of the model it started from included.

    Args:
        start: Where it started from.
        own: ``trained_on``, ``chosen_on``, ``looks`` and ``groups`` of its own pictures, as in a `ModelCard`.
    """
    theirs = {name: () if start is None else getattr(start.card, name) for name in own}
    seen = {name: tuple(dict.fromkeys((*prints, *theirs[name]))) for name, prints in own.items()}
    own_choice = set(own["chosen_on"])
    chosen = (name for name in seen["chosen_on"] if name in own_choice or name not in seen["trained_on"])
    return {**seen, "chosen_on": tuple(chosen)}


def _differences(asked: Architecture, found: Architecture) -> tuple[str, ...]:
    pairs = [(name, value, getattr(found, name)) for name, value in dataclasses.asdict(asked).items()]
    return tuple(f"{name} {value} instead of {other}" for name, value, other in pairs if value != other)
