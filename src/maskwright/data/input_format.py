"""Stored pixels of any depth and number of channels to the 0..255 that everything after sees.

The scale is decided once, from the pictures that are learnt from, and stands in the model file: never by the picture at
hand, which would look different beside other pictures. 8-bit pictures are 0..255 as they are; deeper ones need a range,
because a 12-bit camera's 16-bit files, divided by 65535, would be all but black.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data import image_files
from maskwright.data.image_files import Stored
from maskwright.errors import InputError

# Shares of the stored values, in percent, between which a range lies: a few hot pixels do not stretch it.
_RANGE = (0.5, 99.5)
# Pixels of each picture that a range is measured on, so that large pictures count no more than small ones.
_PIXELS_OF_EACH = 2**16


@dataclass(frozen=True)
class InputFormat:
    """What the pictures of a model look like when they are stored.

    Attributes:
        channels: 3 for photographs, grey ones included; 1 for models of other projects that see grey alone; any other
            number for pictures that have so many.
        low: Of each channel of pictures with more than 8 bits, the stored value that becomes 0. Empty where all
            pictures have 8 bits.
        high: Likewise, the value that becomes 255.
    """

    channels: int = 3
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


PHOTOGRAPH = InputFormat()
"""Three channels of 8 bits."""


def read_image(path: Path, input_format: InputFormat = PHOTOGRAPH) -> NDArray[np.uint8]:
    """Read a picture as a model of this input format sees it.

    Returns:
        ``(H, W, channels)`` in 0..255.

    Raises:
        InputError: As for `image_files.read_pixels` and `scale_pixels`.
    """
    return scale_pixels(image_files.read_pixels(path), input_format, path)


def scale_pixels(pixels: NDArray[Any], input_format: InputFormat, name: object) -> NDArray[np.uint8]:
    """Scale stored pixels by their type and the format's range, never by their content.

    8-bit pixels stay as they are, and true is 255. Deeper ones are scaled per channel, so that the format's range
    becomes 0..255, and cut off outside of it; without a range, 16 bits are taken as a whole. One channel is repeated
    where the format has 3, so that grey pictures of any depth are photographs too; where it has 1, grey pictures of 8
    bits, which are read as three equal channels, keep the first.

    Args:
        pixels: ``(H, W, C)``; see `image_files.read_pixels`.
        input_format: Of the model that will see them.
        name: The picture's path or name, for the error.

    Returns:
        ``(H, W, channels)`` in 0..255; the array itself where it is right already.

    Raises:
        InputError: The picture has another number of channels, is in colour where one is expected, or holds numbers for
            which the format has no range.
    """
    if input_format.channels == 1 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        pixels = _first_of_equal(pixels, name)
    found, expected = pixels.shape[2], input_format.channels
    if found not in (expected, 1) or (found == 1 and expected not in (1, 3)):
        are_expected = f"{_channels(expected)} {'is' if expected == 1 else 'are'} expected"
        raise InputError(
            f"{name} has {_channels(found)}, but {are_expected} here, as in the pictures learnt from; choose pictures "
            "of the same kind."
        )
    if pixels.dtype == np.uint8:
        return pixels if found == expected else np.repeat(pixels, expected, axis=2)
    low, high = _range_for(pixels.dtype, input_format, name)
    scaled = np.empty((*pixels.shape[:2], expected), dtype=np.uint8)
    # A few rows at a time: the whole picture in float64 would take eight times its place.
    step = max(1, 2**20 // (pixels.shape[1] * expected))
    for top in range(0, pixels.shape[0], step):
        shares = (pixels[top : top + step].astype(np.float64) - low) / (high - low)
        scaled[top : top + step] = np.rint(np.clip(shares, 0, 1) * 255)
    return scaled


def choose_input_format(paths: Sequence[Path], *, most: int = 64) -> InputFormat:
    """Choose the format of a model from the pictures that it will learn from.

    Headers say how many channels there are and whether any picture has more than 8 bits. Only then are pixels read, of
    an evenly spaced sample of the deep pictures: the range of a channel goes from the 0.5 to the 99.5 percentile of its
    values in the sample. Files that cannot be read are passed over.

    Args:
        paths: All pictures learnt from; their order decides the sample.
        most: Pictures in the sample.

    Raises:
        InputError: The pictures differ in channels (1 and 3 go together), or some deep ones hold integers and others
            floats.
    """
    stored: dict[Path, Stored] = {}
    for path in paths:
        with suppress(InputError):
            stored[path] = image_files.describe(path)
    kinds = {found.channels: path for path, found in reversed(stored.items())}
    if not kinds.keys() <= {1, 3} and len(kinds) > 1:
        examples = " and ".join(f"{path} has {_channels(number)}" for number, path in sorted(kinds.items()))
        raise InputError(f"The pictures differ in their channels: {examples}; keep those of one kind.")
    channels = 3 if kinds.keys() <= {1, 3} else next(iter(kinds))

    deep = [path for path, found in stored.items() if found.is_deep]
    numbers = {stored[path].dtype.startswith("float"): path for path in deep}
    if len(numbers) == 2:
        raise InputError(f"{numbers[True]} holds floats and {numbers[False]} integers, which have no range in common.")
    sample = [deep[place] for place in np.linspace(0, len(deep) - 1, min(most, len(deep))).astype(int)]
    return InputFormat(channels, *_measured_range(sample, channels))


def _measured_range(sample: Sequence[Path], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Low and high of each channel; empty where no picture of the sample can be read."""
    values: list[NDArray[np.float64]] = []
    for path in sample:
        with suppress(InputError):
            pixels = image_files.read_pixels(path)
            flat = pixels.reshape(-1, pixels.shape[2])
            # Rounded up to an odd number, which seldom falls into step with the rows or a sensor's pattern.
            step = -(-len(flat) // _PIXELS_OF_EACH) | 1
            values.append(np.broadcast_to(flat[::step].astype(np.float64), (len(flat[::step]), channels)))
    if not values:
        return (), ()
    low, high = np.percentile(np.concatenate(values), _RANGE, axis=0)
    high = np.where(high > low, high, low + 1)  # a channel that is the same everywhere
    return tuple(low.tolist()), tuple(high.tolist())


def _first_of_equal(pixels: NDArray[Any], name: object) -> NDArray[Any]:
    if (pixels[..., 1:] != pixels[..., :1]).any():
        raise InputError(
            f"{name} is in colour, but 1 channel is expected here, as in the pictures learnt from; save it in grey, or "
            "choose pictures of the same kind."
        )
    return np.ascontiguousarray(pixels[..., :1])


def _range_for(
    dtype: np.dtype[Any], input_format: InputFormat, name: object
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if dtype == np.bool_:
        return np.zeros(1), np.ones(1)
    if input_format.low:
        return np.array(input_format.low), np.array(input_format.high)
    if dtype == np.uint16:
        return np.zeros(1), np.array([65535.0])
    raise InputError(
        f"{name} holds numbers of type {dtype}, for which there is no range: the model was trained on 8-bit pictures; "
        "save it with 8 bits."
    )


def _channels(number: int) -> str:
    return "1 channel" if number == 1 else f"{number} channels"
