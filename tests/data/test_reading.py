from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.pairs import Pair
from maskwright.data.reading import check_same_shape, fingerprint_of, read_mask, read_pair
from maskwright.errors import InputError


def write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def write_pair(folder: Path, image_shape: tuple[int, int], mask_shape: tuple[int, int]) -> Pair:
    rng = np.random.default_rng(0)
    image = write(folder / "car.png", rng.integers(0, 256, (*image_shape, 3), dtype=np.uint8))
    inside = np.zeros(mask_shape, np.uint8)
    inside[: mask_shape[0] // 2] = 255
    return Pair("car", image, write(folder / "car_mask.png", inside), None)


def test_image_and_classes_come_at_the_images_size(tmp_path: Path) -> None:
    image, mask = read_pair(write_pair(tmp_path, (20, 30), (20, 30)))
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (20, 30)
    assert mask.dtype == np.uint8
    assert mask[:10].all()
    assert not mask[10:].any()


@pytest.mark.parametrize("mask_shape", [(10, 15), (40, 60)])
def test_a_mask_of_the_same_shape_is_brought_to_the_images_size(mask_shape: tuple[int, int], tmp_path: Path) -> None:
    _, mask = read_pair(write_pair(tmp_path, (20, 30), mask_shape))
    assert mask.shape == (20, 30)
    assert mask[:10].all()
    assert not mask[10:].any()


@pytest.mark.parametrize("mask_shape", [(30, 20), (20, 31), (20, 20)])
def test_a_mask_of_another_shape_is_refused_with_both_names(mask_shape: tuple[int, int], tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (20, 30), mask_shape)
    with pytest.raises(InputError) as raised:
        read_pair(pair)
    height, width = mask_shape
    assert str(raised.value).startswith(f"{pair.mask_path} is {width}x{height}, ")
    assert "car.png (30x20)" in str(raised.value)


def test_a_mask_may_be_a_pixel_off(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (2, 2), (2, 2))
    check_same_shape(pair, (1280, 1918), (256, 384))
    with pytest.raises(InputError):
        check_same_shape(pair, (1280, 1918), (256, 390))


def test_a_mask_is_read_at_its_own_size(tmp_path: Path) -> None:
    values = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    mask = read_mask(write(tmp_path / "mask.png", values))
    assert mask.tolist() == [[0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("part", ["image", "mask"])
def test_a_file_that_is_no_picture_is_named(part: str, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (20, 30), (20, 30))
    path = pair.image if part == "image" else pair.mask_path
    path.write_text("not a picture")
    with pytest.raises(InputError, match=path.name):
        read_pair(pair)


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    first, copy, other = (tmp_path / name for name in ("a.png", "b.jpg", "c.png"))
    first.write_bytes(b"one picture")
    copy.write_bytes(b"one picture")
    other.write_bytes(b"one pictura")
    assert fingerprint_of(first) == fingerprint_of(copy) != fingerprint_of(other)
    assert len(fingerprint_of(first)) == 16
