"""Label Studio's JSON exports, the full one and JSON-MIN: brushes, polygons, rectangles and ellipses.

Places are in percent of the picture. Annotations that were cancelled do not count; of several annotators' the latest
does. Key points, and whatever else has no area, are left out.

Source: the brush's packing is rle-pack of https://github.com/thi-ng/umbrella, which Label Studio's editor uses.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.data.formats import fields
from maskwright.data.formats.class_lists import name_classes, plain_name
from maskwright.data.formats.fields import Entry
from maskwright.data.formats.pictures import (
    Pictures,
    find_picture,
    is_picture_name,
    make_pairing,
    read_url,
    split_of_folders,
    splits_of_files,
)
from maskwright.data.pairs import Drawing, Pair, Pairing, Polygons, Problem, Runs, Shape
from maskwright.errors import InputError

_CORNERS_OF_ELLIPSE = 128
_MOST_PERCENT = 10_000
_PREFIX = re.compile("^[0-9a-f]{8}-")  # given to what is uploaded
_VISIBLE = 128  # of 255; a brush may have a soft edge


@dataclass(frozen=True)
class _Annotation:
    """What somebody said of a picture.

    Attributes:
        time: When, as text that sorts.
        regions: Each with the object that holds its geometry.
        labels: Those that are given apart from the geometry, by the region's id.
    """

    time: str
    regions: tuple[tuple[Entry, Entry], ...]
    labels: dict[str, str]


def is_label_studio(content: bytes) -> bool:
    """Whether a file looks like one."""
    is_full = (b'"annotations"' in content or b'"completions"' in content) and b'"data"' in content
    return content.lstrip()[:1] == b"[" and (
        (is_full and b'"result"' in content) or (b'"annotation_id"' in content and b'"annotator"' in content)
    )


def read_label_studio(files: Sequence[Path], pictures: Pictures) -> Pairing:
    """Pair the pictures of Label Studio's tasks with their regions.

    Args:
        files: Exports, full or JSON-MIN.
        pictures: Where the pictures are.

    Raises:
        InputError: A file as a whole cannot be used. What is wrong with one picture is a problem in the result.
    """
    splits = splits_of_files(files)
    latest: dict[Path, tuple[str, Pair]] = {}
    problems: list[Problem] = []
    for task in [task for file in files for task in _tasks(file)]:
        try:
            image = _find_image(task, pictures)
        except InputError as error:
            problems.append(Problem(task.path, str(error), "mask without image"))
            continue
        try:
            annotation = _latest_annotation(task)
            if annotation and (image not in latest or annotation.time > latest[image][0]):
                drawing = _read_drawing(annotation, task.path)
                split = splits.get(task.path) or split_of_folders(pictures, image)
                latest[image] = annotation.time, Pair(pictures.name_of(image), image, drawing, split)
        except InputError as error:
            problems.append(Problem(image, str(error)))
    wrong = {problem.path for problem in problems}
    pairs = [pair for _, pair in latest.values() if pair.image not in wrong]
    drawings = [pair.mask for pair in pairs if isinstance(pair.mask, Drawing)]
    names = sorted({shape.class_name for drawing in drawings for shape in drawing.shapes})
    source = files[0].name if len(files) == 1 else f"{len(files)} exports"
    classes = name_classes(dict.fromkeys(names), source)
    return make_pairing(pictures, pairs, problems, layout=f"{source} (Label Studio)", classes=classes)


def unpack_brush(packed: bytes, height: int, width: int) -> Runs:
    """Say which pixels a brush has painted.

    The bytes are red, green, blue and alpha of each pixel in turn, of which only alpha counts. They are packed as: the
    number of values (32 bits), bits of a value less one (5), bits of four kinds of counters less one (4 each); then
    blocks of a flag (1 bit: repeated or not), the kind of the counter (2), the counter less one, and the value that is
    repeated or the values.

    Raises:
        InputError: It does not fit the picture, or ends early.
    """
    position = 0

    def take(bits: int) -> int:
        nonlocal position
        first, position = position, position + bits
        if position > 8 * len(packed):
            raise InputError("the brush's 'rle' ends early")
        word = int.from_bytes(packed[first // 8 : (position + 7) // 8], "big")
        return word >> -position % 8 & (1 << bits) - 1

    total = take(32)
    value_bits = take(5) + 1
    counter_bits = [take(4) + 1 for _ in range(4)]
    if total != 4 * height * width:
        raise InputError(f"the brush's 'rle' holds {total} values, where {width}x{height} pixels have four each")
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    while done < total:
        is_repeated = take(1)
        count = take(counter_bits[take(2)]) + 1
        for length in (count,) if is_repeated else (1,) * count:
            if take(value_bits) >= _VISIBLE:
                starts.append(done)
                ends.append(done + length)
            done += length
    if done > total:
        raise InputError("the brush's 'rle' holds more values than it says")
    # Of the bytes from a to b, those at 3, 7, 11 ... are alphas: of the pixels from a // 4 to b // 4.
    first_pixels, end_pixels = np.array(starts, np.int64) // 4, np.array(ends, np.int64) // 4
    is_pixel = end_pixels > first_pixels
    first_pixels, end_pixels = first_pixels[is_pixel], end_pixels[is_pixel]
    return Runs(first_pixels, end_pixels - first_pixels, height, width, by_rows=True)


# --- Tasks


def _tasks(file: Path) -> Iterator[Entry]:
    content = fields.read_json(file)
    if not isinstance(content, list):
        raise InputError(f"{file} should hold a list of Label Studio's tasks; export it as JSON or JSON-MIN.")
    return fields.entries_of(content, file, "task ")


def _find_image(task: Entry, pictures: Pictures) -> Path:
    holder = task.entry("data") if "data" in task else task
    addresses = [read_url(value) for value in holder.fields.values() if isinstance(value, str)]
    address = next(filter(is_picture_name, addresses), None)
    if address is None:
        raise task.refuse("names no picture; export tasks that have one")
    try:
        return find_picture(pictures, address, task.path)
    except InputError:
        name = re.split(r"[/\\]", address)[-1]
        if not _PREFIX.match(name):
            raise
        return find_picture(pictures, _PREFIX.sub("", name), task.path)


def _latest_annotation(task: Entry) -> _Annotation | None:
    key = next((key for key in ("annotations", "completions") if key in task), None)
    if key is None:
        return _read_minimal(task)
    annotations = [_read_full(entry) for entry in task.entries(key) if not entry.fields.get("was_cancelled")]
    return max(annotations, key=lambda annotation: annotation.time, default=None)


def _read_minimal(task: Entry) -> _Annotation | None:
    """JSON-MIN has a task for each annotation, and the regions under the name of the control that made them."""
    lists = [key for key, value in task.fields.items() if isinstance(value, list) and value]
    regions = [entry for key in lists for entry in task.entries(key) if "original_width" in entry]
    if task.fields.get("was_cancelled") or "annotation_id" not in task:
        return None
    return _Annotation(_time(task), tuple((region, region) for region in regions), {})


def _read_full(annotation: Entry) -> _Annotation:
    results = list(annotation.entries("result"))
    with_place = [result for result in results if "original_width" in result and "value" in result]
    regions = tuple((result, result.entry("value")) for result in with_place)
    # With a <Labels> tag apart from the tools, label and geometry are two results with one id.
    labels = {str(region.fields.get("id")): label for region, value in regions if (label := _label(value)) is not None}
    return _Annotation(_time(annotation), regions, labels)


def _time(entry: Entry) -> str:
    return str(entry.fields.get("updated_at") or entry.fields.get("created_at") or "")


def _label(value: Entry) -> str | None:
    """The first of ``brushlabels``, ``polygonlabels`` or the like."""
    for key, labels in value.fields.items():
        if key.endswith("labels") and isinstance(labels, list) and labels and isinstance(labels[0], str):
            return labels[0]
    return None


# --- Regions


def _read_drawing(annotation: _Annotation, file: Path) -> Drawing:
    drawn = []
    sizes = set()
    for region, value in annotation.regions:
        if not any(key in value for key in ("rle", "points", "radiusX", "height")):
            continue  # a key point, a choice ...
        height, width = region.size("original_height", "original_width")
        sizes.add((height, width))
        if len(sizes) > 1:
            raise region.refuse(f"is of a picture of {width}x{height}, and others are not; export it again")
        if region.fields.get("image_rotation"):
            raise region.refuse("belongs to a picture that was rotated in Label Studio; rotate the file itself")
        name = _label(value) or annotation.labels.get(str(region.fields.get("id")))
        if name is None or not name.strip():
            raise region.refuse("has no label; give it one")
        drawn.append(Shape(plain_name(name), _read_region(value, height, width)))
    return Drawing(file, tuple(drawn), next(iter(sizes), None))


def _read_region(value: Entry, height: int, width: int) -> Polygons | Runs:
    if "rle" in value:
        return _read_brush(value, height, width)
    if "points" in value:
        percent = value.points("points")
        return Polygons((tuple((x / 100 * width, y / 100 * height) for x, y in percent),))
    turn = math.radians(_percent(value, "rotation") if "rotation" in value else 0)
    left, top = _percent(value, "x") / 100 * width, _percent(value, "y") / 100 * height
    if "radiusX" in value:
        across, down = _percent(value, "radiusX") / 100 * width, _percent(value, "radiusY") / 100 * height
        angles = [2 * math.pi * corner / _CORNERS_OF_ELLIPSE for corner in range(_CORNERS_OF_ELLIPSE)]
        corners = [(across * math.cos(angle), down * math.sin(angle)) for angle in angles]
    else:
        right, bottom = _percent(value, "width") / 100 * width, _percent(value, "height") / 100 * height
        corners = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)]
    # Ellipses turn around their middle, rectangles around their first corner: (left, top) in both cases.
    cos, sin = math.cos(turn), math.sin(turn)
    return Polygons((tuple((left + x * cos - y * sin, top + x * sin + y * cos) for x, y in corners),))


def _read_brush(value: Entry, height: int, width: int) -> Runs:
    numbers = value.items("rle")
    if not all(type(number) is int and 0 <= number <= 255 for number in numbers):
        raise value.refuse("should have a list of bytes as 'rle'")
    try:
        return unpack_brush(bytes(number for number in numbers if isinstance(number, int)), height, width)
    except InputError as error:
        raise InputError(f"{value.path}: {value.place}: {error}.") from error


def _percent(value: Entry, key: str) -> float:
    return value.number(key, least=-_MOST_PERCENT, most=_MOST_PERCENT)
