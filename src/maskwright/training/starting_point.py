"""Starting from the weights of a model file.

The file says what the network is like, so that nothing has to be repeated. What fits is taken; what does not, such as
the head where the classes are others, starts afresh. The pictures that the first model learnt from go into the new
model file too, which has learnt from them as well.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from maskwright.config import Architecture, Settings, choose_preset, read_preset
from maskwright.data.duplicates import look_alike, read_looks
from maskwright.data.groups import matching, print_of_group
from maskwright.data.labels import LabelMap
from maskwright.data.matching import join
from maskwright.data.reading import fingerprint_of
from maskwright.device import gpu_gigabytes
from maskwright.errors import InputError
from maskwright.inference.model_file import ModelCard, Parent, load_model

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

    def has_learnt_from(self, fingerprints: Iterable[str]) -> int:
        """How many of these pictures the model learnt from, or a model that it started from itself."""
        known = set(self.card.trained_on)
        return sum(fingerprint in known for fingerprint in fingerprints)

    def leak(self, material: "Material", part: str) -> str:
        """What is to be said where it has learnt from pictures of a part that is held out; empty where it has not.

        As `evaluation.unseen.Sieve` decides: the very files count, copies whose files differ, and, of what is left,
        others of a group that it has learnt from.
        """
        prints = dict(zip(material.indices(part), material.fingerprints(part), strict=True))
        copies = self._find_copies(material, prints)
        learnt_from = {*self.card.trained_on}
        left = [index for index, own in prints.items() if index not in copies and own not in learnt_from]
        counts = {
            "": self.has_learnt_from(prints.values()),
            "copies of ": len(copies),
            "others of the groups of ": self._count_related(material, left),
        }
        told = [f"{what}{count}" for what, count in counts.items() if count]
        wholes = (f"the {len(prints)} pictures of {part}", "them", "them")
        learnt = join(f"{what} of {whole}" for what, whole in zip(told, wholes, strict=False))
        return f"LEAK: {self.path} has learnt from {learnt}" if learnt else ""

    def _find_copies(self, material: "Material", prints: Mapping[int, str]) -> set[int]:
        """Pictures that look like some that it has learnt from; of files that its weights were chosen on, none."""
        known = {*self.card.trained_on, *self.card.chosen_on}
        learnt = read_looks(self.card.looks)
        looks = {index: read_looks([material.looks[index]]) for index, own in prints.items() if own not in known}
        return {index for index, look in looks.items() if len(look) and look_alike(look[0], learnt).any()}

    def _count_related(self, material: "Material", indices: Iterable[int]) -> int:
        """How many pictures belong to a group that it has learnt from: their group here, or by its own pattern."""
        names = [material.cache.pairs[index].name for index in indices]
        by_pattern = matching(names, re.compile(self.card.group)) if self.card.group else {}
        groups = [{material.groups.of[name], by_pattern.get(name, material.groups.of[name])} for name in names]
        return sum(not {print_of_group(group) for group in some}.isdisjoint(self.card.groups) for some in groups)


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
        InputError: The file is missing, damaged, or not one of ours.
    """
    card, weights = load_model(path)
    whole = path.resolve()
    # The folder of a run tells more than a file that is called the same in all of them.
    parent = Parent(f"{whole.parent.name}/{whole.name}", fingerprint_of(path))
    return StartingPoint(path, parent, card, weights)


def default_settings(
    preset: str | None, start: StartingPoint | None, minutes: float | None, *, may_use_gpu: bool
) -> Settings:
    """The settings of a preset; with a model to start from, its network and size instead of the preset's."""
    settings = read_preset(preset or choose_preset(minutes, gpu_gigabytes() if may_use_gpu else 0.0))
    return with_architecture_of(settings, start.card) if start else settings


def with_architecture_of(settings: Settings, card: ModelCard) -> Settings:
    """Settings whose network and size are those of a model."""
    known = {field.name for field in dataclasses.fields(Settings)}
    described = {name: value for name, value in dataclasses.asdict(card.architecture).items() if name in known}
    return dataclasses.replace(settings, **described, size=card.size, factor=card.factor, crop=card.tile)


def take_weights(start: StartingPoint, architecture: Architecture, labels: LabelMap) -> Taken:
    """Find what a network can take over, layer by layer: all tensors of a layer, or none.

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
    other_classes = labels.num_classes > 2 and labels.class_names != start.card.class_names
    fitting = {
        layer: names
        for layer, names in layers.items()
        if not (other_classes and layer == "head")
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
