import dataclasses
import math

import pytest

from maskwright.training.loop import LONG_EPOCH_SHARE
from maskwright.training.minutes import (
    ENDING_SECONDS,
    LOOKING_SHARE,
    ONE_VALIDATION_SHARE,
    OUTLINING_SHARE,
    PILOT_SHARE,
    PROBING_SHARE,
    READING_AGAIN_SHARE,
    READING_SHARE,
    RESERVE,
    SCORING_SHARE,
    Closing,
    Costs,
    Minutes,
    drawn,
    in_time,
    pace,
    plan_closing,
)
from maskwright.training.schedules import Length
from maskwright.training.state import Position


class Clock:
    """Goes on only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


CLOSING = Closing(
    "val", scored=4, available=9, validated=9, validation_seconds=4.0, saving_seconds=4.0, scoring_seconds=5.0
)


# --- The clock


def test_a_part_may_take_its_share_of_what_is_left_when_it_begins() -> None:
    clock = Clock()
    minutes = Minutes(ENDING_SECONDS + 100, 0.0, clock)
    clock.seconds = 20.0
    spent = minutes.part(0.5)  # 40 seconds
    shares = []
    for clock.seconds in (20.0, 30.0, 60.0, 80.0):
        shares.append(spent())
    assert shares == pytest.approx([0, 0.25, 1, 1.5])


def test_a_part_for_which_nothing_is_left_is_over() -> None:
    assert Minutes(10, 0.0, lambda: 99.0).part(0.5)() == 1.0


def test_a_resumed_command_has_what_earlier_ones_left() -> None:
    assert Minutes(100, 5.0, lambda: 7.0).after(30).left() == 100 - 30 - 2 - ENDING_SECONDS
    assert Minutes(100, 5.0, lambda: 5.0).after(300).left() == -ENDING_SECONDS


# --- What comes last


def test_everything_is_validated_and_scored_where_there_is_time() -> None:
    closing = plan_closing(Costs(0.01, 0.1, 1.0), 600, part="test", available=30, held_out=50)
    assert (closing.part, closing.scored, closing.available, closing.validated) == ("test", 30, 30, 50)
    assert closing.seconds == pytest.approx(RESERVE * (50 * 0.01 + 1.0) + RESERVE * 30 * 0.1)


def test_of_thousands_of_pictures_samples_are_validated_and_scored() -> None:
    closing = plan_closing(Costs(0.05, 0.5, 1.0), 600, part="val", available=20_000, held_out=20_000)
    assert closing.validated == int(600 * ONE_VALIDATION_SHARE / 0.05)
    assert closing.scored == int(600 * SCORING_SHARE / (RESERVE * 0.5))
    assert closing.seconds < 0.25 * 600


def test_several_processes_share_pictures_out_and_one_of_them_saves() -> None:
    assert Costs(validating=8.0, scoring=6.0, saving=2.0).shared_by(2) == Costs(validating=4.0, scoring=3.0, saving=2.0)


def test_at_least_one_picture_is_validated_and_scored() -> None:
    closing = plan_closing(Costs(99, 99, 1.0), 6, part="val", available=5, held_out=5)
    assert (closing.validated, closing.scored) == (1, 1)


def test_a_resumed_run_validates_as_many_pictures_as_before() -> None:
    costs = Costs(0.05, 0.5, 1.0)
    assert plan_closing(costs, 600, part="val", available=999, held_out=999, validated=17).validated == 17


def test_without_a_clock_everything_is_affordable() -> None:
    assert plan_closing(Costs(9, 9, 9), math.inf, part="val", available=7, held_out=8).validated == 8


# --- The pace


def test_training_gets_what_the_closing_leaves() -> None:
    position = Position()
    length = pace(Length(None, None), position, 100.0, CLOSING)
    assert length.seconds == position.budget == 100 - CLOSING.seconds


def test_a_slower_validation_ends_the_training_earlier_and_progress_neither_jumps_nor_turns() -> None:
    position = Position()
    first = pace(Length(None, None), position, 100.0, CLOSING)
    position.seconds, position.validation_seconds = 40.0, 12.0
    second = pace(first, position, 100.0, CLOSING)
    assert second.seconds == pytest.approx(first.seconds - RESERVE * 8)  # type: ignore[operator]
    assert second.progress(0, 40.0) == pytest.approx(first.progress(0, 40.0))
    shares = [second.progress(0, seconds) for seconds in (40.0, 50.0, 60.0, second.seconds or 0.0)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_faster_validation_gives_the_time_back() -> None:
    position = Position()
    first = pace(Length(None, None), position, 100.0, CLOSING)
    position.seconds, position.validation_seconds = 40.0, 1.0
    second = pace(first, position, 100.0, CLOSING)
    assert (second.seconds or 0) > (first.seconds or 0)
    assert second.progress(0, 40.0) == pytest.approx(first.progress(0, 40.0))


def test_a_pace_survives_being_saved() -> None:
    position = Position()
    length = pace(Length(7, None), position, 100.0, CLOSING)
    position.seconds, position.validation_seconds = 40.0, 12.0
    length = pace(length, position, 100.0, CLOSING)
    loaded = Position(**dataclasses.asdict(position))
    assert Length(7, loaded.budget, loaded.paced_seconds, loaded.paced_progress) == length


@pytest.mark.parametrize("end", [-50.0, 0.0, 3.0])
def test_however_little_is_left_there_is_a_step(end: float) -> None:
    position = Position(seconds=2.0)
    length = pace(Length(None, None), position, end, CLOSING)
    assert length.progress(0, 2.0) < 1
    assert length.progress(0, 2.1) == 1


# --- Work for which the clock decides how much


def test_work_ends_before_the_time_does() -> None:
    clock = Clock()
    done = []
    for item in in_time(range(100), lambda: 10 - clock.seconds):
        clock.seconds += 2.9
        done.append(item)
    assert done == [0, 1, 2]
    assert clock.seconds <= 10


def test_work_that_became_slower_ends_earlier() -> None:
    clock = Clock()
    done = []
    for item in in_time(range(100), lambda: 10 - clock.seconds):
        clock.seconds += 1.0 if item < 2 else 5.0
        done.append(item)
    assert done == [0, 1, 2]


def test_the_first_is_done_though_there_is_no_time() -> None:
    assert list(in_time("abc", lambda: -5.0)) == ["a"]


def test_a_sample_is_drawn_by_the_seed_and_a_smaller_one_is_part_of_it() -> None:
    few, many = (drawn(range(100), count, seed=3) for count in (5, 20))
    assert many[:5] == few
    assert sorted(many) != list(range(20))
    assert drawn(range(100), 5, seed=4) != few
    assert sorted(drawn(range(9), 99, seed=0)) == list(range(9))


def test_of_the_largest_validations_there_is_time_for_some_before_the_end() -> None:
    left = 1.0  # with nothing in the cache, and everything as slow as it may be
    for share in (LOOKING_SHARE, OUTLINING_SHARE, PROBING_SHARE, READING_SHARE, PILOT_SHARE, READING_AGAIN_SHARE):
        left *= 1 - share
    assert left - SCORING_SHARE - RESERVE * ONE_VALIDATION_SHARE > ONE_VALIDATION_SHARE / LONG_EPOCH_SHARE
