"""How fine a mask can get at a given training size.

A network that sees pictures at 256 pixels cannot outline what is thinner than a pixel there, however long it trains.
The bound here is the Dice of a network without any other fault: it answers with the exact share of each class in each
of its pixels, and its answer is enlarged to the picture as every prediction is.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.data.image_files import fit_size, resize_image, resize_mask
from maskwright.data.labels import IGNORED

SIDES = (128, 192, 256, 384, 512, 768, 1024)
"""Longer sides that people train at, in pixels."""


def resolution_bound(mask: NDArray[np.uint8], longer_sides: Sequence[int] = SIDES) -> dict[int, float]:
    """The best Dice that a mask can reach at each training size.

    Args:
        mask: Class indices ``(H, W)``, 0 the background; `labels.IGNORED` where a pixel does not count.
        longer_sides: Training sizes, in pixels.

    Returns:
        For each of them the mean Dice of the foreground classes in the mask: 1 where it is not shrunk, NaN where there
        is no foreground.
    """
    present = [int(value) for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))]
    foreground = [value for value in present if value not in (0, IGNORED)]
    if not foreground:
        return dict.fromkeys(longer_sides, math.nan)
    bounds = {}
    for side in longer_sides:
        if side >= max(mask.shape):
            bounds[side] = 1.0
        elif present in (foreground, [0, *foreground]) and len(foreground) == 1:
            inside = mask == foreground[0]
            bounds[side] = _dice(inside, _enlarged_share(inside, side) >= 127.5)
        else:
            predicted = _most_likely(mask, [*foreground, 0], side)
            predicted[mask == IGNORED] = IGNORED
            scores = [_dice(mask == value, predicted == value) for value in foreground]
            bounds[side] = float(np.mean(scores))
    return bounds


def _enlarged_share(inside: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """The share of a class at a training size, 0..255, enlarged again.

    Predictions are enlarged as float32. With 8 bits it takes a third of the time, and outlines move by a hundredth of
    a pixel.
    """
    height, width = inside.shape
    small = resize_mask(inside.view(np.uint8), *fit_size(height, width, side))
    return resize_image(small, height, width)


def _most_likely(mask: NDArray[np.uint8], classes: Sequence[int], side: int) -> NDArray[np.uint8]:
    """The class with the largest share at each pixel; of equal ones the first."""
    largest = np.zeros(mask.shape, np.uint8)
    likeliest = np.full(mask.shape, classes[0], np.uint8)
    for value in classes:
        share = _enlarged_share(mask == value, side)
        is_larger = share > largest
        likeliest[is_larger] = value
        np.maximum(largest, share, out=largest)
    return likeliest


def _dice(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    hits = np.count_nonzero(truth & prediction)
    return float(2 * hits / (np.count_nonzero(truth) + np.count_nonzero(prediction)))
