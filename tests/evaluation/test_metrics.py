import math

import numpy as np
import pytest

from maskwright.evaluation.metrics import (
    Interval,
    bootstrap_interval,
    confusion_counts,
    dice_per_class,
    iou_per_class,
    precision_per_class,
    recall_per_class,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 5])
def test_counts_equal_a_plain_loop(classes: int) -> None:
    truth, called = RNG.integers(0, classes, (2, 9, 11), dtype=np.uint8)
    expected = np.zeros((classes, classes), np.int64)
    for t, p in zip(truth.ravel(), called.ravel(), strict=True):
        expected[t, p] += 1
    assert np.array_equal(confusion_counts(truth, called, classes), expected)


@pytest.mark.parametrize("classes", [2, 5])
def test_scores_equal_sets_of_pixels(classes: int) -> None:
    truth, called = RNG.integers(0, classes, (2, 9, 11), dtype=np.uint8)
    counts = confusion_counts(truth, called, classes)
    for k in range(classes):
        a, b = (set(np.flatnonzero(mask == k)) for mask in (truth, called))
        assert dice_per_class(counts)[k] == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
        assert iou_per_class(counts)[k] == pytest.approx(len(a & b) / len(a | b))
        assert precision_per_class(counts)[k] == pytest.approx(len(a & b) / len(b))
        assert recall_per_class(counts)[k] == pytest.approx(len(a & b) / len(a))


def test_many_classes_of_8_bit_masks_are_told_apart() -> None:
    truth = np.array([[254, 254, 3]], np.uint8)
    counts = confusion_counts(truth, np.array([[254, 3, 3]], np.uint8), 255)
    assert (counts[254, 254], counts[254, 3], counts[3, 3], counts.sum()) == (1, 1, 1, 3)


def test_a_perfect_mask_scores_one() -> None:
    truth = RNG.integers(0, 2, (9, 11), dtype=np.uint8)
    counts = confusion_counts(truth, truth, 2)
    assert dice_per_class(counts).tolist() == iou_per_class(counts).tolist() == [1, 1]


def test_an_absent_class_has_no_score() -> None:
    counts = confusion_counts(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), 2)
    assert dice_per_class(counts)[0] == 1
    assert math.isnan(dice_per_class(counts)[1])
    assert math.isnan(iou_per_class(counts)[1])


def test_an_absent_class_that_is_predicted_scores_zero() -> None:
    called = np.zeros((4, 4), np.uint8)
    called[0, 0] = 1
    counts = confusion_counts(np.zeros((4, 4), np.uint8), called, 2)
    assert dice_per_class(counts)[1] == iou_per_class(counts)[1] == 0


def test_precision_needs_a_prediction_and_recall_a_truth() -> None:
    missed = confusion_counts(np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8), 2)
    assert (math.isnan(precision_per_class(missed)[1]), recall_per_class(missed)[1]) == (True, 0)
    invented = confusion_counts(np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8), 2)
    assert (precision_per_class(invented)[1], math.isnan(recall_per_class(invented)[1])) == (0, True)


# --- The interval


def test_the_mean_is_over_pictures() -> None:
    assert bootstrap_interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).mean == pytest.approx(0.75)


def test_whole_groups_are_drawn_and_not_pictures() -> None:
    # Half of the draws of two groups take one of them twice: the interval spans both.
    interval = bootstrap_interval([0.9] * 50 + [0.5] * 50, ["a"] * 50 + ["b"] * 50)
    assert (interval.low, interval.high) == pytest.approx((0.5, 0.9))


def test_pictures_that_each_stand_alone_give_the_usual_interval() -> None:
    scores = np.random.default_rng(1).normal(0.8, 0.1, 400).tolist()
    interval = bootstrap_interval(scores, [str(index) for index in range(400)])
    half = 1.96 * np.std(scores) / 20
    assert (interval.low, interval.high) == pytest.approx((interval.mean - half, interval.mean + half), abs=0.001)


def test_the_interval_lies_around_the_mean_where_groups_differ_in_size() -> None:
    groups = [f"large{index % 20}" for index in range(180)] + [f"small{index}" for index in range(20)]
    interval = bootstrap_interval([1.0] * 180 + [0.0] * 20, groups)
    assert interval.mean == pytest.approx(0.9)
    assert 0.8 < interval.low < 0.9 < interval.high < 1


def test_the_interval_is_the_same_every_time() -> None:
    scores, groups = RNG.random(30).tolist(), [str(index // 3) for index in range(30)]
    assert bootstrap_interval(scores, groups) == bootstrap_interval(scores, groups)


def test_the_order_of_the_pictures_changes_nothing() -> None:
    scores, groups = [0.1, 0.5, 0.9, 0.7], ["a", "b", "b", "c"]
    forth, back = bootstrap_interval(scores, groups), bootstrap_interval(scores[::-1], groups[::-1])
    assert (forth.mean, forth.low, forth.high) == pytest.approx((back.mean, back.low, back.high))


def test_pictures_without_a_score_are_left_out() -> None:
    nan = float("nan")
    with_nan = bootstrap_interval([0.5, nan, 0.7, nan], ["a", "a", "b", "c"])
    assert with_nan == bootstrap_interval([0.5, 0.7], ["a", "b"])


def test_one_group_has_a_mean_and_no_interval() -> None:
    interval = bootstrap_interval([0.5, 0.7], ["a", "a"])
    assert interval.mean == pytest.approx(0.6)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@pytest.mark.parametrize("scores", [[], [float("nan")]])
def test_without_scores_there_is_no_mean(scores: list[float]) -> None:
    assert math.isnan(bootstrap_interval(scores, ["a"] * len(scores)).mean)


def test_a_range_is_said_with_the_reason_where_there_is_none() -> None:
    nan = float("nan")
    intervals = Interval(0.5, 0.25, 0.75), Interval(0.5, nan, nan), Interval(nan, nan, nan)
    said = [interval.range_in_words() for interval in intervals]
    assert said == ["0.2500 to 0.7500", "none: a single group", "none"]
