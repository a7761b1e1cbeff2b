from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.groups import Groups
from maskwright.data.labels import LabelMap
from maskwright.data.reading import Formats
from maskwright.training.balance import MOST, choose_weights, weigh_classes
from maskwright.training.material import Material


def test_weights_are_the_inverse_square_root_of_the_shares_with_mean_1_over_pixels() -> None:
    shares = np.array([0.64, 0.32, 0.04])
    weights = np.array(weigh_classes((shares * 10000).astype(np.int64)[None]))
    assert weights / weights[0] == pytest.approx([1, np.sqrt(2), 4], rel=1e-2)
    assert float(weights @ shares) == pytest.approx(1, rel=1e-2)


def test_a_very_rare_class_counts_no_more_than_the_limit() -> None:
    weights = weigh_classes(np.array([[999_999, 1]]))
    assert weights[1] / weights[0] == pytest.approx(MOST, rel=1e-2)


def test_large_pictures_count_no_more_than_small_ones() -> None:
    assert weigh_classes(np.array([[9000, 1000], [10, 90]])) == weigh_classes(np.array([[90, 10], [10, 90]]))


def test_a_class_that_no_picture_shows_changes_nothing() -> None:
    first, second, absent = weigh_classes(np.array([[70, 30, 0]]))
    assert (first, second) == weigh_classes(np.array([[70, 30]]))
    assert absent == 1


def test_pictures_without_a_pixel_that_counts_are_no_evidence() -> None:
    assert weigh_classes(np.array([[0, 0, 0]])) == (1, 1, 1)


def material(cache: Cache, names: tuple[str, ...]) -> Material:
    parts = {pair.name: "train" if index < 4 else "val" for index, pair in enumerate(cache.pairs)}
    return Material(cache, Formats(LabelMap("indices", names)), parts, Groups({}, "none"), ())


def with_class_pixels(cache: Cache, rows: Sequence[tuple[int, ...]]) -> Cache:
    entries = [
        replace(entry, facts=replace(entry.facts, class_pixels=row))
        for entry, row in zip(cache.entries, rows, strict=True)
    ]
    return replace(cache, entries=tuple(entries), num_classes=len(rows[0]))


def test_weights_come_from_the_pictures_to_learn_from(ellipse_cache: Cache) -> None:
    cache = with_class_pixels(ellipse_cache, [(80, 15, 5)] * 4 + [(0, 0, 100)] * 8)
    weights = choose_weights(material(cache, ("a", "b", "c")), Settings())
    assert weights == weigh_classes(np.array([[80, 15, 5]]))


def test_no_weights_where_none_are_wanted_or_there_is_one_foreground(ellipse_cache: Cache) -> None:
    three = with_class_pixels(ellipse_cache, [(80, 15, 5)] * 12)
    assert choose_weights(material(three, ("a", "b", "c")), Settings(class_weights="none")) == ()
    assert choose_weights(material(ellipse_cache, ("background", "car")), Settings()) == ()
