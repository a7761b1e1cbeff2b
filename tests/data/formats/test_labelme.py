import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.formats.labelme import is_labelme, read_labelme
from maskwright.data.formats.pictures import list_pictures
from maskwright.data.pairs import Drawing, Pairing
from maskwright.data.shapes import draw

HEIGHT, WIDTH = 10, 12


def shape(kind: str, points: object, **changes: Any) -> dict[str, Any]:
    return {"label": "car", "shape_type": kind, "points": points} | changes


def content(*shapes: object, **changes: Any) -> dict[str, Any]:
    return {
        "version": "5.0",
        "shapes": list(shapes),
        "imagePath": "a.jpg",
        "imageData": "never decoded",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    } | changes


def png(mask: NDArray[np.bool_]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def read(folder: Path, text: object, *pictures: str, name: str = "a.json") -> Pairing:
    for picture in pictures or ("a.jpg",):
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture).touch()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    return read_labelme(sorted(folder.rglob("*.json")), list_pictures(folder))


def drawn(pairing: Pairing) -> NDArray[np.uint8]:
    assert not pairing.problems
    (pair,) = pairing.pairs
    assert isinstance(pair.mask, Drawing)
    return draw(pair.mask, {"car": 1, "background": 0}, HEIGHT, WIDTH)


def box(top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize(
    "described",
    [
        shape("polygon", [[2, 1], [5, 1], [5, 4], [2, 4]]),
        {"label": "car", "points": [[2, 1], [5, 1], [5, 4], [2, 4]]},
        shape("rectangle", [[2, 1], [5, 4]]),
        shape("rectangle", [[5, 4], [2, 1]]),
        shape("rectangle", [[2, 1], [5, 1], [5, 4], [2, 4]]),
        shape("mask", [[2, 1], [4, 3]], mask=png(np.ones((3, 3), bool))),
    ],
)
def test_shapes_become_pixels(tmp_path: Path, described: dict[str, Any]) -> None:
    np.testing.assert_array_equal(drawn(read(tmp_path, content(described))), box(1, 2, 4, 5))


def test_circles(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = (columns - 6) ** 2 + (rows - 5) ** 2 <= 9
    np.testing.assert_array_equal(drawn(read(tmp_path, content(shape("circle", [[6, 5], [6, 8]])))), inside)


def test_masks_give_back_their_pixels(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((4, 5)) < 0.5
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:7, 2:7] = mask
    described = shape("mask", [[2, 3], [6, 6]], mask=png(mask))
    np.testing.assert_array_equal(drawn(read(tmp_path, content(described))), expected)


def test_masks_are_cut_off_at_the_borders(tmp_path: Path) -> None:
    for corner, expected in (((-1, -2), box(0, 0, 2, 3)), ((10, 9), box(9, 10, 10, 12)), ((99, 99), box(0, 0, 0, 0))):
        described = shape("mask", [corner, [0, 0]], mask=png(np.ones((4, 4), bool)))
        np.testing.assert_array_equal(drawn(read(tmp_path, content(described))), expected)


def test_lines_and_points_have_no_area(tmp_path: Path) -> None:
    shapes = [shape("linestrip", [[1, 1], [9, 9]]), shape("point", [[1, 1]]), shape("line", [[1, 1], [9, 9]])]
    pairing = read(tmp_path, content(*shapes))
    assert not drawn(pairing).any()


def test_labels_become_classes_after_the_background(tmp_path: Path) -> None:
    names = ["wheel", "_background_", "car", "__ignore__"]
    pairing = read(tmp_path, content(*(shape("rectangle", [[0, 0], [1, 1]], label=name) for name in names)))
    assert pairing.classes
    assert [entry.name for entry in pairing.classes.entries] == ["background", "car", "wheel"]
    assert isinstance(pairing.pairs[0].mask, Drawing)
    assert [region.class_name for region in pairing.pairs[0].mask.shapes] == ["wheel", "background", "car", "ignore"]


@pytest.mark.parametrize(
    ("name", "path", "picture"),
    [
        ("labels/a.json", "..\\images\\a.jpg", "images/a.jpg"),
        ("labels/a.json", "../images/a.jpg", "images/a.jpg"),
        ("x/a.json", "C:\\me\\a.jpg", "x/a.jpg"),
        ("b.json", "renamed.jpg", "b.jpg"),
    ],
)
def test_pictures_are_found_below_the_folder(tmp_path: Path, name: str, path: str, picture: str) -> None:
    pairing = read(tmp_path, content(imagePath=path), picture, "other/c.jpg", name=name)
    assert [pair.image for pair in pairing.pairs] == [tmp_path / picture]


def read_several(folder: Path, *stems: str) -> Pairing:
    for stem in stems[1:]:
        read(folder, content(imagePath=f"{Path(stem).name}.jpg"), f"{stem}.jpg", name=f"{stem}.json")
    return read(folder, content(imagePath=f"{Path(stems[0]).name}.jpg"), f"{stems[0]}.jpg", name=f"{stems[0]}.json")


def test_names_of_pictures_give_no_split(tmp_path: Path) -> None:
    pairing = read_several(tmp_path, "a", "test_7", "crash test 8", "val_9", "x/valid-3")
    assert {pair.name: pair.split for pair in pairing.pairs} == dict.fromkeys(
        ["a", "test_7", "crash test 8", "val_9", "x/valid-3"]
    )


def test_folders_of_pictures_give_the_split(tmp_path: Path) -> None:
    pairing = read_several(tmp_path, "train/a", "train/test_7", "val/b", "val/train_2")
    assert {pair.name: pair.split for pair in pairing.pairs} == {
        "train/a": "train",
        "train/test_7": "train",
        "val/b": "val",
        "val/train_2": "val",
    }


def test_folders_with_such_a_word_among_others_give_no_split(tmp_path: Path) -> None:
    names = ["crash test 8/a", "val thorens/b", "x/c"]
    pairing = read_several(tmp_path, *names)
    assert {pair.name: pair.split for pair in pairing.pairs} == dict.fromkeys(names)


def test_folders_of_a_split_may_be_called_as_with_mask_files(tmp_path: Path) -> None:
    pairing = read_several(tmp_path, "stage1_train/a", "val2017/b", "test_images/c")
    assert {pair.name: pair.split for pair in pairing.pairs} == {
        "stage1_train/a": "train",
        "val2017/b": "val",
        "test_images/c": "test",
    }


def test_a_picture_without_a_file_is_a_problem(tmp_path: Path) -> None:
    pairing = read(tmp_path, content(), "a.jpg", "b.jpg")
    assert [(problem.path.name, problem.kind) for problem in pairing.problems] == [("b.jpg", "image without mask")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ('{"shapes": [', "no valid JSON"),
        ('{"shapes":' * 100_000, "nested too deeply"),
        ("[]", "a JSON object"),
        (content(shapes="many"), "a list as 'shapes'"),
        (content("car"), r"shapes\[0\] should be an object"),
        (content(shape("polygon", None)), "a list as 'points'"),
        (content(shape("polygon", ["ab"])), r"a list of \[x, y\]"),
        (content(shape("polygon", [[1, float("nan")]])), "not nan"),
        (content(shape("polygon", [[1, 10**400]])), "digits"),
        (content(shape("polygon", [[1, 2]], label=7)), "a text as 'label'"),
        (content(shape("polygon", [[1, 2]], label=" ")), "no label"),
        (content(shape("cuboid", [[1, 2]])), "which is not understood"),
        (content(shape("", [[1, 2]], shape_type=["x"])), "which is not understood"),
        (content(shape("circle", [[1, 2]])), "which is not understood"),
        (content(shape("mask", [[1, 2], [3, 4]])), "a text as 'mask'"),
        (content(shape("mask", [[1, 2], [3, 4]], mask="?!")), "no PNG in base64"),
        (content(shape("mask", [[1, 2], [3, 4]], mask="é")), "no PNG in base64"),
        (content(shape("mask", [[1, 2], [3, 4]], mask=png(np.ones((4, 4), bool))[:60])), "no PNG in base64"),
        (content(shape("mask", [[1, 2], [3, 4]], mask=png(np.ones((4, 400), bool)))), "more than its picture"),
        (content(imageHeight=-1), "'imageHeight', not -1"),
        (content(imageHeight=10**6, imageWidth=10**6), "cannot be"),
        (content(imagePath="../../etc/passwd"), "leads out"),
        (content(imagePath=5), "a text as 'imagePath'"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_problem_of_its_picture(tmp_path: Path, text: object, sentence: str) -> None:
    pairing = read(tmp_path, text)
    assert not pairing.pairs
    (problem,) = pairing.problems
    assert problem.path.name == "a.jpg"
    assert "a.json" in problem.sentence
    assert re.search(sentence, problem.sentence), problem.sentence


def test_files_are_recognised_by_their_words() -> None:
    assert is_labelme(json.dumps(content()).encode())
    assert not is_labelme(b'{"shapes": []}')
