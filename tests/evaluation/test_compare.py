import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from maskwright.data.labels import LabelMap
from maskwright.evaluation.compare import LEAST_GROUPS, Comparison, Difference, compare_scores, lacks_groups, verdict
from maskwright.evaluation.evaluate import TITLES, PictureScore, score_mask
from maskwright.evaluation.metrics import Interval, bootstrap_interval

NAN = float("nan")


def row(name: str, dice: float, group: str = "", **others: Any) -> PictureScore:
    return PictureScore(
        name=name, group=group or name, classes=(), **{**dict.fromkeys(TITLES, 0.5), "dice": dice, **others}
    )


def compared(first: list[float], second: list[float]) -> Comparison:
    rows = [[row(f"p{place}", dice) for place, dice in enumerate(scores)] for scores in (first, second)]
    return compare_scores(*rows)


def said_of(measure: str, found: Comparison) -> str:
    return verdict(measure, getattr(found, measure), found.groups_of[measure])


def test_differences_are_paired_by_name_and_drawn_by_group() -> None:
    first = [row("a", 0.5, "x"), row("b", 0.6, "x"), row("c", 0.7, "y"), row("d", 0.9, "z")]
    second = [
        dataclasses.replace(other, dice=other.dice + gain) for other, gain in zip(first, (3, 1, 2, 0), strict=True)
    ]
    found = compare_scores(first, second[::-1])
    assert found.dice == bootstrap_interval(pytest.approx([3, 1, 2, 0]).expected, ["x", "x", "y", "z"])
    assert (found.common, found.groups) == (4, 3)
    assert found.iou.mean == 0


def test_which_of_two_comes_first_decides_nothing() -> None:
    cars = [row(f"car{car}_{view}", 0.5 + 0.1 * car, f"car{car}") for car in range(5) for view in range(4)]
    alone = [
        dataclasses.replace(other, group=other.name, dice=other.dice + (0.03, 0.02, 0.01, -0.01, -0.02)[place // 4])
        for place, other in enumerate(cars)
    ]
    there, back = compare_scores(cars, alone), compare_scores(alone[::-1], cars)
    assert there.groups == back.groups == 5
    assert back.dice.mean == pytest.approx(-there.dice.mean)
    assert (-back.dice.high, -back.dice.low) == pytest.approx((there.dice.low, there.dice.high))
    assert said_of("dice", there) == said_of("dice", back) == "not told apart"
    assert [picture.name for picture in there.pictures] == [picture.name for picture in back.pictures]


def test_pictures_that_either_puts_together_are_one_group() -> None:
    first = [row("a", 0.5, "x"), row("b", 0.6, "x"), row("c", 0.7, "c"), row("d", 0.8, "d")]
    second = [row("a", 0.5, "a"), row("b", 0.6, "y"), row("c", 0.7, "y"), row("d", 0.9, "x")]
    assert compare_scores(first, second).groups == 2


def test_a_small_gain_on_every_picture_is_certain_although_pictures_differ_much() -> None:
    first = [0.1, 0.5, 0.9, 0.3, 0.7]
    found = compared(first, [dice + 0.01 for dice in first])
    assert (found.dice.low, found.dice.high) == pytest.approx((0.01, 0.01))
    assert said_of("dice", found) == "B is better"
    assert said_of("dice", compared([dice + 0.01 for dice in first], first)) == "A is better"


@pytest.mark.parametrize("measure", TITLES)
def test_where_lower_is_better_less_is_a_gain(measure: str) -> None:
    lower = measure in {"hausdorff_95", "edge_error", "inner_error"}
    assert verdict(measure, Interval(-3, -4, -2), LEAST_GROUPS) == ("B is better" if lower else "A is better")
    assert verdict(measure, Interval(0.1, 0.05, 0.2), LEAST_GROUPS) == ("A is better" if lower else "B is better")


@pytest.mark.parametrize("interval", [Interval(0.1, -0.1, 0.3), Interval(0.1, NAN, NAN), Interval(0, 0, 0)])
def test_an_interval_around_nothing_tells_nothing(interval: Interval) -> None:
    assert verdict("dice", interval, LEAST_GROUPS) == "not told apart"


def test_a_gain_on_every_one_of_fewer_than_five_groups_may_be_luck() -> None:
    four, five = (compared([0.5] * count, [0.51, 0.52, 0.53, 0.54, 0.55][:count]) for count in (4, 5))
    assert four.dice.low > 0
    assert (said_of("dice", four), lacks_groups(four)) == ("not told apart", True)
    assert (said_of("dice", five), lacks_groups(five)) == ("B is better", False)


def test_only_groups_that_have_a_gain_in_a_measure_count_for_it() -> None:
    found = compared([0.5, 0.5, 0.5, 0.5, NAN], [0.6, 0.6, 0.6, 0.6, NAN])
    assert (found.groups, found.groups_of["dice"], found.groups_of["iou"]) == (5, 4, 5)
    assert said_of("dice", found) == "not told apart"


def test_more_groups_are_not_wished_for_where_the_gains_contradict_each_other() -> None:
    assert not lacks_groups(compared([0.5, 0.5], [0.6, 0.4]))


def test_pictures_where_they_differ_most_come_first() -> None:
    found = compared([0.5, 0.5, 0.5, NAN], [0.6, 0.1, 0.7, NAN])
    assert [picture.name for picture in found.pictures] == ["p1", "p2", "p0"]
    assert found.common == 4


@pytest.mark.parametrize("names", [("background", "car"), ("background", "car", "tree")])
def test_an_empty_picture_counts_for_the_model_that_found_nothing_in_it(names: tuple[str, ...]) -> None:
    labels = LabelMap("indices", names, values=tuple((index,) for index in range(len(names))))
    nothing = np.zeros((20, 30), np.uint8)
    something = nothing.copy()
    something[5:9, 5:9] = 1
    right, wrong = ([score_mask(mask, nothing, labels, name="a")] for mask in (nothing, something))
    found = compare_scores(right, wrong)
    assert found.pictures == (Difference("a", first=1.0, second=0.0),)
    assert (found.dice.mean, found.iou.mean) == (-1, -1)
    assert math.isnan(found.boundary_f.mean)
    assert compare_scores(wrong, right).dice.mean == 1
    assert compare_scores(right, right).pictures == ()


def test_other_files_of_the_same_name_are_not_compared() -> None:
    first = [row("a", 0.5, fingerprint="1"), row("b", 0.6, fingerprint="2"), row("c", 0.7, fingerprint="3")]
    second = [row("a", 0.6, fingerprint="1"), row("b", 0.9, fingerprint="9"), row("d", 0.7, fingerprint="4")]
    found = compare_scores(first, second)
    assert [picture.name for picture in found.pictures] == ["a"]
    assert (found.common, found.only_first, found.only_second, found.namesakes) == (1, 2, 2, 1)


def test_a_picture_whose_file_nobody_noted_is_known_by_its_name() -> None:
    found = compare_scores([row("a", 0.5), row("b", 0.5)], [row("a", 0.6, fingerprint="1"), row("b", 0.6)])
    assert (found.common, found.namesakes) == (2, 0)


def test_pictures_that_one_of_them_lacks_are_counted() -> None:
    found = compare_scores([row("a", 1), row("b", 1)], [row("b", 1), row("c", 1), row("d", 1)])
    assert (found.common, found.only_first, found.only_second) == (1, 1, 2)
    assert math.isnan(found.dice.low)
    json.dumps(found.to_json(), allow_nan=False)
