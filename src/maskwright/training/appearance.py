"""Whether the colours of the foreground say what it is: those of cracks do, those of cars do not."""

import numpy as np

from maskwright.data.dataset import Draw, Samples
from maskwright.training.material import Material
from maskwright.training.minutes import drawn

# Share of the pictures whose foreground gets colours of its own, where that is done.
TINTED = 0.5
# Where pictures differ by more than this in how much their foreground stands out (0..1), its colour is no sign of it.
# Cracks reach 0.03, cars 0.14, people 0.18, nuclei 0.19.
LEAST_SPREAD = 0.06
# On a background plainer than this, a difference in colour is what shows the foreground, whichever way it goes: nuclei
# lie on one of 0.02, cars and people before ones of 0.17 and 0.19.
LEAST_BACKGROUND = 0.1
# As many pictures are looked at, and as many of them must have a foreground.
LOOKED_AT, LEAST = 48, 4


def choose_tint(material: Material, samples: Samples) -> tuple[float, str]:
    """The share of pictures whose foreground is to be tinted, and why.

    Only a foreground against a background, in colour, can be tinted.
    """
    settings, labels = samples.settings, material.formats.labels
    if not settings.augment or labels.num_classes != 2 or material.formats.input.channels != 3:
        return 0.0, ""
    spread, background = look_at_colours(samples, drawn(material.indices("train"), LOOKED_AT, settings.seed))
    if not (spread > LEAST_SPREAD and background > LEAST_BACKGROUND):
        return 0.0, ""
    return TINTED, (
        f"Half of the pictures get a foreground of other colours: it differs from picture to picture (by {spread:.2f} "
        "of 1), so that its colour says little; --tint 0 leaves it."
    )


def look_at_colours(samples: Samples, indices: list[int]) -> tuple[float, float]:
    """How much pictures differ in their foreground's contrast, and how varied their background is.

    Returns:
        The standard deviation over pictures of the difference between the mean colours of foreground and background,
        and the mean one of a background's pixels, both averaged over channels, in 0..1; NaN where too few pictures have
        a foreground.
    """
    differences, backgrounds = [], []
    for index in indices:
        image, target, weight = samples[Draw(0, index, half=True)]
        inside, outside = target * weight, (1 - target) * weight
        if inside.sum() >= 1 and outside.sum() >= 1:
            means = [(image * part).sum((1, 2)) / part.sum() for part in (inside, outside)]
            differences.append((means[0] - means[1]).numpy())
            squares = ((image - means[1].view(3, 1, 1)).square() * outside).sum((1, 2)) / outside.sum()
            backgrounds.append(float(squares.sqrt().mean()))
    if len(differences) < LEAST:
        return float("nan"), float("nan")
    return float(np.std(differences, axis=0).mean()), float(np.mean(backgrounds))
