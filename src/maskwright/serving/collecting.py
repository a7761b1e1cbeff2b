"""Corrected masks, kept beside their pictures in a folder that ``maskwright train --from MODEL`` takes as it is.

    FOLDER/images/NAME.jpg  FOLDER/masks/NAME.png  FOLDER/classes.json

Pictures are kept as they were sent; masks are stored as `predict` stores them, and the list of classes names those of
the model, so that what is learnt from the folder has the model's classes.
"""

import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.image_files import encode_png
from maskwright.data.labels import IGNORED, LabelMap
from maskwright.errors import InputError
from maskwright.files import write_bytes, write_text
from maskwright.inference.outputs import class_colours, encode_mask
from maskwright.serving.bodies import Upload
from maskwright.serving.decoder import Decoder, Room
from maskwright.serving.refusals import Refusal

CLASSES = "classes.json"
_LONGEST_NAME = 100
# What files of the formats that are read begin with; the others have no such beginning.
_BEGINNINGS = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II": ".tif",
    b"MM": ".tif",
    b"\x93NUMPY": ".npy",
    b"P": ".ppm",
}


@dataclass(frozen=True)
class Kept:
    """Where a pair was kept, below the folder."""

    image: str
    mask: str


class Collection:
    """A folder of pictures and masks that grows.

    Raises:
        InputError: The folder cannot be written to, or holds pairs of other classes.
    """

    def __init__(self, folder: Path, labels: LabelMap) -> None:
        self._folder = folder
        self._labels = labels
        self._lock = threading.Lock()
        names: object = list(labels.class_names)
        if labels.num_classes > 2:  # the names of two alone say that masks are black and white
            names = {name: index for index, name in enumerate(labels.class_names)}
        text = json.dumps(names, ensure_ascii=False) + "\n"
        listed = folder / CLASSES
        if listed.is_file() and listed.read_text(encoding="utf-8") != text:
            raise InputError(f"{listed} names other classes than the model's; choose another folder to --collect into.")
        write_text(listed, text)

    def keep(self, image: Upload, mask: Upload, name: str, decoder: Decoder, room: Room) -> Kept:
        """Keep a picture and its mask under a new name; in the thread that owns the decoder.

        Raises:
            Refusal: They cannot be read or do not belong together, or cannot be written.
        """
        with decoder.decoded(image.content, "picture", room) as pixels:
            shape = pixels.shape[:2]
        with decoder.decoded(mask.content, "mask", room) as values:
            classes = self._classes(values, shape)
        with self._lock:
            stem = self._free_stem(plain_stem(name or image.name))
            image_path = self._folder / "images" / (stem + _suffix_of(image.content))
            mask_path = self._folder / "masks" / f"{stem}.png"
            try:
                write_bytes(mask_path, _encode(classes, self._labels))
                write_bytes(image_path, image.content)
            except OSError as error:
                mask_path.unlink(missing_ok=True)
                sentence = f"The pair cannot be kept ({error.strerror or 'the disk refuses it'}); tell who runs this."
                raise Refusal(507, "not_kept", sentence) from error
        return Kept(*(path.relative_to(self._folder).as_posix() for path in (image_path, mask_path)))

    def _classes(self, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Class indices ``(H, W)`` of what a mask file holds."""
        if values.ndim == 3:
            raise Refusal(422, "unusable_mask", "The mask has colours; send a grey one.")
        if values.shape != shape:
            (height, width), (rows, columns) = shape, values.shape
            sentence = f"The mask is {columns}x{rows} and the picture {width}x{height}; send a mask of its size."
            raise Refusal(422, "unusable_mask", sentence)
        present = set(np.unique(values).tolist())
        if self._labels.num_classes == 2 and present <= {0, 255}:
            return np.asarray(values > 0, np.uint8)
        known = {*range(self._labels.num_classes), *([IGNORED] if self._labels.num_classes > 2 else [])}
        if not present <= known:
            meant = "0 and 255" if self._labels.num_classes == 2 else f"0 to {self._labels.num_classes - 1}, or 255"
            raise Refusal(422, "unusable_mask", f"The mask holds other values than {meant}; send one of these.")
        return values.astype(np.uint8)

    def _free_stem(self, stem: str) -> str:
        taken = {path.stem for part in ("images", "masks") for path in (self._folder / part).glob("*")}
        number, free = 2, stem
        while free in taken:
            free, number = f"{stem}-{number}", number + 1
        return free


def plain_stem(name: str) -> str:
    r"""A name as a file may be called on any system, without folders and suffix.

    >>> plain_stem("../../etc/My car.JPG"), plain_stem("...")
    ('My_car', 'picture')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    plain = re.sub(r"[^\w-]+", "_", stem, flags=re.ASCII).strip("_-")
    return plain[:_LONGEST_NAME] or "picture"


def _encode(classes: NDArray[np.uint8], labels: LabelMap) -> bytes:
    """As `predict` does; without a palette where that would change what is read.

    A palette of greys is read as greys, and one of a few colours holds no index for what does not count.
    """
    is_grey = all(len(set(colour)) == 1 for colour in class_colours(labels))
    if labels.num_classes > 2 and (is_grey or IGNORED in classes):
        return encode_png(classes)
    return encode_mask(classes, labels)


def _suffix_of(content: bytes) -> str:
    return next((suffix for start, suffix in _BEGINNINGS.items() if content.startswith(start)), ".tga")
