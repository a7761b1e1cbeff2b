import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.data.cache import Cache
from maskwright.training.baseline import chance_dice
from tests.other_masks import with_masks

HEIGHT, WIDTH = 48, 64


def halves(left: int, right: int) -> NDArray[np.uint8]:
    mask = np.full((HEIGHT, WIDTH), left, np.uint8)
    mask[:, WIDTH // 2 :] = right
    return mask


def test_masks_that_are_all_alike_are_known_without_looking(ellipse_cache: Cache) -> None:
    samples = with_masks(ellipse_cache, [halves(0, 1)] * 12)
    assert chance_dice(samples, range(9), range(9, 12), (1,), seed=0) == pytest.approx(1.0)


def test_masks_that_are_anywhere_get_what_calling_everything_gets(ellipse_cache: Cache) -> None:
    samples = with_masks(ellipse_cache, [halves(0, 1), halves(1, 0)] * 6)
    assert chance_dice(samples, range(8), range(8, 12), (1,), seed=0) == pytest.approx(2 / 3)


def test_of_several_classes_the_commonest_of_each_place_is_called(ellipse_cache: Cache) -> None:
    samples = with_masks(ellipse_cache, [halves(0, 1)] * 8 + [halves(0, 2)] * 4, num_classes=3)
    # Class 1 is called on the right: half of the held-out pictures have it there, none finds class 2.
    found = chance_dice(samples, range(8), [0, 8], (1, 2), seed=0)
    assert found == pytest.approx(0.5)


def test_what_is_called_where_there_is_nothing_scores_nothing_as_in_a_validation(ellipse_cache: Cache) -> None:
    samples = with_masks(ellipse_cache, [halves(0, 1)] * 8 + [halves(0, 1)] + [halves(0, 0)] * 3)
    assert chance_dice(samples, range(8), range(8, 12), (1,), seed=0) == pytest.approx(0.25)


def test_an_average_mask_without_foreground_calls_nothing(ellipse_cache: Cache) -> None:
    samples = with_masks(ellipse_cache, [halves(0, 0)] * 8 + [halves(0, 1)] * 4)
    assert chance_dice(samples, range(8), range(8, 12), (1,), seed=0) == pytest.approx(2 / 3)


def test_masks_without_foreground_have_no_score(ellipse_cache: Cache) -> None:
    samples = with_masks(ellipse_cache, [halves(0, 0)] * 12)
    assert np.isnan(chance_dice(samples, range(9), range(9, 12), (1,), seed=0))
