import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.labels import BLACK_AND_WHITE, IGNORED, LabelMap
from maskwright.inference.outputs import (
    FIRST_COLOURS,
    PANEL_CAPTION,
    PANEL_GAP,
    PANEL_HEIGHT,
    as_rgb,
    binary_mask,
    class_colours,
    encode_mask,
    outline,
    overlay,
    panel,
)

TWO = BLACK_AND_WHITE


def many(count: int) -> LabelMap:
    """So many classes without colours, background first."""
    return LabelMap("names", ("background", *(f"class {index}" for index in range(1, count))))


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def mask() -> NDArray[np.uint8]:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 1
    return mask


def test_masks_of_two_classes_are_written_as_0_and_255(mask: NDArray[np.uint8]) -> None:
    written = binary_mask(mask)
    assert written.dtype == np.uint8
    assert np.array_equal(written == 255, mask == 1)
    assert set(np.unique(written)) == {0, 255}


# --- Overlay


def test_an_overlay_leaves_the_background_untouched(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    before = image.copy()
    painted = overlay(image, mask, TWO)
    assert painted.shape == image.shape
    assert painted.dtype == np.uint8
    assert np.array_equal(painted[mask == 0], image[mask == 0])
    assert (painted[mask == 1] != image[mask == 1]).any(axis=1).mean() > 0.95
    assert np.array_equal(image, before)


def test_an_overlay_shows_the_picture_through_and_a_full_outline(
    image: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    painted = overlay(image, mask, TWO)
    assert (painted[10, 20:50] == FIRST_COLOURS[0]).all()
    assert (painted[10:30, 49] == FIRST_COLOURS[0]).all()
    inner = painted[15:25, 25:45].astype(float)
    expected = image[15:25, 25:45] * 0.55 + np.array(FIRST_COLOURS[0]) * 0.45
    np.testing.assert_allclose(inner, expected, atol=0.51)


def test_an_overlay_of_nothing_is_the_picture(image: NDArray[np.uint8]) -> None:
    assert np.array_equal(overlay(image, np.zeros((40, 60), np.uint8), TWO), image)


def test_each_class_is_drawn_in_its_colour(image: NDArray[np.uint8]) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20], mask[20:30] = 1, 2
    mask[30:] = IGNORED
    labels = LabelMap("names", ("background", "car", "road"), colours=((0, 0, 0), (1, 2, 3), (250, 9, 9)))
    painted = overlay(image, mask, labels)
    assert [tuple(painted[row, 0].tolist()) for row in (10, 20)] == [(1, 2, 3), (250, 9, 9)]
    assert np.array_equal(painted[30:], image[30:])


@pytest.mark.parametrize("count", [3, 8, 40, 255])
def test_classes_without_colours_get_different_ones(count: int) -> None:
    colours = class_colours(many(count))
    assert len(set(colours)) == len(colours) == count
    assert colours[0] == (0, 0, 0)


def test_a_first_class_that_is_no_background_is_not_black() -> None:
    assert class_colours(LabelMap("indices", ("sky", "road", "car"))) == FIRST_COLOURS[:3]


def test_pictures_of_any_channels_can_be_looked_at() -> None:
    image = np.arange(5, dtype=np.uint8) * np.ones((4, 6, 1), np.uint8)
    assert as_rgb(image)[0, 0].tolist() == [0, 1, 2]
    assert as_rgb(image[..., 3:])[0, 0].tolist() == [3, 3, 3]


def test_masks_of_several_classes_are_written_with_a_palette() -> None:
    mask = np.repeat(np.arange(3, dtype=np.uint8)[:, np.newaxis], 4, axis=1)
    with Image.open(io.BytesIO(encode_mask(mask, many(3)))) as written:
        assert written.mode == "P"
        assert np.array_equal(np.array(written), mask)
        assert np.array_equal(np.array(written.convert("RGB"))[:, 0], class_colours(many(3)))
    with Image.open(io.BytesIO(encode_mask(mask.clip(max=1), TWO))) as written:
        assert np.array(written)[:, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize(("side", "width"), [(60, 1), (999, 1), (3000, 3)])
def test_an_outline_lies_inside_and_grows_with_the_picture(side: int, width: int) -> None:
    inside = np.zeros((30, side), bool)
    inside[8:22, 10:50] = True
    edge = outline(inside)
    assert not (edge & ~inside).any()
    assert np.array_equal(np.flatnonzero(edge[:, 30]), [*range(8, 8 + width), *range(22 - width, 22)])


def test_an_outline_is_not_drawn_along_the_edge_of_the_picture() -> None:
    assert not outline(np.ones((8, 8), bool)).any()


# --- Panel


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize(("height", "width"), [(40, 60), (800, 500), (1, 3)])
def test_a_panel_has_a_column_for_each_picture(columns: int, height: int, width: int) -> None:
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    drawn = panel(image, mask, mask if columns == 3 else None, labels=TWO)
    shown = min(height, PANEL_HEIGHT)
    shown_width = round(width * shown / height)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (
        shown + PANEL_CAPTION + PANEL_GAP,
        columns * shown_width + (columns + 1) * PANEL_GAP,
        3,
    )


def test_a_panel_shows_original_truth_and_prediction_in_this_order(
    image: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    drawn = panel(image, mask, 1 - mask, labels=TWO)
    tiles = [
        drawn[PANEL_CAPTION : PANEL_CAPTION + 40, left : left + 60]
        for left in range(PANEL_GAP, drawn.shape[1] - PANEL_GAP, 60 + PANEL_GAP)
    ]
    assert np.array_equal(tiles[0], image)
    assert np.array_equal(tiles[1][..., 0], (1 - mask) * 255)
    assert np.array_equal(tiles[2][..., 0], mask * 255)


def test_a_panel_is_white_around_its_pictures(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    drawn = panel(image, mask, labels=TWO)
    assert (drawn[-PANEL_GAP:] == 255).all()
    assert (drawn[:, :PANEL_GAP] == 255).all()
    assert (drawn[:PANEL_CAPTION] < 128).any()  # the captions


def test_a_panel_of_several_classes_is_coloured(image: NDArray[np.uint8]) -> None:
    mask = np.repeat(np.arange(40, dtype=np.uint8)[:, np.newaxis], 60, axis=1)
    tile = panel(image, mask, labels=many(40))[PANEL_CAPTION : PANEL_CAPTION + 40, -PANEL_GAP - 60 : -PANEL_GAP]
    assert [tuple(colour) for colour in tile[:, 0].tolist()[:9]] == list(class_colours(many(40))[:9])
