"""One pair of files to two arrays of the same size: an image, and a class for each of its pixels."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.data import image_files, labels
from maskwright.data.pairs import Pair
from maskwright.errors import InputError

# A mask may be a pixel off its image's shape after being resized by another program.
ASPECT_TOLERANCE = 0.01


def read_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read an image ``(H, W, 3)`` and its mask of classes ``(H, W)``, both at the image's size.

    A mask of another size but the same shape is enlarged or shrunk to the image.

    Raises:
        InputError: One of them cannot be read, or they differ in shape.
    """
    image = image_files.read_image(pair.image)
    mask = read_mask(pair.mask_path)
    check_same_shape(pair, image.shape[:2], mask.shape)
    return image, image_files.resize_classes(mask, *image.shape[:2])


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask of classes ``(H, W)`` at its own size."""
    return labels.foreground(image_files.read_mask_values(path), path)


def check_same_shape(pair: Pair, image_shape: Sequence[int], mask_shape: Sequence[int]) -> None:
    """Raise an InputError where a mask cannot lie over its image."""
    (height, width), (mask_height, mask_width) = image_shape, mask_shape
    if abs(mask_width / mask_height * height / width - 1) > ASPECT_TOLERANCE:
        raise InputError(
            f"{pair.mask_path} is {mask_width}x{mask_height}, which is another shape than its image "
            f"{pair.image.name} ({width}x{height}); crop one of them to match."
        )


def fingerprint_of(path: Path) -> str:
    """A short hash of a file's content, to recognise a picture that training saw."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); change its permissions or remove it.") from error
    return hashlib.blake2b(content, digest_size=8).hexdigest()
