import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from maskwright.config import Settings
from maskwright.data import augmentation
from maskwright.data.augmentation import (
    BEYOND,
    Change,
    Tint,
    Window,
    colour_matrix,
    draw_change,
    draw_window,
    mean_grey,
    move,
    recolour,
    tint_foreground,
)

pytestmark = pytest.mark.usefixtures("one_thread")

NOTHING = Change(
    mirror=False, degrees=0.0, shift=(0.0, 0.0), scale=1.0, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0
)


def change(**values: object) -> Change:
    return dataclasses.replace(NOTHING, **values)  # type: ignore[arg-type]


def moved(how: Change, pixels: Tensor, *, channels: int = 3, mixed: int | None = None) -> tuple[Tensor, Tensor]:
    """The moved bytes ``(H, W, S)``, and where they are of the picture ``(H, W)``."""
    bands = list(move(how, pixels, channels=channels, mixed=pixels.shape[2] if mixed is None else mixed))
    inside = [torch.ones(band.pixels.shape[:2]) if band.inside is None else band.inside.float() for band in bands]
    rows = [row for band in bands for row in range(pixels.shape[0])[band.rows]]
    assert rows == list(range(pixels.shape[0]))
    return torch.cat([band.pixels for band in bands]), torch.cat(inside)


def smooth(height: int, width: int, size: int = 4) -> Tensor:
    """Bytes that change little from pixel to pixel."""
    rows, columns, channels = (
        torch.arange(n, dtype=torch.float32).view(shape)
        for n, shape in ((height, (-1, 1, 1)), (width, (1, -1, 1)), (size, (1, 1, -1)))
    )
    return (127 + 60 * torch.sin(rows / 9 + channels) + 60 * torch.cos(columns / 11 - channels)).to(torch.uint8)


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (40, 56, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (3, 40, 56), generator=torch.Generator().manual_seed(0)) / 255


# --- Moving


def test_image_and_mask_move_together(pixels: Tensor) -> None:
    pixels[..., 3] = pixels[..., 0]
    how = change(mirror=True, degrees=23.0, shift=(0.1, -0.05), scale=0.9)
    result, inside = moved(how, pixels)
    assert 0.5 < inside.mean() < 1
    assert torch.equal(result[..., 3][inside > 0], result[..., 0][inside > 0])


@pytest.mark.parametrize("size", [4, 8, 16])
def test_a_change_of_nothing_changes_nothing(size: int) -> None:
    pixels = torch.randint(0, 256, (40, 56, size), dtype=torch.uint8)
    result, inside = moved(NOTHING, pixels)
    assert torch.equal(result, pixels)
    assert inside.all()


def test_every_pattern_of_bits_comes_through() -> None:
    words = torch.cat([torch.arange(-(2**31), 2**31 - 1, 2**20 + 1), torch.arange(0x7F800000, 0x7F800040)])
    pixels = words.to(torch.int32).view(torch.uint8).view(1, -1, 4)
    for mixed in (0, 4):
        assert torch.equal(moved(NOTHING, pixels, mixed=mixed)[0], pixels)


def test_a_mirror_swaps_left_and_right(pixels: Tensor) -> None:
    result, inside = moved(change(mirror=True), pixels)
    assert torch.equal(result, pixels.flip(1))
    assert inside.all()


def test_a_shift_moves_to_the_right_and_down(pixels: Tensor) -> None:
    result, inside = moved(change(shift=(0.125, 0.25)), pixels)
    assert torch.equal(result[10:, 7:], pixels[:-10, :-7])
    assert inside[10:, 7:].all()
    assert not inside[:10].any()
    assert not inside[:, :7].any()


def test_a_move_by_half_a_pixel_mixes_neighbours(pixels: Tensor) -> None:
    result, _ = moved(change(shift=(0.5 / 56, 0.0)), pixels)
    mean = (pixels[:, 1:-3].float() + pixels[:, 2:-2].float()) / 2
    torch.testing.assert_close(result[:, 2:-2].float(), mean, atol=0.5, rtol=0)


def test_a_turn_is_clockwise_and_keeps_the_shape_of_things() -> None:
    pixels = torch.zeros(40, 60, 4, dtype=torch.uint8)
    pixels[4:8, 28:32] = 200  # a square above the middle
    result, _ = moved(change(degrees=90.0), pixels, channels=0)
    expected = torch.zeros_like(pixels)
    expected[18:22, 42:46] = 200  # it lies as far to the right now
    assert torch.equal(result, expected)


def test_a_scale_enlarges_around_the_middle() -> None:
    pixels = torch.zeros(40, 40, 4, dtype=torch.uint8)
    pixels[15:25, 15:25] = 200
    result, _ = moved(change(scale=2.0), pixels)
    assert result[..., 3].sum() == pytest.approx(200 * 400, rel=0.02)
    assert result[12, 12, 3] == 200
    assert result[8, 8, 3] == 0


@pytest.mark.parametrize("mirror", [False, True])
def test_pictures_move_as_bilinear_sampling_moves_them(mirror: bool) -> None:
    pixels = smooth(120, 160)
    how = change(mirror=mirror, degrees=-17.0, shift=(0.08, -0.06), scale=1.15)
    result, inside = moved(how, pixels)
    planes = pixels.permute(2, 0, 1).float()
    reference = tv.affine(
        planes.flip(-1) if mirror else planes,
        angle=how.degrees,
        translate=[how.shift[0] * 160, how.shift[1] * 120],
        scale=how.scale,
        shear=[0.0, 0.0],
        interpolation=tv.InterpolationMode.BILINEAR,
    )
    # Within a quarter of a pixel along each axis, where neighbours differ by up to 7.
    difference = (result.permute(2, 0, 1).float() - reference)[:, inside > 0]
    assert difference.abs().max() < 5
    assert difference.mean().abs() < 0.6  # whole bytes are rounded down, twice
    assert 0.8 < inside.mean() < 1


def test_beyond_the_edge_nothing_counts_and_inside_nothing_has_faded() -> None:
    pixels = torch.full((40, 56, 4), 255, dtype=torch.uint8)
    result, inside = moved(change(degrees=30.0, scale=0.7, shift=(0.1, 0.1)), pixels)
    assert set(inside.flatten().tolist()) == {0.0, 1.0}
    assert (result[inside > 0] == 255).all()
    beyond = (
        F.max_pool2d(inside[None], 3, stride=1, padding=1)[0] == 0
    )  # at the very edge, half of a pixel may be there
    assert beyond.sum() > 300
    assert (result[beyond] == torch.tensor([BEYOND, BEYOND, BEYOND, 0])).all()


def test_a_turned_picture_counts_where_its_corners_still_are() -> None:
    _, inside = moved(change(degrees=45.0), torch.ones(40, 40, 4, dtype=torch.uint8))
    assert not inside[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert inside[20, [0, 20, -1]].all()


def test_what_counts_is_what_comes_from_the_picture() -> None:
    how = change(mirror=True, degrees=-31.0, scale=0.8, shift=(0.2, -0.1))
    _, inside = moved(how, torch.zeros(60, 40, 4, dtype=torch.uint8))
    whole = tv.affine(
        torch.ones(1, 60, 40),
        angle=how.degrees,
        translate=[how.shift[0] * 40, how.shift[1] * 60],
        scale=how.scale,
        shear=[0.0, 0.0],
        interpolation=tv.InterpolationMode.BILINEAR,
    )
    assert (inside != (whole[0] > 0.999)).sum() <= 2


@pytest.mark.parametrize("size", [8, 16])
def test_class_indices_are_never_mixed(size: int) -> None:
    pixels = torch.randint(0, 2, (40, 56, size), dtype=torch.uint8) * 200
    result, inside = moved(change(degrees=8.0, scale=1.1), pixels, mixed=3)
    assert set(result[inside > 0][:, 3:].flatten().tolist()) == {0, 200}
    assert 100 in result[..., :3]


def test_bands_are_seamless(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    how = change(degrees=12.0, shift=(0.03, 0.02), scale=0.95)
    whole = moved(how, pixels)
    monkeypatch.setattr(augmentation, "BAND_PIXELS", 3 * 56)
    parts = moved(how, pixels)
    assert torch.equal(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])


# --- Colours


def recoloured(how: Change, image: Tensor, grey: float = 0.5) -> Tensor:
    """An image ``(3, H, W)`` in 0..1, which is a byte before."""
    bytes_ = torch.cat([image.mul(255).round(), torch.full_like(image[:1], 200)]).permute(1, 2, 0)
    out = torch.empty_like(image)
    recolour(bytes_.to(torch.uint8).contiguous(), *colour_matrix(how, grey), out=out)
    return out


def test_no_change_keeps_the_colours(image: Tensor) -> None:
    torch.testing.assert_close(recoloured(NOTHING, image), image)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_number_changes_the_colours_within_range(name: str, image: Tensor) -> None:
    coloured = recoloured(change(**{name: 0.5}), image)
    assert (coloured - image).abs().mean() > 0.02
    assert coloured.min() >= 0
    assert coloured.max() <= 1


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_colours_change_as_torchvision_changes_them(factor: float, image: Tensor) -> None:
    image = (77 + (102 * image).round()) / 255  # nothing is cut off
    grey = float(tv.rgb_to_grayscale(image).mean())
    for name, reference in [
        ("brightness", tv.adjust_brightness(image, factor)),
        ("contrast", tv.adjust_contrast(image, factor)),
        ("saturation", tv.adjust_saturation(image, factor)),
    ]:
        torch.testing.assert_close(recoloured(change(**{name: factor}), image, grey), reference, atol=2e-3, rtol=0)


def test_hue_turns_red_towards_green_and_keeps_greys_and_brightness() -> None:
    red, grey = torch.tensor([0.6, 0.2, 0.2]), torch.tensor([0.4, 0.4, 0.4])
    image = torch.stack([red, grey], 1).unsqueeze(-1)  # (3, 2, 1)
    turned = recoloured(change(hue=0.05), image)
    assert turned[1, 0] > turned[2, 0] + 0.02
    torch.testing.assert_close(turned[:, 1], image[:, 1])
    luma = torch.from_numpy(augmentation.LUMA).float()
    torch.testing.assert_close(luma @ turned[:, 0], luma @ image[:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(recoloured(change(hue=1.0), image), image)


def test_the_mean_grey_is_that_of_the_picture() -> None:
    pixels = smooth(200, 300)
    exact = float((pixels[..., :3].numpy() @ augmentation.LUMA).mean()) / 255
    assert mean_grey(pixels) == pytest.approx(exact, abs=0.01)


# --- Drawing


def test_the_generator_alone_decides_the_change() -> None:
    first, again, other = (draw_change(Settings(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    "settings",
    [
        Settings(flip=0.0),
        Settings(rotate=0.0),
        Settings(scale=0.0, shift=0.0),
        Settings(colour=0.0),
        Settings(flip=1.0),
        Settings(tint=1.0),
    ],
)
def test_settings_do_not_move_what_is_drawn_afterwards(settings: Settings) -> None:
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    draw_change(Settings(), rng)
    draw_change(settings, other)
    assert rng.random() == other.random()


def test_settings_of_zero_draw_a_change_of_nothing() -> None:
    settings = Settings(flip=0.0, scale=0.0, shift=0.0, rotate=0.0, colour=0.0)
    assert draw_change(settings, np.random.default_rng(0)) == NOTHING


def test_changes_stay_within_the_settings_and_use_them() -> None:
    rng = np.random.default_rng(0)
    settings = Settings(flip=0.25, scale=0.5, shift=0.2, rotate=20.0, colour=0.4)
    drawn = [draw_change(settings, rng) for _ in range(1000)]
    assert np.mean([one.mirror for one in drawn]) == pytest.approx(0.25, abs=0.05)
    for values, low, high in [
        ([one.degrees for one in drawn], -20, 20),
        ([one.shift[0] for one in drawn], -0.2, 0.2),
        ([one.shift[1] for one in drawn], -0.2, 0.2),
        ([one.scale for one in drawn], 1 / 1.5, 1.5),
        ([one.brightness for one in drawn], 1 / 1.4, 1.4),
        ([one.contrast for one in drawn], 1 / 1.4, 1.4),
        ([one.saturation for one in drawn], 1 / 1.4, 1.4),
        ([one.hue for one in drawn], -0.04, 0.04),
    ]:
        assert low <= min(values) <= low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) <= max(values) <= high


def test_as_many_foregrounds_are_tinted_as_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    tinted = [draw_change(Settings(tint=0.25), rng).tint is not None for _ in range(1000)]
    assert np.mean(tinted) == pytest.approx(0.25, abs=0.05)
    assert draw_change(Settings(), rng).tint is None


def test_a_tint_changes_the_foreground_alone_and_half_of_it_where_it_is_half() -> None:
    images, share = torch.full((3, 1, 3), 0.2), torch.tensor([[0.0, 0.5, 1.0]])
    images[0] = 0.4
    tint_foreground(Tint(order=(1, 0, 2), factors=(1.0, 2.0, 9.0), lift=0.1), images, share)
    expected = torch.tensor([[0.4, 0.35, 0.3], [0.2, 0.55, 0.9], [0.2, 0.6, 1.0]])
    torch.testing.assert_close(images[:, 0], expected)


def test_pictures_shrink_as_often_as_they_grow() -> None:
    rng = np.random.default_rng(0)
    scales = [draw_change(Settings(scale=0.9), rng).scale for _ in range(2000)]
    assert np.mean(np.array(scales) > 1) == pytest.approx(0.5, abs=0.05)


# --- Windows


def test_a_window_of_all_is_the_whole(pixels: Tensor) -> None:
    how = change(mirror=True, degrees=23.0, shift=(0.1, -0.05), scale=0.9)
    whole, inside = moved(how, pixels)
    bands = list(move(how, pixels, channels=3, mixed=4, window=Window(0, 0, 40, 56)))
    assert torch.equal(torch.cat([band.pixels for band in bands]), whole)
    assert 0 < inside.mean() < 1


def test_a_window_that_is_not_moved_is_that_part(pixels: Tensor) -> None:
    window = Window(7, 12, 16, 20)
    (band,) = move(NOTHING, pixels, channels=3, mixed=4, window=window)
    assert band.inside is None
    assert torch.equal(band.pixels, pixels[7:23, 12:32])
    assert torch.equal(window.of(pixels), band.pixels)
    (band,) = move(change(mirror=True), pixels, channels=3, mixed=4, window=window)
    assert torch.equal(band.pixels, pixels[7:23, 12:32].flip(1))


@pytest.mark.parametrize("how", [change(degrees=20.0), change(scale=0.7), change(degrees=-35.0, scale=1.3)])
def test_a_window_shows_what_lies_beside_it(how: Change) -> None:
    """Turned and shrunk around its own middle, it is the middle of the whole turned and shrunk around there."""
    picture = smooth(81, 81)
    whole, _ = moved(how, picture)
    (band,) = move(how, picture, channels=3, mixed=4, window=Window(30, 30, 21, 21))
    assert band.inside is None
    assert (band.pixels.int() - whole[30:51, 30:51].int()).abs().max() <= 4  # half a pixel


def test_a_window_knows_where_the_picture_ends(pixels: Tensor) -> None:
    (band,) = move(change(shift=(0.5, 0.0)), pixels, channels=3, mixed=4, window=Window(0, 0, 16, 20))
    assert band.inside is not None
    assert not band.inside[:, :10].any()
    assert band.inside[:, 10:].all()


def test_windows_lie_anywhere_in_the_picture() -> None:
    array = np.zeros((40, 56, 4), np.uint8)
    rng = np.random.default_rng(0)
    windows = [draw_window(array, 16, rng, is_foreground=None) for _ in range(400)]
    assert {window.top for window in windows} == set(range(25))
    assert {window.left for window in windows} == set(range(41))
    assert {(window.height, window.width) for window in windows} == {(16, 16)}


def test_a_side_that_is_shorter_is_taken_whole() -> None:
    window = draw_window(np.zeros((10, 56, 4), np.uint8), 16, np.random.default_rng(0), is_foreground=None)
    assert (window.top, window.height, window.width) == (0, 10, 16)


@pytest.mark.parametrize("place", [(0, 0), (39, 55), (20, 30)])
def test_windows_around_a_foreground_hold_it_at_any_place(place: tuple[int, int]) -> None:
    array = np.zeros((40, 56, 4), np.uint8)
    array[(*place, 3)] = 9
    rng = np.random.default_rng(0)
    tops = set()
    for _ in range(200):
        window = draw_window(array, 16, rng, is_foreground=lambda row: row[:, 3] > 0)
        assert window.of(torch.from_numpy(array))[..., 3].any()
        tops.add(window.top)
    assert len(tops) > (1 if place == (20, 30) else 0)


def test_without_a_foreground_any_place_will_do() -> None:
    array = np.zeros((40, 56, 4), np.uint8)
    rng = np.random.default_rng(0)
    assert len({draw_window(array, 16, rng, is_foreground=lambda row: row[:, 3] > 0).top for _ in range(50)}) > 5
