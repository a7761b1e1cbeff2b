from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data import drawn_cars
from maskwright.data.drawn_cars import VIEWS, car_name, draw_car, write_drawn_cars
from maskwright.errors import InputError

SMALL = {"width": 160, "height": 107}


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Halve both sides by area averaging."""
    blocks = pixels.astype(np.float64)
    return (blocks[::2, ::2] + blocks[1::2, ::2] + blocks[::2, 1::2] + blocks[1::2, 1::2]) / 4


def best_threshold_dice(level: NDArray[np.float64], car: NDArray[np.bool_]) -> float:
    """Dice of the best threshold on 0..255, dark or bright side, chosen with the answer at hand."""
    levels = np.clip(level, 0, 255).astype(np.int64).ravel()
    total = np.bincount(levels, minlength=256)
    inside = np.bincount(levels[car.ravel()], minlength=256)
    dark = 2 * np.cumsum(inside) / (np.cumsum(total) + inside.sum())
    bright = 2 * np.cumsum(inside[::-1]) / (np.cumsum(total[::-1]) + inside.sum())
    return float(max(dark.max(), bright.max()))


def test_the_same_numbers_draw_the_same_picture_in_any_order() -> None:
    first = draw_car(2, 3, seed=5, **SMALL)
    draw_car(4, 7, seed=5, **SMALL)
    again = draw_car(2, 3, seed=5, **SMALL)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


@pytest.mark.parametrize(("car", "seed"), [(3, 5), (2, 6)])
def test_another_car_or_seed_is_another_picture(car: int, seed: int) -> None:
    image, mask = draw_car(2, 3, seed=5, **SMALL)
    other_image, other_mask = draw_car(car, 3, seed=seed, **SMALL)
    assert np.mean(image != other_image) > 0.5
    assert not np.array_equal(mask, other_mask)


def test_all_views_of_a_car_differ() -> None:
    masks = [draw_car(1, view, **SMALL)[1] for view in range(1, VIEWS + 1)]
    assert len({mask.tobytes() for mask in masks}) == VIEWS


def test_a_car_is_wider_from_its_side_than_from_its_front() -> None:
    widths = [np.ptp(np.nonzero(draw_car(1, view, **SMALL)[1])[1]) for view in (1, 5)]
    assert widths[1] > 1.5 * widths[0]


def test_image_and_mask_have_the_size_asked_for() -> None:
    image, mask = draw_car(0, 1, width=131, height=77)
    assert image.shape == (77, 131, 3)
    assert mask.shape == (77, 131)
    assert image.dtype == mask.dtype == np.uint8


def test_only_the_outline_is_grey() -> None:
    mask = draw_car(0, 2, **SMALL)[1]
    car, room = mask == 255, mask == 0
    padded_car, padded_room = np.pad(car, 1), np.pad(room, 1, constant_values=True)
    around = [(down, right) for down in range(3) for right in range(3)]
    near_car = np.any([padded_car[d : d + 107, r : r + 160] for d, r in around], axis=0)
    near_room = np.any([padded_room[d : d + 107, r : r + 160] for d, r in around], axis=0)
    grey = ~car & ~room
    assert 100 < grey.sum() < 0.1 * mask.size
    assert len(np.unique(mask)) > 8
    assert np.mean(near_room[grey] | near_car[grey]) == 1
    assert np.mean(near_room[grey]) > 0.9


def test_mask_is_the_area_average_of_the_mask_at_double_size() -> None:
    mask = draw_car(0, 4, width=160, height=107)[1]
    double = shrink(draw_car(0, 4, width=320, height=214)[1])
    difference = np.abs(mask - double)
    assert difference.max() < 64
    assert difference[(mask > 0) | (double > 0)].mean() < 1.5
    assert abs(mask.sum(dtype=np.float64) / double.sum() - 1) < 0.002


def test_picture_at_another_size_is_the_same_scene() -> None:
    image = draw_car(0, 4, width=160, height=107)[0].astype(np.float64)
    double = shrink(draw_car(0, 4, width=320, height=214)[0])
    assert np.abs(image - double).mean() < 4


def test_shadow_and_glass_are_on_their_side_of_the_mask() -> None:
    image, mask = draw_car(0, 5, **SMALL)
    grey = image.mean(axis=2)
    columns = np.nonzero(mask.sum(axis=0) > 255 * 20)[0]
    middle = columns[len(columns) // 2]
    bottom = np.nonzero(mask[:, middle] == 255)[0].max()
    assert mask[bottom + 3, middle] == 0
    assert grey[bottom + 3, middle] < 0.75 * grey[-1, middle]
    rows = np.nonzero(mask[:, middle])[0]
    assert np.all(mask[rows.min() + 1 : rows.max(), middle] == 255)


def test_no_threshold_finds_the_cars() -> None:
    brightness, background = [], []
    for car in range(16):
        image, mask = draw_car(car, 1 + 5 * car % VIEWS, **SMALL)
        pixels, inside = image.astype(np.float64), mask >= 128
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        distance = np.sqrt(((pixels - np.median(border, axis=0)) ** 2).sum(axis=2))
        brightness.append(best_threshold_dice(pixels.mean(axis=2), inside))
        background.append(best_threshold_dice(distance, inside))
    assert np.mean(brightness) < 0.9
    assert np.mean(background) < 0.9


def test_car_names_are_twelve_hex_digits_and_belong_to_their_seed() -> None:
    names = {car_name(car, seed=seed) for car in range(20) for seed in range(3)}
    assert len(names) == 60
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in names)


@pytest.mark.parametrize("few_pixels", [drawn_cars.FEW_PIXELS, 0], ids=["in this process", "in others"])
def test_files_lie_in_kaggles_layout(few_pixels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_cars, "FEW_PIXELS", few_pixels)
    paths = list(write_drawn_cars(tmp_path, cars=2, views=4, seed=3, **SMALL))
    names = [f"{car_name(car, seed=3)}_{view:02d}" for car in range(2) for view in (1, 5, 9, 13)]
    assert paths == [tmp_path / "train" / f"{name}.jpg" for name in names]
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    masks = {f"train_masks/{name}_mask.png" for name in names}
    assert written == masks | {f"train/{name}.jpg" for name in names}


def test_files_hold_what_was_drawn(tmp_path: Path) -> None:
    (path,) = write_drawn_cars(tmp_path, cars=1, views=1, **SMALL)
    image, mask = draw_car(0, 1, **SMALL)
    with Image.open(tmp_path / "train_masks" / f"{path.stem}_mask.png") as file:
        assert file.mode == "L"
        assert np.array_equal(np.asarray(file), mask)
    with Image.open(path) as file:
        assert np.abs(np.asarray(file).astype(int) - image).mean() < 4


def test_each_pair_is_on_disk_when_its_path_comes(tmp_path: Path) -> None:
    pictures = write_drawn_cars(tmp_path, cars=2, views=1, **SMALL)
    path = next(pictures)
    assert path.is_file()
    assert (tmp_path / "train_masks" / f"{path.stem}_mask.png").is_file()


@pytest.mark.parametrize("name", ["train/{}_09.jpg", "train_masks/{}_09_mask.png"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    there = tmp_path / name.format(car_name(0))
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already"):
        list(write_drawn_cars(tmp_path, cars=1, views=2, **SMALL))
    assert there.read_bytes() == b"mine"
    assert list(tmp_path.rglob("*.*")) == [there]


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("mine")
    assert len(list(write_drawn_cars(tmp_path, cars=1, views=1, **SMALL))) == 1


@pytest.mark.parametrize("views", [0, 17])
def test_only_possible_numbers_of_views_are_accepted(tmp_path: Path, views: int) -> None:
    with pytest.raises(InputError, match="choose 1 to 16"):
        list(write_drawn_cars(tmp_path, cars=1, views=views))
