import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.data.finding import find_dataset
from maskwright.data.pairs import AlphaChannel, Drawing
from maskwright.errors import InputError

COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 5}],
    "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}],
    "categories": [{"id": 3, "name": "car"}],
}
LABELME = {"shapes": [], "imagePath": "a.png", "imageHeight": 4, "imageWidth": 5}
LABEL_STUDIO = [{"data": {"image": "a.png"}, "annotations": [{"result": []}]}]


def picture(path: Path, alpha: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 5, 3 if alpha is None else 4), np.uint8)
    if alpha is not None:
        pixels[..., 3] = 255
        pixels[1, 1, 3] = alpha
    Image.fromarray(pixels).save(path)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_manifest_comes_first(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png", "odd.png"):
        picture(tmp_path / name)
    write(tmp_path / "manifest.csv", "image,mask\nimages/a.png,odd.png\n")
    found = find_dataset(tmp_path)
    assert [pair.mask for pair in found.pairs] == [tmp_path / "odd.png"]
    assert found.layout == "manifest.csv"


def test_mask_files_come_before_annotations_which_are_mentioned(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png"):
        picture(tmp_path / name)
    write(tmp_path / "coco.json", COCO)
    write(tmp_path / "package.json", {"name": "something else"})
    found = find_dataset(tmp_path)
    assert [pair.mask for pair in found.pairs] == [tmp_path / "masks/a.png"]
    assert found.layout == "images/ + masks/; left aside: coco.json (COCO)"


@pytest.mark.parametrize(
    ("name", "content", "layout"),
    [
        ("x.json", COCO, "x.json (COCO)"),
        ("annotations/x.json", COCO, "x.json (COCO)"),
        ("x.csv", "img,rle_mask\na.png,1 1\n", "x.csv (run lengths, pixels counted along columns)"),
        ("x.json", LABEL_STUDIO, "x.json (Label Studio)"),
        ("a.json", LABELME, "a.json (LabelMe)"),
    ],
)
def test_annotations_are_recognised_by_what_they_hold(tmp_path: Path, name: str, content: object, layout: str) -> None:
    picture(tmp_path / "pictures/a.png")
    write(tmp_path / name, content)
    write(tmp_path / "package.json", {"name": "something else"})
    write(tmp_path / "broken.json", "[" * 100_000)
    for place in (tmp_path, tmp_path / name):
        if place == tmp_path or "annotations" in name:
            found = find_dataset(place)
            assert found.layout == layout
            assert [pair.name for pair in found.pairs] == ["pictures/a"]
            assert isinstance(found.pairs[0].mask, Drawing)
            assert not found.problems


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.json", COCO), ("x.json", LABEL_STUDIO), ("a.json", LABELME), ("x.csv", "img,rle_mask\na.png,1 1")],
)
def test_annotations_are_recognised_behind_a_byte_order_mark(tmp_path: Path, name: str, content: object) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / name, content)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (tmp_path / name).read_bytes())
    for place in (tmp_path, tmp_path / name):
        found = find_dataset(place)
        assert [pair.name for pair in found.pairs] == ["a"]
        assert isinstance(found.pairs[0].mask, Drawing)


def test_of_several_kinds_the_others_are_mentioned(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "x.json", COCO)
    write(tmp_path / "a.json", LABELME)
    assert find_dataset(tmp_path).layout == "x.json (COCO); left aside: a.json (LabelMe)"


def test_lists_of_what_was_predicted_are_no_annotations(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "predictions/coco.json", COCO)
    assert find_dataset(tmp_path).layout == "coco.json (COCO)"
    (tmp_path / "predictions/.predict").mkdir()
    with pytest.raises(InputError, match="no masks for them"):
        find_dataset(tmp_path)


def test_a_broken_annotation_file_is_refused_by_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "x.json", json.dumps(COCO)[:-1])
    with pytest.raises(InputError, match=r"x\.json is no valid JSON"):
        find_dataset(tmp_path)


def test_a_file_in_utf_16_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "notes.json", "{}")
    (tmp_path / "x.json").write_bytes(json.dumps(COCO).encode("utf-16"))
    for place in (tmp_path, tmp_path / "x.json"):
        with pytest.raises(InputError, match=r"x\.json is not UTF-8 text; save it as UTF-8\.$"):
            find_dataset(place)


def test_files_that_might_be_annotations_are_named_where_nothing_is_found(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "x.json", "{}")
    write(tmp_path / "classes.json", '["car"]')
    with pytest.raises(InputError, match=r"no masks for them; .* \S+/x\.json is no annotation file of COCO"):
        find_dataset(tmp_path)


def test_an_export_in_cvats_own_format_is_named_with_the_one_to_choose(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "data.xml", "<rows></rows>")
    write(tmp_path / "x.json", "{}")
    cvat = '<?xml version="1.0"?>\n<annotations>\n<version>1.1</version>\n<image id="0" name="a.png"/></annotations>'
    write(tmp_path / "job/annotations.xml", cvat)
    for place in (tmp_path, tmp_path / "job/annotations.xml"):
        with pytest.raises(
            InputError, match=r"annotations\.xml is in CVAT's own format.*COCO 1\.0 or as Segm.* 1\.1\.$"
        ):
            find_dataset(place)


def test_a_file_in_cvats_own_format_beside_masks_is_no_matter(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png"):
        picture(tmp_path / name)
    write(tmp_path / "annotations.xml", "<annotations><image /></annotations>")
    assert find_dataset(tmp_path).layout == "images/ + masks/"


@pytest.mark.parametrize(("name", "content"), [("x.json", COCO), ("a.json", LABELME)])
def test_a_name_that_is_no_utf8_leaves_annotations_usable(tmp_path: Path, name: str, content: object) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / os.fsdecode(b"\xe9.png"))
    write(tmp_path / name, content)
    found = find_dataset(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a"]
    assert [problem.kind for problem in found.problems] == ["name"]


def test_annotations_without_pictures_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.json", COCO)
    with pytest.raises(InputError, match=r"x\.json describes pictures, but"):
        find_dataset(tmp_path)


def test_alpha_channels_are_masks_where_they_vary(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png", alpha=0)
    found = find_dataset(tmp_path)
    assert [pair.mask for pair in found.pairs] == [AlphaChannel(tmp_path / "a.png"), AlphaChannel(tmp_path / "b.png")]
    assert found.layout == "the pictures' own alpha channels"


def test_folders_of_cutouts_give_the_split_as_those_of_other_pictures_do(tmp_path: Path) -> None:
    for name in ("train/a", "val/b", "crash test 8/c"):
        picture(tmp_path / f"{name}.png", alpha=0)
    found = find_dataset(tmp_path)
    assert {pair.name: pair.split for pair in found.pairs} == {
        "train/a": "train",
        "val/b": "val",
        "crash test 8/c": None,
    }


@pytest.mark.parametrize("other", [255, None])
def test_pictures_of_which_one_is_opaque_have_no_masks(tmp_path: Path, other: int | None) -> None:
    picture(tmp_path / "a.png", alpha=0)
    picture(tmp_path / "b.png", alpha=other)
    with pytest.raises(InputError, match="no masks"):
        find_dataset(tmp_path)


def test_a_broken_picture_among_cutouts_is_a_problem(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", alpha=0)
    (tmp_path / "b.png").write_bytes(b"nothing")
    found = find_dataset(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a"]
    assert [problem.path.name for problem in found.problems] == ["b.png"]


def test_classes_come_from_a_list_in_the_folder(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png"):
        picture(tmp_path / name)
    write(tmp_path / "classes.txt", "background\nroad\n")
    classes = find_dataset(tmp_path).classes
    assert classes
    assert [entry.name for entry in classes.entries] == ["background", "road"]
    assert classes.source == str(tmp_path / "classes.txt")


def test_classes_come_from_a_list_among_the_masks(tmp_path: Path) -> None:
    for name in ("JPEGImages/a.png", "SegmentationClass/a.png"):
        picture(tmp_path / name)
    write(tmp_path / "SegmentationClass/labelmap.txt", "# label:color_rgb:parts:actions\ncar:255,0,0::\n")
    classes = find_dataset(tmp_path).classes
    assert classes
    assert [entry.name for entry in classes.entries] == ["car"]


@pytest.mark.parametrize(
    ("listed", "names", "layout"),
    [
        ("background\nbus\ncar\n", ["background", "bus", "car"], "x.json (COCO)"),
        ("background\nbus\n", ["background", "car"], "x.json (COCO); left aside: classes.txt, which lacks 'car'"),
    ],
)
def test_a_list_orders_the_classes_of_annotations(tmp_path: Path, listed: str, names: list[str], layout: str) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "x.json", COCO)
    write(tmp_path / "classes.txt", listed)
    found = find_dataset(tmp_path)
    assert found.classes
    assert [entry.name for entry in found.classes.entries] == names
    assert found.layout == layout


def test_where_nothing_is_found_the_sentence_says_what_is_expected(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "package.json", {"name": "something else"})
    with pytest.raises(InputError, match=r"no masks for them; it should hold images/ with masks/"):
        find_dataset(tmp_path)


@pytest.mark.parametrize("name", ["gone", "x.txt", "x.json", "x.csv", "empty.json"])
def test_what_is_neither_a_folder_nor_annotations_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x.txt", "nothing")
    write(tmp_path / "x.json", [])
    write(tmp_path / "x.csv", "a,b\n")
    write(tmp_path / "empty.json", "")
    with pytest.raises(InputError, match=name):
        find_dataset(tmp_path / name)


def test_links_in_circles_end(tmp_path: Path) -> None:
    picture(tmp_path / "pictures/a.png")
    write(tmp_path / "x.json", COCO)
    (tmp_path / "pictures/again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.json").symlink_to(tmp_path / "self.json")
    assert len(find_dataset(tmp_path).pairs) == 1


def test_a_pipe_is_no_annotation_file(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(InputError, match="no masks"):
        find_dataset(tmp_path)


@pytest.mark.realdata
def test_real_folders(real_data: Path) -> None:
    assert find_dataset(real_data / "car_parts").layout == "annotations.json (COCO)"
    assert find_dataset(real_data / "carvana").layout == "train/ + train_masks/"
    assert len(find_dataset(real_data / "nuclei").pairs) == 60
