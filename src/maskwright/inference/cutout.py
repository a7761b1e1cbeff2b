"""A picture without its background: transparent around what was found, or laid over something else.

Along an edge each pixel is a mixture of foreground and background. Laid over something new as it is, it brings some of
the old background along, which shows as a fringe; so what the foreground alone looks like there is estimated first.
"""

import math

import numpy as np
from numpy.typing import NDArray

from maskwright.data.image_files import resize_image
from maskwright.data.pairs import Colour
from maskwright.inference.outputs import outline

# Pixels over which an edge goes from transparent to opaque; measured by benchmarks/cutout.py.
EDGE = 2.0
# Windows in which colours are averaged, one pass after the other: so many pixels to each side, so many apart.
_WINDOWS = ((2, 3), (2, 1), (1, 1))
_REACH = sum(side * apart for side, apart in _WINDOWS)
# Rows at a time: some twenty numbers are kept for each pixel of them.
_ROWS = 256

Background = Colour | NDArray[np.uint8]
"""What comes behind: one colour, or a picture ``(H, W, 3)`` of any size."""


def cut_out(image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture ``(H, W, 3)`` with transparency ``(H, W)``, as ``(H, W, 4)``; where nothing shows, it is black."""
    colours = foreground_colours(image, alpha)
    colours[alpha == 0] = 0  # nobody sees it, and files of one colour are small
    return np.dstack([colours, alpha])


def replace_background(image: NDArray[np.uint8], alpha: NDArray[np.uint8], background: Background) -> NDArray[np.uint8]:
    """The foreground of the picture ``(H, W, 3)`` over a new background, which covers it without being stretched."""
    behind = _cover(background, *alpha.shape)
    share = alpha[..., np.newaxis].astype(np.uint16)
    mixed = (foreground_colours(image, alpha) * share + behind * (255 - share) + 127) // 255
    return mixed.astype(np.uint8)


def soft_alpha(inside: NDArray[np.bool_], lead: NDArray[np.float32]) -> NDArray[np.uint8]:
    """How opaque each pixel is: a mask whose edges are soft for two pixels.

    Where between two pixels the edge runs is taken from how the logits change from one to the other. Their own
    softness is not taken: it says how sure the network is and not how sharp the edge, and would make whatever it
    doubts, a window say, half transparent.

    Args:
        inside: The mask, ``(H, W)``.
        lead: Logit of the foreground over that of the background, ``(H, W)``: positive inside the mask, but where it
            was cleaned up.

    Returns:
        ``(H, W)``, 0 for transparent and 255 for opaque.
    """
    alpha = inside.astype(np.uint8) * np.uint8(255)
    rows, columns = np.nonzero(_near_edge(inside))
    height, width = inside.shape
    above, below = np.maximum(rows - 1, 0), np.minimum(rows + 1, height - 1)
    before, after = np.maximum(columns - 1, 0), np.minimum(columns + 1, width - 1)
    down = (lead[below, columns] - lead[above, columns]) / np.maximum(below - above, 1)
    right = (lead[rows, after] - lead[rows, before]) / np.maximum(after - before, 1)
    steepness = np.maximum(np.hypot(down, right), 1e-3)
    shares = np.clip(0.5 + lead[rows, columns] / (steepness * EDGE), 0, 1)
    alpha[rows, columns] = np.rint(shares * 255)
    return alpha


def foreground_colours(image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the foreground looks like, without the background that is mixed in along its edges.

    A soft pixel's foreground and background are first taken to be the averages of those around it, and then moved, both
    as little as possible, until their mixture is the pixel; from large windows to small ones. Opaque and transparent
    pixels stay what they are.

    Source: Forte, "Approximate Fast Foreground Colour Estimation" (2021), which the passes over smaller and smaller
    windows are from. There, only the foreground is moved, and not all the way; here, both are, by least squares, which
    halves the error (docs/decisions/0024).

    Args:
        image: ``(H, W, 3)``.
        alpha: Share of the foreground in each pixel, ``(H, W)``, 0 to 255.

    Returns:
        ``(H, W, 3)``, a new array.
    """
    colours = image.copy()
    is_soft = (alpha > 0) & (alpha < 255)
    for top in range(0, len(image), _ROWS):
        bottom = min(top + _ROWS, len(image))
        if not is_soft[top:bottom].any():
            continue
        start = max(top - _REACH, 0)
        seen = slice(start, bottom + _REACH)
        estimated = _estimate(image[seen], alpha[seen], is_soft[seen])[top - start : bottom - start]
        soft = is_soft[top:bottom]
        colours[top:bottom][soft] = estimated[soft]
    return colours


def _estimate(image: NDArray[np.uint8], alpha: NDArray[np.uint8], is_soft: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`foreground_colours` of a strip; right in those rows that are further from its edges than the windows reach."""
    frame = ((_REACH, _REACH), (_REACH, _REACH), (0, 0))
    share = alpha[..., np.newaxis] / np.float32(255)
    # Colours times shares, and the shares: their sums over a window give averages. The frame counts for nothing.
    front, back = (
        np.pad(np.concatenate([image * part, part], axis=2), frame).reshape(-1, 4) for part in (share, 1 - share)
    )
    here = np.flatnonzero(np.pad(is_soft, _REACH))
    mixture, part = image[is_soft].astype(np.float32), share[is_soft]  # (N, 3), (N, 1)
    weight = part**2 + (1 - part) ** 2
    foreground = mixture
    for side, apart in _WINDOWS:
        steps = np.arange(-side, side + 1) * apart
        offsets = (steps[:, np.newaxis] * (alpha.shape[1] + 2 * _REACH) + steps).ravel()
        means = [_means(sums, here, offsets) for sums in (front, back)]
        missing = (mixture - part * means[0] - (1 - part) * means[1]) / weight
        foreground = (means[0] + part * missing).clip(0, 255)
        front[here, :3] = part * foreground
        back[here, :3] = (1 - part) * (means[1] + (1 - part) * missing).clip(0, 255)
    estimated = np.zeros_like(image)
    estimated[is_soft] = np.rint(foreground)
    return estimated


def _means(sums: NDArray[np.float32], here: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weighted averages ``(N, 3)`` over a window around each of some places."""
    total = np.zeros((len(here), 4), np.float32)
    for offset in offsets:
        total += sums[here + offset]
    return np.asarray(total[:, :3] / np.maximum(total[:, 3:], 1e-6), np.float32)


def _near_edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    width = math.ceil(EDGE / 2)
    return outline(inside, width) | outline(~inside, width)


def _cover(background: Background, height: int, width: int) -> NDArray[np.uint8]:
    """A background of this size: the middle of a picture, as large as fits."""
    if isinstance(background, tuple):
        return np.broadcast_to(np.array(background, np.uint8), (height, width, 3))
    found = background.shape[:2]
    scale = max(height / found[0], width / found[1])
    high, wide = max(height, round(found[0] * scale)), max(width, round(found[1] * scale))
    top, left = (high - height) // 2, (wide - width) // 2
    return resize_image(background, high, wide)[top : top + height, left : left + width]
