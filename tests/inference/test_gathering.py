"""Lists of all pictures: COCO's, Kaggle's, and pages of thumbnails."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.finding import find_dataset
from maskwright.data.image_files import write_image
from maskwright.data.labels import BLACK_AND_WHITE, LabelMap
from maskwright.data.reading import read_mask
from maskwright.inference.gathering import (
    COLUMNS,
    PLACE_HEIGHT,
    PLACE_WIDTH,
    ROWS,
    Part,
    coco_part,
    kaggle_part,
    sheet_part,
    write_coco,
    write_kaggle,
    write_sheets,
)

THREE = LabelMap("names", ("background", "car", "road"))


def a_mask(seed: int, classes: int = 2) -> NDArray[np.uint8]:
    rough = np.random.default_rng(seed).integers(0, classes, (5, 7)).astype(np.uint8)
    return np.repeat(np.repeat(rough, 4, axis=0), 3, axis=1)  # 20x21


def write_part(folder: Path, name: str, text: str) -> Part:
    path = folder / f"{name}.part"
    path.write_text(text, encoding="utf-8")
    return Part(f"{name}.png", path)


def coco_of(tmp_path: Path, masks: dict[str, NDArray[np.uint8]], labels: LabelMap) -> Path:
    parts = [write_part(tmp_path, name, coco_part(mask, labels)) for name, mask in masks.items()]
    write_coco(tmp_path / "coco.json", parts, labels)
    return tmp_path / "coco.json"


def test_coco_s_own_reader_finds_the_masks_again(tmp_path: Path) -> None:
    faster_coco_eval = pytest.importorskip("faster_coco_eval")
    masks = {"a": a_mask(0, 3), "empty": np.zeros((4, 6), np.uint8), "b": a_mask(1, 3)}
    coco = faster_coco_eval.COCO(coco_of(tmp_path, masks, THREE))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png", "empty.png", "b.png"]
    for image in coco.loadImgs(coco.getImgIds()):
        mask = masks[Path(image["file_name"]).stem]
        assert (image["height"], image["width"]) == mask.shape
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert {entry["category_id"] for entry in annotations} == set(np.unique(mask)) - {0}
        for entry in annotations:
            inside = mask == entry["category_id"]
            assert np.array_equal(coco.annToMask(entry), inside)
            assert entry["area"] == inside.sum()
            left, top, width, height = entry["bbox"]
            assert inside[top : top + height, left : left + width].sum() == inside.sum()
            assert inside[:, left].any()
            assert inside[top].any()


def test_what_was_written_can_be_learnt_from(tmp_path: Path) -> None:
    masks = {"a": a_mask(0, 3), "b": a_mask(1, 3)}
    coco_of(tmp_path, masks, THREE)
    for name, mask in masks.items():
        write_image(tmp_path / f"{name}.png", np.repeat(mask[..., np.newaxis], 3, axis=2))
    pairing = find_dataset(tmp_path / "coco.json")
    assert not pairing.problems
    for pair in pairing.pairs:
        assert np.array_equal(read_mask(pair, THREE, 20, 21), masks[pair.name])


def test_kaggle_s_rows_count_from_one_along_rows(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    write_kaggle(
        tmp_path / "submission.csv",
        [
            write_part(tmp_path, "a", kaggle_part("a.jpg", mask, BLACK_AND_WHITE)),
            write_part(tmp_path, "b", kaggle_part("b, c.jpg", mask * 0, BLACK_AND_WHITE)),
        ],
        BLACK_AND_WHITE,
    )
    # Pixels 2 to 4 are one run: where a row ends, the next one goes on.
    assert (tmp_path / "submission.csv").read_text().splitlines() == ["img,rle_mask", "a.jpg,2 3", '"b, c.jpg",']


def test_kaggle_s_table_can_be_learnt_from(tmp_path: Path) -> None:
    mask = a_mask(3)
    write_image(tmp_path / "a.png", np.repeat(mask[..., np.newaxis], 3, axis=2))
    part = write_part(tmp_path, "a", kaggle_part("a.png", mask, BLACK_AND_WHITE))
    write_kaggle(tmp_path / "submission.csv", [part], BLACK_AND_WHITE)
    (pair,) = find_dataset(tmp_path / "submission.csv").pairs
    assert np.array_equal(read_mask(pair, BLACK_AND_WHITE, 20, 21), mask)


def test_of_several_classes_each_has_a_row() -> None:
    rows = kaggle_part("a.jpg", np.array([[1, 2, 0]], np.uint8), THREE).splitlines()
    assert rows == ["a.jpg,car,1 1", "a.jpg,road,2 1"]


def test_two_classes_without_a_background_have_a_row_each_that_names_them(tmp_path: Path) -> None:
    labels = LabelMap("indices", ("sky", "road"), ((0,), (7,)))
    part = write_part(tmp_path, "a", kaggle_part("a.jpg", np.array([[0, 1, 1]], np.uint8), labels))
    write_kaggle(tmp_path / "submission.csv", [part], labels)
    rows = (tmp_path / "submission.csv").read_text().splitlines()
    assert rows == ["img,class,rle_mask", "a.jpg,sky,1 1", "a.jpg,road,2 2"]


@pytest.mark.realdata
def test_runs_of_carvana_are_those_of_kaggle(real_data: Path) -> None:
    """Kaggle's train_masks.csv begins the runs of 0cdf5b5d0ce1_01 a row of 1918 pixels apart, not a column of 1280."""
    with Image.open(real_data / "carvana/train_masks/0cdf5b5d0ce1_01_mask.gif") as file:
        mask = np.asarray(file.convert("L")) // 255
    starts = np.array(kaggle_part("a", mask, BLACK_AND_WHITE).split(",")[1].split()[::2], int)
    assert 1800 < np.median(np.diff(starts)) < 2040


@pytest.mark.parametrize(("height", "width"), [(100, 400), (400, 100), (3, 2), (1, 5000)])
def test_thumbnails_fit_their_place_unstretched(height: int, width: int) -> None:
    tile = sheet_part(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8), BLACK_AND_WHITE)
    assert tile.shape[0] <= PLACE_HEIGHT
    assert tile.shape[1] <= PLACE_WIDTH
    assert tile.shape[0] == PLACE_HEIGHT or tile.shape[1] == PLACE_WIDTH


@pytest.mark.parametrize(("pictures", "pages"), [(1, 1), (COLUMNS * ROWS, 1), (COLUMNS * ROWS + 1, 2)])
def test_sheets_are_pages(pictures: int, pages: int, tmp_path: Path) -> None:
    red = np.full((20, 30, 3), (200, 10, 10), np.uint8)
    write_image(tmp_path / "red.png", red)
    written = write_sheets(tmp_path, [Part(f"{number}.png", tmp_path / "red.png") for number in range(pictures)])
    assert [path.name for path in written] == [f"sheet_{number + 1:03}.png" for number in range(pages)]
    shown = 0
    for path in written:
        with Image.open(path) as page:
            pixels = np.asarray(page)
        shown += int((pixels == (200, 10, 10)).all(axis=2).sum())
    assert shown == pictures * red.shape[0] * red.shape[1]


def test_a_file_is_json_even_without_pictures(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco.json", [], THREE)
    content = json.loads((tmp_path / "coco.json").read_text())
    assert content["images"] == content["annotations"] == []
    assert [category["name"] for category in content["categories"]] == ["car", "road"]
