"""Raw mask values to class indices, by a map that is decided once for a folder and stands in the model file.

The same classes are stored in many ways: 0/1, 0/255, 1 bit, grey with soft edges, class indices, colours, files named
after a class. `label_survey` finds out which; here a map is applied to one mask. What a map has no class for is refused
with the file's name: a value that nobody expected is a mistake in the data more often than background.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Foreground
from maskwright.data.pairs import Colour, ProblemKind
from maskwright.data.readers.lossy import has_lost_detail
from maskwright.errors import InputError

# In masks of classes: a pixel that does not count. So there are at most 255 classes.
IGNORED = 255
# What it is drawn in.
IGNORED_COLOUR: Colour = (128, 128, 128)
BACKGROUND = "background"
# Files with more colours than this hold mixed ones, not classes.
MOST_COLOURS = 64

_MOST_LISTED = 6

Kind = Literal["grey", "indices", "colours", "names"]


class MaskError(InputError):
    """A mask that can be decoded, but not used for its picture or with these classes."""

    def __init__(self, message: str, kind: ProblemKind) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class LabelMap:
    """How the raw values of a data set become classes.

    Attributes:
        kind: What the masks hold: shades of grey with the foreground on one side of the middle, a number or a colour
            for each class, or regions that carry the names of their classes.
        class_names: In the order of their indices.
        values: For ``indices`` and ``colours``: the raw values of each class.
        ignore: Raw values that do not count; for ``names``, the names of regions that do not.
        foreground: For ``grey``: which side of the middle is the foreground.
        colours: What each class is drawn in; empty where nothing says so.
        nearest: For ``colours``: whether a pixel takes the class of the nearest colour, as in files whose colours are
            mixed along outlines or by compression. Else an unknown colour is refused.
    """

    kind: Kind = "grey"
    class_names: tuple[str, ...] = (BACKGROUND, "foreground")
    values: tuple[tuple[int | Colour, ...], ...] = ()
    ignore: tuple[int | Colour | str, ...] = ()
    foreground: Foreground = "light"
    colours: tuple[Colour, ...] = ()
    nearest: bool = False

    def __post_init__(self) -> None:
        """Refuse more classes than a mask can hold, and names that tell nothing apart."""
        if not 2 <= len(self.class_names) <= IGNORED:
            raise InputError(f"A model tells 2 to {IGNORED} classes apart, not {len(self.class_names)}.")
        twice = sorted({name for name in self.class_names if self.class_names.count(name) > 1})
        if twice:
            raise InputError(f"Two classes are called {twice[0]!r}; give each a name of its own.")

    @property
    def num_classes(self) -> int:
        """How many classes there are, the background included."""
        return len(self.class_names)

    @property
    def logit_channels(self) -> int:
        """Channels of the logits that tell the classes apart: one is enough for two."""
        return 1 if self.num_classes == 2 else self.num_classes

    @property
    def has_background(self) -> bool:
        """Whether the first class is what surrounds the others."""
        return self.class_names[0] == BACKGROUND

    @property
    def scored_classes(self) -> tuple[int, ...]:
        """Classes whose scores count. How well a background is found says little: it is most of the picture."""
        return tuple(range(1 if self.has_background else 0, self.num_classes))

    def index_of(self) -> dict[str, int]:
        """The class index of each name that a region may carry."""
        named = {name: index for index, name in enumerate(self.class_names)}
        return named | {name: IGNORED for name in self.ignore if isinstance(name, str)}


BLACK_AND_WHITE = LabelMap()


def apply_labels(labels: LabelMap, values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Say which class each pixel belongs to.

    Args:
        labels: The map; not one of ``names``, whose regions `reading` paints.
        values: As stored, ``(H, W)`` or ``(H, W, 3 | 4)``; see `image_files.read_mask_values`.
        path: Where they come from, for the message.

    Returns:
        ``(H, W)`` of class indices, and `IGNORED`.

    Raises:
        MaskError: The mask holds something that the map has no class for.
    """
    if labels.kind == "grey":
        return _apply_grey(labels, values, path)
    if labels.kind == "colours":
        return _apply_colours(labels, as_colours(values), path)
    if values.ndim == 3:
        raise _refusal(path, "is in colour, and the other masks hold a number for each class")
    return _apply_indices(labels, values, path)


def foreground(values: NDArray[Any], path: Path, *, is_lossy: bool = False) -> NDArray[np.bool_]:
    """Say which pixels of a grey mask are light.

    Files of 0 and 1 are taken as they are; others are a scale whose middle is the middle of what their type can hold.
    It is never the file's own maximum: a mask without foreground would become all foreground. A file that lost detail
    in compression is always a scale, since its blacks may have become ones.

    Raises:
        MaskError: The mask holds colours or class indices.
    """
    values = as_grey(values, path)
    present = distinct(values)
    if not is_lossy and is_zero_or_one(present):
        return values.astype(np.bool_)
    if not is_grey_scale(present, full_scale(values.dtype)) and not is_lossy:
        raise _refusal(
            path, f"holds the values {listed(present.tolist())}, and the other masks are black and white", values=True
        )
    return np.asarray(values > middle(values.dtype))


def full_scale(dtype: np.dtype[Any]) -> int:
    """White in a file of this type; what is wider than 16 bits comes from 16-bit files."""
    if dtype.kind in "fb":
        return 1
    return 255 if dtype.itemsize == 1 else 65535


def middle(dtype: np.dtype[Any]) -> float:
    """What is above it is light."""
    return 0.5 if dtype.kind in "fb" else full_scale(dtype) // 2


def whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Floats that can only be numbers or shades as integers, of as few bits as hold them; other values as they are.

    Whole floats up to 1 stay what they are, since white is 1 among floats.
    """
    if values.dtype.kind != "f" or (values != np.rint(values)).any():
        return values
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return values
    holders = (dtype for dtype in (np.uint8, np.uint16, np.int32, np.int64) if np.iinfo(dtype).min <= low)
    fitting = next((dtype for dtype in holders if high <= np.iinfo(dtype).max), None)
    return values if fitting is None else values.astype(fitting)


def is_zero_or_one(present: NDArray[Any]) -> bool:
    """Whether sorted distinct values are 0 and 1 or one of them."""
    return bool(np.isin(present, (0, 1)).all())


def is_grey_scale(present: NDArray[Any], full: int) -> bool:
    """Whether sorted distinct values can be shades from 0 to ``full``.

    Shades that are neither black nor white reach beyond the darkest eighth (32 of 255, more than the classes that index
    files have), and a single shade on black reaches the middle.
    """
    if not (present[0] >= 0 and present[-1] <= full):
        return False
    shades = present[(present > 0) & (present < full)]
    is_dark = len(shades) > 0 and shades[-1] <= full / 8
    is_undecided = len(present) <= 2 and 0 < present[-1] <= full / 2
    return not (is_dark or is_undecided)


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct values, sorted."""
    if values.dtype == np.uint8:  # nearly all masks, and counting is faster than sorting
        return np.flatnonzero(count_bytes(values))
    return np.unique(values)


def count_bytes(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each of 0..255 occurs; by Pillow, which is four times as fast as numpy at it."""
    return np.array(Image.fromarray(values).histogram(), np.int64)


def as_grey(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """One channel: the values themselves, the alpha channel of a cutout, or the mean of nearly equal colours.

    Colours under an alpha channel that varies are what it cuts out, but black and white are the mask itself: a few
    transparent pixels of it are black.

    Raises:
        MaskError: The mask is in colour.
    """
    if values.ndim == 2:
        return values
    varies = values.shape[2] == 4 and values[..., 3].min() < values[..., 3].max()
    if varies and (is_cutout(values) or not is_nearly_grey(values)):
        return values[..., 3]
    if is_nearly_grey(values):
        return np.asarray(as_colours(values).mean(axis=2).round(), np.uint8)
    raise _refusal(path, "is in colour, and the other masks are black and white", values=True)


def is_cutout(values: NDArray[np.uint8]) -> bool:
    """Whether the alpha channel is the mask: it varies, and what it cuts out is a photograph or one flat colour."""
    if values.shape[2] != 4 or values[..., 3].min() == values[..., 3].max():
        return False
    seen = values[values[..., 3] >= 128][:, :3]
    num_colours = len(np.unique(colour_codes(seen)))
    return num_colours > MOST_COLOURS or num_colours <= 1


def is_nearly_grey(values: NDArray[np.uint8]) -> bool:
    """Whether colour channels differ by no more than JPEG makes equal ones differ."""
    channels = values[..., :3].astype(np.int16)
    return bool((channels.max(axis=2) - channels.min(axis=2)).max() <= 48)


def as_colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    """``(H, W, 3)``: greys as colours, and what is transparent as black."""
    if values.ndim == 2:
        scale = 255 if is_zero_or_one(distinct(values)) else 1
        return np.repeat((values * scale).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    if values.shape[2] == 4:
        return values[..., :3] * (values[..., 3:] >= 128)
    return values


def colour_codes(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Colours ``(..., 3)`` as one number each."""
    wide = colours.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], np.uint32)


def colours_of(codes: Iterable[int]) -> list[Colour]:
    """The colours that `colour_codes` has made numbers of.

    >>> colours_of([0x0A0B0C])
    [(10, 11, 12)]
    """
    return [(code >> 16, code >> 8 & 255, code & 255) for code in codes]


def listed(values: list[Any]) -> str:
    """The first few values, for a sentence."""
    words = [f"{value:g}" if isinstance(value, int | float) else str(value) for value in values]
    return ", ".join(words[:_MOST_LISTED]) + (" ..." if len(words) > _MOST_LISTED else "")


def describe_raw(raw: int | Colour | str) -> str:
    """A raw value as a user writes it: ``11`` or ``#00ff00``."""
    return "#{:02x}{:02x}{:02x}".format(*raw) if isinstance(raw, tuple) else str(raw)


def _apply_grey(labels: LabelMap, values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    ignored = None
    if labels.ignore:
        values = as_grey(values, path)
        ignored = np.isin(values, [value for value in labels.ignore if isinstance(value, int)])
        values = np.where(ignored, 0, values).astype(values.dtype)
    light = foreground(values, path, is_lossy=has_lost_detail(path))
    classes = np.asarray(light == (labels.foreground == "light"), np.uint8)
    if ignored is not None:
        classes[ignored] = IGNORED
    return classes


def _apply_indices(labels: LabelMap, values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    class_of: dict[int | Colour | str, int] = dict.fromkeys(labels.ignore, IGNORED)
    class_of |= {value: index for index, raw in enumerate(labels.values) for value in raw}
    present = distinct(values).tolist()
    unknown = [value for value in present if value not in class_of]
    if unknown:
        raise _refusal(
            path, f"holds the values {listed(unknown)}, which no class has ({_classes_in_words(labels)})", values=True
        )
    return _look_up(values, present, class_of)


def _apply_colours(labels: LabelMap, colours: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    codes = colour_codes(colours)
    present = np.unique(codes)
    known = {raw: index for index, some in enumerate(labels.values) for raw in some if isinstance(raw, tuple)}
    known |= {raw: IGNORED for raw in labels.ignore if isinstance(raw, tuple)}
    class_of = {int(colour_codes(np.array(raw, np.uint8))): index for raw, index in known.items()}
    unknown = [code for code in present.tolist() if code not in class_of]
    if unknown and not labels.nearest:
        words = [describe_raw(colour) for colour in colours_of(unknown)]
        raise _refusal(
            path, f"holds the colours {listed(words)}, which no class has ({_classes_in_words(labels)})", values=True
        )
    if unknown:
        references = np.array(list(known), np.int32)  # (K, 3)
        strange = np.array(colours_of(unknown), np.int32)
        distances = ((strange[:, np.newaxis] - references) ** 2).sum(axis=2)  # (U, K)
        indices = list(known.values())
        class_of |= {code: indices[best] for code, best in zip(unknown, distances.argmin(axis=1), strict=True)}
    return _look_up(codes, present.tolist(), class_of)


def _look_up(values: NDArray[Any], present: list[int], class_of: Mapping[Any, int]) -> NDArray[np.uint8]:
    """Replace sorted distinct values by their classes."""
    table = np.array([class_of[value] for value in present], np.uint8)
    if values.dtype == np.uint8:
        whole = np.zeros(256, np.uint8)
        whole[present] = table
        return np.asarray(whole[values], np.uint8)
    return np.asarray(table[np.searchsorted(np.array(present), values)], np.uint8)


def _classes_in_words(labels: LabelMap) -> str:
    pairs = zip(labels.class_names, labels.values, strict=True)
    return listed([f"{name}={describe_raw(some[0])}" for name, some in pairs if some])


def _refusal(path: Path, why: str, *, values: bool = False) -> MaskError:
    answer = "; correct it, or say with --classes and --ignore what its values mean" if values else "; convert it"
    return MaskError(f"{path} {why}{answer}.", "unexpected values")
