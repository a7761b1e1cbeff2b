"""The words that the rooms of `data` share: a picture, what its mask is made of, and what was found in a folder.

A mask is one file in most folders. Elsewhere it is several files (one for each object or class), shapes in an
annotation file, or the picture's own alpha channel; `reading` turns each of them into classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Polygons:
    """Rings of ``(x, y)`` in pixels, x to the right and y down; what lies inside any of them belongs to the region."""

    rings: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True, eq=False)
class Runs:
    """Run lengths over a picture of a given size.

    Attributes:
        starts: First pixel of each run, counted from 0.
        lengths: Pixels of each run.
        height: Of the picture that was annotated.
        width: Likewise.
        by_rows: Whether pixels are counted along rows; else along columns, as COCO counts them.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    height: int
    width: int
    by_rows: bool


@dataclass(frozen=True)
class Shape:
    """One region of one class in an annotation file."""

    class_name: str
    region: Polygons | Runs


@dataclass(frozen=True)
class Drawing:
    """A mask that an annotation file describes: shapes, smaller ones over larger ones.

    Attributes:
        path: The annotation file.
        shapes: None at all where the file says that the picture shows nothing.
        size: Height and width of the picture that was annotated, where the file says so.
    """

    path: Path
    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Layers:
    """A mask of several files, later ones over earlier ones, but of classes smaller ones over larger ones.

    Attributes:
        paths: The files.
        class_names: The class that each file shows, by its name; None where the files are objects of one kind.
    """

    paths: tuple[Path, ...]
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class AlphaChannel:
    """A mask that is the alpha channel of its own picture."""

    path: Path


Mask = Path | Layers | Drawing | AlphaChannel


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    name: str
    """Unique: the image's path below the folder, posix, without suffix."""
    image: Path
    mask: Mask
    split: str | None = None
    """The part that folders, lists or a manifest give: "train", "val", "test", or None."""
    group: str | None = None
    """The group that a manifest gives."""

    @property
    def mask_path(self) -> Path:
        """The file to name when something is wrong with the mask."""
        match self.mask:
            case Path():
                return self.mask
            case Layers():
                return self.mask.paths[0]
            case _:
                return self.mask.path


ProblemKind = Literal[
    "image without mask", "mask without image", "ambiguous", "unreadable", "other shape", "unexpected values", "name"
]


@dataclass(frozen=True)
class Problem:
    """A picture that cannot be used, and why."""

    path: Path
    sentence: str
    kind: ProblemKind = "unreadable"


@dataclass(frozen=True)
class ClassEntry:
    """A class as a list of classes names it: by a raw value or by a colour, or by its place in the list."""

    name: str
    value: int | None = None
    colour: Colour | None = None


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set, background first where there is one.

    Attributes:
        entries: In the order of their indices.
        source: Where they come from, for the user: a file's name, or "--classes".
        ignore: Raw values or colours of pixels that do not count.
    """

    entries: tuple[ClassEntry, ...]
    source: str
    ignore: tuple[int | Colour, ...] = ()


@dataclass(frozen=True)
class Pairing:
    """What was found in a folder."""

    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...]
    layout: str
    """One phrase for the user, such as "train/ + train_masks/"."""
    classes: ClassList | None = None
    """Where the folder names its classes."""


def mask_files(mask: Mask) -> Sequence[Path]:
    """The picture files that a mask is made of; none for an annotation file."""
    match mask:
        case Path():
            return (mask,)
        case Layers():
            return mask.paths
        case AlphaChannel():
            return (mask.path,)
        case Drawing():
            return ()


def without_lone_split(pairs: Sequence[Pair]) -> list[Pair]:
    """Drop the parts where there is nothing beside one to learn from: Kaggle's `train/` alone is no split."""
    parts = {pair.split or "train" for pair in pairs}
    is_split = "train" in parts and len(parts) > 1
    return list(pairs) if is_split else [replace(pair, split=None) for pair in pairs]
