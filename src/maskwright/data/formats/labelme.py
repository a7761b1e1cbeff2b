"""LabelMe's JSON files, one beside each picture: polygons, rectangles, circles and masks.

Parsed here because its own package is GPL. The copy of the picture that the files may hold is never decoded; lines and
points have no area and are left out.
"""

import base64
import binascii
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.data.folder_words import natural_text
from maskwright.data.formats import fields
from maskwright.data.formats.class_lists import name_classes, plain_name
from maskwright.data.formats.fields import Entry
from maskwright.data.formats.pictures import Pictures, find_picture, make_pairing, split_of_folders
from maskwright.data.image_files import read_mask_bytes
from maskwright.data.pairs import Drawing, Pair, Pairing, Polygons, Problem, Runs, Shape
from maskwright.errors import InputError

_CORNERS_OF_CIRCLE = 128


def is_labelme(content: bytes) -> bool:
    """Whether a file looks like one."""
    return content.lstrip()[:1] == b"{" and b'"shapes"' in content and b'"imagePath"' in content


def read_labelme(files: Sequence[Path], pictures: Pictures) -> Pairing:
    """Pair pictures with the regions of their JSON files.

    Args:
        files: One for each picture.
        pictures: Where the pictures are.
    """
    pairs: list[Pair] = []
    problems: list[Problem] = []
    names: set[str] = set()
    for file in files:
        try:
            pair, found = _read_file(file, pictures)
            pairs.append(pair)
            names |= found
        except InputError as error:
            problems.append(Problem(_subject(file, pictures), str(error)))
    source = files[0].name if len(files) == 1 else f"{len(files)} LabelMe files"
    layout = f"{source}{' (LabelMe)' if len(files) == 1 else ''}"
    classes = name_classes(dict.fromkeys(sorted(names, key=natural_text)), source)
    return make_pairing(pictures, pairs, problems, layout=layout, classes=classes)


def _read_file(file: Path, pictures: Pictures) -> tuple[Pair, set[str]]:
    root = fields.read_object(file)
    image = _find_image(root, pictures)
    size = root.size("imageHeight", "imageWidth") if "imageHeight" in root else None
    drawn = [shape for entry in root.entries("shapes") if (shape := _read_shape(entry, size))]
    # Each picture has a file, which is called as it is: `crash test 8.json` says nothing of a split.
    split = split_of_folders(pictures, image)
    pair = Pair(pictures.name_of(image), image, Drawing(file, tuple(drawn), size), split)
    return pair, {shape.class_name for shape in drawn}


def _find_image(root: Entry, pictures: Pictures) -> Path:
    """The picture of the path in the file; where that has moved, the one named like the file."""
    name = root.text("imagePath")
    try:
        return find_picture(pictures, name, root.path)
    except InputError:
        # Renamed together with its picture, as a folder's files often are; but a name of its own is no help where the
        # path tries to leave the folder.
        beside = [file for file in pictures.files if file.parent == root.path.parent and file.stem == root.path.stem]
        if len(beside) == 1 and ".." not in name:
            return beside[0]
        raise


def _read_shape(entry: Entry, size: tuple[int, int] | None) -> Shape | None:
    kind = entry.fields.get("shape_type") or "polygon"  # older files have nothing but polygons
    if kind in ("point", "points", "line", "linestrip"):
        return None
    name = entry.text("label")
    if not name.strip():
        raise entry.refuse("has no label; give it one")
    points = entry.points("points")
    if kind == "polygon":
        return Shape(plain_name(name), Polygons((points,)))
    if kind == "rectangle" and len(points) in (2, 4):
        (left, top), (right, bottom) = points[0], points[len(points) // 2]
        return Shape(plain_name(name), Polygons((((left, top), (right, top), (right, bottom), (left, bottom)),)))
    if kind == "circle" and len(points) == 2:
        return Shape(plain_name(name), Polygons((_circle(*points),)))
    if kind == "mask" and len(points) == 2 and size:
        return Shape(plain_name(name), _read_mask(entry, points[0], size))
    raise entry.refuse(f"is a {kind!a} of {len(points)} points, which is not understood; draw a polygon")


def _circle(middle: tuple[float, float], edge: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    radius = math.dist(middle, edge)
    angles = [2 * math.pi * corner / _CORNERS_OF_CIRCLE for corner in range(_CORNERS_OF_CIRCLE)]
    return tuple((middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)) for angle in angles)


def _read_mask(entry: Entry, corner: tuple[float, float], size: tuple[int, int]) -> Runs:
    """A black and white PNG, text in base64, whose first pixel lies at `corner`."""
    height, width = size
    left, top = round(corner[0]), round(corner[1])
    text = entry.text("mask")
    try:
        values = read_mask_bytes(base64.b64decode(text, validate=True), f"{entry.path}: the mask in {entry.place}")
    except (binascii.Error, ValueError, InputError) as error:
        raise entry.refuse("has a 'mask' that is no PNG in base64; export it again") from error
    inside: NDArray[np.bool_] = np.asarray(values > 0 if values.ndim == 2 else values[..., :3].any(axis=2))
    if inside.shape[0] > height or inside.shape[1] > width:
        raise entry.refuse(f"has a 'mask' of {inside.shape[1]}x{inside.shape[0]}, more than its picture")
    # What reaches beyond the border is cut off.
    inside = inside[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    rows = np.arange(inside.shape[0]) + max(0, top)
    edges = np.diff(np.pad(inside.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (row, first), (_, end) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    starts = rows[row] * width + first + max(0, left)
    return Runs(starts.astype(np.int64), (end - first).astype(np.int64), height, width, by_rows=True)


def _subject(file: Path, pictures: Pictures) -> Path:
    """The picture that has no mask where its file is wrong, or the file where there is none."""
    named_alike = [picture for picture in pictures.files if picture.with_suffix("") == file.with_suffix("")]
    return named_alike[0] if named_alike else file
