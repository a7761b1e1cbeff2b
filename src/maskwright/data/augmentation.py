"""Image and mask moved together, by numbers drawn beforehand.

Drawing and applying are apart: `draw_change` is the only place where chance plays a part, so that a sample is decided
by its generator alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from maskwright.config import Settings

# What lies beyond the edge of a turned picture. The loss gives it no weight; a middle grey merely looks harmless.
BEYOND = 0.5


@dataclass(frozen=True)
class Change:
    """What happens to one picture.

    Attributes:
        mirror: Left becomes right.
        degrees: Turn, clockwise.
        shift: Move to the right and down, as shares of the sides.
        scale: Enlargement.
        brightness: Factor; 1 changes nothing. Likewise ``contrast`` and ``saturation``.
        hue: Turn of the colour wheel; 0 changes nothing.
    """

    mirror: bool
    degrees: float
    shift: tuple[float, float]
    scale: float
    brightness: float
    contrast: float
    saturation: float
    hue: float


def draw_change(settings: Settings, rng: np.random.Generator) -> Change:
    """Draw the change of one sample. It always draws the same count of numbers, whatever the settings."""

    def around(spread: float) -> float:
        return float(rng.uniform(-spread, spread))

    def factor(spread: float) -> float:
        # Symmetric for factors: as often twice as half.
        return float((1 + spread) ** rng.uniform(-1, 1))

    return Change(
        mirror=bool(rng.random() < settings.flip),
        degrees=around(settings.rotate),
        shift=(around(settings.shift), around(settings.shift)),
        scale=factor(settings.scale),
        brightness=factor(settings.colour),
        contrast=factor(settings.colour),
        saturation=factor(settings.colour),
        hue=around(settings.colour / 10),
    )


def apply_change(change: Change, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move and recolour an image, move its target, and say which pixels still mean something.

    Args:
        change: What to do.
        image: ``(C, H, W)`` in 0..1; colours change only with three channels.
        target: ``(K, H, W)`` in 0..1.

    Returns:
        Image, target and weight ``(1, H, W)``: 0 beyond the edge of the moved picture.
    """
    channels = image.shape[0]
    stack = torch.cat([image, target, torch.ones_like(image[:1])])
    if change.mirror:
        stack = tv.horizontal_flip(stack)
    height, width = image.shape[-2:]
    stack = tv.affine(
        stack,
        angle=change.degrees,
        translate=[change.shift[0] * width, change.shift[1] * height],
        scale=change.scale,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=0.0,
    )
    weight = stack[-1:]
    # Bilinear sampling fades towards the edge; undo it there, and count only pixels that lie wholly inside.
    inside = (weight > 0.999).to(stack.dtype)
    image = stack[:channels] * inside + BEYOND * (1 - inside)
    target = stack[channels:-1] * inside
    return recolour(change, image), target, inside


def recolour(change: Change, image: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue of a colour image ``(3, H, W)`` in 0..1."""
    if image.shape[0] != 3:
        return image
    image = tv.adjust_brightness(image, change.brightness)
    image = tv.adjust_contrast(image, change.contrast)
    image = tv.adjust_saturation(image, change.saturation)
    if change.hue:
        image = tv.adjust_hue(image, change.hue)
    return image
