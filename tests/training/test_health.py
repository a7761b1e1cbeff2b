"""The detectors, fed with figures: each fires on its own disease, says it once, and keeps quiet on a healthy run."""

import dataclasses
import math
import re

import pytest

from maskwright.training.health import (
    Circumstances,
    Finding,
    Health,
    find_chance,
    find_collapse,
    find_constant_loss,
    find_high_rate,
    find_low_rate,
    find_new,
    find_speed,
    given_up,
    is_diverging,
    recovered,
    restored,
)

CASE = Circumstances(("ce", "dice"), 1e-3, 0.05, ("background", "car"), chance_dice=0.6, workers=0, cores=4)


def after(losses: list[float], *, until: float = 1.0, ratio: float | None = 1e-3) -> Health:
    """The health of a run whose batches had these losses, spread evenly over its first part."""
    health = Health()
    for batch, loss in enumerate(losses):
        health.note_batch(loss, until * batch / len(losses))
    if ratio is not None:
        health.note_update(ratio)
    return health


def falling(batches: int = 200) -> list[float]:
    return [1.2 * 0.98**batch + 0.05 for batch in range(batches)]


# --- A healthy run


@pytest.mark.parametrize("ratio", [2e-2, 1e-3, 1e-5])
def test_a_loss_that_falls_is_no_finding_whatever_the_weights_do(ratio: float) -> None:
    health = Health()
    health.note_update(ratio)
    for batch, loss in enumerate(falling()):
        health.note_batch(loss * (1.2 if batch % 2 else 0.8), batch / 200)  # batches differ
        assert not is_diverging(health, CASE)
        assert find_new(health, CASE, best_dice=0.9) == []


def test_a_loss_that_has_arrived_may_stay_where_it_is() -> None:
    assert find_new(after([1.0] + [0.1] * 200), CASE, best_dice=0.9) == []


def test_a_run_of_few_batches_says_nothing() -> None:
    health = after([0.7] * 10, ratio=0.5)
    health.validations = 5
    assert find_new(health, CASE, best_dice=0.0) == []


# --- Divergence


def test_a_loss_far_above_its_minimum_and_its_start_diverges() -> None:
    assert is_diverging(after([1.2] + [0.3] * 50 + [50.0] * 5), CASE)


@pytest.mark.parametrize(("terms", "last", "expected"), [(1, 0.99, True), (1, 0.9, False), (2, 1.98, True)])
def test_losses_that_end_at_one_diverge_when_all_is_lost(terms: int, last: float, expected: bool) -> None:
    case = dataclasses.replace(CASE, loss_terms=("dice", "iou")[:terms])
    assert is_diverging(after([0.9 * terms] + [0.2 * terms] * 50 + [last] * 80), case) is expected


def test_one_odd_batch_is_no_divergence() -> None:
    assert not is_diverging(after([1.2] + [0.3] * 50 + [8.0]), CASE)


def test_a_loss_no_worse_than_untrained_does_not_diverge() -> None:
    assert not is_diverging(after([1.2] + [0.05] * 50 + [1.3] * 50), CASE)


def test_a_trained_network_may_get_worse_for_a_while() -> None:
    assert not is_diverging(after([0.02] * 50 + [0.5] * 50), CASE)


def test_a_loss_that_explodes_in_the_first_steps_diverges() -> None:
    assert is_diverging(after([1.2, 1e4, 1e6, 1e5, 1e6]), CASE)


def test_after_going_back_the_loss_is_judged_anew() -> None:
    health = after([1.2] + [0.3] * 50 + [50.0] * 5)
    health.forget_trend()
    for _ in range(20):
        health.note_batch(0.3, 0.5)
        assert not is_diverging(health, CASE)


def test_going_back_is_told_with_the_new_rate() -> None:
    said = recovered(after([1.2] + [0.3] * 50 + [50.0] * 5), epoch=3, step=41, peak=5e-4).sentence
    assert "rose to 20.7 from 0.3" in said
    assert "epoch 3, step 41" in said
    assert "--learning-rate 0.0005" in said


def test_numbers_that_are_none_are_told_as_such() -> None:
    assert "no longer numbers" in recovered(after([1.2, 1.1]), epoch=1, step=2, peak=1e-3).sentence


@pytest.mark.parametrize(("recoveries", "words"), [(0, "before anything could be learnt"), (2, "after 2 times half")])
def test_giving_up_says_what_was_tried(recoveries: int, words: str) -> None:
    said = given_up(Health(recoveries=recoveries), epoch=1, step=0, has_model=recoveries > 0).sentence
    assert words in said
    assert "--learning-rate" in said
    assert ("best weights before that are kept" in said) is (recoveries > 0)


# --- Collapse


def collapsed(predicted: list[float], true: list[float], *, times: int = 3, ratio: float = 1e-3) -> Health:
    health = after(falling(120), until=0.3, ratio=ratio)
    for _ in range(times):
        health.note_validation(0.5, predicted, true)
    return health


def test_predictions_of_nothing_but_background_collapse() -> None:
    found = find_collapse(collapsed([1000, 0], [700, 300]), CASE)
    assert found is not None
    assert "The last 3 validations predicted background nearly everywhere, where 30 % of the pixels" in found.sentence


def test_predictions_of_nothing_but_foreground_collapse() -> None:
    found = find_collapse(collapsed([1, 999], [700, 300]), CASE)
    assert found is not None
    assert "predicted car nearly everywhere, where 70 %" in found.sentence


def test_predictions_of_one_of_several_classes_collapse() -> None:
    case = dataclasses.replace(CASE, class_names=("soil", "crop", "weed"))
    found = find_collapse(collapsed([0, 1000, 0], [500, 300, 200]), case)
    assert found is not None
    assert "predicted crop nearly everywhere" in found.sentence


@pytest.mark.parametrize(
    ("predicted", "true", "times"),
    [
        ([995, 5], [980, 20], 3),  # little is found, but something is
        ([1000, 0], [1000, 0], 3),  # there is nothing to find
        ([1000, 0], [700, 300], 2),  # too early to tell
    ],
)
def test_other_predictions_do_not(predicted: list[float], true: list[float], times: int) -> None:
    assert find_collapse(collapsed(predicted, true, times=times), CASE) is None


def test_a_collapse_that_ends_is_forgotten() -> None:
    health = collapsed([1000, 0], [700, 300])
    health.note_validation(0.5, [800, 200], [700, 300])
    assert find_collapse(health, CASE) is None


@pytest.mark.parametrize(
    ("terms", "true", "ratio", "cause"),
    [
        (("ce",), [984, 16], 1e-3, "--loss ce+dice counts it in full"),
        (("ce", "dice"), [984, 16], 1e-3, "--find-rate"),
        (("ce",), [700, 300], 1e-3, "maskwright check"),
        (("ce", "dice"), [700, 300], 0.5, "--learning-rate 0.001 is too high; try 0.0001"),
        (("ce", "dice"), [700, 300], 1e-6, "--learning-rate 0.001 is too low; --find-rate searches one"),
    ],
)
def test_a_collapse_names_its_likely_cause(terms: tuple[str, ...], true: list[float], ratio: float, cause: str) -> None:
    case = dataclasses.replace(CASE, loss_terms=terms)
    found = find_collapse(collapsed([1000, 0], true, ratio=ratio), case)
    assert found is not None
    assert cause in found.sentence


@pytest.mark.parametrize(("progress", "is_said"), [(0.7, False), (0.9, True)])
def test_a_run_of_few_batches_is_given_time_and_then_told_to_take_more(progress: float, is_said: bool) -> None:
    health = after(falling(30), until=progress)
    health.progress = progress
    for _ in range(3):
        health.note_validation(0.5, [1000, 0], [700, 300])
    for found in (find_collapse(health, CASE), find_chance(health, CASE, best_dice=0.1)):
        assert (found is not None) is is_said
        assert found is None or "after only 30 batches that may be normal" in found.sentence


# --- Learning rates


def test_weights_that_hardly_move_under_a_loss_that_hardly_falls_have_too_low_a_rate() -> None:
    case = dataclasses.replace(CASE, learning_rate=1e-6)
    found = find_low_rate(after([1.2, 1.19] * 30, until=0.3, ratio=2e-5), case)
    assert found is not None
    assert "--learning-rate 1e-06 is too low; try 5e-05" in found.sentence


@pytest.mark.parametrize(("ratio", "until"), [(1e-3, 0.3), (0.0, 0.3), (2e-5, 0.15)])
def test_no_rate_is_too_low_where_weights_move_or_are_frozen_or_it_is_early(ratio: float, until: float) -> None:
    assert find_low_rate(after([1.2, 1.19] * 30, until=until, ratio=ratio), CASE) is None


def test_a_model_that_goes_on_learning_may_start_where_its_loss_stays() -> None:
    tuned = dataclasses.replace(CASE, is_tuned=True)
    hardly, still = after([0.1] * 60, until=0.4, ratio=2e-5), after([0.1] * 100, until=0.4, ratio=1e-3)
    assert find_low_rate(hardly, CASE) is not None
    assert find_constant_loss(still, CASE) is not None
    assert find_low_rate(hardly, tuned) is None
    assert find_constant_loss(still, tuned) is None


@pytest.mark.parametrize(("classes", "expected"), [(2, False), (3, True)])
def test_lovasz_is_bounded_for_several_classes(classes: int, expected: bool) -> None:
    names = tuple(str(number) for number in range(classes))
    case = dataclasses.replace(CASE, loss_terms=("lovasz",), class_names=names)
    assert is_diverging(after([0.9] + [0.2] * 50 + [0.99] * 80), case) is expected


def test_weights_that_leap_under_a_loss_back_at_its_start_have_too_high_a_rate() -> None:
    found = find_high_rate(after([1.2, 0.5, 0.6] + [1.3] * 60, until=0.3, ratio=0.4), CASE)
    assert found is not None
    assert "40 % of their size" in found.sentence
    assert "--learning-rate 0.001 is too high; try 0.0001" in found.sentence


def test_a_loss_that_swings_while_weights_leap_has_too_high_a_rate() -> None:
    losses = [1.2] + [level for _ in range(6) for level in [0.9] * 10 + [0.3] * 10]
    found = find_high_rate(after(losses, until=0.6, ratio=0.4), CASE)
    assert found is not None
    assert "The loss swings (" in found.sentence


@pytest.mark.parametrize(("losses", "ratio"), [(falling(), 0.4), ([1.2] + [1.3] * 60, 2e-2)])
def test_no_rate_is_too_high_where_the_loss_falls_or_weights_move_as_usual(losses: list[float], ratio: float) -> None:
    assert find_high_rate(after(losses, until=0.3, ratio=ratio), CASE) is None


# --- A constant loss


@pytest.mark.parametrize(("ratio", "cause"), [(0.0, "the network is frozen"), (1e-3, "maskwright check")])
def test_a_loss_that_never_changes_is_told_with_its_likely_cause(ratio: float, cause: str) -> None:
    found = find_constant_loss(after([0.693, 0.694] * 50, until=0.4, ratio=ratio), CASE)
    assert found is not None
    assert cause in found.sentence


def test_a_loss_that_still_falls_is_not_constant() -> None:
    assert find_constant_loss(after([1.2 - 0.002 * batch for batch in range(100)], until=0.4), CASE) is None


# --- Chance


def validated(times: int = 3, *, progress: float = 0.5) -> Health:
    health = after(falling(120), until=progress + 0.01)
    health.progress = progress
    for _ in range(times):
        health.note_validation(0.5, [700, 300], [700, 300])
    return health


def test_a_score_that_the_average_mask_reaches_is_no_better_than_chance() -> None:
    found = find_chance(validated(), CASE, best_dice=0.61)
    assert found is not None
    assert "0.610" in found.sentence
    assert "(0.600)" in found.sentence


@pytest.mark.parametrize(
    ("times", "progress", "dice", "chance"),
    [(3, 0.5, 0.7, 0.6), (2, 0.5, 0.1, 0.6), (3, 0.3, 0.1, 0.6), (3, 0.5, 0.1, math.nan)],
)
def test_chance_is_not_called_too_early_or_unknown(times: int, progress: float, dice: float, chance: float) -> None:
    case = dataclasses.replace(CASE, chance_dice=chance)
    assert find_chance(validated(times, progress=progress), case, best_dice=dice) is None


# --- Speed


def timed(waiting: float, computing: float, *, batches: int = 40) -> Health:
    health = Health()
    for _ in range(batches):
        health.note_times(waiting, computing)
    return health


def test_a_run_that_waits_for_pictures_is_told_with_figures() -> None:
    found = find_speed(timed(0.2, 0.1), CASE)
    assert found is not None
    assert found.is_warning
    assert "0.300 s: 0.200 s waiting for pictures, 0.100 s computing" in found.sentence


@pytest.mark.parametrize(
    ("workers", "cores", "uncached", "advice"),
    [
        (0, 4, 0, r"--workers 2 \(now 0\)"),
        (1, 4, 0, "--workers 2"),
        (0, 2, 0, "--workers 1"),
        (3, 4, 0, "no core is free .* --size"),
        (0, 4, 7, "7 pictures .* --cache-gb"),
    ],
)
def test_what_would_help_depends_on_what_there_is(workers: int, cores: int, uncached: int, advice: str) -> None:
    case = dataclasses.replace(CASE, workers=workers, cores=cores, uncached=uncached)
    found = find_speed(timed(0.2, 0.1), case)
    assert found is not None
    assert re.search(advice, found.sentence)


def test_a_run_that_computes_is_told_as_a_note() -> None:
    found = find_speed(timed(0.01, 0.6), CASE)
    assert found is not None
    assert (found.name, found.is_warning) == ("computes", False)
    assert "0.010 s waiting" in found.sentence


@pytest.mark.parametrize(("waiting", "batches"), [(3.0, 10), (0.1, 30)])
def test_speed_is_not_judged_too_early(waiting: float, batches: int) -> None:
    assert find_speed(timed(waiting, 0.0, batches=batches), CASE) is None


# --- What is said


def test_a_finding_is_said_once() -> None:
    health = collapsed([1000, 0], [700, 300])
    (found,) = find_new(health, CASE, best_dice=0.5)
    health.note_finding(found, epoch=3, step=9)
    assert find_new(health, CASE, best_dice=0.5) == []
    assert health.to_json()["findings"] == [
        {"name": "collapsed", "sentence": found.sentence, "epoch": 3, "step": 9},
    ]


def test_one_disease_has_one_sentence() -> None:
    health = collapsed([1000, 0], [700, 300])
    health.note_finding(find_new(health, CASE, best_dice=0.0)[0], epoch=1, step=1)
    for _ in range(100):
        health.note_batch(1.25, 0.9)
    assert find_chance(health, CASE, best_dice=0.0) is not None
    assert find_new(health, CASE, best_dice=0.0) == []


def test_a_run_that_diverged_and_went_on_can_still_be_stuck() -> None:
    health = collapsed([1000, 0], [700, 300])
    health.note_finding(Finding("diverged", "It was cured."), epoch=1, step=1)
    assert [finding.name for finding in find_new(health, CASE, best_dice=0.0)] == ["collapsed"]


def test_figures_go_to_a_state_and_back() -> None:
    health = collapsed([1000, 0], [700, 300])
    assert restored(dataclasses.asdict(health)) == health
    assert restored({"batches": 3, "of_a_later_version": 1}) == Health(batches=3)


def test_weights_of_a_validation_far_worse_than_the_best_are_not_worth_keeping() -> None:
    health = Health()
    assert [health.note_validation(loss, [1, 1], [1, 1]) for loss in (0.5, 0.6, math.nan, 1.1)] == [
        True,
        True,
        False,
        False,
    ]
