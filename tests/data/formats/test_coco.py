import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.data.formats import fields
from maskwright.data.formats.coco import is_coco, read_coco
from maskwright.data.formats.pictures import list_pictures
from maskwright.data.pairs import Drawing, Pairing, Runs
from maskwright.data.shapes import draw, rasterise
from maskwright.errors import InputError

SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]


def content(**changes: Any) -> dict[str, Any]:
    """A picture of 5x4 with a square of a car."""
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 5}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "segmentation": SQUARE, "iscrowd": 0}],
        "categories": [{"id": 3, "name": "car"}],
    } | changes


def region(segmentation: object, **changes: Any) -> list[dict[str, Any]]:
    return [{"id": 7, "image_id": 1, "category_id": 3, "segmentation": segmentation} | changes]


def write(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def read(folder: Path, text: object, *pictures: str) -> Pairing:
    for name in pictures or ("a.jpg",):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return read_coco([write(folder / "annotations.json", text)], list_pictures(folder))


def drawing(pairing: Pairing) -> Drawing:
    (pair,) = pairing.pairs
    assert isinstance(pair.mask, Drawing)
    return pair.mask


def test_polygons_become_pixels(tmp_path: Path) -> None:
    pairing = read(tmp_path, content())
    mask = draw(drawing(pairing), {"car": 1}, 4, 5)
    assert mask.tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert pairing.pairs[0].name == "a"
    assert pairing.layout == "annotations.json (COCO)"
    assert not pairing.problems


def test_two_pictures_of_one_id_are_problems(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": f"{name}.jpg", "height": 4, "width": 5} for name in "ab"]
    pairing = read(tmp_path, content(images=images), "a.jpg", "b.jpg")
    assert not pairing.pairs
    assert [problem.path.name for problem in pairing.problems] == ["a.jpg", "b.jpg"]
    assert "images[1] has the id 1 of another picture" in pairing.problems[1].sentence


def test_regions_of_pictures_that_are_not_listed_are_one_problem(tmp_path: Path) -> None:
    strays = [*region(SQUARE), *region(SQUARE, image_id=8), *region(SQUARE, image_id=9)]
    (problem,) = read(tmp_path, content(annotations=strays)).problems
    assert problem.path.name == "annotations.json"
    assert "annotations[1] belongs to the picture 8, which the file does not list, and 1 more" in problem.sentence


def test_outlines_without_an_area_are_mentioned(tmp_path: Path) -> None:
    pairing = read(tmp_path, content(annotations=region([*SQUARE, [1, 1, 2, 2], []])))
    assert pairing.layout == "annotations.json (COCO); left out, of fewer than three points: 2 outline(s) of a"
    assert draw(drawing(pairing), {"car": 1}, 4, 5).sum() == 4


def test_a_text_that_takes_four_bytes_for_each_letter_is_refused_before(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(fields, "MOST_BYTES", 2000)
    letters = json.dumps(content(info="x" * 800), ensure_ascii=False)
    assert read(tmp_path, letters).pairs
    with pytest.raises(InputError, match="letters that take 4 bytes each, such as emoji"):
        read(tmp_path, letters.replace("x", "🚗", 1))


def test_run_lengths_of_both_kinds_give_back_their_mask(tmp_path: Path) -> None:
    coco = pytest.importorskip("faster_coco_eval.core.mask")
    mask = np.random.default_rng(0).random((40, 50)) < 0.3
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = np.concatenate([[False], mask.T.ravel(), [not mask[-1, -1]]])
    counts = np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1])])).tolist()
    images = [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 50}]
    for runs in (packed["counts"].decode(), counts):
        pairing = read(tmp_path, content(images=images, annotations=region({"size": [40, 50], "counts": runs})))
        assert not pairing.problems
        (shape,) = drawing(pairing).shapes
        assert isinstance(shape.region, Runs)
        np.testing.assert_array_equal(rasterise(shape.region, 40, 50), mask)


def test_categories_become_classes_after_the_background(tmp_path: Path) -> None:
    categories = [
        {"id": 9, "name": "wheel", "color": "#00ff00"},
        {"id": 3, "name": "car", "color": [255, 0, 0]},
        {"id": 4, "name": "_Background_", "color": "#93a51d"},
    ]
    classes = read(tmp_path, content(categories=categories)).classes
    assert classes is not None
    assert [(entry.name, entry.colour) for entry in classes.entries] == [
        ("background", (147, 165, 29)),
        ("car", (255, 0, 0)),
        ("wheel", (0, 255, 0)),
    ]


def test_the_project_is_no_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "my-cars", "supercategory": "none"},
        {"id": 3, "name": "car", "supercategory": "my-cars"},
    ]
    classes = read(tmp_path, content(categories=categories)).classes
    assert classes is not None
    assert [entry.name for entry in classes.entries] == ["background", "car"]


def test_crowds_do_not_count(tmp_path: Path) -> None:
    pairing = read(tmp_path, content(annotations=region(SQUARE, iscrowd=1)))
    assert [shape.class_name for shape in drawing(pairing).shapes] == ["ignore"]
    assert pairing.classes
    assert [entry.name for entry in pairing.classes.entries] == ["background", "car"]


def test_crowds_that_do_not_count_are_mentioned(tmp_path: Path) -> None:
    layout = read(tmp_path, content(annotations=region(SQUARE, iscrowd=1))).layout
    assert layout == "annotations.json (COCO); left out, as crowds: 1 region(s), whose pixels do not count"


@pytest.mark.parametrize(
    ("runs", "outlines", "flagged_outlines", "class_of_runs"),
    [
        (3, 0, 0, "car"),  # what was painted with a brush, exported by CVAT or Datumaro
        (2, 30, 0, "car"),
        (2, 30, 1, "car"),
        (1, 99, 0, "ignore"),  # COCO's own
        (1, 19, 0, "ignore"),
    ],
)
def test_run_lengths_that_are_all_flagged_as_crowds_are_objects_unless_they_are_few(
    tmp_path: Path, runs: int, outlines: int, flagged_outlines: int, class_of_runs: str
) -> None:
    packed = {"size": [4, 5], "counts": [6, 2, 12]}
    annotations = region(packed, iscrowd=1) * runs + region(SQUARE, iscrowd=0) * outlines
    annotations += region(SQUARE, iscrowd=1) * flagged_outlines
    pairing = read(tmp_path, content(annotations=annotations))
    shapes = drawing(pairing).shapes
    assert {shape.class_name for shape in shapes if isinstance(shape.region, Runs)} == {class_of_runs}
    assert sum(shape.class_name == "ignore" for shape in shapes) == flagged_outlines + (class_of_runs == "ignore")
    said = f"taken as objects: {runs} region(s) of run lengths, which are all flagged as crowds"
    assert (said in pairing.layout) == (class_of_runs == "car")
    assert ("left out, as crowds: 1 region(s)" in pairing.layout) == (
        flagged_outlines == 1 or class_of_runs == "ignore"
    )


def test_run_lengths_of_which_some_are_no_crowds_keep_their_flags(tmp_path: Path) -> None:
    packed = {"size": [4, 5], "counts": [6, 2, 12]}
    pairing = read(tmp_path, content(annotations=region(packed, iscrowd=1) + region(packed, iscrowd=0)))
    assert [shape.class_name for shape in drawing(pairing).shapes] == ["ignore", "car"]
    assert pairing.layout.endswith("; left out, as crowds: 1 region(s), whose pixels do not count")


def test_a_picture_without_regions_shows_nothing(tmp_path: Path) -> None:
    assert drawing(read(tmp_path, content(annotations=[]))).shapes == ()


def test_pictures_that_only_one_side_has_are_problems(tmp_path: Path) -> None:
    images = [*content()["images"], {"id": 2, "file_name": "gone.jpg", "height": 4, "width": 5}]
    pairing = read(tmp_path, content(images=images), "a.jpg", "b.jpg", "other/c.jpg")
    assert [(problem.path.name, problem.kind) for problem in pairing.problems] == [
        ("annotations.json", "mask without image"),
        ("b.jpg", "image without mask"),
    ]
    assert "gone.jpg" in pairing.problems[0].sentence
    assert pairing.layout == "annotations.json (COCO); left out, without masks: other/"


@pytest.mark.parametrize("name", ["train/a.jpg", "C:\\data\\train\\a.jpg", "/home/me/train/a.jpg", "../train/a.jpg"])
def test_paths_of_another_machine_are_found_by_their_ends(tmp_path: Path, name: str) -> None:
    images = [{"id": 1, "file_name": name, "height": 4, "width": 5}]
    pairing = read(tmp_path, content(images=images), "train/a.jpg", "val/a.jpg")
    assert [pair.name for pair in pairing.pairs] == ["train/a"]


def test_accents_may_be_stored_in_two_ways(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "caf\u00e9.JPG", "height": 4, "width": 5}]
    assert len(read(tmp_path, content(images=images), "cafe\u0301.jpg").pairs) == 1


def test_splits_come_from_the_names_of_files(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write(tmp_path / f"annotations/instances_{part}2017.json", content())
        write(tmp_path / f"annotations/captions_{part}2017.json", content())
        write(tmp_path / f"{part}2017/a.jpg", "")
    pairing = read_coco(sorted(tmp_path.glob("annotations/*.json")), list_pictures(tmp_path))
    assert [(pair.name, pair.split) for pair in pairing.pairs] == [("train2017/a", "train"), ("val2017/a", "val")]


def test_splits_come_from_folders(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        write(tmp_path / part / "_annotations.coco.json", content())
        write(tmp_path / part / "a.jpg", "")
    pairing = read_coco(sorted(tmp_path.glob("*/*.json")), list_pictures(tmp_path))
    assert [(pair.name, pair.split) for pair in pairing.pairs] == [
        ("test/a", "test"),
        ("train/a", "train"),
        ("valid/a", "val"),
    ]
    assert not pairing.problems


@pytest.mark.parametrize("name", ["train.json", "instances_test2017.json"])
def test_the_name_of_a_single_file_goes_before_no_folder(tmp_path: Path, name: str) -> None:
    images = [{"id": id_, "file_name": f"{id_}.jpg", "height": 4, "width": 5} for id_ in (1, 2)]
    for picture in ("train/1.jpg", "val/2.jpg"):
        write(tmp_path / picture, "")
    pairing = read_coco([write(tmp_path / name, content(images=images))], list_pictures(tmp_path))
    assert [(pair.name, pair.split) for pair in pairing.pairs] == [("train/1", "train"), ("val/2", "val")]


def test_a_name_beside_one_that_stands_for_no_part_is_taken_at_its_word(tmp_path: Path) -> None:
    for file in ("annotations", "val"):
        images = [{"id": 1, "file_name": f"of_{file}.jpg", "height": 4, "width": 5}]
        write(tmp_path / f"{file}.json", content(images=images))
        write(tmp_path / f"of_{file}.jpg", "")
    pairing = read_coco(sorted(tmp_path.glob("*.json")), list_pictures(tmp_path))
    assert [(pair.name, pair.split) for pair in pairing.pairs] == [("of_annotations", None), ("of_val", "val")]


def test_a_picture_that_is_listed_twice_is_ambiguous(tmp_path: Path) -> None:
    pairing = read(tmp_path, content(images=[{**content()["images"][0], "id": index} for index in (1, 2)]))
    assert not pairing.pairs
    assert [problem.kind for problem in pairing.problems] == ["ambiguous"]


def test_names_that_fit_several_pictures_are_not_guessed(tmp_path: Path) -> None:
    pairing = read(tmp_path, content(), "one/a.jpg", "two/a.jpg")
    assert not pairing.pairs
    assert "one/a.jpg and" in pairing.problems[0].sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"annotations": region([])}, "no outline"),
        ({"annotations": region(None, bbox=[0, 0, 1, 1])}, "no outline"),
        ({"annotations": region("1 2 3")}, "no outline"),
        ({"annotations": region([1, 2, 3, 4])}, "lists of x and y"),
        ({"annotations": region([[1, 2, 3]])}, "lists of x and y"),
        ({"annotations": region([["1", 2]])}, "a number from"),
        ({"annotations": region([[float("nan"), 2]])}, "not nan"),
        ({"annotations": region([[float("inf"), 2]])}, "not inf"),
        ({"annotations": region([[10**400, 2]])}, "more than 30 digits"),
        ({"annotations": region([[True, 2]])}, "not True"),
        ({"annotations": region(SQUARE, category_id=99)}, "category 99"),
        ({"annotations": region({"size": [5, 4], "counts": [1]})}, r"should have the size of its picture, \[4, 5\]"),
        ({"annotations": region({"size": "big", "counts": [1]})}, "a list as 'size'"),
        ({"annotations": region({"size": [4, 5]})}, "as 'counts'"),
        ({"annotations": region({"size": [4, 5], "counts": {}})}, "as 'counts'"),
        ({"annotations": region({"size": [4, 5], "counts": [1, -2]})}, "from 0 to 20"),
        ({"annotations": region({"size": [4, 5], "counts": [15, 15]})}, "run lengths of 30 pixels"),
        ({"annotations": region({"size": [4, 5], "counts": "zzzz"})}, "letters"),
        ({"annotations": region({"size": [4, 5], "counts": "ooooooooooooooooooooo"})}, "do not fit"),
        ({"annotations": region({"size": [4, 5], "counts": "`l0"})}, "do not fit"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "height": -4, "width": 5}]}, "'height', not -4"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "width": 5}]}, "'height', not nothing"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "height": 10**6, "width": 10**6}]}, "cannot be"),
        ({"images": [{"id": 1, "file_name": "../../etc/passwd", "height": 4, "width": 5}]}, "leads out"),
        ({"images": [{"id": 1, "file_name": "/etc/passwd", "height": 4, "width": 5}]}, "is not in"),
        ({"images": [{"id": 1, "file_name": "a\0.jpg", "height": 4, "width": 5}]}, "is not in"),
        ({"images": [{"id": 1, "file_name": "\ud800", "height": 4, "width": 5}]}, "is not in"),
        ({"images": [{"id": 1, "file_name": ["a.jpg"], "height": 4, "width": 5}]}, "a text as 'file_name'"),
        ({"images": [{"id": [], "file_name": "a.jpg", "height": 4, "width": 5}]}, "a number as 'id'"),
    ],
)
def test_what_is_wrong_with_a_picture_is_a_problem(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    pairing = read(tmp_path, content(**change))
    assert not pairing.pairs
    assert any("annotations.json" in problem.sentence for problem in pairing.problems)
    assert any(re.search(sentence, problem.sentence) for problem in pairing.problems), pairing.problems
    for problem in pairing.problems:
        problem.sentence.encode()  # can be printed


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ('{"images": [', "no valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[]", "a JSON object, not a list of 0"),
        (content(images="a.jpg"), "a list as 'images'"),
        (content(images=["a.jpg"]), r"images\[0\] should be an object, not 'a.jpg'"),
        (content(annotations={}), "a list as 'annotations'"),
        (content(annotations=[[]]), r"annotations\[0\] should be an object"),
        (content(annotations=[{"image_id": None}]), "a number as 'image_id'"),
        (content(categories=None), "a list as 'categories', not nothing"),
        (content(categories=[{"id": 1, "name": 5}]), "a text as 'name', not 5"),
        (content(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "of another category"),
        ('{"images": ' + "9" * 5000 + "}", "too long"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused(tmp_path: Path, text: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, text)
    assert "annotations.json" in str(caught.value)


def test_a_file_of_brackets_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too many values"):
        read(tmp_path, '{"images": [' + "[]," * 9_000_000)


def test_files_are_recognised_by_their_words() -> None:
    assert is_coco(json.dumps(content()).encode())
    assert not is_coco(json.dumps(content() | {"segments_info": []}).encode())
    assert not is_coco(b'{"images": [], "annotations": []}')


@pytest.mark.realdata
def test_car_parts(real_data: Path) -> None:
    folder = real_data / "car_parts"
    pairing = read_coco([folder / "annotations.json"], list_pictures(folder))
    assert pairing.classes
    names = [entry.name for entry in pairing.classes.entries]
    assert (len(pairing.pairs), len(names), pairing.problems) == (40, 19, ())
    stated: dict[int, int] = {}
    root = json.loads((folder / "annotations.json").read_text())
    for annotation in root["annotations"]:
        stated[annotation["image_id"]] = stated.get(annotation["image_id"], 0) + annotation["area"]
    drawn = 0
    for pair in pairing.pairs:
        assert isinstance(pair.mask, Drawing)
        assert pair.mask.size
        height, width = pair.mask.size
        drawn += sum(int(rasterise(shape.region, height, width).sum()) for shape in pair.mask.shapes)
    assert drawn == pytest.approx(sum(stated.values()), rel=0.001)
