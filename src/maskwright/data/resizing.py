"""Pictures, logits and masks at another size: in training, evaluation and prediction alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Settings


@dataclass(frozen=True)
class Resize:
    """How pictures come to the size that a network sees: all to one longer side, or each by a factor of its own size.

    Attributes:
        size: Pixels of the longer side.
        factor: Where there is no such size; at most 1.
    """

    size: int | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        """Refuse to have no answer, or two."""
        if (self.size is None) == (self.factor is None):
            raise ValueError(f"either size or factor says how pictures are resized, not {self}")

    def in_words(self) -> str:
        """For a list of what a network is trained with."""
        return f"longer side {self.size}" if self.factor is None else f"{self.factor:g} of their own size"

    def shape_of(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that a picture of this size gets.

        >>> Resize(size=384).shape_of(1280, 1918), Resize(factor=0.5).shape_of(1280, 1918)
        ((256, 384), (640, 959))
        """
        if self.factor is None:
            assert self.size is not None  # noqa: S101 - see `__post_init__`
            return fit_size(height, width, self.size)
        return max(1, round(self.factor * height)), max(1, round(self.factor * width))


def resize_for(settings: Settings) -> Resize:
    """What the settings of a run ask for, once nothing in them is open."""
    return Resize(settings.size, settings.factor)


def fit_size(height: int, width: int, longer_side: int) -> tuple[int, int]:
    """The size whose longer side is exactly `longer_side` with the aspect kept.

    Smaller pictures are enlarged: a network sees every picture at the scale it was trained at. The
    shorter side is rounded, and at least 1.

    >>> fit_size(1280, 1918, 384)
    (256, 384)
    """
    longest = max(height, width)
    # In whole numbers, which exported graphs can do as well.
    shorter_side = max(1, (2 * min(height, width) * longer_side + longest) // (2 * longest))
    return (longer_side, shorter_side) if height >= width else (shorter_side, longer_side)


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize with a triangle filter, antialiased when shrinking.

    It is Pillow's BILINEAR: the filter that exported graphs can reproduce (antialiased linear
    interpolation), so that training and every export see the same pixels.

    Args:
        image: ``(H, W, C)`` of any number of channels, or ``(H, W)``.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        The image at the new size; the array itself where the size is right already.
    """
    if image.shape[:2] == (height, width):
        return image
    return resize_part(image, (0, len(image)), height, width)


def resize_part(rows: NDArray[Any], extent: tuple[float, float], height: int, width: int) -> NDArray[Any]:
    """Resize some rows of a picture or of logits, with the filter and the phase of the whole.

    Args:
        rows: ``(n, W, C)`` or ``(n, W)``, uint8 or float32, with what the filter reaches beyond the extent, where that
            is there.
        extent: From where to where in these rows the result lies.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
    """
    if rows.ndim == 2 or (rows.shape[2] == 3 and rows.dtype == np.uint8):
        # One direction after the other: left to itself, Pillow takes tall pictures the other way round, and rounds
        # between the two.
        lines = Image.fromarray(rows).resize((width, len(rows)), Image.Resampling.BILINEAR)
        return np.array(lines.resize((width, height), Image.Resampling.BILINEAR, box=(0, extent[0], width, extent[1])))
    # One by one: Pillow knows no pictures of 5 channels, and would mix 4 by the last of them, as if it were alpha.
    planes = [
        resize_part(np.ascontiguousarray(rows[..., channel]), extent, height, width) for channel in range(rows.shape[2])
    ]
    return np.stack(planes, axis=-1)


def resize_plane(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize one channel of logits or probabilities, ``(H, W)``, with the same filter."""
    if plane.shape == (height, width):
        return plane
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))


def resize_classes(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize class indices, ``(H, W)``; each new pixel takes its nearest old one, unmixed."""
    if mask.shape == (height, width):
        return mask
    return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def resize_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Average a mask over the area of each new pixel.

    The share is kept instead of a decision per pixel, because thin parts survive it. Where the mask
    is enlarged, each new pixel takes its nearest old one.

    Args:
        mask: ``(H, W)`` of 0 and 1.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        Foreground share, ``(height, width)``, 0 for none and 255 for all.
    """
    share = mask.astype(np.uint8) * np.uint8(255)
    if share.shape == (height, width):
        return share
    return np.array(Image.fromarray(share).resize((width, height), Image.Resampling.BOX))
