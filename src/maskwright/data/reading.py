"""One pair of files to two arrays of the same size: an image, and a class for each of its pixels.

Training, evaluation, prediction and the doctor read pictures here and nowhere else, so that a file means the same to
all of them. How it is read is decided once for a folder (`Formats`) and stands in the model file.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data import image_files, shapes
from maskwright.data.formats.class_lists import plain_name
from maskwright.data.input_format import PHOTOGRAPH, InputFormat, choose_input_format, read_image
from maskwright.data.label_survey import Decision, LabelOptions, decide_labels, decide_names
from maskwright.data.labels import (
    BLACK_AND_WHITE,
    LabelMap,
    MaskError,
    apply_labels,
    foreground,
    whole_numbers,
)
from maskwright.data.mask_facts import MaskFacts, look_at
from maskwright.data.pairs import AlphaChannel, Drawing, Layers, Mask, Pair, mask_files
from maskwright.data.readers.lossy import has_lost_detail
from maskwright.data.threads import in_threads
from maskwright.errors import InputError

# A mask may be a pixel off its image's shape after being resized by another program.
ASPECT_TOLERANCE = 0.01
# Where so many masks, evenly spaced, are plainly black and white, the others are taken to be as well; each is checked
# when it is read.
ENOUGH_MASKS = 200


@dataclass(frozen=True)
class Formats:
    """How the pictures and masks of a data set are read."""

    labels: LabelMap = BLACK_AND_WHITE
    input: InputFormat = PHOTOGRAPH


def choose_formats(
    pairs: Sequence[Pair],
    options: LabelOptions,
    *,
    most: int | None = ENOUGH_MASKS,
    skip: Callable[[Pair], bool] = lambda _: False,
    advance: Callable[[], None],
) -> tuple[Formats, Decision]:
    """Find out how the files of a folder are to be read.

    Args:
        pairs: What was found.
        options: What the user or the folder says of the masks.
        most: Look at so many masks, and at the others only where these have more than two classes; None looks at all.
        skip: Asked before each mask is looked at; one that is skipped says nothing of the classes.
        advance: Called after each mask, for a progress bar.

    Returns:
        The formats, and what is to be said about the masks.

    Raises:
        InputError: No one way reads them all, or the options do not fit them.
    """
    held_out = [pair.image for pair in pairs if pair.split in ("val", "test")]
    learnt = [pair.image for pair in pairs if pair.split not in ("val", "test")]
    input_format = choose_input_format(learnt or held_out)
    decision = _decide(pairs, options, most, skip, advance)
    return Formats(decision.labels, input_format), decision


def read_pair(pair: Pair, formats: Formats) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read an image ``(H, W, C)`` and its mask of classes ``(H, W)``, both at the image's size.

    A mask of another size but the same shape is enlarged or shrunk to the image.

    Raises:
        InputError: One of them cannot be read, or they differ in shape.
    """
    image = read_image(pair.image, formats.input)
    height, width = image.shape[:2]
    return image, read_mask(pair, formats.labels, height, width)


def read_mask(pair: Pair, labels: LabelMap, height: int, width: int) -> NDArray[np.uint8]:
    """Read the mask of a picture of this size as classes ``(height, width)``.

    Raises:
        MaskError: It has another shape, or holds what the labels have no class for.
        InputError: It cannot be read.
    """
    if isinstance(pair.mask, Drawing):
        shape = pair.mask.size or (height, width)
    else:
        painted = read_classes(pair.mask, labels)
        shape = painted.shape
    orientation = _orientation_to_undo(pair, (height, width), shape)
    if orientation != 1:
        height, width = width, height
    check_same_shape(pair, (height, width), shape)
    if isinstance(pair.mask, Drawing):
        try:
            mask = shapes.draw(pair.mask, labels.index_of(), height, width)
        except InputError as error:  # it names the annotation file, which may describe many pictures
            raise InputError(f"{pair.image} has a mask that cannot be drawn. {error}") from error
    else:
        mask = image_files.resize_classes(painted, height, width)
    return image_files.turn(mask, orientation)


def read_classes(mask: Path | Layers | AlphaChannel, labels: LabelMap) -> NDArray[np.uint8]:
    """Read a mask of files as classes ``(H, W)`` at its own size; what lies over what, `Layers` says."""
    if isinstance(mask, AlphaChannel):
        return apply_labels(labels, _alpha(mask.path), mask.path)
    if isinstance(mask, Layers) and mask.class_names:
        return _paint_layers(mask.paths, mask.class_names, labels)
    classes = None
    for path in mask_files(mask):
        layer = apply_labels(labels, _values_in(path, in_colour=labels.kind == "colours"), path)
        if classes is None:
            classes = layer
        else:
            _check_layer(path, layer.shape, classes.shape)
            classes[layer != 0] = layer[layer != 0]
    assert classes is not None  # noqa: S101 - layers are never empty
    return classes


def _orientation_to_undo(pair: Pair, upright: Sequence[int], mask_shape: Sequence[int]) -> int:
    """The orientation of a picture whose mask was made before the picture was turned upright; 1 where it was not.

    Only a mask that lies across the upright picture and along the stored one is certain to be such a mask.
    """
    height, width = upright
    if has_same_shape(upright, mask_shape) or not has_same_shape((width, height), mask_shape):
        return 1
    orientation = image_files.describe(pair.image).orientation
    return orientation if orientation >= 5 else 1


def has_same_shape(image_shape: Sequence[int], mask_shape: Sequence[int]) -> bool:
    """Whether a mask can lie over its image, once resized."""
    (height, width), (mask_height, mask_width) = image_shape, mask_shape
    # Rounding to whole pixels is a large share of a thin strip.
    is_rounded = (
        min(abs(mask_width - mask_height * width / height), abs(mask_height - mask_width * height / width)) <= 0.5
    )
    return is_rounded or abs(mask_width / mask_height * height / width - 1) <= ASPECT_TOLERANCE


def check_same_shape(pair: Pair, image_shape: Sequence[int], mask_shape: Sequence[int]) -> None:
    """Raise a MaskError where a mask cannot lie over its image."""
    if not has_same_shape(image_shape, mask_shape):
        (height, width), (mask_height, mask_width) = image_shape, mask_shape
        raise MaskError(
            f"{pair.mask_path} is {mask_width}x{mask_height}, which is another shape than its image "
            f"{pair.image.name} ({width}x{height}); crop one of them to match.",
            "other shape",
        )


def _look_at_mask(mask: Path | Layers | AlphaChannel) -> list[MaskFacts]:
    """Say what each file of a mask holds."""
    if isinstance(mask, AlphaChannel):
        return [look_at(_alpha(mask.path), mask.path)]
    return [look_at(_values_in(path), path, image_files.read_palette(path)) for path in mask_files(mask)]


def _values_in(path: Path, *, in_colour: bool = False) -> NDArray[Any]:
    """What a mask file holds; floats as what they stand for, and where asked palettes as their colours."""
    return whole_numbers(image_files.read_mask_values(path, in_colour=in_colour))


def _class_names_in(mask: Mask) -> list[str] | None:
    """The class names that a mask's regions carry; None where its values say the class."""
    match mask:
        case Drawing():
            return [shape.class_name for shape in mask.shapes]
        case Layers(class_names=tuple(names)):
            return [plain_name(name) for name in names]
        case _:
            return None


def fingerprint_of(path: Path) -> str:
    """A short hash of a file's content, to recognise a picture that training saw."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); change its permissions or remove it.") from error
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _decide(
    pairs: Sequence[Pair],
    options: LabelOptions,
    most: int | None,
    skip: Callable[[Pair], bool],
    advance: Callable[[], None],
) -> Decision:
    named = [names for pair in pairs if (names := _class_names_in(pair.mask)) is not None]
    if named:
        if len(named) < len(pairs):
            odd = next(pair for pair in pairs if _class_names_in(pair.mask) is None)
            raise InputError(f"{odd.mask_path} names no class, and other masks do; keep one kind of them.")
        return decide_names([name for names in named for name in names], options)
    step = 1 if most is None else max(1, len(pairs) // most)
    facts = _look_at_all(pairs[::step], skip if step == 1 else lambda _: False, advance)
    if step > 1 and any(fact.storage not in ("empty", "grey") or fact.has_coloured_palette for fact in facts):
        facts = _look_at_all(pairs, skip, advance)
    return decide_labels(facts, options)


def _look_at_all(pairs: Sequence[Pair], skip: Callable[[Pair], bool], advance: Callable[[], None]) -> list[MaskFacts]:
    """Facts of all masks that can be read; the others are refused when they are."""

    def look(pair: Pair) -> list[MaskFacts]:
        try:
            return [] if isinstance(pair.mask, Drawing) or skip(pair) else _look_at_mask(pair.mask)
        except InputError:
            return []
        finally:
            advance()

    return [fact for facts in in_threads(look, pairs) for fact in facts]


def _alpha(path: Path) -> NDArray[np.uint8]:
    alpha = image_files.read_alpha(path)
    if alpha is None:
        raise InputError(f"{path} has no alpha channel, and the other pictures carry their masks there; add one.")
    return alpha


def _paint_layers(paths: Sequence[Path], names: Sequence[str], labels: LabelMap) -> NDArray[np.uint8]:
    """Paint the light pixels of each file with the class that the file is named after.

    As in `shapes.draw`, smaller regions lie over larger ones, and of equals the later one lies on top.
    """
    index_of = labels.index_of()
    classes: NDArray[np.uint8] | None = None
    for path, name in zip(paths, names, strict=True):
        values = _values_in(path)
        if values.ndim == 2 and np.isin(values, (0, 255)).all():  # no class has a number here, so 255 is white
            values = values.astype(np.uint8)
        light = foreground(values, path, is_lossy=has_lost_detail(path))
        if classes is None:
            classes = np.zeros(light.shape, np.uint8)
            covering = np.full(light.shape, light.size, np.int32)  # area of what lies on top
        _check_layer(path, light.shape, classes.shape)
        area = np.count_nonzero(light)
        on_top = light & (area <= covering)
        classes[on_top] = index_of[plain_name(name)]
        covering[on_top] = area
    assert classes is not None  # noqa: S101 - layers are never empty
    return classes


def _check_layer(path: Path, shape: Sequence[int], others: Sequence[int]) -> None:
    if tuple(shape) != tuple(others):
        (height, width), (other_height, other_width) = shape, others
        raise InputError(
            f"{path} is {width}x{height}, and the other masks of its image are {other_width}x{other_height}; "
            "bring them to one size."
        )
