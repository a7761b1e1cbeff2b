"""The choice of a way to train, of predictions that are given."""

from collections.abc import Callable

import pytest

from maskwright.config import Settings, Storage
from maskwright.training.fitting import CROPS, Way, alternatives, choose_way, ways

WISH = Way(1918, 4)
SIZES = (384, 640, 1280, 1918)
ALL_OPEN = ("size", "batch_size", "accumulate", "storage")
SHARE: dict[Storage, float] = {"plain": 1.0, "lean": 0.5, "checkpointed": 0.5, "lean+checkpointed": 0.3}


def size_of(way: Way) -> int:
    assert way.size is not None
    return way.size


def needs(way: Way) -> float:
    """Bytes as simple as can be: 100 for what depends on no picture, and 400 for one at full size that keeps all."""
    side = way.crop or size_of(way)
    return 100 + 400 * way.batch_size * (side / 1918) ** 2 * SHARE[way.storage]


@pytest.mark.parametrize(
    ("limit", "chosen"),
    [
        (2000, WISH),
        (1700, WISH),
        (1100, Way(1918, 4, 1, "lean")),
        (600, Way(1918, 4, 1, "lean+checkpointed")),
        (579, Way(1918, 2, 2, "lean")),
        (320, Way(1918, 1, 4, "lean")),
        (299, Way(1918, 1, 4, "lean+checkpointed")),
        (219, Way(1280, 2, 2, "lean+checkpointed")),
        (150, Way(640, 2, 2, "lean")),
    ],
)
def test_the_first_way_that_fits_is_chosen_and_pictures_shrink_last(limit: float, chosen: Way) -> None:
    fit = choose_way(WISH, limit, needs, open_words=ALL_OPEN, sizes=SIZES)
    assert (fit.way, fit.fits) == (chosen, True)
    assert fit.peak == needs(chosen) <= limit
    assert bool(fit.reason) == (chosen != WISH)


def test_every_step_learns_from_as_many_pictures_however_few_at_once() -> None:
    assert {way.together for way in ways(WISH, open_words=ALL_OPEN, sizes=SIZES)} == {4}
    odd = Way(640, 6)
    assert min(way.together for way in ways(odd, open_words=ALL_OPEN, sizes=SIZES)) == 6


def test_cut_outs_come_before_smaller_pictures() -> None:
    found = list(ways(WISH, open_words=(*ALL_OPEN, "crop"), sizes=SIZES))
    crops = [way.crop for way in found]
    first_smaller = next(index for index, way in enumerate(found) if size_of(way) < size_of(WISH))
    assert [crop for index, crop in enumerate(crops) if crop and crop not in crops[:index]] == list(CROPS)
    assert all(crop is None for crop in crops[first_smaller:])
    assert max(index for index, crop in enumerate(crops) if crop) < first_smaller


@pytest.mark.parametrize("word", ALL_OPEN)
def test_what_was_given_is_kept(word: str) -> None:
    given = Way(640, 8, 2, "lean")
    left = [other for other in ALL_OPEN if other != word]
    assert {getattr(way, word) for way in ways(given, open_words=left, sizes=SIZES)} == {getattr(given, word)}


def test_where_nothing_fits_the_last_way_is_taken_and_said_not_to_fit() -> None:
    fit = choose_way(WISH, 1, needs, open_words=("storage",), sizes=SIZES)
    assert (fit.way, fit.fits) == (Way(1918, 4, 1, "lean+checkpointed"), False)


def test_all_given_needs_no_reason_whether_it_fits_or_not() -> None:
    fit = choose_way(WISH, 1, needs, open_words=(), sizes=SIZES)
    assert (fit.way, fit.fits, fit.reason) == (WISH, False, "")


def test_nothing_is_predicted_beyond_what_fits() -> None:
    asked: list[Way] = []

    def peak_of(way: Way) -> float:
        asked.append(way)
        return needs(way)

    choose_way(WISH, 2000, peak_of, open_words=ALL_OPEN, sizes=SIZES)
    assert set(asked) == {WISH}


def test_a_reason_says_what_the_wish_would_need() -> None:
    fit = choose_way(WISH, 1.1e12, lambda way: 1e9 * needs(way), open_words=ALL_OPEN, sizes=SIZES)
    assert "stored lean" in fit.reason
    assert "900.0 GB" in fit.reason
    assert "1100.0 GB" in fit.reason
    assert "1700.0 GB" in fit.reason


@pytest.fixture
def seconds() -> Callable[[Way], float]:
    """Every forward pass takes 0.5 and every picture 1."""
    return lambda way: way.accumulate * (0.5 + way.batch_size * (size_of(way) / 1918) ** 2)


def test_alternatives_hold_the_wish_and_the_choice_once_each_the_largest_first(
    seconds: Callable[[Way], float],
) -> None:
    chosen = Way(1918, 1, 4, "lean+checkpointed")
    rows = alternatives(WISH, chosen, needs, seconds, sizes=SIZES)
    listed = [row.way for row in rows]
    assert len(set(listed)) == len(listed)
    assert {WISH, chosen, Way(1280, 4)} <= set(listed)
    assert [row.peak for row in rows] == sorted((row.peak for row in rows), reverse=True)


def test_alternatives_say_what_they_cost_in_time(seconds: Callable[[Way], float]) -> None:
    rows = {row.way: row.time for row in alternatives(WISH, WISH, needs, seconds, sizes=SIZES)}
    assert rows[WISH] == 1
    assert rows[Way(1918, 4, 1, "lean+checkpointed")] > 1
    assert rows[Way(1918, 1, 4)] == pytest.approx(6 / 4.5, abs=1e-3)
    assert rows[Way(1280, 4)] < 1


def test_a_way_becomes_settings() -> None:
    settings = Way(640, 2, 4, "lean").applied_to(Settings())
    assert (settings.size, settings.batch_size, settings.accumulate, settings.storage) == (640, 2, 4, "lean")
