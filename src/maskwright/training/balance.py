"""How much a pixel of each class counts, so that rare classes are learnt too.

In a street, poles cover one pixel in a hundred. A network that calls them all background is right on the other
ninety-nine, and in a short run it never learns better.
"""

import numpy as np
from numpy.typing import NDArray

from maskwright.config import Settings
from maskwright.training.material import Material

# A weight is a share of the pixels to this power: -1 makes all classes count alike, and 0 all pixels.
POWER = -0.5
# The weights of any two classes differ by no more than this factor, or a few pixels would decide a step.
MOST = 10.0


def choose_weights(material: Material, settings: Settings) -> tuple[float, ...]:
    """The weights that the settings ask for, by the pictures to learn from; empty where all pixels count alike."""
    if settings.class_weights == "none" or material.cache.num_classes == 2:
        return ()
    return weigh_classes(material.cache.class_pixels[material.indices("train")])


def weigh_classes(class_pixels: NDArray[np.int64]) -> tuple[float, ...]:
    """Weights of classes by how rare they are: the inverse square root of their share of the pixels, within limits.

    Their mean over pixels is 1, so that the loss keeps its size. A class that no picture shows counts as the mean.

    >>> weigh_classes(np.array([[80, 20], [100, 0], [90, 10]]))
    (0.769, 2.308)

    Args:
        class_pixels: How many pixels of each picture belong to each class, ``(N, K)``.
    """
    # Each picture counts alike, however large it is, as it does in training.
    totals = class_pixels.sum(axis=1, keepdims=True)
    shares = (class_pixels / np.maximum(totals, 1)).mean(axis=0)
    shown = shares > 0
    weights = np.ones(len(shares))
    weights[shown] = shares[shown] ** POWER
    weights[shown] = np.minimum(weights[shown], weights[shown].min(initial=np.inf) * MOST)
    mean = (weights * shares).sum() / max(shares.sum(), 1e-9)
    weights[shown] /= mean
    return tuple(round(float(weight), 3) for weight in weights)
