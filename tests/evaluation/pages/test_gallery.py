"""Pictures on a page: the right ones, with the right errors over them."""

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.labels import IGNORED, LabelMap
from maskwright.evaluation.pages.gallery import (
    ERRORS,
    LONGER_SIDE,
    MISSED,
    TOO_MUCH,
    VIEWS_OF_TWO,
    Exhibit,
    Gallery,
    draw_exhibit,
    draw_two,
    draw_walls,
    errors_of,
    hung_together,
)
from tests.compared_pictures import TWO, boxes, compared
from tests.parsed_pages import parse

THREE = LabelMap("indices", ("background", "car", "tree"), values=((0,), (1,), (2,)))
STREET = LabelMap("indices", ("sky", "road"), values=((0,), (1,)))


def pixels_of(url: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def names(exhibits: Sequence[Exhibit]) -> list[str]:
    return [exhibit.name for exhibit in exhibits]


def test_the_worst_and_the_best_are_kept_in_any_order() -> None:
    for order in (range(12), range(11, -1, -1), np.random.default_rng(1).permutation(12)):
        gallery = Gallery(TWO, worst=3, best=2)
        for shift in order:
            gallery.look(compared(*boxes(int(shift)), name=str(shift)))
        assert names(gallery.worst()) == ["11", "10", "9"]
        assert names(gallery.best()) == ["0", "1"]


def test_galleries_of_parts_hang_together_as_one_of_all() -> None:
    galleries = [Gallery(TWO, worst=3, best=2) for _ in range(3)]
    for shift in range(12):
        galleries[shift % 3].look(compared(*boxes(shift), name=str(shift)))
    gallery = hung_together(galleries)
    assert names(gallery.worst()) == ["11", "10", "9"]
    assert names(gallery.best()) == ["0", "1"]


def test_no_picture_hangs_twice() -> None:
    gallery = Gallery(TWO, worst=3, best=2)
    for shift in range(4):
        gallery.look(compared(*boxes(shift), name=str(shift)))
    assert names(gallery.worst()) == ["3", "2", "1"]
    assert names(gallery.best()) == ["0"]


def test_a_picture_without_a_score_is_not_shown() -> None:
    gallery = Gallery(TWO)
    nothing = np.zeros((40, 60), np.uint8)
    assert math.isnan(compared(nothing, nothing).row.dice)
    gallery.look(compared(nothing, nothing))
    assert gallery.worst() == gallery.best() == []


def test_errors_are_told_apart() -> None:
    truth, mask = np.array([[1, 0, 1, 2, 0, IGNORED]], np.uint8), np.array([[0, 1, 1, 1, 0, 1]], np.uint8)
    found = {kind: where[0].nonzero()[0].tolist() for kind, where in errors_of(truth, mask, THREE).items()}
    assert found == {"missed": [0], "too much": [1], "another class": [3], "not counted": [5]}
    assert found.keys() == ERRORS.keys()


def test_without_a_background_every_error_is_another_class() -> None:
    truth, mask = np.array([[0, 1, 1]], np.uint8), np.array([[1, 0, 1]], np.uint8)
    found = {kind: where[0].nonzero()[0].tolist() for kind, where in errors_of(truth, mask, STREET).items()}
    assert found == {"missed": [], "too much": [], "another class": [0, 1], "not counted": []}


def test_layers_show_what_is_wrong_where_it_is() -> None:
    exhibit = draw_exhibit(compared(*boxes(4)), TWO)
    errors = pixels_of(exhibit.layers["errors"])
    assert errors.shape == (40, 60, 4)
    assert (errors[15, 11, :3] == MISSED).all()
    assert (errors[15, 32, :3] == TOO_MUCH).all()
    assert errors[2, 2, 3] == errors[20, 20, 3] == 0
    assert exhibit.errors == {"missed", "too much"}
    prediction, truth = (pixels_of(exhibit.layers[view]) for view in ("prediction", "truth"))
    assert (prediction[20, 32, 3], truth[20, 32, 3]) == (140, 0)
    assert truth[20, 10, 3] == prediction[20, 14, 3] == 255  # an outline
    assert tuple(errors[20, 29]) == (255, 255, 255, 230)  # of the mask, where nothing is wrong


def test_thin_errors_of_large_pictures_are_seen() -> None:
    truth = np.zeros((1200, 1800), np.uint8)
    truth[300:900, 300:900] = 1
    mask = truth.copy()
    mask[300:900, 900:903] = 1
    exhibit = draw_exhibit(compared(truth, mask), TWO)
    assert (exhibit.width, exhibit.height) == (LONGER_SIDE, 373)
    errors = pixels_of(exhibit.layers["errors"])
    assert (errors[180, :, :3] == TOO_MUCH).all(axis=1).any()
    assert exhibit.errors == {"too much"}


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (700, 20)])
def test_pictures_of_any_shape_can_be_drawn(size: tuple[int, int], channels: int) -> None:
    truth = np.ones(size, np.uint8)
    shown = replace(compared(truth, truth), image=np.zeros((*size, channels), np.uint8))
    exhibit = draw_exhibit(shown, TWO)
    assert pixels_of(exhibit.photo).shape == (exhibit.height, exhibit.width, 3)


def test_a_wall_shows_each_picture_with_its_layers_and_explains_only_what_is_there() -> None:
    exhibit = draw_exhibit(compared(*boxes(4), name="<b>car"), TWO)
    found = parse(draw_walls({"Worst": [exhibit], "Best": []}, TWO))
    assert found.tags.count("img") == 4
    assert "<b>car" in found.text
    assert f"Dice {exhibit.dice:.4f}" in found.text
    assert "Best" not in found.text
    assert "missed" in found.text
    assert "not counted" not in found.text
    assert "background" not in found.text
    assert draw_walls({"Worst": []}, TWO) == ""


def test_layers_are_chosen_by_labelled_buttons_and_uncovered_by_a_named_slider() -> None:
    wall = draw_walls({"Worst": [draw_exhibit(compared(*boxes(4), name="car"), TWO)]}, TWO)
    chosen = re.findall(r'<input type="radio" name="view" id="(view-[a-z]+)" class="views"( checked="")?/>', wall)
    assert chosen == [("view-errors", ' checked=""'), ("view-prediction", ""), ("view-truth", "")]
    assert re.findall(r'<label for="(view-[a-z]+)">', wall) == [name for name, _ in chosen]
    assert 'aria-label="How much of car is covered"' in wall


def test_two_models_are_shown_over_one_picture() -> None:
    truth, mask = boxes(4)
    exhibit = draw_two(compared(truth, truth), compared(truth, mask), TWO)
    errors = [pixels_of(exhibit.layers[view]) for view in ("errors-a", "errors-b")]
    assert not (errors[0][..., :3] == TOO_MUCH).all(axis=2).any()
    assert (errors[1][15, 32, :3] == TOO_MUCH).all()
    assert exhibit.caption == "Dice of A 1.0000 · of B 0.8000 · B - A -0.2000"
    text = parse(draw_walls({"Worst": [exhibit]}, TWO, views=VIEWS_OF_TWO)).text
    assert all(word in text for word in VIEWS_OF_TWO.values())
    nothing = np.zeros_like(truth)
    empty = draw_two(compared(nothing, nothing), compared(nothing, mask), TWO)
    assert empty.caption == "Dice of A 1.0000 · of B 0.0000 · B - A -1.0000"
