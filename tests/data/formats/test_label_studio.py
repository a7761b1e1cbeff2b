import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.data.formats.label_studio import is_label_studio, read_label_studio, unpack_brush
from maskwright.data.formats.pictures import list_pictures
from maskwright.data.pairs import Drawing, Pairing
from maskwright.data.shapes import draw, rasterise
from maskwright.errors import InputError

HEIGHT, WIDTH = 10, 20
BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["car"]}


def pack(mask: NDArray[np.bool_], *, repeated: bool = True) -> list[int]:
    """rle-pack of red, green, blue and alpha, in blocks of repeated values or of plain ones."""
    values = np.repeat(mask.ravel() * 255, 4)
    bits = f"{len(values):032b}{7:05b}{3:04b}{7:04b}{11:04b}{15:04b}"
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, end in pairwise(edges):
        if repeated:
            bits += f"1{3:02b}{end - start - 1:016b}{values[start]:08b}"
        else:
            bits += f"0{2:02b}{end - start - 1:012b}" + "".join(f"{value:08b}" for value in values[start:end])
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def result(value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"id": "r1", "original_width": WIDTH, "original_height": HEIGHT, "value": value} | changes


def task(*results: dict[str, Any], image: str = "/data/upload/1/1a2b3c4d-a.jpg", **changes: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(results)} | changes]}


def read(folder: Path, content: object, *pictures: str) -> Pairing:
    for name in pictures or ("a.jpg",):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = folder / "project-1.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_label_studio([path], list_pictures(folder))


def drawn(pairing: Pairing) -> NDArray[np.uint8]:
    assert not pairing.problems
    (pair,) = pairing.pairs
    assert isinstance(pair.mask, Drawing)
    assert pairing.classes
    index = {entry.name: index for index, entry in enumerate(pairing.classes.entries)}
    return draw(pair.mask, index, HEIGHT, WIDTH)


def box(top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def test_folders_give_the_split_whatever_the_only_export_is_called(tmp_path: Path) -> None:
    for name in ("train/a.jpg", "val/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    tasks = [task(result(BOX), image=f"/data/upload/1/{name}.jpg") for name in "ab"]
    (tmp_path / "test.json").write_text(json.dumps(tasks))
    pairing = read_label_studio([tmp_path / "test.json"], list_pictures(tmp_path))
    assert [(pair.name, pair.split) for pair in pairing.pairs] == [("train/a", "train"), ("val/b", "val")]


def test_rectangles(tmp_path: Path) -> None:
    np.testing.assert_array_equal(drawn(read(tmp_path, [task(result(BOX))])), box(2, 2, 6, 8))


def test_rectangles_turn_clockwise_around_their_first_corner(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        drawn(read(tmp_path, [task(result(BOX | {"x": 50, "rotation": 90}))])), box(2, 6, 8, 10)
    )


def test_polygons(tmp_path: Path) -> None:
    points = [[10, 20], [40, 20], [40, 60], [10, 60]]
    np.testing.assert_array_equal(
        drawn(read(tmp_path, [task(result({"points": points, "polygonlabels": ["car"]}))])), box(2, 2, 6, 8)
    )


def test_ellipses(tmp_path: Path) -> None:
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 30, "rotation": 0, "ellipselabels": ["car"]}
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((columns - 10) / 4) ** 2 + ((rows - 5) / 3) ** 2 <= 1
    np.testing.assert_array_equal(drawn(read(tmp_path, [task(result(value))])), inside)


@pytest.mark.parametrize("repeated", [True, False])
def test_brushes(tmp_path: Path, repeated: bool) -> None:
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.4
    value = {"format": "rle", "rle": pack(mask, repeated=repeated), "brushlabels": ["car"]}
    np.testing.assert_array_equal(drawn(read(tmp_path, [task(result(value))])), mask)


def test_only_alpha_counts_in_a_brush() -> None:
    values = [255, 255, 255, 0, 0, 0, 0, 255]
    bits = f"{8:032b}{7:05b}{3:04b}{3:04b}{3:04b}{3:04b}" + "000" + f"{7:04b}" + "".join(f"{v:08b}" for v in values)
    bits += "0" * (-len(bits) % 8)
    runs = unpack_brush(int(bits, 2).to_bytes(len(bits) // 8, "big"), 1, 2)
    assert rasterise(runs, 1, 2).tolist() == [[False, True]]


def test_json_min(tmp_path: Path) -> None:
    task = {
        "image": "/data/local-files/?d=pictures/a%20b.jpg",
        "id": 5,
        "tag": [BOX | {"original_width": WIDTH, "original_height": HEIGHT}],
        "annotator": 1,
        "annotation_id": 7,
    }
    assert is_label_studio(json.dumps([task]).encode())
    np.testing.assert_array_equal(drawn(read(tmp_path, [task], "pictures/a b.jpg")), box(2, 2, 6, 8))


def test_labels_may_stand_apart(tmp_path: Path) -> None:
    plain = {key: value for key, value in BOX.items() if key != "rectanglelabels"}
    results = [result(plain), result({"labels": ["car"]})]
    assert drawn(read(tmp_path, [task(*results)])).any()


def test_the_latest_annotation_counts_and_cancelled_ones_do_not(tmp_path: Path) -> None:
    first = task(result(BOX), updated_at="2024-01-02T00:00:00Z")
    annotations = [
        {"result": [], "updated_at": "2024-01-01T00:00:00Z"},
        first["annotations"][0],
        {"result": [], "updated_at": "2024-01-03T00:00:00Z", "was_cancelled": True},
    ]
    assert drawn(read(tmp_path, [first | {"annotations": annotations}])).any()
    assert drawn(read(tmp_path, [first, task(updated_at="2023-01-01T00:00:00Z")])).any()


def test_an_annotation_without_regions_shows_nothing(tmp_path: Path) -> None:
    assert not drawn(read(tmp_path, [task()])).any()


def test_points_and_choices_have_no_area(tmp_path: Path) -> None:
    point = result({"x": 1, "y": 1, "width": 1, "keypointlabels": ["nose"]})
    choice = {"value": {"choices": ["good"]}, "type": "choices"}
    assert not drawn(read(tmp_path, [task(point, choice)])).any()


def test_a_task_that_nobody_annotated_has_no_mask(tmp_path: Path) -> None:
    other = {"id": 2, "data": {"image": "b.jpg"}, "annotations": []}
    pairing = read(tmp_path, [task(), other], "a.jpg", "b.jpg")
    assert [(problem.path.name, problem.kind) for problem in pairing.problems] == [("b.jpg", "image without mask")]


@pytest.mark.parametrize(
    "image",
    [
        "http://localhost:8080/data/upload/1/1a2b3c4d-a.jpg",
        "s3://bucket/a.jpg?x=1",
        "C:\\pictures\\a.jpg",
        "/root/a.jpg",
    ],
)
def test_addresses_of_another_machine(tmp_path: Path, image: str) -> None:
    assert [pair.name for pair in read(tmp_path, [task(result(BOX), image=image)]).pairs] == ["a"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([task(result(BOX | {"x": float("nan")}))], "not nan"),
        ([task(result(BOX | {"width": "wide"}))], "'width', not 'wide'"),
        ([task(result(BOX | {"width": 10**400}))], "digits"),
        ([task(result(BOX, original_width=-1))], "'original_width', not -1"),
        ([task(result(BOX, original_width=10**6, original_height=10**6))], "cannot be"),
        ([task(result(BOX, image_rotation=90))], "rotated"),
        ([task(result(BOX), result(BOX, original_width=30))], "is of a picture of 30x10"),
        ([task(result(BOX | {"rectanglelabels": []}))], "no label"),
        ([task(result({"points": "abc", "polygonlabels": ["a"]}))], "a list as 'points'"),
        ([task(result({"points": [1], "polygonlabels": ["a"]}))], r"a list of \[x, y\]"),
        ([task(result({"rle": [], "brushlabels": ["a"]}))], "ends early"),
        ([task(result({"rle": [1, 2, 300], "brushlabels": ["a"]}))], "list of bytes"),
        ([task(result({"rle": [0] * 40, "brushlabels": ["a"]}))], "holds 0 values"),
        ([task(result({"rle": [255] * 40, "brushlabels": ["a"]}))], "where 20x10 pixels have four each"),
        ([task(result({"rle": pack(np.ones((10, 20), bool))[:-2], "brushlabels": ["a"]}))], "ends early"),
        ([task({"original_width": 20, "value": []})], "an object as 'value'"),
        ([task() | {"annotations": "none"}], "a list as 'annotations'"),
        ([task() | {"annotations": [[]]}], "should be an object"),
        ([task() | {"data": []}], "an object as 'data'"),
        ([task(image="no picture")], "names no picture"),
        ([task(image="../../etc/a.png")], "leads out"),
        ([task(image="gone.jpg")], "is not in"),
    ],
)
def test_what_is_wrong_with_a_task_is_a_problem(tmp_path: Path, content: object, sentence: str) -> None:
    pairing = read(tmp_path, content)
    assert not pairing.pairs
    problem = pairing.problems[0]
    assert "project-1.json" in problem.sentence
    assert re.search(sentence, problem.sentence), problem.sentence


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[" * 100_000, '[{"id": 1'])
def test_a_file_that_is_wrong_as_a_whole_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"project-1\.json"):
        read(tmp_path, content)


def test_files_are_recognised_by_their_words() -> None:
    assert is_label_studio(json.dumps([task()]).encode())
    assert not is_label_studio(b'{"annotations": [], "data": 1, "result": 2}')
    assert not is_label_studio(b"[1, 2]")
