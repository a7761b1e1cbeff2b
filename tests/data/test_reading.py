from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import MaskSettings
from maskwright.data import image_files
from maskwright.data.label_survey import LabelOptions, read_options
from maskwright.data.labels import IGNORED, LabelMap
from maskwright.data.pairs import AlphaChannel, Drawing, Layers, Pair, Polygons, Shape
from maskwright.data.readers.lossy import has_lost_detail
from maskwright.data.reading import (
    Formats,
    check_same_shape,
    choose_formats,
    fingerprint_of,
    has_same_shape,
    read_classes,
    read_pair,
)
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
    image, mask = read_pair(write_pair(tmp_path, (20, 30), (20, 30)), Formats())
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (20, 30)
    assert mask.dtype == np.uint8
    assert mask[:10].all()
    assert not mask[10:].any()


@pytest.mark.parametrize("mask_shape", [(10, 15), (40, 60)])
def test_a_mask_of_the_same_shape_is_brought_to_the_images_size(mask_shape: tuple[int, int], tmp_path: Path) -> None:
    _, mask = read_pair(write_pair(tmp_path, (20, 30), mask_shape), Formats())
    assert mask.shape == (20, 30)
    assert mask[:10].all()
    assert not mask[10:].any()


@pytest.mark.parametrize("mask_shape", [(30, 20), (20, 31), (20, 20)])
def test_a_mask_of_another_shape_is_refused_with_both_names(mask_shape: tuple[int, int], tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (20, 30), mask_shape)
    with pytest.raises(InputError) as raised:
        read_pair(pair, Formats())
    height, width = mask_shape
    assert str(raised.value).startswith(f"{pair.mask_path} is {width}x{height}, ")
    assert "car.png (30x20)" in str(raised.value)


def test_a_mask_may_be_a_pixel_off(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (2, 2), (2, 2))
    check_same_shape(pair, (1280, 1918), (256, 384))
    with pytest.raises(InputError):
        check_same_shape(pair, (1280, 1918), (256, 390))


@pytest.mark.parametrize("part", ["image", "mask"])
def test_a_file_that_is_no_picture_is_named(part: str, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (20, 30), (20, 30))
    path = pair.image if part == "image" else pair.mask_path
    path.write_text("not a picture")
    with pytest.raises(InputError, match=path.name):
        read_pair(pair, Formats())


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    first, copy, other = (tmp_path / name for name in ("a.png", "b.jpg", "c.png"))
    first.write_bytes(b"one picture")
    copy.write_bytes(b"one picture")
    other.write_bytes(b"one pictura")
    assert fingerprint_of(first) == fingerprint_of(copy) != fingerprint_of(other)
    assert len(fingerprint_of(first)) == 16


# --- Masks that are more than one file of black and white


def names(*classes: str) -> LabelMap:
    return LabelMap("names", ("background", *classes), ignore=("ignore",))


def test_files_of_objects_are_merged(tmp_path: Path) -> None:
    first = write(tmp_path / "a_1.png", np.array([[0, 255, 0]], np.uint8))
    second = write(tmp_path / "a_2.png", np.array([[0, 0, 255]], np.uint8))
    assert read_classes(Layers((first, second)), LabelMap()).tolist() == [[0, 1, 1]]


def test_files_of_classes_are_painted_with_their_classes(tmp_path: Path) -> None:
    car = write(tmp_path / "a_car.png", np.array([[0, 255, 255]], np.uint8))
    road = write(tmp_path / "a_road.png", np.array([[0, 0, 1]], np.uint8))
    mask = Layers((car, road), ("car", "road"))
    assert read_classes(mask, names("car", "road")).tolist() == [[0, 1, 2]]


def test_a_file_of_a_class_lies_over_that_of_a_larger_one_whichever_comes_first(tmp_path: Path) -> None:
    car = write(tmp_path / "a_car.png", np.array([[255, 255, 255, 0]], np.uint8))
    bumper = write(tmp_path / "a_bumper.png", np.array([[0, 255, 0, 0]], np.uint8))
    for mask in (Layers((bumper, car), ("bumper", "car")), Layers((car, bumper), ("car", "bumper"))):
        assert read_classes(mask, names("car", "bumper")).tolist() == [[1, 2, 1, 0]]


def test_of_classes_of_equal_size_the_later_file_lies_on_top(tmp_path: Path) -> None:
    car = write(tmp_path / "a_car.png", np.array([[255, 255, 0]], np.uint8))
    road = write(tmp_path / "a_road.png", np.array([[0, 255, 255]], np.uint8))
    assert read_classes(Layers((car, road), ("car", "road")), names("car", "road")).tolist() == [[1, 2, 2]]
    assert read_classes(Layers((road, car), ("road", "car")), names("car", "road")).tolist() == [[1, 1, 2]]


def test_files_of_classes_may_hold_255_in_many_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 0]], np.uint16)).save(tmp_path / "a_car.png")
    mask = Layers((tmp_path / "a_car.png",), ("car",))
    assert read_classes(mask, names("car", "road")).tolist() == [[0, 1, 0]]


def test_files_of_one_mask_have_one_size(tmp_path: Path) -> None:
    first = write(tmp_path / "a_1.png", np.zeros((2, 3), np.uint8))
    second = write(tmp_path / "a_2.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match=r"a_2.png is 3x3, and the other masks of its image are 3x2"):
        read_classes(Layers((first, second)), LabelMap())


def test_an_alpha_channel_is_a_mask(tmp_path: Path) -> None:
    cutout = np.full((4, 6, 4), 200, np.uint8)
    cutout[..., 3] = np.arange(6) * 51
    path = write(tmp_path / "a.png", cutout)
    image, mask = read_pair(Pair("a", path, AlphaChannel(path)), Formats())
    assert image.shape == (4, 6, 3)
    assert mask.tolist() == [[0, 0, 0, 1, 1, 1]] * 4
    plain = write(tmp_path / "b.png", cutout[..., :3])
    with pytest.raises(InputError, match=r"b.png has no alpha channel"):
        read_pair(Pair("b", plain, AlphaChannel(plain)), Formats())


def square(name: str) -> Shape:
    return Shape(name, Polygons((((1, 1), (5, 1), (5, 3), (1, 3)),)))


def test_shapes_are_drawn_at_the_images_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.zeros((8, 12, 3), np.uint8))
    drawing = Drawing(tmp_path / "a.json", (square("car"),), size=(4, 6))
    _, mask = read_pair(Pair("a", path, drawing), Formats(names("car")))
    assert mask.shape == (8, 12)
    assert mask.sum() == 4 * 8  # 4x2 pixels of the annotated picture
    other = Drawing(tmp_path / "a.json", (), size=(6, 4))
    with pytest.raises(InputError, match=r"a.json is 4x6, which is another shape"):
        read_pair(Pair("a", path, other), Formats(names("car")))


def test_where_a_region_cannot_be_drawn_its_picture_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))
    region = Polygons((((float("nan"), 1), (5, 1), (5, 3)),))
    drawing = Drawing(tmp_path / "all.json", (Shape("car", region),))
    with pytest.raises(InputError, match=r"a.png has a mask that cannot be drawn. \S+all.json: A polygon"):
        read_pair(Pair("a", path, drawing), Formats(names("car")))


def test_regions_that_do_not_count_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))
    drawing = Drawing(tmp_path / "a.json", (square("ignore"),))
    _, mask = read_pair(Pair("a", path, drawing), Formats(names("car")))
    assert set(mask.ravel().tolist()) == {0, IGNORED}


def turned_pair(folder: Path, mask: NDArray[np.uint8]) -> Pair:
    """A picture stored 6 wide and 4 high that its orientation turns upright, 4 wide and 6 high."""
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0, 0] = 255  # comes to lie at the upper right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(folder / "a.png", exif=exif)
    return Pair("a", folder / "a.png", write(folder / "a_mask.png", mask))


def test_a_mask_painted_over_the_stored_picture_turns_with_it(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[0, 0] = 255
    image, classes = read_pair(turned_pair(tmp_path, mask), Formats())
    assert image.shape[:2] == classes.shape == (6, 4)
    assert np.array_equal(image[..., 0] == 255, classes == 1)


def test_a_mask_painted_over_the_turned_picture_stays(tmp_path: Path) -> None:
    mask = np.zeros((6, 4), np.uint8)
    mask[5, 0] = 255
    _, classes = read_pair(turned_pair(tmp_path, mask), Formats())
    assert np.array_equal(classes == 1, mask == 255)


def test_a_thin_mask_may_be_a_pixel_off_as_well() -> None:
    assert has_same_shape((3000, 101), (300, 10))
    assert not has_same_shape((3000, 101), (300, 12))


# --- How a folder is read


def survey(pairs: list[Pair], options: LabelOptions | None = None, most: int | None = None) -> LabelMap:
    options = options or read_options(MaskSettings(), None)
    formats, _ = choose_formats(pairs, options, most=most, advance=lambda: None)
    return formats.labels


def write_masks(folder: Path, *values: tuple[int, ...]) -> list[Pair]:
    pairs = []
    for index, some in enumerate(values):
        image = write(folder / f"{index}.png", np.zeros((1, len(some), 3), np.uint8))
        pairs.append(Pair(str(index), image, write(folder / f"{index}_mask.png", np.array([some], np.uint8))))
    return pairs


def test_masks_decide_together_how_they_are_read(tmp_path: Path) -> None:
    pairs = write_masks(tmp_path, (0, 0), (0, 1), (2, 3))
    assert survey(pairs).values == ((0,), (1,), (2,), (3,))


def write_arrays(folder: Path, *masks: NDArray[Any]) -> list[Pair]:
    pairs = []
    for index, mask in enumerate(masks):
        image = write(folder / f"{index}.png", np.zeros((*mask.shape[:2], 3), np.uint8))
        np.save(folder / f"{index}_mask.npy", mask)
        pairs.append(Pair(str(index), image, folder / f"{index}_mask.npy"))
    return pairs


def read_all(pairs: list[Pair], labels: LabelMap) -> list[list[int]]:
    return [read_classes(pair.mask, labels)[0].tolist() for pair in pairs if not isinstance(pair.mask, Drawing)]


@pytest.mark.parametrize(
    ("masks", "classes"),
    [
        ([[0, 255], [0, 3, 250, 255], [0, 0]], [[0, 1], [0, 0, 1, 1], [0, 0]]),
        ([[0, 1, 2], [0, 3], [0, 1]], [[0, 1, 2], [0, 3], [0, 1]]),
        ([[0, 65535], [0, 30000, 40000, 65535]], [[0, 1], [0, 0, 1, 1]]),
        ([[0, 1], [0, 0.3, 0.8, 1.0]], [[0, 1], [0, 0, 1, 1]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_the_numbers_they_stand_for(
    tmp_path: Path, dtype: type, masks: list[list[float]], classes: list[list[int]]
) -> None:
    pairs = write_arrays(tmp_path, *[np.array([some], dtype) for some in masks])
    assert read_all(pairs, survey(pairs)) == classes


def test_floats_of_a_tiff_file_are_numbers_too(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.float32)).save(tmp_path / "a_mask.tif")
    pair = Pair("a", write(tmp_path / "a.png", np.zeros((1, 2, 3), np.uint8)), tmp_path / "a_mask.tif")
    assert read_all([pair], survey([pair])) == [[0, 1]]


Palette = list[tuple[int, int, int]]
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def write_palettes(folder: Path, *masks: tuple[list[int], Palette]) -> list[Pair]:
    pairs = []
    for index, (values, palette) in enumerate(masks):
        image = write(folder / f"{index}.png", np.zeros((1, len(values), 3), np.uint8))
        path = folder / f"{index}_mask.png"
        image_files.write_image(path, np.array([values], np.uint8), palette=palette)
        pairs.append(Pair(str(index), image, path))
    return pairs


def test_masks_of_different_palettes_are_read_by_their_colours(tmp_path: Path) -> None:
    pairs = write_palettes(
        tmp_path, ([0, 0, 1], [BLACK, RED]), ([1, 1, 0], [RED, BLACK]), ([0], [RED, BLACK]), ([0, 1], [WHITE, BLACK])
    )
    assert read_all(pairs[:3], survey(pairs[:3])) == [[0, 0, 1], [0, 0, 1], [1]]
    assert read_all(pairs, survey(pairs)) == [[0, 0, 1], [0, 0, 1], [1], [2, 0]]
    assert survey([pairs[0]] * 5 + [pairs[1]], most=2).kind == "colours"


def test_a_palette_among_colours_means_its_colours(tmp_path: Path) -> None:
    pairs = write_palettes(tmp_path, ([0, 1], [RED, BLACK]))
    for index in (1, 2):
        path = write(tmp_path / f"{index}_mask.png", np.array([[BLACK, RED]], np.uint8))
        pairs.append(Pair(str(index), pairs[0].image, path))
    assert read_all(pairs, survey(pairs)) == [[1, 0], [0, 1], [0, 1]]


def write_webp(folder: Path, values: list[int], **options: Any) -> Pair:
    pixels = np.repeat(np.array([values], np.uint8)[..., None], 3, axis=2).repeat(16, axis=0).repeat(16, axis=1)
    name = f"{len(list(folder.iterdir()))}"
    Image.fromarray(pixels).save(folder / f"{name}_mask.webp", **options)
    return Pair(name, write(folder / f"{name}.png", pixels), folder / f"{name}_mask.webp")


def test_webp_masks_without_loss_keep_their_numbers(tmp_path: Path) -> None:
    frame = Image.new("RGB", (3 * 16, 16))
    pairs = [
        write_webp(tmp_path, [0, 1, 2], lossless=True),
        write_webp(tmp_path, [0, 2, 1], lossless=True, icc_profile=b"one"),  # another chunk comes first
        write_webp(tmp_path, [0, 1, 1], lossless=True, save_all=True, append_images=[frame]),
    ]
    labels = survey(pairs)
    assert labels.values == ((0,), (1,), (2,))
    assert read_all(pairs, labels) == [np.repeat(some, 16).tolist() for some in ([0, 1, 2], [0, 2, 1], [0, 1, 1])]


@pytest.mark.parametrize("options", [{}, {"icc_profile": b"one"}])
def test_webp_masks_with_loss_are_black_and_white(tmp_path: Path, options: dict[str, bytes]) -> None:
    pair = write_webp(tmp_path, [0, 255], quality=30, **options)
    assert survey([pair]) == LabelMap()
    assert has_lost_detail(pair.mask_path)
    assert not has_lost_detail(tmp_path / "a.png")
    (tmp_path / "odd.webp").write_bytes(b"RIFF")
    assert has_lost_detail(tmp_path / "odd.webp")
    assert has_lost_detail(tmp_path / "missing.webp")


def test_an_unreadable_mask_decides_nothing(tmp_path: Path) -> None:
    pairs = write_masks(tmp_path, (0, 0), (0, 255))
    pairs[0].mask_path.write_text("no picture")
    assert survey(pairs) == LabelMap()


def test_a_sample_of_black_and_white_masks_is_enough_and_one_of_numbers_is_not(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = write_masks(tmp_path / "plain", *[(0, 255)] * 5, (0, 3))
    assert survey(plain, most=2) == LabelMap()
    numbers = write_masks(tmp_path, *[(0, 1, 2)] * 5, (0, 3, 7))
    assert survey(numbers, most=2).values == ((0,), (1,), (2,), (3,), (7,))


def test_a_mask_that_is_skipped_says_nothing(tmp_path: Path) -> None:
    pairs = write_masks(tmp_path, (0, 1, 2), (0, 2, 1), (0, 3, 7))
    asked: list[str] = []

    def skip(pair: Pair) -> bool:
        asked.append(pair.name)
        return pair.name == "2"

    formats, _ = choose_formats(pairs, read_options(MaskSettings(), None), skip=skip, advance=lambda: None)
    assert formats.labels.values == ((0,), (1,), (2,))
    assert sorted(asked) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("word", "options", "index"),
    [
        ("Background", MaskSettings(), 0),
        ("_background_", MaskSettings("Background,Car"), 0),
        ("Ignore", MaskSettings(), IGNORED),
        ("__ignore__", MaskSettings("background,Car"), IGNORED),
        ("Ignore", MaskSettings(ignore="Ignore"), IGNORED),
    ],
)
def test_files_of_the_background_and_of_what_does_not_count_are_no_classes(
    tmp_path: Path, word: str, options: MaskSettings, index: int
) -> None:
    car = write(tmp_path / "a_Car.png", np.array([[255, 255, 0]], np.uint8))
    other = write(tmp_path / f"a_{word}.png", np.array([[0, 0, 255]], np.uint8))
    pair = Pair("a", write(tmp_path / "a.png", np.zeros((1, 3, 3), np.uint8)), Layers((car, other), ("Car", word)))
    labels = survey([pair], read_options(options, None))
    assert labels.class_names == ("background", "Car")
    assert read_all([pair], labels) == [[1, 1, index]]


def test_one_mask_without_names_among_named_ones_is_refused(tmp_path: Path) -> None:
    pairs = write_masks(tmp_path, (0, 255))
    drawn = Pair("b", pairs[0].image, Drawing(tmp_path / "b.json", (square("car"),)))
    with pytest.raises(InputError, match=r"0_mask.png names no class"):
        survey([*pairs, drawn])
    assert survey([drawn]).class_names == ("background", "car")
