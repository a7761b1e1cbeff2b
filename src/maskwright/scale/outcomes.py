"""One picture from its source to its results, in three steps that may be taken on different machines.

`prepare` decodes a picture and brings it to the size that the model sees, `infer` is the network's share, `finish`
makes the mask and what is told of it. They are made of what `predict` is made of (`inference.predictor`,
`inference.outputs`), so the results are the same to the last byte. Between the steps goes what the model sees, not the
picture: some hundred kilobytes, however large it is.
"""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.input_format import read_image
from maskwright.errors import DoesNotFitError, InputError, naming_what_is_too_large, too_large
from maskwright.inference.cleanup import clean
from maskwright.inference.gathering import kaggle_runs
from maskwright.inference.outputs import encode_mask
from maskwright.inference.predictor import Predictor, as_probabilities
from maskwright.scale.sources import Picture, problem_of_name

KINDS = ("mask", "parquet", "shards")
"""What can be written: mask files, tables of run lengths and scores, tar shards."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as the model sees it, or why it is none.

    Attributes:
        picture: Which, without its content.
        small: ``(h, w, C)``, uint8; None where there is a problem.
        height: Of the picture itself, pixels.
        width: Likewise.
        problem: Why it cannot be predicted.
    """

    picture: Picture
    small: NDArray[np.uint8] | None = None
    height: int = 0
    width: int = 0
    problem: str | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a picture becomes.

    Attributes:
        picture: Which, without its content.
        row: Its row in tables and lists: path, shard, height, width, rle, score, error.
        mask: The content of its mask file; None where there is an error, and where nobody asked.
    """

    picture: Picture
    row: dict[str, Any]
    mask: bytes | None = None


def prepare(predictor: Predictor, picture: Picture, kinds: Sequence[str]) -> Prepared:
    """Decode a picture and bring it to the size that the model sees.

    Args:
        predictor: The model; nothing is computed.
        picture: The picture, with its content.
        kinds: What will be written: where files are called by the picture's name, it must be a name for files.
    """
    known = Picture(picture.name, picture.shard, row=picture.row)
    problem = picture.problem
    if problem is None and {*kinds} != {"parquet"} and picture.row is None and (why := problem_of_name(picture.name)):
        problem = f"{printable_name(picture.title)} {why}."
    if problem is not None:
        return Prepared(known, problem=problem)
    try:
        with naming_what_is_too_large(known.title):
            image = _read(picture, predictor)
            return Prepared(known, predictor.shrink(image), *image.shape[:2])
    except InputError as error:
        return Prepared(known, problem=str(error))


def infer(predictor: Predictor, prepared: Prepared) -> NDArray[np.float32] | None:
    """The logits ``(C, h, w)`` at the size that the model sees; None where there is a problem or memory runs out."""
    if prepared.small is None:
        return None
    with suppress(DoesNotFitError), naming_what_is_too_large(prepared.picture.title):
        return predictor.small_logits(prepared.small)
    return None


def finish(
    predictor: Predictor, prepared: Prepared, logits: NDArray[np.float32] | None, kinds: Sequence[str]
) -> Outcome:
    """Make a picture's results.

    Args:
        predictor: The model; nothing is computed by its engine.
        prepared: What `prepare` gave.
        logits: What `infer` gave.
        kinds: What will be written, of `KINDS`.
    """
    if logits is None:
        return _failure(prepared.picture, prepared.problem or str(too_large(prepared.picture.title)))
    try:
        with naming_what_is_too_large(prepared.picture.title):
            return _made(predictor, prepared, logits, kinds)
    except DoesNotFitError as error:
        return _failure(prepared.picture, str(error))


def predict_one(predictor: Predictor, picture: Picture, kinds: Sequence[str]) -> Outcome:
    """The three steps, where one process takes them all."""
    prepared = prepare(predictor, picture, kinds)
    return finish(predictor, prepared, infer(predictor, prepared), kinds)


def mean_certainty(logits: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """How sure a model is of a mask: the mean probability of their class, over the pixels of the foreground.

    Where there is no foreground, over all pixels. Of logits ``(C, H, W)`` and classes ``(H, W)``; six digits.
    """
    inside = mask != 0
    if not inside.any():
        inside = np.ones_like(inside)
    chosen = as_probabilities(logits[:, inside][:, np.newaxis])[:, 0]  # (C, pixels)
    classes = mask[inside]
    if len(chosen) == 1:
        probabilities = np.where(classes == 1, chosen[0], 1 - chosen[0])
    else:
        probabilities = np.take_along_axis(chosen, classes[np.newaxis].astype(np.intp), axis=0)[0]
    return round(float(probabilities.mean(dtype=np.float64)), 6)


def printable_name(name: str) -> str:
    """A name that can be written down: what is not Unicode in it is escaped."""
    return name.encode(errors="backslashreplace").decode()


def _read(picture: Picture, predictor: Predictor) -> NDArray[np.uint8]:
    if isinstance(picture.content, Path):
        return read_image(picture.content, predictor.card.input)
    assert picture.content is not None  # noqa: S101 - there is no problem
    with tempfile.TemporaryDirectory() as folder:
        # Its readers look at a file: so a picture is read as it would be had it been one.
        file = Path(folder) / "picture"
        file.write_bytes(picture.content)
        try:
            return read_image(file, predictor.card.input)
        except InputError as error:
            raise InputError(str(error).replace(str(file), picture.title)) from error


def _made(predictor: Predictor, prepared: Prepared, logits: NDArray[np.float32], kinds: Sequence[str]) -> Outcome:
    large = predictor.enlarge(logits, prepared.height, prepared.width)
    mask = clean(predictor.classes(large), predictor.cleanup)
    row = _row(prepared.picture)
    row["height"], row["width"] = mask.shape
    if [*kinds] != ["mask"]:
        row["score"] = mean_certainty(large, mask)
    if "parquet" in kinds:
        labels = predictor.card.labels
        row["rle"] = [
            {"class": labels.class_names[index], "runs": kaggle_runs(mask == index)} for index in labels.scored_classes
        ]
    content = encode_mask(mask, predictor.card.labels) if {"mask", "shards"} & {*kinds} else None
    return Outcome(prepared.picture, row, content)


def _row(picture: Picture) -> dict[str, Any]:
    name, shard = printable_name(picture.name), printable_name(picture.shard)
    return {"path": name, "shard": shard, "height": None, "width": None, "rle": None, "score": None, "error": None}


def _failure(picture: Picture, sentence: str) -> Outcome:
    return Outcome(picture, {**_row(picture), "error": printable_name(sentence)})
