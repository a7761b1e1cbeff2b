"""Files that hold the results of all pictures: COCO's annotations, Kaggle's run lengths, contact sheets.

Each picture leaves a part, and when all are there the parts are put together in the pictures' order: so a run may stop
and go on, and takes no more memory for many pictures than for one.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from maskwright.data.image_files import read_pixels, resize_classes, resize_image, write_image
from maskwright.data.labels import LabelMap
from maskwright.files import replacing
from maskwright.inference.outputs import overlay
from maskwright.inference.regions import find_runs

# A page of thumbnails: columns, rows, and the pixels of a place without its caption.
COLUMNS, ROWS = 5, 6
_PLACES = COLUMNS * ROWS
PLACE_WIDTH, PLACE_HEIGHT = 300, 200
_GAP, _CAPTION = 16, 26
_LONGEST_CAPTION = 34


@dataclass(frozen=True)
class Part:
    """What a picture left for a gathered file: the picture's name in lists, and the file."""

    name: str
    path: Path


def coco_part(mask: NDArray[np.uint8], labels: LabelMap) -> str:
    """A picture's size and annotations for `write_coco`, as JSON: one for each class that it shows."""
    height, width = mask.shape
    annotations = []
    for index in labels.scored_classes:
        runs = find_runs(mask == index, by_rows=False)
        if not len(runs.starts):
            continue
        rows, columns = (np.flatnonzero((mask == index).any(axis=axis)) for axis in (1, 0))
        # Background and region take turns, beginning with the background.
        bounds = np.stack([runs.starts, runs.starts + runs.lengths], axis=1).ravel()
        counts = np.diff(bounds, prepend=0, append=height * width)
        annotations.append(
            {
                "category_id": index,
                "segmentation": {"size": [height, width], "counts": counts.tolist()},
                "area": int(runs.lengths.sum()),
                "bbox": [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1],
                "iscrowd": 0,
            }
        )
    return json.dumps({"height": height, "width": width, "annotations": annotations}, separators=(",", ":"))


def coco_lists(
    pictures: Callable[[], Iterable[tuple[str, dict[str, Any]]]], labels: LabelMap
) -> dict[str, Iterable[dict[str, Any]]]:
    """The lists of COCO's annotation file: the pictures, the classes, and a region for each class of each.

    Args:
        pictures: Gives the name of each picture and what `coco_part` says of it; asked once for each list.
        labels: The classes.
    """

    def annotations() -> Iterable[dict[str, Any]]:
        found = ((image, entry) for image, (_, part) in enumerate(pictures(), 1) for entry in part["annotations"])
        for number, (image, entry) in enumerate(found, 1):
            yield {"id": number, "image_id": image, **entry}

    def images() -> Iterable[dict[str, Any]]:
        for number, (name, part) in enumerate(pictures(), 1):
            yield {"id": number, "file_name": name, "height": part["height"], "width": part["width"]}

    categories = ({"id": index, "name": labels.class_names[index]} for index in labels.scored_classes)
    return {"images": images(), "categories": categories, "annotations": annotations()}


def write_coco(path: Path, parts: Sequence[Part], labels: LabelMap) -> None:
    """Write COCO's annotation file, with regions in run lengths."""
    lists = coco_lists(lambda: ((part.name, _read(part)) for part in parts), labels)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        opening = "{"
        for key, entries in lists.items():
            file.write(f'{opening}"{key}":[')
            file.writelines(
                f"{',' if place else ''}\n{json.dumps(entry, separators=(',', ':'))}"
                for place, entry in enumerate(entries)
            )
            file.write("]")
            opening = ",\n"
        file.write("}\n")


def kaggle_part(name: str, mask: NDArray[np.uint8], labels: LabelMap) -> str:
    """A picture's rows for `write_kaggle`."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for index in labels.scored_classes:
        lengths = kaggle_runs(mask == index)
        rows.writerow([name, lengths] if _has_one_row(labels) else [name, labels.class_names[index], lengths])
    return text.getvalue()


def kaggle_runs(inside: NDArray[np.bool_]) -> str:
    """A region in Kaggle's run lengths: the first pixel, counted from 1, and the length of each run, row by row."""
    runs = find_runs(inside, by_rows=True)
    return " ".join(map(str, np.stack([runs.starts + 1, runs.lengths], axis=1).ravel().tolist()))


def write_kaggle(path: Path, parts: Sequence[Part], labels: LabelMap) -> None:
    """Write the table that Kaggle's Carvana challenge takes; of several classes, each has a row of a picture."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("img,rle_mask\n" if _has_one_row(labels) else "img,class,rle_mask\n")
        for part in parts:
            file.write(part.path.read_text(encoding="utf-8"))


def _has_one_row(labels: LabelMap) -> bool:
    """Whether a picture has a single row in Kaggle's table; two classes without a background have two."""
    return len(labels.scored_classes) == 1


def sheet_part(image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """The thumbnail of a picture ``(H, W, 3)`` for `write_sheets`, with its classes tinted."""
    scale = min(PLACE_HEIGHT / mask.shape[0], PLACE_WIDTH / mask.shape[1])
    size = [max(1, round(side * scale)) for side in mask.shape]
    return overlay(resize_image(image, *size), resize_classes(mask, *size), labels)


def write_sheets(folder: Path, parts: Sequence[Part], *, known: int = 0) -> list[Path]:
    """Write pages of thumbnails, ``sheet_001.png`` and so on, and remove those after them that an earlier run has left.

    Args:
        folder: Where they go.
        parts: The thumbnails.
        known: Of how many pictures there have ever been some: a page after theirs is not ours.

    Returns:
        The files.
    """
    pages = [folder / f"sheet_{first // _PLACES + 1:03}.png" for first in range(0, max(known, len(parts)), _PLACES)]
    written = pages[: -(-len(parts) // _PLACES)]
    for number, page in enumerate(written):
        write_image(page, _draw_page(parts[number * _PLACES : (number + 1) * _PLACES]))
    for page in pages[len(written) :]:
        page.unlink(missing_ok=True)
    return written


def _draw_page(parts: Sequence[Part]) -> NDArray[np.uint8]:
    columns, rows = min(COLUMNS, len(parts)), -(-len(parts) // COLUMNS)
    across, down = PLACE_WIDTH + _GAP, PLACE_HEIGHT + _CAPTION + _GAP
    canvas = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=14)
    for place, part in enumerate(parts):
        left, top = _GAP + place % COLUMNS * across, _GAP + place // COLUMNS * down
        tile = Image.fromarray(read_pixels(part.path))
        canvas.paste(tile, (left + (PLACE_WIDTH - tile.width) // 2, top + (PLACE_HEIGHT - tile.height) // 2))
        name = part.name if len(part.name) <= _LONGEST_CAPTION else f"...{part.name[3 - _LONGEST_CAPTION :]}"
        middle = (left + PLACE_WIDTH / 2, top + PLACE_HEIGHT + _CAPTION / 2)
        draw.text(middle, name, fill=(40, 40, 40), font=font, anchor="mm")
    return np.asarray(canvas)


def _read(part: Part) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(part.path.read_text(encoding="utf-8"))
    return content
