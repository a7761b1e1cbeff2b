import math

import numpy as np
import pytest

from maskwright.data.labels import IGNORED
from maskwright.evaluation.certainty import (
    BINS,
    calibrate,
    count_logits,
    count_probabilities,
    dice_at_thresholds,
    sweep_thresholds,
)

RNG = np.random.default_rng(0)


def test_a_table_equals_a_plain_loop() -> None:
    probabilities, truth = RNG.random((1, 9, 11), dtype=np.float32), RNG.integers(0, 2, (9, 11), dtype=np.uint8)
    truth[0] = IGNORED
    expected = np.zeros((3, BINS))
    for probability, is_foreground in zip(probabilities[0].ravel(), truth.ravel(), strict=True):
        if is_foreground != IGNORED:
            expected[:, min(int(probability * BINS), BINS - 1)] += np.array([1, probability, is_foreground])
    assert count_probabilities(probabilities, truth) == pytest.approx(expected)


def test_of_several_classes_the_most_probable_one_counts() -> None:
    probabilities = np.array([[[0.7, 0.1]], [[0.2, 0.32]], [[0.1, 0.58]]], np.float32)
    table = count_probabilities(probabilities, np.array([[0, 1]], np.uint8))
    assert [np.flatnonzero(row).tolist() for row in table] == [[11, 14], [11, 14], [14]]


def test_logits_are_made_probabilities() -> None:
    table = count_logits(np.array([[[0.0, 100.0, -100.0]]], np.float32), np.array([[1, 1, 0]], np.uint8))
    assert np.flatnonzero(table[0]).tolist() == [0, BINS // 2, BINS - 1]


def test_probabilities_that_keep_what_they_promise_have_no_calibration_error() -> None:
    probabilities = RNG.random((1, 400, 500), dtype=np.float32)
    truth = (RNG.random((400, 500)) < probabilities[0]).astype(np.uint8)
    found = calibrate([count_probabilities(probabilities, truth)])
    assert found is not None
    assert found.error < 0.01
    assert [abs(one.frequency - one.probability) < 0.02 for one in found.bins] == [True] * BINS
    assert sum(one.share for one in found.bins) == pytest.approx(1)


def test_probabilities_that_are_too_sure_have_one() -> None:
    truth = (RNG.random((400, 500)) < 0.7).astype(np.uint8)
    found = calibrate([count_probabilities(np.full((1, 400, 500), 0.97, np.float32), truth)])
    assert found is not None
    assert found.error == pytest.approx(0.27, abs=0.01)
    assert len(found.bins) == 1


def test_each_picture_weighs_the_same_in_a_calibration() -> None:
    right = count_probabilities(np.full((1, 100, 100), 0.99, np.float32), np.ones((100, 100), np.uint8))
    wrong = count_probabilities(np.full((1, 2, 2), 0.99, np.float32), np.zeros((2, 2), np.uint8))
    nothing = count_probabilities(np.full((1, 2, 2), 0.99, np.float32), np.full((2, 2), IGNORED, np.uint8))
    found = calibrate([right, wrong, nothing])
    assert found is not None
    assert found.bins[0].frequency == pytest.approx(0.5)
    assert calibrate([nothing]) is None
    assert calibrate([]) is None


def test_dice_at_thresholds_equals_that_of_masks() -> None:
    probabilities, truth = RNG.random((1, 30, 40), dtype=np.float32), RNG.integers(0, 2, (30, 40), dtype=np.uint8)
    found = dice_at_thresholds(count_probabilities(probabilities, truth))
    for step in range(1, BINS):
        called = probabilities[0] >= np.float32(step / BINS)
        expected = 2 * (called & (truth == 1)).sum() / (called.sum() + truth.sum())
        assert found[step - 1] == pytest.approx(expected, abs=0.002)


def test_an_empty_picture_has_no_dice_where_nothing_is_called() -> None:
    dice = dice_at_thresholds(count_probabilities(np.full((1, 3, 3), 0.42, np.float32), np.zeros((3, 3), np.uint8)))
    assert dice[:8].tolist() == [0] * 8
    assert np.isnan(dice[8:]).all()


def test_without_validation_pictures_no_threshold_is_chosen() -> None:
    table = count_probabilities(RNG.random((1, 30, 40), dtype=np.float32), np.ones((30, 40), np.uint8))
    sweep = sweep_thresholds([table, table], [False, False])
    assert sweep.best is None
    assert all(map(math.isnan, sweep.on_validation))
    assert sweep.at(0.05)[1] > sweep.at(0.95)[1]
    assert sweep_thresholds([table, table], [True, False]).best == 0.05
    assert sweep_thresholds([], []).best is None


def test_of_several_best_thresholds_the_one_in_the_middle_is_chosen() -> None:
    truth = RNG.integers(0, 2, (9, 11), dtype=np.uint8)
    sure = count_probabilities(truth[np.newaxis].astype(np.float32), truth)
    sweep = sweep_thresholds([sure], [True])
    assert sweep.on_validation == (1.0,) * (BINS - 1)
    assert sweep.best == 0.5


def test_a_picture_that_has_no_dice_at_a_threshold_is_left_out_there() -> None:
    right = count_probabilities(np.ones((1, 3, 3), np.float32), np.ones((3, 3), np.uint8))
    empty = count_probabilities(np.full((1, 3, 3), 0.42, np.float32), np.zeros((3, 3), np.uint8))
    assert sweep_thresholds([right, empty], [False, False]).on_others == (0.5,) * 8 + (1.0,) * 11


def test_what_is_too_sure_does_not_make_up_for_what_is_not_sure_enough() -> None:
    too_sure = count_probabilities(np.full((1, 10, 10), 0.8, np.float32), np.eye(10, dtype=np.uint8))
    too_shy = count_probabilities(np.full((1, 10, 10), 0.2, np.float32), 1 - np.eye(10, dtype=np.uint8))
    found = calibrate([too_sure, too_shy])
    assert found is not None
    assert found.error == pytest.approx(0.7)
