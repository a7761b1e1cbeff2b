"""Whether the colours of the foreground say what it is: those of cracks do, those of cars do not."""

import numpy as np

from maskwright.data.dataset import Draw, Samples
from maskwright.training.material import Material

# Share of the pictures whose foreground gets colours of its own, where that is done.
TINTED = 0.5
# Where pictures differ by more than this in how much their foreground stands out (0..1), its colour is no sign of it.
# Cracks reach 0.03, cars 0.14, people 0.18.
LEAST_SPREAD = 0.08
# As many pictures are looked at, and as many of them must have a foreground.
LOOKED_AT, LEAST = 48, 4


def choose_tint(material: Material, samples: Samples) -> tuple[float, str]:
    """The share of pictures whose foreground is to be tinted, and why.

    Only a foreground against a background, in colour, can be tinted.
    """
    train = material.indices("train")
    if material.formats.labels.num_classes != 2 or material.formats.input.channels != 3:
        return 0.0, ""
    spread = contrast_spread(samples, train[:: max(1, len(train) // LOOKED_AT)])
    if not spread > LEAST_SPREAD:
        return 0.0, ""
    return TINTED, (
        f"Half of the pictures get a foreground of other colours: it differs from picture to picture (by {spread:.2f} "
        "of 1), so that its colour says little; --tint 0 leaves it."
    )


def contrast_spread(samples: Samples, indices: list[int]) -> float:
    """How much pictures differ in the difference between their foreground's mean colour and the background's.

    Returns:
        The standard deviation over pictures, averaged over channels, in 0..1; NaN where too few have a foreground.
    """
    differences = []
    for index in indices:
        image, target, weight = samples[Draw(0, index, half=True)]
        inside, outside = target * weight, (1 - target) * weight
        if inside.sum() >= 1 and outside.sum() >= 1:
            means = [(image * part).sum((1, 2)) / part.sum() for part in (inside, outside)]
            differences.append((means[0] - means[1]).numpy())
    return float(np.std(differences, axis=0).mean()) if len(differences) >= LEAST else float("nan")
