from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.data.labels import IGNORED, LabelMap, apply_labels, foreground
from maskwright.errors import InputError

PATH = Path("a_mask.png")
GREY = LabelMap()

READ: dict[str, tuple[np.ndarray[Any, Any], list[int]]] = {
    "0/1": (np.array([[0, 1]], np.uint8), [0, 1]),
    "0/1 in 16 bits": (np.array([[0, 1]], np.uint16), [0, 1]),
    "0/1 in 32 bits": (np.array([[0, 1]], np.int32), [0, 1]),
    "boolean": (np.array([[False, True]]), [0, 1]),
    "0/255": (np.array([[0, 255]], np.uint8), [0, 1]),
    "0/65535": (np.array([[0, 65535]], np.uint16), [0, 1]),
    "0/65535 in 32 bits": (np.array([[0, 65535]], np.int32), [0, 1]),
    "0.0/1.0": (np.array([[0, 1]], np.float32), [0, 1]),
    "soft edges as floats": (np.array([[0, 0.4, 0.7, 1]], np.float32), [0, 0, 1, 1]),
    "soft edges": (np.array([[0, 3, 127, 128, 250, 255]], np.uint8), [0, 0, 0, 1, 1, 1]),
    "soft edges in 16 bits": (np.array([[0, 32767, 32768]], np.uint16), [0, 0, 1]),
    "the faint end of a soft edge": (np.array([[0, 20, 60, 100]], np.uint8), [0, 0, 0, 0]),
    "JPEG noise": (np.array([[0, 1, 2, 4, 252, 255]], np.uint8), [0, 0, 0, 0, 1, 1]),
    "no foreground": (np.zeros((1, 2), np.uint8), [0, 0]),
    "nothing but foreground, 1": (np.ones((1, 2), np.uint8), [1, 1]),
    "nothing but foreground, 255": (np.full((1, 2), 255, np.uint8), [1, 1]),
    "two shades, the brighter one light": (np.array([[40, 200]], np.uint8), [0, 1]),
    "colours that JPEG moved apart": (np.array([[[3, 0, 5], [250, 255, 240]]], np.uint8), [0, 1]),
    "a cutout's alpha": (np.array([[[9, 200, 3, 0], [7, 1, 99, 255]]], np.uint8), [0, 1]),
}


@pytest.mark.parametrize("kind", READ)
def test_common_ways_to_store_two_classes_are_read(kind: str) -> None:
    values, expected = READ[kind]
    classes = apply_labels(GREY, values, PATH)
    assert classes.tolist() == [expected]
    assert classes.dtype == np.uint8


REFUSED: dict[str, tuple[np.ndarray[Any, Any], str]] = {
    "class indices": (np.array([[0, 1, 2]], np.uint8), "values 0, 1, 2,"),
    "many class indices": (np.arange(32, dtype=np.uint8)[None], "values 0, 1, 2, 3, 4, 5 ...,"),
    "one class index": (np.array([[0, 20]], np.uint8), "values 0, 20,"),
    "class indices and 255 for pixels to ignore": (np.array([[0, 1, 2, 30]], np.uint8), "values 0, 1, 2, 30,"),
    "0/127": (np.array([[0, 127]], np.uint8), "values 0, 127,"),
    "0/255 in 16 bits": (np.array([[0, 255]], np.uint16), "values 0, 255,"),
    "0/255 as floats": (np.array([[0, 255]], np.float32), "values 0, 255,"),
    "negative": (np.array([[-1, 0]], np.int32), "values -1, 0,"),
    "colours": (np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8), "is in colour,"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_black_and_white_cannot_mean_is_refused_with_the_files_name(kind: str) -> None:
    values, words = REFUSED[kind]
    with pytest.raises(InputError) as raised:
        apply_labels(GREY, values, PATH)
    assert str(raised.value).startswith("a_mask.png ")
    assert words in str(raised.value)


def test_a_dark_foreground_is_the_other_side() -> None:
    values = np.array([[0, 255, 255]], np.uint8)
    assert apply_labels(LabelMap(foreground="dark"), values, PATH).tolist() == [[1, 0, 0]]


def test_the_ones_of_a_lossy_file_are_black() -> None:
    values = np.array([[0, 1, 2]], np.uint8)
    assert not apply_labels(GREY, values, Path("a.jpg")).any()
    ones = np.array([[0, 1]], np.uint8)
    assert foreground(ones, PATH).tolist() == [[False, True]]
    assert foreground(ones, PATH, is_lossy=True).tolist() == [[False, False]]


def test_ignored_greys_do_not_count_and_disturb_nothing() -> None:
    trimap = np.array([[0, 128, 255]], np.uint8)
    assert apply_labels(LabelMap(ignore=(128,)), trimap, PATH).tolist() == [[0, IGNORED, 1]]


INDICES = LabelMap("indices", ("sky", "road", "car"), values=((0,), (4,), (300,)), ignore=(255,))


def test_numbers_become_their_classes() -> None:
    values = np.array([[0, 4], [300, 255]], np.uint16)
    assert apply_labels(INDICES, values, PATH).tolist() == [[0, 1], [2, IGNORED]]


def test_a_number_without_a_class_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"a_mask.png holds the values 7, which no class has \(sky=0, road=4, car=300\)"
    ):
        apply_labels(INDICES, np.array([[0, 7]], np.uint8), PATH)


def test_colours_are_no_numbers() -> None:
    with pytest.raises(InputError, match="in colour"):
        apply_labels(INDICES, np.zeros((1, 1, 3), np.uint8), PATH)


BLACK, GREEN, RED = (0, 0, 0), (0, 255, 0), (255, 0, 0)
COLOURS = LabelMap(
    "colours", ("background", "crop", "weed"), values=((BLACK,), (GREEN,), (RED,)), ignore=((255, 255, 255),)
)


def test_colours_become_their_classes() -> None:
    values = np.array([[BLACK, GREEN], [RED, (255, 255, 255)]], np.uint8)
    assert apply_labels(COLOURS, values, PATH).tolist() == [[0, 1], [2, IGNORED]]


def test_a_black_mask_among_colours_is_background() -> None:
    assert apply_labels(COLOURS, np.zeros((2, 2), np.uint8), PATH).tolist() == [[0, 0], [0, 0]]


def test_what_is_transparent_is_black() -> None:
    values = np.array([[(0, 255, 0, 255), (0, 255, 0, 0)]], np.uint8)
    assert apply_labels(COLOURS, values, PATH).tolist() == [[1, 0]]


def test_an_unknown_colour_is_refused_unless_colours_are_mixed() -> None:
    values = np.array([[(10, 240, 5), (200, 30, 0)]], np.uint8)
    with pytest.raises(InputError, match="#0af005, #c81e00, which no class has"):
        apply_labels(COLOURS, values, PATH)
    nearest = LabelMap("colours", COLOURS.class_names, values=COLOURS.values, nearest=True)
    assert apply_labels(nearest, values, PATH).tolist() == [[1, 2]]


def test_a_background_is_not_scored() -> None:
    assert COLOURS.scored_classes == (1, 2)
    assert INDICES.scored_classes == (0, 1, 2)


def test_two_classes_need_one_channel_and_more_one_each() -> None:
    assert GREY.logit_channels == 1
    assert COLOURS.logit_channels == 3


def test_a_region_that_does_not_count_is_ignored() -> None:
    labels = LabelMap("names", ("background", "wheel"), ignore=("crowd",))
    assert labels.index_of() == {"background": 0, "wheel": 1, "crowd": IGNORED}


@pytest.mark.parametrize("names", [("one",), tuple(map(str, range(256))), ("car", "car")])
def test_impossible_classes_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        LabelMap("indices", names)
