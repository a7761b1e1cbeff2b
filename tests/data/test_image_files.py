import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.image_files import (
    IMAGE_SUFFIXES,
    fit_size,
    read_image,
    read_mask_values,
    read_size,
    resize_classes,
    resize_image,
    resize_mask,
    resize_plane,
    write_image,
)
from maskwright.errors import InputError

ORIENTATION = 0x0112
RED, GREEN, GREY, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (90,) * 3, (255,) * 3, (0,) * 3


def save(path: Path, array: object, **options: object) -> Path:
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path, **options)  # type: ignore[arg-type]
    return path


def corners(height: int = 16, width: int = 24) -> NDArray[np.uint8]:
    """Black, with a red upper left and a green upper right quarter: no turn looks like another."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    return image


def save_palette(path: Path, indices: list[list[int]], colours: list[tuple[int, ...]]) -> Path:
    picture = Image.fromarray(np.array(indices, dtype=np.uint8))
    picture.putpalette([channel for colour in colours for channel in colour])
    picture.save(path)
    return path


# --- Reading images


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".pgm", ".pbm"}))
def test_every_common_format_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", corners()))
    assert image.shape == (16, 24, 3)
    assert image.dtype == np.uint8
    assert image[2, 2].argmax() == 0
    assert image[2, 20].argmax() == 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "YCbCr", "P", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif"
    white_beside_black = np.zeros((4, 8, 3), dtype=np.uint8)
    white_beside_black[:, :4] = 255
    if mode in {"YCbCr", "CMYK"}:
        path = tmp_path / "a.jpg"
    Image.fromarray(white_beside_black).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 8, 3)
    assert np.abs(image.astype(int) - white_beside_black).max() <= 3


def test_alpha_is_dropped_and_not_blended(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", np.full((2, 2, 4), (10, 20, 30, 0))))
    assert image.tolist() == np.full((2, 2, 3), (10, 20, 30)).tolist()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / f"a{suffix}", corners(), exif=exif)
    upright = np.rot90(corners(), turns)
    image = read_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 12
    assert read_size(path) == upright.shape[:2]
    assert read_mask_values(path).shape[:2] == upright.shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_unknown_orientation_leaves_the_picture_as_it_is(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.png", corners(), exif=exif)
    assert (read_image(path) == corners()).all()
    assert read_size(path) == (16, 24)


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", corners(), exif=b"Exif\x00\x00nonsense\xff\xff" * 3)
    assert read_image(path).shape == (16, 24, 3)
    assert read_size(path) == (16, 24)


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    save(tmp_path / "a.png", corners())
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert (read_image(tmp_path / "a.jpg") == corners()).all()


# --- Bad files


def deep_grey(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 4000, dtype=np.uint16)).save(path, format="PNG")


def deep_colour(path: Path) -> None:
    """A PNG of 16 bits per channel, which Pillow reads but cannot write."""
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\x00" + b"\x0f\xff" * 6) * 2)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"")))


def cut_short(suffix: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = save(path.with_name(f"whole{suffix}"), noise).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    return make


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("hello, I am a picture\n" * 9), "not a picture"),
    "empty": (lambda path: path.touch(), "is empty"),
    "missing": (lambda _: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "not a picture"),
    "postscript": (
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"),
        "not a picture",
    ),
    "bomb": (bomb, "million pixels"),
    **{f"short {kind}": (cut_short(kind), "cut short") for kind in (".jpg", ".png", ".bmp")},
    **{f"short {kind}": (cut_short(kind), "cut short") for kind in (".gif", ".webp", ".ppm")},
    "short .tif": (cut_short(".tif"), "bad.png"),  # its table of contents may come last
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("read", [read_image, read_mask_values])
def test_bad_files_are_one_sentence_that_names_them(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    make, expected = HOSTILE[kind]
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(InputError) as error:
        read(path)
    sentence = str(error.value)
    assert sentence.startswith(str(path))
    assert expected in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", corners()).chmod(0)
    with pytest.raises(InputError, match=r"a\.png may not be read"):
        read_image(tmp_path / "a.png")


def test_remarks_of_the_decoder_are_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # refused at twice that
    assert read_image(save(tmp_path / "a.png", corners())).shape == (16, 24, 3)


@pytest.mark.parametrize("kind", ["text", "empty", "missing", "folder", "bomb"])
def test_the_size_of_a_bad_file_is_refused_too(tmp_path: Path, kind: str) -> None:
    make, expected = HOSTILE[kind]
    make(tmp_path / "bad.png")
    with pytest.raises(InputError, match=expected):
        read_size(tmp_path / "bad.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".tif", ".bmp", ".webp", ".tga"])
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, suffix: str) -> None:
    whole = np.frombuffer(save(tmp_path / f"a{suffix}", corners()).read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = whole.copy()
        damaged[random.integers(0, len(whole), 4)] = random.integers(0, 256, 4)
        (tmp_path / "bad").write_bytes(damaged.tobytes())
        for read in (read_image, read_mask_values, read_size):
            with suppress(InputError):
                read(tmp_path / "bad")


@pytest.mark.parametrize("make", [deep_grey, deep_colour])
def test_deep_images_are_refused_and_not_scaled(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png has more than 8 bits"):
        read_image(tmp_path / "a.png")


# --- Reading masks


def test_one_bit_masks_are_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    values = read_mask_values(tmp_path / "a.png")
    assert values.tolist() == [[1, 0]]
    assert values.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif"])
def test_black_and_white_palettes_read_the_same_in_either_order(tmp_path: Path, suffix: str) -> None:
    one = save_palette(tmp_path / f"one{suffix}", [[0, 1, 1]], [BLACK, WHITE])
    other = save_palette(tmp_path / f"other{suffix}", [[1, 0, 0]], [WHITE, BLACK])
    assert read_mask_values(one).tolist() == [[0, 255, 255]]
    assert read_mask_values(other).tolist() == [[0, 255, 255]]


def test_unused_colours_of_a_palette_do_not_count(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", [[0, 1]], [BLACK, WHITE, RED, GREEN])
    assert read_mask_values(path).tolist() == [[0, 255]]


def test_coloured_palettes_give_their_indices(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", [[0, 1, 2]], [BLACK, RED, GREEN])
    assert read_mask_values(path).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_masks_keep_their_values_and_type(tmp_path: Path, dtype: type) -> None:
    stored: NDArray[Any] = np.array([[0, 1, np.iinfo(dtype).max]], dtype=dtype)
    Image.fromarray(stored).save(tmp_path / "a.png")
    values = read_mask_values(tmp_path / "a.png")
    assert values.tolist() == stored.tolist()
    assert values.dtype == dtype


@pytest.mark.parametrize("channels", [3, 4])
def test_equal_channels_are_one_grey(tmp_path: Path, channels: int) -> None:
    stored = np.full((2, 2, channels), 255, dtype=np.uint8)
    stored[0, 0, :3] = 7
    values = read_mask_values(save(tmp_path / "a.png", stored))
    assert values.tolist() == [[7, 255], [255, 255]]


def test_a_grey_mask_saved_as_colour_jpeg_is_grey(tmp_path: Path) -> None:
    stored = np.zeros((32, 32, 3))
    stored[5:20, 7:30] = 255
    assert read_mask_values(save(tmp_path / "a.jpg", stored)).ndim == 2


def test_colours_and_varying_alpha_are_kept(tmp_path: Path) -> None:
    see_through = np.full((1, 2, 4), 255)
    see_through[0, 0, 3] = 0
    assert read_mask_values(save(tmp_path / "a.png", corners())).shape == (16, 24, 3)
    assert read_mask_values(save(tmp_path / "b.png", see_through)).shape == (1, 2, 4)


def test_deep_colour_masks_are_refused(tmp_path: Path) -> None:
    deep_colour(tmp_path / "a.png")
    with pytest.raises(InputError, match="colour mask of 16 bits"):
        read_mask_values(tmp_path / "a.png")


# --- Sizes


@pytest.mark.parametrize(
    ("size", "longer_side", "fitted"),
    [
        ((1280, 1918), 384, (256, 384)),
        ((1918, 1280), 384, (384, 256)),
        ((100, 100), 384, (384, 384)),
        ((3, 5000), 100, (1, 100)),
        ((10, 20), 20, (10, 20)),
    ],
)
def test_the_longer_side_is_exact(size: tuple[int, int], longer_side: int, fitted: tuple[int, int]) -> None:
    assert fit_size(*size, longer_side) == fitted


def test_a_right_size_costs_nothing() -> None:
    image = corners()
    assert resize_image(image, 16, 24) is image


def test_resized_images_can_be_written_to() -> None:
    image = resize_image(corners(), 8, 12)
    assert image.shape == (8, 12, 3)
    assert image.flags.writeable


def test_shrinking_an_image_averages_instead_of_skipping() -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_image(stripes, 8, 8)[:, 1:-1].astype(int) - 127).max() <= 2


def test_masks_shrink_to_the_share_of_foreground() -> None:
    mask = np.array([[1, 0, 1, 1], [0, 0, 1, 1]], dtype=np.uint8)
    assert resize_mask(mask, 1, 2).tolist() == [[64, 255]]


def test_masks_keep_their_area_when_shrunk() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (90, 120), dtype=np.uint8)
    assert resize_mask(mask, 31, 41).mean() / 255 == pytest.approx(mask.mean(), abs=0.003)


def test_enlarged_masks_stay_hard() -> None:
    mask = np.array([[1, 0]], dtype=np.uint8)
    assert resize_mask(mask, 2, 4).tolist() == [[255, 255, 0, 0]] * 2
    assert resize_mask(mask, 1, 2).tolist() == [[255, 0]]


def test_classes_are_never_mixed() -> None:
    classes = np.array([[0, 9], [9, 0]], dtype=np.uint8)
    assert set(np.unique(resize_classes(classes, 7, 5))) == {0, 9}


def test_planes_are_interpolated_between_pixel_centres() -> None:
    plane = np.array([[-1.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(resize_plane(plane, 1, 4), [[-1, -0.5, 0.5, 1]])


# --- Writing


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_a_written_png_reads_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_image(tmp_path / "new" / "a.png", array)
    assert (np.asarray(Image.open(tmp_path / "new" / "a.png")) == array).all()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_palette_colours_the_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2]], dtype=np.uint8)
    write_image(tmp_path / "a.png", indices, palette=[BLACK, RED, GREEN])
    assert read_mask_values(tmp_path / "a.png").tolist() == indices.tolist()
    assert read_image(tmp_path / "a.png").tolist() == [[list(BLACK), list(RED), list(GREEN)]]


@pytest.mark.parametrize("name", ["a.tif", "a", "a.png.exe"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"ending in \.png"):
        write_image(tmp_path / name, corners())


def test_a_jpeg_with_a_palette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg .* ending in \.png"):
        write_image(tmp_path / "a.jpg", np.zeros((2, 2), dtype=np.uint8), palette=[BLACK])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, corners())
    before = path.read_bytes()

    def run_out_of_space(picture: Image.Image, file: Path, **options: object) -> None:
        file.write_bytes(before[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", run_out_of_space)
    with pytest.raises(InputError, match=r"a\.png cannot be written \(No space left on device\)"):
        write_image(path, corners())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match=r"a\.png cannot be written"):
        write_image(tmp_path / "taken" / "a.png", corners())


# --- Real files


@pytest.mark.realdata
def test_real_masks_hold_what_their_readme_says(real_data: Path) -> None:
    masks = {
        "carvana/train_masks": {0, 255},
        "nuclei/masks": {0, 255},
        "membranes/label": {0, 255},
        "cracks/masks": {0, 255},
    }
    for folder, expected in masks.items():
        values = read_mask_values(sorted((real_data / folder).iterdir())[0])
        assert values.ndim == 2
        assert set(np.unique(values).tolist()) == expected, folder


@pytest.mark.realdata
def test_real_images_are_rgb_and_their_size_is_known_in_advance(real_data: Path) -> None:
    for folder in ("carvana/train", "people/images", "nuclei/images", "membranes/image"):
        for path in sorted((real_data / folder).iterdir())[:3]:
            image = read_image(path)
            assert image.shape == (*read_size(path), 3)
