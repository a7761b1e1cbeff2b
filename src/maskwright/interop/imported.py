"""A network of another project in our terms, and the classes that it tells apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.config import Architecture
from maskwright.data.labels import BACKGROUND, LabelMap, describe_raw
from maskwright.data.pairs import ClassEntry, ClassList, Colour
from maskwright.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


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
