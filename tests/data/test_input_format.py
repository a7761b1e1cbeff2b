from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.input_format import PHOTOGRAPH, InputFormat, choose_input_format, read_image, scale_pixels
from maskwright.errors import InputError


def save(path: Path, pixels: NDArray[Any]) -> Path:
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb")
    else:
        Image.fromarray(pixels).save(path)
    return path


def noise(*shape: int, high: int = 256, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


# --- Scaling


def test_eight_bits_stay_as_they_are() -> None:
    dark = noise(4, 5, 3, high=9)
    assert scale_pixels(dark, PHOTOGRAPH, "a") is dark
    assert scale_pixels(dark, InputFormat(low=(0.0,) * 3, high=(4095.0,) * 3), "a") is dark


def test_true_is_white() -> None:
    assert scale_pixels(np.array([[[False], [True]]]), PHOTOGRAPH, "a").tolist() == [[[0] * 3, [255] * 3]]
    deep = InputFormat(low=(100.0,) * 3, high=(4095.0,) * 3)
    assert scale_pixels(np.array([[[True]]]), deep, "a").tolist() == [[[255] * 3]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_the_range_of_each_channel_becomes_0_to_255(dtype: type) -> None:
    deep = InputFormat(low=(0.0, 100.0, -1000.0), high=(1000.0, 200.0, 1000.0))
    pixels: NDArray[Any] = np.array([[[0, 100, 0], [500, 150, 500], [1000, 200, 1000]]], dtype=dtype)
    assert scale_pixels(pixels, deep, "a").tolist() == [[[0, 0, 128], [128, 128, 191], [255, 255, 255]]]


def test_values_outside_of_the_range_are_cut_off() -> None:
    pixels = np.array([[[50], [60_000]]], dtype=np.uint16)
    found = scale_pixels(pixels, InputFormat(low=(100.0,) * 3, high=(200.0,) * 3), "a")
    assert found[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize("deep", [PHOTOGRAPH, InputFormat(low=(10.0,) * 3, high=(4000.0,) * 3)])
def test_scaling_never_depends_on_content(deep: InputFormat) -> None:
    pixels = noise(8, 9, 3, high=5000, dtype=np.uint16)
    beside_light = np.concatenate([pixels, np.full_like(pixels, 65535)])
    assert (scale_pixels(beside_light, deep, "a")[:8] == scale_pixels(pixels, deep, "a")).all()


def test_large_pictures_are_scaled_to_their_last_row() -> None:
    pixels = noise(1500, 1000, 1, high=65536, dtype=np.uint16)
    expected = np.rint(pixels / 65535 * 255)
    assert (scale_pixels(pixels, PHOTOGRAPH, "a") == expected).all()


def test_sixteen_bits_without_a_range_are_taken_as_a_whole() -> None:
    assert scale_pixels(np.array([[[0], [65535]]], dtype=np.uint16), PHOTOGRAPH, "a")[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_other_numbers_need_a_range(dtype: type) -> None:
    with pytest.raises(InputError, match=r"^a\.tif holds numbers of type .* trained on 8-bit"):
        scale_pixels(np.zeros((2, 2, 3), dtype=dtype), PHOTOGRAPH, "a.tif")


def test_one_channel_is_repeated_for_photographs() -> None:
    grey = noise(4, 5, 1)
    assert (scale_pixels(grey, PHOTOGRAPH, "a") == grey).all()
    assert scale_pixels(grey, PHOTOGRAPH, "a").shape == (4, 5, 3)


@pytest.mark.parametrize(("found", "expected"), [(5, 3), (3, 5), (1, 5), (2, 3), (4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_numbers_of_channels_are_refused_with_both(found: int, expected: int, dtype: type) -> None:
    with pytest.raises(InputError, match=rf"^a\.tif has {found} channels?, but {expected} channels are expected"):
        scale_pixels(np.zeros((2, 2, found), dtype=dtype), InputFormat(expected), "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".gif", ".npy"])
@pytest.mark.parametrize("stored", [1, 3])
def test_a_grey_picture_is_one_channel_where_one_is_expected(suffix: str, stored: int, tmp_path: Path) -> None:
    grey = np.repeat(np.repeat(noise(4, 5), 8, axis=0), 8, axis=1)
    path = save(tmp_path / f"a{suffix}", grey if stored == 1 else np.repeat(grey[..., np.newaxis], 3, axis=2))
    found = read_image(path, InputFormat(1))
    assert found.shape == (32, 40, 1)
    assert np.array_equal(found[..., 0], read_image(path)[..., 0])


def test_colours_are_refused_where_one_channel_is_expected() -> None:
    pixels = np.full((4, 5, 3), 7, np.uint8)
    pixels[3, 4, 2] = 8
    with pytest.raises(InputError, match=r"^a\.png is in colour, but 1 channel is expected here.*; save it in grey"):
        scale_pixels(pixels, InputFormat(1), "a.png")


@pytest.mark.parametrize(("found", "dtype"), [(5, np.uint8), (5, np.uint16), (3, np.uint16)])
def test_other_numbers_of_channels_are_refused_where_one_is_expected(found: int, dtype: type) -> None:
    with pytest.raises(InputError, match=rf"^a\.tif has {found} channels, but 1 channel is expected here"):
        scale_pixels(np.zeros((2, 2, found), dtype=dtype), InputFormat(1), "a.tif")


def test_a_picture_is_read_and_scaled(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[0, 1000]], dtype=np.uint16))
    deep = InputFormat(low=(0.0,) * 3, high=(1000.0,) * 3)
    assert read_image(path, deep).tolist() == [[[0] * 3, [255] * 3]]
    assert read_image(path).tolist() == [[[0] * 3, [4] * 3]]
    colours = noise(4, 5, 3)
    assert (read_image(save(tmp_path / "b.png", colours)) == colours).all()


# --- Choosing


def test_photographs_of_every_kind_are_photographs(tmp_path: Path) -> None:
    colour = save(tmp_path / "a.png", noise(4, 5, 3))
    grey = save(tmp_path / "b.png", noise(4, 5))
    array = save(tmp_path / "c.npy", noise(4, 5))
    assert choose_input_format([colour, grey, array]) == PHOTOGRAPH
    assert choose_input_format([array]) == PHOTOGRAPH
    assert choose_input_format([]) == PHOTOGRAPH


def test_many_channels_are_counted(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{name}.npy", noise(4, 5, 7)) for name in "ab"]
    assert choose_input_format(paths) == InputFormat(7)


def test_mixed_channels_are_refused_with_one_of_each(tmp_path: Path) -> None:
    five = [save(tmp_path / f"five{number}.npy", noise(20, 20, 5)) for number in range(3)]
    three = save(tmp_path / "three.png", noise(4, 5, 3))
    with pytest.raises(InputError, match=r"three\.png has 3 channels and .*five0\.npy has 5 channels"):
        choose_input_format([*five, three])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_a_camera_of_12_bits_does_not_go_black(tmp_path: Path, suffix: str) -> None:
    paths = [save(tmp_path / f"{name}{suffix}", noise(80, 90, high=4096, dtype=np.uint16)) for name in "ab"]
    chosen = choose_input_format(paths)
    assert len(chosen.low) == len(chosen.high) == chosen.channels == 3
    assert chosen.low == pytest.approx((0.005 * 4096,) * 3, rel=0.3)
    assert chosen.high == pytest.approx((0.995 * 4096,) * 3, rel=0.01)
    assert read_image(paths[0], chosen).mean() == pytest.approx(127, abs=3)


def test_every_channel_has_its_own_range(tmp_path: Path) -> None:
    pixels = noise(80, 90, 5, high=1000, dtype=np.float32) * np.array([1, 2, 3, 4, 5], dtype=np.float32)
    chosen = choose_input_format([save(tmp_path / "a.npy", pixels)])
    assert chosen.high == pytest.approx((995, 1990, 2985, 3980, 4975), rel=0.01)


def test_a_few_hot_pixels_do_not_stretch_the_range(tmp_path: Path) -> None:
    pixels = noise(80, 90, high=1000, dtype=np.uint16)
    pixels[0, :10] = 65535
    assert max(choose_input_format([save(tmp_path / "a.tif", pixels)]).high) < 1000


def test_a_dead_channel_has_a_range(tmp_path: Path) -> None:
    chosen = choose_input_format([save(tmp_path / "a.npy", np.full((4, 5, 2), 7, np.uint16))])
    assert (chosen.low, chosen.high) == ((7.0, 7.0), (8.0, 8.0))


def test_deep_greys_and_deep_colours_share_a_range(tmp_path: Path) -> None:
    grey = save(tmp_path / "a.tif", np.full((40, 50), 1000, np.uint16))
    colour = save(tmp_path / "b.tif", np.zeros((40, 50, 3), np.uint16))
    chosen = choose_input_format([grey, colour])
    assert (chosen.low, chosen.high) == ((0.0,) * 3, (1000.0,) * 3)


def test_eight_bit_pictures_do_not_count_for_the_range(tmp_path: Path) -> None:
    deep = save(tmp_path / "a.tif", noise(40, 50, high=4096, dtype=np.uint16))
    light = save(tmp_path / "b.png", np.full((400, 500), 255, np.uint8))
    assert choose_input_format([deep, light]) == choose_input_format([deep])


def test_floats_and_integers_have_no_range_in_common(tmp_path: Path) -> None:
    floats = save(tmp_path / "a.npy", np.zeros((4, 5), np.float32))
    integers = save(tmp_path / "b.tif", np.zeros((4, 5), np.uint16))
    with pytest.raises(InputError, match=r"a\.npy holds floats and .*b\.tif integers"):
        choose_input_format([floats, integers])


def test_the_sample_is_spread_evenly(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.npy", np.full((4, 5), number, np.uint16)) for number in range(9)]
    chosen = choose_input_format(paths, most=3)  # 0, 4 and 8
    assert chosen.low[0] < 1
    assert chosen.high[0] > 7


def test_unreadable_files_are_passed_over(tmp_path: Path) -> None:
    good = save(tmp_path / "a.npy", noise(40, 50, 2, high=4096, dtype=np.uint16))
    (tmp_path / "b.npy").write_bytes(good.read_bytes()[:200])  # its header is whole
    (tmp_path / "c.npy").touch()
    paths = [tmp_path / "c.npy", good, tmp_path / "b.npy", tmp_path / "missing.png"]
    assert choose_input_format(paths) == choose_input_format([good])
