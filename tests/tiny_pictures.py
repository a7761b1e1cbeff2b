"""Pictures and masks of a few pixels, for tests that need a folder of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 72, 96


def an_image(seed: int) -> NDArray[np.uint8]:
    """Smooth coloured noise, as unlike every other as photographs are."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.array(Image.fromarray(rough).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def a_mask(seed: int) -> NDArray[np.uint8]:
    """A light rectangle on black, 0 and 255."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = np.random.default_rng(seed).integers(4, 16, 2)
    mask[top : top + 40, left : left + 50] = 255
    return mask


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """A picture file, with the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
