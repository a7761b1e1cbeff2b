"""A predictor and pairs to scores per picture, at the pictures' own size."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import MaskSettings
from maskwright.data.label_survey import labels_for_model, read_options
from maskwright.data.labels import LabelMap
from maskwright.data.pairs import Pair, Pairing, Problem
from maskwright.data.reading import Formats, choose_formats, read_pair
from maskwright.errors import InputError
from maskwright.evaluation.metrics import (
    Interval,
    bootstrap_interval,
    confusion_counts,
    dice_per_class,
    iou_per_class,
)
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor

DEFINITIONS = (
    "Dice = 2|A∩B| / (|A|+|B|) and IoU = |A∩B| / |A∪B| per picture at its own size, the mean over the classes in its "
    "mask or its prediction, the background left out; means over pictures, 95 % intervals from drawing groups again. "
    "A class that is in neither has no score there; a picture without any has none."
)


@dataclass(frozen=True)
class PictureScore:
    """One picture's scores; NaN where neither the mask nor the prediction has any of what is scored.

    Attributes:
        name: The picture.
        group: The pictures it belongs with.
        dice: Mean over the scored classes.
        iou: Likewise.
        class_dice: Of each scored class.
        class_iou: Likewise.
    """

    name: str
    group: str
    dice: float
    iou: float
    class_dice: tuple[float, ...] = ()
    class_iou: tuple[float, ...] = ()


@dataclass(frozen=True)
class ClassScore:
    """One class's scores: means over the pictures that have it, in the mask or in the prediction."""

    name: str
    dice: Interval
    iou: Interval
    pictures: int


@dataclass(frozen=True)
class Scores:
    """Scores of many pictures.

    Attributes:
        pictures: One row each, in the order they were given.
        dice: Mean over pictures, with its interval over groups.
        iou: Likewise.
        groups: How many groups the pictures come from.
        classes: The scored classes by themselves.
        problems: Pictures that could not be scored, and why.
    """

    pictures: tuple[PictureScore, ...]
    dice: Interval
    iou: Interval
    groups: int
    classes: tuple[ClassScore, ...] = ()
    problems: tuple[Problem, ...] = ()

    def worst(self, count: int) -> list[PictureScore]:
        """The pictures with the lowest Dice, worst first."""
        scored = [picture for picture in self.pictures if not np.isnan(picture.dice)]
        return sorted(scored, key=lambda picture: picture.dice)[:count]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values. JSON has no NaN: a score that does not exist is null."""
        content: dict[str, Any] = _without_nan(asdict(self))
        content["definitions"] = DEFINITIONS
        content["problems"] = [problem.sentence for problem in self.problems]
        return content


def scores_from_json(content: dict[str, Any]) -> Scores:
    """The scores that `Scores.to_json` made plain values of; of problems, their sentences name the files."""
    return Scores(
        pictures=tuple(PictureScore(**_with_nan(row)) for row in content["pictures"]),
        **_intervals(content),
        groups=content["groups"],
        classes=tuple(
            ClassScore(row["name"], **_intervals(row), pictures=row["pictures"]) for row in content["classes"]
        ),
        problems=tuple(Problem(Path(), sentence) for sentence in content["problems"]),
    )


MASKS_AS_TRAINED = MaskSettings()
"""Nothing is said of them, so they mean what they did in training."""


def formats_for_model(
    pairing: Pairing,
    card: ModelCard,
    masks: MaskSettings = MASKS_AS_TRAINED,
    *,
    advance: Callable[[], None] = lambda: None,
) -> Formats:
    """How a folder is read for a model: its masks may be stored in another way than those of training.

    Args:
        pairing: What was found in the folder.
        card: Of the model.
        masks: What the user says of them.
        advance: Called after each mask is looked at, for a progress bar.

    Raises:
        InputError: No one way reads them all, or they hold classes that the model does not know.
    """
    masks = replace(masks, foreground=masks.foreground or card.labels.foreground)
    found, _ = choose_formats(pairing.pairs, read_options(masks, pairing.classes), advance=advance)
    return Formats(labels_for_model(found.labels, card.labels), card.input)


def evaluate_pairs(
    predictor: Predictor,
    pairs: Iterable[Pair],
    groups: Mapping[str, str],
    *,
    formats: Formats | None = None,
    advance: Callable[[], None],
) -> Scores:
    """Predict every picture and compare with its mask.

    Args:
        predictor: The model.
        pairs: Pictures and masks.
        groups: The group of each pair's name.
        formats: How the pairs are read, where it is not the way of the model's own pictures; its classes are the
            model's.
        advance: Called after each picture, for a progress bar.
    """
    rows: list[PictureScore] = []
    problems: list[Problem] = []
    for pair in pairs:
        try:
            rows.append(score_pair(predictor, pair, groups[pair.name], formats))
        except InputError as error:
            problems.append(Problem(pair.image, str(error)))
        advance()
    names = [row.group for row in rows]
    labels = predictor.card.labels
    return Scores(
        pictures=tuple(rows),
        dice=bootstrap_interval([row.dice for row in rows], names),
        iou=bootstrap_interval([row.iou for row in rows], names),
        groups=len(set(names)),
        classes=tuple(
            _score_class(labels.class_names[index], place, rows) for place, index in enumerate(labels.scored_classes)
        ),
        problems=tuple(problems),
    )


def score_pair(predictor: Predictor, pair: Pair, group: str, formats: Formats | None = None) -> PictureScore:
    """Predict one picture and compare with its mask, both at the picture's own size."""
    image, truth = read_pair(pair, formats or predictor.card.formats)
    return score_mask(predictor(image), truth, predictor.card.labels, name=pair.name, group=group)


def score_mask(
    mask: NDArray[np.uint8], truth: NDArray[np.uint8], labels: LabelMap, *, name: str = "", group: str = ""
) -> PictureScore:
    """Compare a mask with what it should be, both ``(H, W)``."""
    counts = confusion_counts(truth, mask, num_classes=labels.num_classes)
    scored = list(labels.scored_classes)
    dice, iou = dice_per_class(counts)[scored], iou_per_class(counts)[scored]
    return PictureScore(
        name=name,
        group=group,
        dice=_mean(dice),
        iou=_mean(iou),
        class_dice=tuple(dice.tolist()),
        class_iou=tuple(iou.tolist()),
    )


def _score_class(name: str, place: int, rows: Sequence[PictureScore]) -> ClassScore:
    groups = [row.group for row in rows]
    dice = [row.class_dice[place] for row in rows]
    return ClassScore(
        name=name,
        dice=bootstrap_interval(dice, groups),
        iou=bootstrap_interval([row.class_iou[place] for row in rows], groups),
        pictures=int((~np.isnan(dice)).sum()),
    )


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - walks any JSON
    match value:
        case float():
            return None if np.isnan(value) else value
        case dict():
            return {key: _without_nan(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_without_nan(entry) for entry in value]
        case _:
            return value


def _intervals(row: dict[str, Any]) -> dict[str, Interval]:
    return {name: Interval(**_with_nan(row[name])) for name in ("dice", "iou")}


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    """What `_without_nan` was given: a score that does not exist is NaN, and lists are tuples."""

    def convert(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, list):
            return tuple(convert(entry) for entry in value)
        return float("nan") if value is None else value

    return {name: convert(value) for name, value in row.items()}
