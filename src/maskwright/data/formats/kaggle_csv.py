"""Kaggle's tables of run lengths, such as ``train_masks.csv``: one row for each region of each picture.

Runs are pairs of a first pixel, counted from 1, and a length. Whether pixels are counted along rows or along columns
stands nowhere in the file, and competitions differ: the order that gives the shorter outlines is taken, because in the
wrong one a region falls apart into stripes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskwright.data import shapes
from maskwright.data.folder_words import natural_text
from maskwright.data.formats.class_lists import name_classes, plain_name
from maskwright.data.formats.pictures import Pictures, find_picture, make_pairing, split_of_folders, splits_of_files
from maskwright.data.formats.tables import Table, read_header, read_table
from maskwright.data.image_files import describe
from maskwright.data.pairs import Drawing, Pair, Pairing, Problem, Runs, Shape
from maskwright.errors import InputError

_IMAGES = ("img", "imageid", "image", "id", "filename", "imageidclassid", "imagelabel")
# Of these, the cells hold "name.jpg_class".
_JOINED = ("imageidclassid", "imagelabel")
_RUNS = ("rlemask", "encodedpixels", "rle", "segmentation")
_CLASSES = ("classid", "class", "label", "classname")
_ONLY_CLASS = "foreground"
_ENOUGH = 16


def is_kaggle_csv(head: bytes) -> bool:
    """Whether a file's first line has the columns of one."""
    columns = read_header(head)
    return any(name in columns for name in _IMAGES) and any(name in columns for name in _RUNS)


def read_kaggle_csv(files: Sequence[Path], pictures: Pictures) -> Pairing:
    """Pair the pictures that tables list with the union of their rows' regions.

    Args:
        files: Samples of a submission are left aside, and all but those for training where there are such.
        pictures: Where the pictures are.

    Raises:
        InputError: A file as a whole cannot be used. What is wrong with one picture is a problem in the result.
    """
    files = [file for file in files if not file.stem.startswith("sample_submission")] or list(files)
    files = [file for file in files if "train" in file.stem] or files
    splits = splits_of_files(files)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    names: set[str] = set()
    for file in files:
        for picture, rows in _rows_by_picture(read_table(file)).items():
            try:
                pair = _read_rows(picture, rows, file, pictures)
                pairs.append(replace(pair, split=splits.get(file) or pair.split))
                names |= {name for _, name, _ in rows if name}
            except InputError as error:
                problems.append(_problem(picture, error, file, pictures))
    by_rows = _choose_order(pairs)
    source = files[0].name if len(files) == 1 else f"{len(files)} tables"
    found = sorted(map(plain_name, names), key=natural_text) or [_ONLY_CLASS]
    return make_pairing(
        pictures,
        [_in_order(pair, by_rows=by_rows) for pair in pairs],
        problems,
        layout=f"{source} (run lengths, pixels counted along {'rows' if by_rows else 'columns'})",
        classes=name_classes(dict.fromkeys(found), source),
    )


def _rows_by_picture(table: Table) -> dict[str, list[tuple[int, str, str]]]:
    """Line, class and run lengths of each row, by the name of its picture."""
    image, runs, kind = (table.column(names) for names in (_IMAGES, _RUNS, _CLASSES))
    if image is None or runs is None:
        raise InputError(f"{table.path} should have the columns img and rle_mask in its first line; export it again.")
    rows: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for line, cells in table.rows:
        name, class_name = cells[image], cells[kind] if kind is not None else ""
        if table.columns[image] in _JOINED:
            name, _, class_name = name.rpartition("_")
        rows[name].append((line, class_name, cells[runs]))
    return rows


def _read_rows(name: str, rows: Sequence[tuple[int, str, str]], file: Path, pictures: Pictures) -> Pair:
    """The picture with its regions, for now as if counted along columns."""
    image = find_picture(pictures, name, file)
    stored = describe(image)
    drawn = []
    for line, class_name, text in rows:
        if text in ("", "-1", "nan", "NaN"):  # nothing of this class here
            continue
        runs = _read_runs(text, stored.height, stored.width)
        if runs is None:
            size = f"{stored.width}x{stored.height}"
            raise InputError(f"{file}, line {line}: the run lengths do not fit {image.name} ({size}); correct the row.")
        drawn.append(Shape(plain_name(class_name or _ONLY_CLASS), runs))
    drawing = Drawing(file, tuple(drawn), (stored.height, stored.width))
    return Pair(pictures.name_of(image), image, drawing, split_of_folders(pictures, image))


def _read_runs(text: str, height: int, width: int) -> Runs | None:
    if text.count(" ") > 2 * height * width:  # before each number takes fifty bytes
        return None
    words = text.split()
    # Checked as text: int() reads much that is no run length, and takes its time with a million digits.
    if len(words) % 2 or not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
        return None
    numbers = np.array(words, np.int64)
    runs = Runs(numbers[::2] - 1, numbers[1::2], height, width, by_rows=False)
    try:
        shapes.check_runs(runs)
    except InputError:
        return None
    return runs


def _choose_order(pairs: Sequence[Pair]) -> bool:
    """Whether the regions of a few pictures, evenly spaced, have shorter outlines along rows."""
    shown = [pair.mask for pair in pairs if isinstance(pair.mask, Drawing) and pair.mask.shapes]
    lengths = {True: 0, False: 0}
    for drawing in shown[:: max(1, len(shown) // _ENOUGH)][:_ENOUGH]:
        for by_rows in lengths:
            region = drawing.shapes[0].region
            if isinstance(region, Runs):
                lengths[by_rows] += _outline(replace(region, by_rows=by_rows))
    return lengths[True] < lengths[False]  # columns, as most competitions have it, where nothing tells


def _outline(runs: Runs) -> int:
    mask = shapes.rasterise(runs, runs.height, runs.width)
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


def _in_order(pair: Pair, *, by_rows: bool) -> Pair:
    if not isinstance(pair.mask, Drawing):
        return pair
    drawn = tuple(
        replace(shape, region=replace(shape.region, by_rows=by_rows)) if isinstance(shape.region, Runs) else shape
        for shape in pair.mask.shapes
    )
    return replace(pair, mask=replace(pair.mask, shapes=drawn))


def _problem(name: str, error: InputError, file: Path, pictures: Pictures) -> Problem:
    try:
        return Problem(find_picture(pictures, name, file), str(error))
    except InputError:
        return Problem(file, str(error), "mask without image")
