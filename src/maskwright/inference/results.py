"""What `predict` can write of a picture, kind by kind, and the files that it becomes.

Each kind is a file of its own beside the others, ``<stem>_<kind>``, whole or not there at all. What is one file for
all pictures is gathered (`gathering`) from parts, which are files of each picture as well: so a run that was stopped
goes on with the first picture that lacks one of its files.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.data.image_files import encode_png
from maskwright.data.labels import LabelMap
from maskwright.errors import InputError
from maskwright.files import write_bytes
from maskwright.inference import gathering, outputs
from maskwright.inference.claims import GATHERED_FILES
from maskwright.inference.cutout import Background, cut_out, replace_background, soft_alpha
from maskwright.inference.jobs import Job
from maskwright.inference.predictor import Predictor, as_probabilities
from maskwright.inference.regions import find_outlines

SUFFIXES = {
    "mask": ".png",
    "soft": ".png",
    "cutout": ".png",
    "background": ".png",
    "overlay": ".png",
    "contour": ".png",
    "panel": ".png",
    "polygons": ".geojson",
    "coco": ".json",
    "kaggle": ".csv",
    "sheet": ".png",
}
"""Every kind, and what its files end in."""

GATHERED = tuple(GATHERED_FILES)
"""Kinds that are one file, or a few, for all pictures."""

DRAWN = ("background", "overlay", "contour")
"""Kinds that are pictures to look at: those a video becomes a video of."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture and what a model makes of it.

    Attributes:
        image: ``(H, W, C)`` in 0..255.
        mask: Class indices ``(H, W)``, cleaned up where that was asked for.
        logits: ``(C, H, W)``.
        predictor: The model.
        truth: The true classes ``(H, W)``, where they are known.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    logits: NDArray[np.float32]
    predictor: Predictor
    truth: NDArray[np.uint8] | None = None

    @property
    def labels(self) -> LabelMap:
        """The classes."""
        return self.predictor.card.labels

    def alpha(self) -> NDArray[np.uint8]:
        """How opaque each pixel of a cutout is, ``(H, W)``."""
        lead = self.logits[0] if len(self.logits) == 1 else self.logits[1:].max(axis=0) - self.logits[0]
        if len(self.logits) <= 2:  # of several classes the likeliest is taken, whatever the threshold
            lead = lead - np.float32(self.predictor.card.threshold_logit)
        return soft_alpha(self.mask != 0, lead)


@dataclass(frozen=True)
class Wish:
    """What is to be made of each picture.

    Attributes:
        kinds: Of `SUFFIXES`.
        background: What comes behind, for the kind of that name.
        renew: Make results anew that are there already.
    """

    kinds: Sequence[str]
    background: Background | None = None
    renew: bool = False


def paths_of(kind: str, job: Job, labels: LabelMap) -> list[Path]:
    """The files that a kind of result becomes.

    Args:
        kind: One of `SUFFIXES`.
        job: Which picture.
        labels: Of several classes, each has a soft mask of its own, called by its index.
    """
    if job.by_rows:
        return [job.target.with_name(f"{job.target.name}_mask.tif")] if kind == "mask" else []
    target = job.part if kind in GATHERED else job.target
    words = [kind]
    if kind == "soft" and labels.num_classes > 2:
        words = [f"soft_{index}" for index in labels.scored_classes]
    return [target.with_name(f"{target.name}_{word}{SUFFIXES[kind]}") for word in words]


def read_kinds(save: str) -> list[str]:
    """The kinds of a comma list, each once.

    Raises:
        InputError: One of them is none.
    """
    kinds = list(dict.fromkeys(kind.strip() for kind in save.split(",")))
    for kind in kinds:
        if kind not in SUFFIXES:
            raise InputError(f"--save knows {', '.join(SUFFIXES)}, not {kind!r}.")
    return kinds


def check_kinds(kinds: Sequence[str], labels: LabelMap) -> None:
    """Raise an InputError for kinds that a model of these classes cannot give."""
    for kind in ("cutout", "background"):
        if kind in kinds and not labels.has_background:
            raise InputError(f"--save {kind} takes a background away, and this model's classes have none.")


def missing_kinds(job: Job, wish: Wish, labels: LabelMap) -> list[str]:
    """The kinds of a picture's results that are still to be made: those of which a file is missing."""
    return [kind for kind in wish.kinds if wish.renew or not all(path.exists() for path in paths_of(kind, job, labels))]


def write_result(kind: str, job: Job, seen: Seen, background: Background | None) -> list[Path]:
    """Write one kind of result of a picture.

    Returns:
        Its files, as `paths_of` says.

    Raises:
        InputError: One of them cannot be written.
    """
    paths = paths_of(kind, job, seen.labels)
    for path, content in zip(paths, encode_result(kind, job.name, seen, background), strict=True):
        try:
            write_bytes(path, content)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error
    return paths


def encode_result(kind: str, name: str, seen: Seen, background: Background | None = None) -> list[bytes]:
    """What stands in the files of one kind of result.

    Args:
        kind: One of `SUFFIXES`.
        name: What lists call the picture.
        seen: The picture and what a model makes of it.
        background: What comes behind, for the kind of that name.

    Returns:
        The content of each file that `paths_of` names.
    """
    match kind:
        case "mask":
            return [outputs.encode_mask(seen.mask, seen.labels)]
        case "soft":
            shares = np.rint(as_probabilities(seen.logits) * 255).astype(np.uint8)
            # Of two classes it is the second; an imported network may have a logit for each.
            planes = [shares[-1]] if seen.labels.num_classes == 2 else [shares[i] for i in seen.labels.scored_classes]
            return [encode_png(plane) for plane in planes]
        case "polygons":
            return [f"{json.dumps(_polygons(name, seen))}\n".encode()]
        case "coco":
            return [gathering.coco_part(seen.mask, seen.labels).encode()]
        case "kaggle":
            return [gathering.kaggle_part(name, seen.mask, seen.labels).encode()]
        case _:
            return [encode_png(draw_result(kind, seen, background))]


def draw_result(kind: str, seen: Seen, background: Background | None = None) -> NDArray[np.uint8]:
    """A kind of result that is a picture, ``(H, W, 3)``; a cutout has a fourth channel."""
    image = outputs.as_rgb(seen.image)
    match kind:
        case "cutout":
            return cut_out(image, seen.alpha())
        case "background":
            assert background is not None  # noqa: S101 - `check_kinds` has looked
            return replace_background(image, seen.alpha(), background)
        case "overlay":
            return outputs.overlay(image, seen.mask, seen.labels)
        case "contour":
            return outputs.contour(image, seen.mask, seen.labels)
        case "panel":
            return outputs.panel(image, seen.mask, seen.truth, labels=seen.labels)
        case "sheet":
            return gathering.sheet_part(image, seen.mask, seen.labels)
    raise ValueError(f"{kind} is no picture")


def _polygons(name: str, seen: Seen) -> dict[str, object]:
    """The regions of the classes as GeoJSON has them, in pixels: x to the right, y down."""
    height, width = seen.mask.shape
    features = [
        {
            "type": "Feature",
            "properties": {"class": seen.labels.class_names[index], "class_index": index},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[*ring.tolist(), ring[0].tolist()] for ring in (outline.outer, *outline.holes)],
            },
        }
        for index in seen.labels.scored_classes
        for outline in find_outlines(seen.mask == index)
    ]
    image = {"file_name": name, "width": width, "height": height}
    return {"type": "FeatureCollection", "image": image, "features": features}
