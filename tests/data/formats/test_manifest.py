from pathlib import Path

import pytest

from maskwright.data.formats.manifest import is_manifest, read_manifest
from maskwright.data.pairs import Pairing
from maskwright.errors import InputError


def read(folder: Path, text: str, *files: str, encoding: str = "utf-8") -> Pairing:
    for name in files or ("i/a.jpg", "i/b.jpg", "m/a.png", "m/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "manifest.csv").write_text(text, encoding=encoding)
    return read_manifest(folder / "manifest.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("header", ["Image,MASK,Group,Split", "filename,label_path,group,split"])
def test_columns(tmp_path: Path, delimiter: str, encoding: str, header: str) -> None:
    text = f"{header}\r\ni/b.jpg,m/a.png,car 1,training\r\n\r\ni\\a.jpg,./m/b.png,,valid\r\n"
    pairing = read(tmp_path, text.replace(",", delimiter), encoding=encoding)
    assert not pairing.problems
    assert [(pair.name, pair.image, pair.mask, pair.group, pair.split) for pair in pairing.pairs] == [
        ("i/a", tmp_path / "i/a.jpg", tmp_path / "m/b.png", None, "val"),
        ("i/b", tmp_path / "i/b.jpg", tmp_path / "m/a.png", "car 1", "train"),
    ]
    assert pairing.layout == "manifest.csv"


def test_groups_and_splits_are_optional(tmp_path: Path) -> None:
    (pair,) = read(tmp_path, "mask,image\nm/a.png,i/a.jpg\n").pairs
    assert (pair.group, pair.split) == (None, None)


def test_a_quote_that_is_never_closed_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no table \(lines 3 to 4: unexpected end of data\)"):
        read(tmp_path, 'image,mask\ni/a.jpg,m/a.png\n"i/b.jpg,m/b.png\ni/c.jpg,m/c.png\n')


def test_a_line_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    rows = "i/a.jpg,m/a.png\n" * 5000
    with pytest.raises(InputError, match="line 5002 is not UTF-8 text"):
        read(tmp_path, f"image,mask\n{rows}i/ä.jpg,m/a.png\n", encoding="latin-1")


def test_a_path_that_is_too_long_is_told_so(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, f"image,mask\n{'x' * 5000},m/a.png\n").problems
    assert "has a path of 5000 letters" in problem.sentence


def test_quoted_cells_may_hold_delimiters(tmp_path: Path) -> None:
    assert len(read(tmp_path, 'image,mask\n"a,b.jpg","m ä.png"\n', "a,b.jpg", "m ä.png").pairs) == 1


@pytest.mark.parametrize(
    "path",
    ["../a.jpg", "i/../../a.jpg", "/etc/passwd", "C:\\a.jpg", "c:a.jpg", "\\\\host\\a.jpg", "..\\a.jpg", "a\0.jpg"],
)
@pytest.mark.parametrize("column", ["image", "mask"])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, path: str, column: str) -> None:
    row = {"image": "i/a.jpg", "mask": "m/a.png"} | {column: path}
    pairing = read(tmp_path, f"image,mask\n{row['image']},{row['mask']}\n")
    assert not pairing.pairs
    (problem,) = pairing.problems
    assert "manifest.csv, line 2 has the path" in problem.sentence
    assert "may lead out of the folder" in problem.sentence


@pytest.mark.parametrize(
    ("row", "sentence", "kind"),
    [
        ("i/gone.jpg,m/a.png", "lists 'i/gone.jpg', which is no file", "mask without image"),
        ("i/a.jpg,m/gone.png", "lists 'm/gone.png', which is no file", "image without mask"),
        ("i,m/a.png", "which is no file", "mask without image"),
        (f"{'a' * 300}.jpg,m/a.png", "which is no file", "mask without image"),
        (".,m/a.png", "which is no file", "unreadable"),
        ("i/a.jpg,", "empty cell", "image without mask"),
        ("i/a.jpg", "empty cell", "image without mask"),
        (",m/a.png", "empty cell", "unreadable"),
        ("i/a.jpg,i/a.jpg", "its own mask", "image without mask"),
        ("i/a.jpg,m/a.png,g,holiday", "the split 'holiday'", "unreadable"),
    ],
)
def test_what_is_wrong_with_a_row_is_a_problem(tmp_path: Path, row: str, sentence: str, kind: str) -> None:
    pairing = read(tmp_path, f"image,mask,group,split\ni/b.jpg,m/b.png\n{row}\n")
    assert [pair.name for pair in pairing.pairs] == ["i/b"]
    (problem,) = pairing.problems
    assert "manifest.csv, line 3" in problem.sentence
    assert sentence in problem.sentence
    assert problem.kind == kind


def test_a_picture_that_is_listed_twice_is_a_problem(tmp_path: Path) -> None:
    pairing = read(tmp_path, "image,mask\ni/a.jpg,m/a.png\ni/a.jpg,m/b.png\n")
    assert len(pairing.pairs) == 1
    assert [problem.kind for problem in pairing.problems] == ["ambiguous"]
    assert "line 3 lists i/a again, after line 2" in pairing.problems[0].sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("image,mask\n", "lists no pictures"),
        ("a,b\n1,2\n", "the columns image and mask"),
    ],
)
def test_a_table_that_is_wrong_as_a_whole_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, text)
    assert "manifest.csv" in str(caught.value)


@pytest.mark.parametrize("content", [b"image,mask\n\xff\xfe,b\n", b"\xff\xfei\0m\0"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputError, match="not UTF-8"):
        read_manifest(tmp_path / "manifest.csv")


def test_tables_are_recognised_by_their_columns() -> None:
    assert is_manifest(b"\xef\xbb\xbfSplit;Image;Mask\n")
    assert not is_manifest(b"img,rle_mask\n")
    assert not is_manifest(b"")
