"""The error of a mask in two parts: near a true outline, and elsewhere.

Parts of 1 - Dice, within a fixed number of pixels, so that rows of one set compare. Those of a report are parts of
1 - IoU, within a distance that grows with the picture (`maskwright.evaluation.outlines`).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

# Pixels to each side of a true outline.
NEAR = 10

Mask = NDArray[np.bool_]


def near_outlines(truth: Mask) -> Mask:
    """Where an outline is at most `NEAR` pixels away, by rows and columns."""
    plane = torch.from_numpy(truth.astype(np.float32))[None, None]
    side = 2 * NEAR + 1
    grown, shrunk = (F.max_pool2d(sign * plane, side, 1, NEAR) * sign for sign in (1, -1))
    found: Mask = (grown > shrunk)[0, 0].numpy()
    return found


def dice_and_error(found: Mask, truth: Mask, near: Mask) -> dict[str, float]:
    """Dice, and its error in two parts: near a true outline, and elsewhere. What does not count is in neither mask."""
    wrong, area = found != truth, found.sum() + truth.sum()
    return {
        "dice": 1 - float(wrong.sum() / area),
        "error_near_outlines": float((wrong & near).sum() / area),
        "error_elsewhere": float((wrong & ~near).sum() / area),
    }
