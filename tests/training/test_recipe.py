import dataclasses
from typing import Any

import pytest

from maskwright.config import Settings, read_preset
from maskwright.inference.tiling import WINDOW
from maskwright.training.recipe import (
    BATCH_SIZES,
    COARSE,
    CUT_FROM,
    DEFAULT_CROP,
    ENOUGH_BOUND,
    ENOUGH_EPOCHS,
    FINE,
    HELD,
    HELD_OF_CUT_OUTS,
    LADDER,
    LEAST_STEPS,
    NARROW,
    SHOWN,
    SMALLEST_BATCH,
    UNKNOWN,
    WITHOUT_CLOCK,
    Facts,
    Means,
    Recipe,
    Speed,
    candidate_sizes,
    choose_recipe,
    coarse_side,
    cut_larger,
    leaves_open,
    megapixels,
    pictures_seen,
    sample_megapixels,
    steps_bought,
)

OPEN = read_preset("quick")
# Cars: coarse outlines. Cracks: thin ones.
ROUND = dict.fromkeys(LADDER, 0.997)
THIN = {side: min(1.0, 0.90 + 0.09 * side / 512) for side in LADDER}
CARS = Facts(pictures=52, height=1280, width=1918, bounds=ROUND)
# The same that reach over half of a picture.
SMALL = dataclasses.replace(CARS, extent=0.5)
CRACKS = dataclasses.replace(CARS, bounds=THIN)


def with_means(facts: Facts, seconds: float, *, speed: Speed | None = None) -> Facts:
    return dataclasses.replace(facts, means=Means(seconds, speed or Speed(0.02, 0.5)))


def size_of(facts: Facts) -> int:
    """The longer side that is chosen."""
    size = choose_recipe(facts, OPEN).size
    assert size is not None
    return size


# --- By epochs


def test_by_epochs_the_size_is_the_smallest_that_keeps_enough_of_the_masks() -> None:
    thinner = dataclasses.replace(CARS, bounds={side: bound - 0.01 for side, bound in THIN.items()})
    size = size_of(thinner)
    assert size == 640
    assert thinner.bounds[size] >= ENOUGH_BOUND > thinner.bounds[512]


def test_by_epochs_masks_that_would_bear_it_are_not_made_tiny() -> None:
    assert size_of(CARS) == WITHOUT_CLOCK
    assert choose_recipe(dataclasses.replace(CARS, height=300, width=200), OPEN).size == 300


def test_a_size_is_never_above_that_of_the_pictures() -> None:
    small = dataclasses.replace(CRACKS, height=300, width=200)
    assert size_of(small) == 300
    assert size_of(with_means(small, 1e6)) == 300
    assert candidate_sizes(24, 20) == (32,)  # what the settings take at least


def test_a_bound_that_no_size_reaches_takes_the_largest() -> None:
    hair = dataclasses.replace(CARS, bounds=dict.fromkeys(LADDER, 0.7))
    recipe = choose_recipe(hair, OPEN)
    assert recipe.size == LADDER[-1]
    assert "0.700" in recipe.reasons[0]


@pytest.mark.parametrize(("pictures", "batch_size"), [(1, 2), (7, 2), (8, 4), (199, 4), (200, 8), (5000, 8)])
def test_few_pictures_make_small_batches(pictures: int, batch_size: int) -> None:
    assert choose_recipe(dataclasses.replace(CARS, pictures=pictures), OPEN).batch_size == batch_size


# --- By the clock


def test_more_minutes_never_choose_a_smaller_size_and_the_largest_comes_at_last() -> None:
    sizes = [size_of(with_means(CARS, seconds)) for seconds in (10, 30, 60, 240, 1000, 4000, 1e5)]
    assert sizes == sorted(sizes)
    assert sizes[0] == LADDER[0]
    assert sizes[-1] == LADDER[-1]


def test_a_larger_size_is_one_at_which_the_minutes_still_buy_enough_passes() -> None:
    facts = with_means(CARS, 240)
    size = size_of(facts)
    larger = LADDER[LADDER.index(size) + 1]
    assert size > 256
    assert pictures_seen(facts, OPEN, size, 4) >= ENOUGH_EPOCHS * 52 > pictures_seen(facts, OPEN, larger, 4)


def test_large_pictures_have_to_be_seen_three_times_as_often() -> None:
    facts = next(found for seconds in range(500, 20_000, 50) if size_of(found := with_means(CARS, seconds)) == 960)
    assert pictures_seen(facts, OPEN, 960, 4) >= 3 * ENOUGH_EPOCHS * 52
    assert size_of(dataclasses.replace(facts, pictures=2 * facts.pictures)) == 768


def test_many_pictures_are_seen_rather_than_enlarged() -> None:
    few, many = (size_of(with_means(dataclasses.replace(CARS, pictures=n), 240)) for n in (52, 300))
    assert many < few


def test_a_size_is_lowered_where_the_minutes_buy_too_few_steps_and_the_reason_says_what_it_costs() -> None:
    facts = with_means(CRACKS, 60, speed=Speed(0.0, 2.0))
    assert steps_bought(facts, OPEN, 512, SMALLEST_BATCH) < LEAST_STEPS
    recipe = choose_recipe(facts, OPEN)
    assert size_of(facts) < 512
    assert f"{THIN[512]:.3f}" in recipe.reasons[0]
    assert f"{THIN[size_of(facts)]:.3f}" in recipe.reasons[0]


def test_several_processes_share_pixels_out_and_not_what_each_step_costs() -> None:
    assert Speed(per_step=0.1, per_megapixel=2.0).shared_by(2) == Speed(per_step=0.1, per_megapixel=1.0)


def test_a_batch_is_made_smaller_before_the_pictures_are() -> None:
    facts = with_means(CRACKS, 100, speed=Speed(0.0, 0.9))
    assert steps_bought(facts, OPEN, 512, 8) < LEAST_STEPS <= steps_bought(facts, OPEN, 512, 4)
    recipe = choose_recipe(facts, OPEN)
    assert (recipe.size, recipe.batch_size) == (512, 4)


def test_time_to_spare_buys_a_wider_network() -> None:
    assert choose_recipe(with_means(CARS, 240), OPEN).base_channels == 16
    assert choose_recipe(with_means(CARS, 1e6), OPEN).base_channels == 32


def test_learning_at_half_size_first_buys_more_steps() -> None:
    facts = with_means(CARS, 100)
    plain = dataclasses.replace(OPEN, small_first=0.0)
    assert steps_bought(facts, plain, 512, 8) == pytest.approx(100 / (0.02 + 0.5 * 8 * megapixels(1280, 1918, 512)))
    assert steps_bought(facts, OPEN, 512, 8) > steps_bought(facts, plain, 512, 8)


# --- Cut-outs


def test_a_factor_takes_a_crop_and_leaves_the_size() -> None:
    recipe = choose_recipe(CARS, dataclasses.replace(OPEN, factor=0.5))
    assert (recipe.size, recipe.crop) == (None, DEFAULT_CROP)
    assert any(f"Crop {DEFAULT_CROP}" in reason for reason in recipe.reasons)
    settings = recipe.applied_to(dataclasses.replace(OPEN, factor=0.5))
    assert (settings.size, settings.factor, settings.crop) == (None, 0.5, DEFAULT_CROP)


def test_a_crop_that_was_given_is_kept() -> None:
    recipe = choose_recipe(CARS, dataclasses.replace(OPEN, factor=0.5, crop=256))
    assert recipe.crop == 256
    assert not any("Crop" in reason for reason in recipe.reasons)


def test_whole_pictures_are_not_cut() -> None:
    assert choose_recipe(CARS, OPEN).crop is None


def test_a_step_over_cut_outs_costs_their_pixels() -> None:
    cut = dataclasses.replace(OPEN, crop=256)
    assert sample_megapixels(CARS, OPEN, 1280) == megapixels(1280, 1918, 1280)
    assert sample_megapixels(CARS, cut, 1280) == sample_megapixels(CARS, cut, 640) == 256**2 / 1e6
    assert sample_megapixels(CARS, dataclasses.replace(cut, factor=0.1), None) == 128 * 192 / 1e6
    facts = with_means(CARS, 100)
    assert steps_bought(facts, cut, 1280, 4) > steps_bought(facts, OPEN, 1280, 4)


def test_as_many_cut_outs_as_cover_a_picture_count_as_one() -> None:
    facts, cut = with_means(CARS, 100, speed=Speed(0.0, 1.0)), dataclasses.replace(OPEN, crop=256)
    assert pictures_seen(facts, cut, 960, 4) == pytest.approx(pictures_seen(facts, OPEN, 960, 4))


@pytest.fixture
def five_minutes() -> Facts:
    """Cars for which minutes buy enough passes at 768 pixels and no more."""
    found = (with_means(SMALL, seconds) for seconds in range(100, 4000, 20))
    return next(facts for facts in found if size_of(facts) == 768)


def test_where_foregrounds_reach_beyond_a_cut_out_pictures_are_seen_whole(five_minutes: Facts) -> None:
    whole = choose_recipe(five_minutes, OPEN)
    for extent, is_cut in ((640 / 960, True), (640 / 960 / SHOWN + 0.01, False), (1.0, False)):
        facts = dataclasses.replace(five_minutes, extent=extent)
        assert (cut_larger(facts, OPEN, whole) is not None) is is_cut


def test_cut_outs_are_of_the_next_side_and_have_as_many_pixels_as_whole_pictures(five_minutes: Facts) -> None:
    whole = choose_recipe(five_minutes, OPEN)
    cut = cut_larger(five_minutes, OPEN, whole)
    assert cut == dataclasses.replace(whole, size=960, crop=640, held_levels=HELD_OF_CUT_OUTS)
    pixels = sample_megapixels(five_minutes, cut.applied_to(OPEN), 960)
    assert pixels == pytest.approx(megapixels(1280, 1918, 768), rel=0.06)


def test_cut_outs_of_flat_pictures_are_wider_than_high_and_have_as_many_pixels(five_minutes: Facts) -> None:
    flat = dataclasses.replace(five_minutes, height=640)
    whole = choose_recipe(flat, OPEN)
    cut = cut_larger(flat, OPEN, whole)
    assert cut is not None
    assert cut.size is not None
    assert whole.size is not None
    pixels = sample_megapixels(flat, cut.applied_to(OPEN), cut.size)
    assert pixels == pytest.approx(megapixels(640, 1918, whole.size), rel=0.06)


@pytest.mark.parametrize(
    "given", [{"crop": 512}, {"size": 768}, {"factor": 0.5}, {"encoder": "none"}, {"norm": "group"}]
)
def test_what_is_given_or_learns_from_nothing_or_looks_at_all_of_a_picture_is_not_cut(
    given: dict[str, Any], five_minutes: Facts
) -> None:
    for size in (512, 768):
        whole = dataclasses.replace(choose_recipe(five_minutes, OPEN), size=size)
        assert cut_larger(five_minutes, OPEN, whole) is not None
        assert cut_larger(five_minutes, dataclasses.replace(OPEN, **given), whole) is None


def test_levels_that_are_held_are_as_asked_for_else_more_where_pictures_are_cut(five_minutes: Facts) -> None:
    found = {}
    for asked in (None, 0, 1, 5):
        settings = dataclasses.replace(OPEN, held_levels=asked)
        whole = choose_recipe(five_minutes, settings)
        cut = cut_larger(five_minutes, settings, whole)
        assert cut is not None
        found[asked] = whole.applied_to(settings).held_levels, cut.applied_to(settings).held_levels
    assert found == {None: (HELD, HELD_OF_CUT_OUTS), 0: (0, 0), 1: (1, 1), 5: (5, 5)}
    assert HELD < HELD_OF_CUT_OUTS
    classic = dataclasses.replace(OPEN, encoder="none")
    assert choose_recipe(five_minutes, classic).held_levels == 0


def test_by_epochs_nothing_is_cut() -> None:
    assert cut_larger(CARS, OPEN, choose_recipe(CARS, OPEN)) is None


@pytest.mark.parametrize("longer", [600, 768, 800, 880])
def test_pictures_that_are_hardly_larger_are_seen_whole(longer: int, five_minutes: Facts) -> None:
    small = dataclasses.replace(five_minutes, height=longer * 2 // 3, width=longer)
    whole = dataclasses.replace(choose_recipe(five_minutes, OPEN), size=min(longer, 768))
    assert cut_larger(small, OPEN, whole) is None
    assert cut_larger(dataclasses.replace(small, height=600, width=900), OPEN, whole) is not None


def test_cut_outs_are_of_pictures_that_a_prediction_sees_at_once() -> None:
    sizes = set()
    for seconds in range(10, 20_000, 100):
        facts = with_means(SMALL, seconds)
        whole = choose_recipe(facts, OPEN)
        cut = cut_larger(facts, OPEN, whole)
        assert whole.size is not None
        sizes.add(whole.size)
        assert (cut is not None) is (CUT_FROM <= whole.size <= 768)
        if cut is not None:
            assert cut.size == LADDER[LADDER.index(whole.size) + 1] <= WINDOW
            assert cut.crop is not None
            assert cut.crop % 32 == 0
    assert min(sizes) < CUT_FROM < 768 < max(sizes)


# --- What was given


@pytest.mark.parametrize("means", [None, Means(1.0, Speed(1.0, 9.0)), Means(1e6, Speed(1e-3, 1e-3))])
def test_what_is_given_is_kept_and_needs_no_reason(means: Means | None) -> None:
    settings = Settings(size=333, batch_size=5, base_channels=24, unshuffle=1, held_levels=0)
    recipe = choose_recipe(dataclasses.replace(CARS, means=means), settings)
    assert recipe == Recipe(333, 5, 24, 1)
    assert recipe.applied_to(settings) == settings


def test_each_choice_has_a_sentence_of_its_own() -> None:
    recipe = choose_recipe(with_means(CARS, 240), OPEN)
    assert len(recipe.reasons) == 5
    assert recipe.reasons[-1].startswith(f"The encoder's {HELD} finest levels stay as they are")
    assert all(reason.endswith(".") and "\n" not in reason for reason in recipe.reasons)
    assert len(choose_recipe(CARS, dataclasses.replace(OPEN, size=400)).reasons) == 4
    without = choose_recipe(CARS, dataclasses.replace(OPEN, encoder="none"))
    assert not any("encoder" in reason for reason in without.reasons)


def test_a_recipe_leaves_nothing_open() -> None:
    assert leaves_open(OPEN)
    assert not leaves_open(choose_recipe(CARS, OPEN).applied_to(OPEN))


def test_a_single_setting_can_be_open() -> None:
    chosen = choose_recipe(CARS, OPEN).applied_to(OPEN)
    assert leaves_open(dataclasses.replace(chosen, size=None))
    assert leaves_open(dataclasses.replace(chosen, batch_size=None))
    assert leaves_open(dataclasses.replace(chosen, base_channels=None))
    assert leaves_open(dataclasses.replace(chosen, unshuffle=None))


def test_a_network_without_an_encoder_has_no_open_end() -> None:
    assert not leaves_open(Settings(size=64, batch_size=2, base_channels=8))


# --- Where the decoder ends


def test_a_decoder_ends_early_where_masks_keep_their_shape_at_half_the_size() -> None:
    assert choose_recipe(CARS, OPEN).unshuffle == COARSE
    assert choose_recipe(CRACKS, OPEN).unshuffle == FINE
    assert choose_recipe(CARS, Settings()).unshuffle == 1


def test_half_of_the_size_is_half_of_what_training_sees() -> None:
    bounds = {side: 0.97 if side < 256 else 0.997 for side in (128, 200, *LADDER)}
    facts = dataclasses.replace(CARS, bounds=bounds)
    assert choose_recipe(facts, OPEN).unshuffle == COARSE
    assert choose_recipe(facts, dataclasses.replace(OPEN, size=400)).unshuffle == FINE
    assert choose_recipe(dataclasses.replace(facts, height=256, width=256), OPEN).unshuffle == FINE
    assert coarse_side(1280, 1918, Settings(factor=0.5)) == 479


def test_the_clock_does_not_move_the_end_of_the_decoder() -> None:
    assert {choose_recipe(with_means(CARS, seconds), OPEN).unshuffle for seconds in (1, 60, 1e6)} == {COARSE}


def test_masks_without_foreground_promise_nothing_of_their_outlines() -> None:
    empty = dataclasses.replace(CRACKS, bounds={})
    for facts in (empty, with_means(empty, 300.0)):
        recipe = choose_recipe(facts, OPEN)
        assert recipe.unshuffle == FINE
        assert (recipe.size or 0) >= WITHOUT_CLOCK
        assert sum(UNKNOWN in reason for reason in recipe.reasons) == (2 if facts.means is None else 1)
        assert "perfect" not in " ".join(recipe.reasons)
    short = choose_recipe(with_means(empty, 20.0), OPEN)
    assert (short.size or 0) < WITHOUT_CLOCK
    assert "perfect" not in " ".join(short.reasons)
    assert "Dice" not in " ".join(short.reasons)


def test_epochs_that_end_a_run_before_its_minutes_buy_no_more_pixels_and_no_wider_network() -> None:
    hours = with_means(CARS, 1e6)
    by_minutes = choose_recipe(hours, OPEN)
    few, many = (choose_recipe(hours, dataclasses.replace(OPEN, epochs=epochs)) for epochs in (3, 10_000))
    assert dataclasses.replace(many, reasons=()) == dataclasses.replace(by_minutes, reasons=())
    assert "about 10000 passes" in many.reasons[0]
    assert (by_minutes.size, by_minutes.base_channels) == (LADDER[-1], 2 * NARROW[True])
    assert (few.size, few.base_channels) == (LADDER[0], NARROW[True])


def test_the_batches_are_in_falling_order_and_end_at_any_number() -> None:
    assert list(BATCH_SIZES) == sorted(BATCH_SIZES, reverse=True)
    assert BATCH_SIZES[-1][0] == 0
