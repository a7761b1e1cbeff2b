import numpy as np
import pytest
from outlines import NEAR, dice_and_error, near_outlines


def test_errors_are_told_apart_by_how_far_from_an_outline_they_lie() -> None:
    truth = np.zeros((80, 80), bool)
    truth[:, :40] = True
    near = near_outlines(truth)
    assert near[0].nonzero()[0].tolist() == list(range(40 - NEAR, 40 + NEAR))
    found = truth.copy()
    found[:, 40] = True  # along the outline
    found[:2, 60:] = True  # far off
    parts = dice_and_error(found, truth, near)
    area = found.sum() + truth.sum()
    assert parts == {
        "dice": pytest.approx(2 * (found & truth).sum() / area),
        "error_near_outlines": pytest.approx(80 / area),
        "error_elsewhere": pytest.approx(40 / area),
    }
