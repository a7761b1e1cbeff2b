from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.formats.kaggle_csv import is_kaggle_csv, read_kaggle_csv
from maskwright.data.formats.pictures import list_pictures
from maskwright.data.pairs import Drawing, Pairing
from maskwright.data.shapes import draw
from maskwright.errors import InputError

HEIGHT, WIDTH = 12, 15


def blob() -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside: NDArray[np.bool_] = (rows - 6) ** 2 + (columns - 6) ** 2 < 17
    return inside


def encode(mask: NDArray[np.bool_], *, by_rows: bool = False) -> str:
    """As competitions explain it, pixel by pixel."""
    flat = (mask if by_rows else mask.T).ravel()
    edges = np.flatnonzero(np.diff(np.pad(flat.astype(int), 1)))
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(edges[::2], edges[1::2], strict=True))


def read(folder: Path, text: str, *pictures: str, name: str = "train_masks.csv") -> Pairing:
    for picture in pictures or ("a.jpg",):
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / picture)
    (folder / name).write_text(text)
    return read_kaggle_csv([folder / name], list_pictures(folder))


def drawing(pairing: Pairing) -> Drawing:
    (pair,) = pairing.pairs
    assert isinstance(pair.mask, Drawing)
    return pair.mask


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("header", ["img,rle_mask", "ImageId,EncodedPixels", "id,rle_mask"])
@pytest.mark.parametrize("name", ["a", "a.jpg"])
def test_run_lengths_give_back_their_mask(tmp_path: Path, by_rows: bool, header: str, name: str) -> None:
    pairing = read(tmp_path, f"{header}\n{name},{encode(blob(), by_rows=by_rows)}\n")
    np.testing.assert_array_equal(draw(drawing(pairing), {"foreground": 1}, HEIGHT, WIDTH), blob())
    assert pairing.layout.endswith(f"along {'rows' if by_rows else 'columns'})")
    assert not pairing.problems


def test_rows_of_one_picture_add_up_and_may_have_classes(tmp_path: Path) -> None:
    left, right = blob(), blob()
    left[:, 6:] = False
    right[:, :6] = False
    text = f"ImageId,EncodedPixels,ClassId\na.jpg,{encode(left)},2\na.jpg,{encode(right)},10\n"
    pairing = read(tmp_path, text)
    np.testing.assert_array_equal(draw(drawing(pairing), {"2": 1, "10": 2}, HEIGHT, WIDTH), left + 2 * right)
    assert pairing.classes
    assert [entry.name for entry in pairing.classes.entries] == ["background", "2", "10"]


def test_classes_may_be_joined_to_names(tmp_path: Path) -> None:
    pairing = read(tmp_path, f"Image_Label,EncodedPixels\na.jpg_Fish,{encode(blob())}\na.jpg_Flower,\n")
    assert [shape.class_name for shape in drawing(pairing).shapes] == ["Fish"]


def test_folders_give_the_split_whatever_the_table_is_called(tmp_path: Path) -> None:
    text = f"img,rle_mask\na.jpg,{encode(blob())}\nb.jpg,{encode(blob())}\n"
    pairing = read(tmp_path, text, "train/a.jpg", "val/b.jpg", name="train_masks.csv")
    assert [(pair.name, pair.split) for pair in pairing.pairs] == [("train/a", "train"), ("val/b", "val")]


@pytest.mark.parametrize("empty", ["", "-1"])
def test_a_picture_may_show_nothing(tmp_path: Path, empty: str) -> None:
    assert drawing(read(tmp_path, f"img,rle_mask\na,{empty}\n")).shapes == ()


def test_folders_without_rows_are_left_out_and_pictures_beside_others_are_problems(tmp_path: Path) -> None:
    pairing = read(tmp_path, "img,rle_mask\na,\n", "train/a.jpg", "train/b.jpg", "test/c.jpg")
    assert [(problem.path.name, problem.kind) for problem in pairing.problems] == [("b.jpg", "image without mask")]
    assert "left out, without masks: test/" in pairing.layout


def test_samples_of_a_submission_are_left_aside(tmp_path: Path) -> None:
    read(tmp_path, "img,rle_mask\na,1 1\n", name="sample_submission.csv")
    read(tmp_path, "img,rle_mask\na,\n", name="masks.csv")
    pairing = read_kaggle_csv(sorted(tmp_path.glob("*.csv")), list_pictures(tmp_path))
    assert drawing(pairing).shapes == ()


def test_run_lengths_of_a_large_picture_fit_in_a_cell(tmp_path: Path) -> None:
    Image.new("RGB", (400, 500)).save(tmp_path / "b.png")
    pairing = read(tmp_path, f"img,rle_mask\na,\nb,{'1 1 ' * 100_000}\n")
    assert not pairing.problems


def test_more_runs_than_pixels_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, f"img,rle_mask\na,{'1 1 ' * 100_000}\n").problems
    assert "do not fit" in problem.sentence


@pytest.mark.parametrize(
    "text", ["img,rle_mask\n" + "," * 2000, "img,rle_mask\n" + "a,1 1\n" * 1_000_001], ids=["cells", "rows"]
)
def test_tables_of_nonsense_are_refused_before_they_take_memory(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="more than 1000"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "runs", ["1", "1 -1", "0 5", "170 20", "1 1.5", "a b", f"{10**11} {10**11}", "9" * 5000 + " 1", "nan 1", "１ 1"]
)
def test_run_lengths_that_do_not_fit_are_a_problem_of_their_line(tmp_path: Path, runs: str) -> None:
    pairing = read(tmp_path, f"img,rle_mask\na,{runs}\n")
    assert not pairing.pairs
    (problem,) = pairing.problems
    assert "train_masks.csv, line 2: the run lengths do not fit a.jpg (15x12)" in problem.sentence


@pytest.mark.parametrize("name", ["../../etc/passwd", "gone", "", "a\0"])
def test_pictures_that_are_not_there_are_problems(tmp_path: Path, name: str) -> None:
    pairing = read(tmp_path, f"img,rle_mask\n{name},1 1\n")
    assert [problem.kind for problem in pairing.problems] == ["mask without image"]


def test_a_broken_picture_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    pairing = read(tmp_path, "img,rle_mask\na,\nb,1 1\n")
    assert [problem.path.name for problem in pairing.problems] == ["b.jpg"]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "img;mask\n1;2"])
def test_other_tables_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"train_masks\.csv"):
        read(tmp_path, text)


def test_tables_are_recognised_by_their_columns() -> None:
    assert is_kaggle_csv(b"\xef\xbb\xbfImageId,EncodedPixels\n")
    assert is_kaggle_csv(b'"img","rle_mask"\r\na,1 1')
    assert not is_kaggle_csv(b"id,driver,rows,columns\n")
    assert not is_kaggle_csv(b"image,mask\n")
    assert not is_kaggle_csv(b"\x00\xff" * 50)
