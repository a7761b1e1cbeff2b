"""A clean copy of a data set: upright pictures, masks of one kind at their size, and lists that leave nothing to guess.

The original is never touched. Pictures that cannot be used stay behind, of equal files the first is kept, and
``changes.json`` says of each file what became of it.
"""

import csv
import io
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from maskwright.data import image_files
from maskwright.data.examination import Picture
from maskwright.data.input_format import PHOTOGRAPH, read_image
from maskwright.data.labels import IGNORED, IGNORED_COLOUR
from maskwright.data.pairs import Colour, Drawing
from maskwright.data.reading import read_mask
from maskwright.data.report import Diagnosis, shown_name
from maskwright.data.threads import in_threads, limit_pixels
from maskwright.errors import InputError
from maskwright.files import write_json, write_text


def check_target(out: Path, photos: Path) -> None:
    """Refuse a folder that holds something, or lies within the original."""
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; choose a new folder for --fix.")
    if out.resolve().is_relative_to(photos.resolve()):
        raise InputError(f"{out} lies within {photos}, which is left as it is; choose another folder for --fix.")


def write_clean_copy(
    diagnosis: Diagnosis, out: Path, *, colours: Sequence[Colour], advance: Callable[[], None]
) -> list[dict[str, Any]]:
    """Write what can be used to a new folder.

    ``images/`` and ``masks/`` mirror the original's folders; ``manifest.csv`` pairs them and keeps the groups and the
    given split, ``classes.json`` says what the masks' values mean.

    Args:
        diagnosis: Of the original.
        out: A folder that is new or empty.
        colours: What each class is drawn in, for the palette of masks of more than two classes.
        advance: Called after each picture that can be used.

    Returns:
        What happened to each original; the content of ``changes.json``.

    Raises:
        InputError: The folder cannot be written to, or a file has changed since the diagnosis.
    """
    check_target(out, diagnosis.folder)
    left_out = _left_out(diagnosis)
    names = _new_names(diagnosis.pictures)
    scale = _scale_of_values(diagnosis)
    reading = limit_pixels()

    def copy(picture: Picture) -> dict[str, Any]:
        image_name = diagnosis.name_of(picture)
        origin = {"image": image_name, "mask": shown_name(picture.pair.mask_path, diagnosis.folder)}
        try:
            if image_name in left_out:
                return {**origin, "left_out": left_out[image_name]}
            with reading(picture.stored.height * picture.stored.width):
                image, change = _copy_image(picture, out / "images" / names[picture.pair.name])
                mask = (out / "masks" / names[picture.pair.name]).with_suffix(".png")
                changes = [change, *_write_mask(picture, mask, diagnosis, scale, colours)]
            became = {"image": image.relative_to(out).as_posix(), "mask": mask.relative_to(out).as_posix()}
            return {**origin, "became": became, "changes": changes}
        finally:
            advance()

    changes = list(in_threads(copy, diagnosis.pictures))
    kept = [
        (picture, entry["became"])
        for picture, entry in zip(diagnosis.pictures, changes, strict=True)
        if "became" in entry
    ]
    write_text(out / "manifest.csv", _manifest(kept, diagnosis))
    write_json(out / "classes.json", _class_list(diagnosis, scale))
    changes += [
        {"file": name, "left_out": sentence or finding.sentence}
        for finding in diagnosis.findings
        if finding.level == "problem"
        for name, sentence in finding.files.items()
    ]
    write_json(out / "changes.json", changes)
    return changes


def _left_out(diagnosis: Diagnosis) -> dict[str, str]:
    """Why pictures that can be read stay behind, by the image's name."""
    first: dict[str, Picture] = {}
    masks: dict[str, set[bytes]] = {}
    for picture in diagnosis.pictures:
        first.setdefault(picture.fingerprint, picture)
        masks.setdefault(picture.fingerprint, set()).add(picture.mask_print)
    reasons = {}
    for picture in diagnosis.pictures:
        name = diagnosis.name_of(picture)
        if len(masks[picture.fingerprint]) > 1:
            reasons[name] = "The same picture is there again with another mask; nothing tells which is right."
        elif first[picture.fingerprint] is not picture:
            kept = diagnosis.name_of(first[picture.fingerprint])
            reasons[name] = f"An exact copy of {kept}, which is kept."
    return reasons


def _new_names(pictures: Sequence[Picture]) -> dict[str, str]:
    """Where each picture goes below ``images/``: as in the original, without the folders that all of them share."""
    folders = [PurePosixPath(picture.pair.name).parent.as_posix() for picture in pictures]
    shared = len(PurePosixPath(os.path.commonpath(folders)).parts) if folders else 0
    return {
        picture.pair.name: "/".join(PurePosixPath(picture.pair.name).parts[shared:]) + picture.pair.image.suffix
        for picture in pictures
    }


def _copy_image(picture: Picture, target: Path) -> tuple[Path, str]:
    """Byte for byte, unless the picture has to be turned; other than 8-bit colours, a PNG file could not hold that."""
    stored = picture.stored
    if stored.orientation != 1 and stored.channels == 3 and not stored.is_deep:
        target = target.with_suffix(".png")
        image_files.write_image(target, read_image(picture.pair.image, PHOTOGRAPH))
        return target, "The image was turned upright and saved as PNG."
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(picture.pair.image, target)
    return target, "The image was copied as it is."


def _scale_of_values(diagnosis: Diagnosis) -> int:
    """Two classes are written as 0 and 255, unless 255 has to mark pixels that do not count."""
    is_ignoring = any(picture.counts[-1] for picture in diagnosis.pictures)
    return 255 if diagnosis.formats.labels.num_classes == 2 and not is_ignoring else 1


def _write_mask(
    picture: Picture, target: Path, diagnosis: Diagnosis, scale: int, colours: Sequence[Colour]
) -> list[str]:
    height, width = picture.stored.height, picture.stored.width
    mask = read_mask(picture.pair, diagnosis.formats.labels, height, width)
    changes = []
    if isinstance(picture.pair.mask, Drawing):
        changes.append("The mask was drawn from its annotation.")
    if picture.mask_size != (height, width):
        was = "{1}x{0}".format(*picture.mask_size)
        changes.append(f"The mask was brought from {was} to {width}x{height}.")
    if scale == 255:
        image_files.write_image(target, mask * np.uint8(255))
        return [*changes, "The mask was saved as PNG of 0 and 255."]
    palette = [*colours, *[(0, 0, 0)] * (IGNORED - len(colours)), IGNORED_COLOUR]
    # A palette of greys would be read as greys, not as indices.
    is_telling = any(len(set(colour)) > 1 for colour in colours)
    image_files.write_image(target, mask, palette=palette if is_telling else None)
    return [*changes, "The mask was saved as PNG of class indices."]


def _manifest(kept: Sequence[tuple[Picture, dict[str, str]]], diagnosis: Diagnosis) -> str:
    has_split = any(picture.pair.split for picture, _ in kept)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "mask", "group", *(["split"] if has_split else [])])
    for picture, became in kept:
        group = diagnosis.groups.of[picture.pair.name]
        split = [picture.pair.split or ""] if has_split else []
        writer.writerow([became["image"], became["mask"], group, *split])
    return text.getvalue()


def _class_list(diagnosis: Diagnosis, scale: int) -> dict[str, Any]:
    names = diagnosis.formats.labels.class_names
    classes: dict[str, Any] = {"classes": {name: index * scale for index, name in enumerate(names)}}
    return classes if scale == 255 else {**classes, "ignore": IGNORED}
