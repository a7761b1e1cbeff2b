"""Small pictures that were scored: what the pages show."""

import numpy as np
from numpy.typing import NDArray

from maskwright.data.labels import LabelMap
from maskwright.evaluation.certainty import BINS
from maskwright.evaluation.evaluate import Compared, score_mask
from maskwright.evaluation.metrics import confusion_counts

TWO = LabelMap()


def compared(truth: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap = TWO, name: str = "a") -> Compared:
    image = np.random.default_rng(0).integers(0, 256, (*truth.shape, 3)).astype(np.uint8)
    return Compared(
        image=image,
        truth=truth,
        mask=mask,
        row=score_mask(mask, truth, labels, name=name, group=name),
        confusion=confusion_counts(truth, mask, labels.num_classes),
        table=np.zeros((3, BINS)),
    )


def boxes(shift: int = 0, size: tuple[int, int] = (40, 60)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A box, and the same box so many pixels further to the right."""
    truth = np.zeros(size, np.uint8)
    truth[10:30, 10:30] = 1
    return truth, np.roll(truth, shift, axis=1)
