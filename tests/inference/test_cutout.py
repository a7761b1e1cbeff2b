"""Cutouts: transparency along edges, and colours without what was behind."""

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.inference import cutout
from maskwright.inference.cutout import cut_out, foreground_colours, replace_background, soft_alpha

Pixels = NDArray[np.uint8]


def mixture(front: Pixels, behind: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[..., np.newaxis] / 255
    return np.asarray(np.rint(front * share + behind * (1 - share)), np.uint8)


@pytest.fixture
def disc() -> Pixels:
    """A disc with a soft edge, 48x64."""
    rows, columns = np.mgrid[:48, :64]
    distance = np.hypot(rows - 24, columns - 30)
    return np.asarray(np.rint(255 * np.clip((16 - distance) / 4 + 0.5, 0, 1)), np.uint8)


@pytest.fixture
def red() -> Pixels:
    return np.full((48, 64, 3), (200, 30, 40), np.uint8)


@pytest.fixture
def white() -> Pixels:
    return np.full((48, 64, 3), 250, np.uint8)


def test_of_plain_colours_the_foreground_is_found_again(red: Pixels, white: Pixels, disc: Pixels) -> None:
    found = foreground_colours(mixture(red, white, disc), disc)
    seen = disc > 25
    assert np.abs(found[seen].astype(int) - red[seen]).max() <= 20
    # As the picture has it, a pixel is up to 200 off.
    assert np.abs(mixture(red, white, disc)[seen].astype(int) - red[seen]).max() > 150


def test_opaque_pixels_stay_as_they_are(disc: Pixels) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    before = image.copy()
    assert np.array_equal(foreground_colours(image, disc)[disc == 255], image[disc == 255])
    assert np.array_equal(image, before)


@pytest.mark.parametrize("rows", [7, 16, 47])
def test_strips_make_no_difference(disc: Pixels, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = foreground_colours(image, disc)
    monkeypatch.setattr(cutout, "_ROWS", rows)
    assert np.array_equal(foreground_colours(image, disc), whole)


def test_a_cutout_is_black_where_nothing_shows(red: Pixels, white: Pixels, disc: Pixels) -> None:
    cut = cut_out(mixture(red, white, disc), disc)
    assert cut.shape == (48, 64, 4)
    assert np.array_equal(cut[..., 3], disc)
    assert not cut[disc == 0].any()


def test_a_new_background_brings_nothing_of_the_old_one(red: Pixels, white: Pixels, disc: Pixels) -> None:
    placed = replace_background(mixture(red, white, disc), disc, (0, 255, 136))
    green = np.full_like(red, (0, 255, 136))
    assert np.abs(placed.astype(int) - mixture(red, green, disc)).max() <= 8
    assert (placed[disc == 0] == (0, 255, 136)).all()


def test_a_picture_behind_is_not_stretched(red: Pixels) -> None:
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255  # a white square in the middle
    placed = replace_background(red[:20, :20], np.zeros((20, 20), np.uint8), stripes)
    assert (placed[5:15, 5:15] == 255).all()


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.75])
def test_an_edge_lies_where_the_logits_cross_between_two_pixels(offset: float) -> None:
    lead = np.repeat(3.0 * (np.arange(20, dtype=np.float32) - 9 - offset)[np.newaxis], 8, axis=0)
    alpha = soft_alpha(lead >= 0, lead)
    assert alpha.sum() / 255 / 8 == pytest.approx(19 - 9 - offset + 0.5, abs=0.02)
    assert np.count_nonzero((alpha[0] > 0) & (alpha[0] < 255)) <= 2


def test_what_the_network_doubts_is_opaque_or_transparent_all_the_same() -> None:
    lead = np.full((8, 8), 0.2, np.float32)
    lead[:, 4:] = -0.2
    alpha = soft_alpha(lead >= 0, lead)
    assert (alpha[:, :3] == 255).all()
    assert (alpha[:, 5:] == 0).all()


def test_what_clean_up_took_away_leaves_no_rim() -> None:
    lead = np.full((20, 20), -4, np.float32)
    lead[5:10, 5:10] = 4
    assert not soft_alpha(np.zeros((20, 20), np.bool_), lead).any()
