"""A predictor and pairs to scores per picture, at the pictures' own size."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.config import MASKS_AS_TRAINED, MaskSettings
from maskwright.data.label_survey import labels_for_model, read_options
from maskwright.data.labels import LabelMap
from maskwright.data.pairs import Pair, Pairing, Problem
from maskwright.data.reading import Formats, choose_formats, fingerprint_of, read_pair
from maskwright.errors import InputError, naming_what_is_too_large
from maskwright.evaluation.certainty import Bin, Calibration, Sweep, calibrate, count_logits, sweep_thresholds
from maskwright.evaluation.metrics import (
    Interval,
    bootstrap_interval,
    confusion_counts,
    dice_per_class,
    iou_per_class,
    precision_per_class,
    recall_per_class,
)
from maskwright.evaluation.outlines import TOLERANCE, compare_outlines, tolerance_of
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor

DEFINITIONS = f"""\
A is the mask, B the prediction, both at the picture's own size; pixels to ignore count nowhere.
Dice = 2|A∩B| / (|A|+|B|), IoU = |A∩B| / |A∪B|, precision = |A∩B| / |B|, recall = |A∩B| / |A|.
Boundary F: harmonic mean of the shares of both outlines that lie within the tolerance of the other; the tolerance is \
{100 * TOLERANCE:g} % of the picture's diagonal (1 pixel at least) where nothing else is said.
Hausdorff 95: pixels within which 95 % of either outline lie of the other, the larger of both; the picture's diagonal \
where only one of them has an outline. The edge of the picture is no outline.
Edge error: wrong pixels within the tolerance of A's outline / |A∪B|; inner error: the other wrong pixels / |A∪B|. \
Together they are 1 - IoU.
Each per picture, the mean over the classes in its mask or its prediction, the background left out; means over \
pictures, 95 % intervals from drawing groups again. What would be divided by nothing has no score and is left out.
Calibration error: mean distance, over pixels, between a probability and how often it comes true, in 20 bins."""


TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "boundary_f": "boundary F",
    "hausdorff_95": "Hausdorff 95 (pixels)",
    "edge_error": "edge error",
    "inner_error": "inner error",
}
"""What each of the measures is called."""

Figure = TypeVar("Figure", float, Interval)


@dataclass(frozen=True, kw_only=True)
class Measures(Generic[Figure]):
    """What is measured; see `DEFINITIONS`. NaN where there is no score."""

    dice: Figure
    iou: Figure
    precision: Figure
    recall: Figure
    boundary_f: Figure
    hausdorff_95: Figure
    edge_error: Figure
    inner_error: Figure


@dataclass(frozen=True, kw_only=True)
class PictureScore(Measures[float]):
    """One picture's scores, means over its classes.

    Attributes:
        name: The picture.
        group: The pictures it belongs with.
        classes: Of each scored class.
        fingerprint: Of its file, as `reading.fingerprint_of` has it: other pictures may have its name elsewhere. Empty
            where nobody noted it.
    """

    name: str
    group: str
    classes: tuple[Measures[float], ...]
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class ClassScore(Measures[Interval]):
    """One class's scores: means over the pictures that have it, in the mask or in the prediction."""

    name: str
    pictures: int


@dataclass(frozen=True, kw_only=True)
class Scores(Measures[Interval]):
    """Scores of many pictures: means over pictures, with their intervals over groups.

    Attributes:
        pictures: One row each, in the order they were given.
        groups: How many groups the pictures come from.
        classes: The scored classes by themselves.
        confusion: Pixels of each class (rows) that were called each class (columns), over all pictures; ignored ones
            are in none. Empty where nobody counted.
        calibration: Of the probabilities; None where nothing was counted.
        sweep: Of the threshold, where there is one.
        problems: Pictures that could not be scored, and why.
    """

    pictures: tuple[PictureScore, ...]
    groups: int
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: Calibration | None = None
    sweep: Sweep | None = None
    problems: tuple[Problem, ...] = ()

    def worst(self, count: int) -> list[PictureScore]:
        """The pictures with the lowest Dice, worst first."""
        scored = [picture for picture in self.pictures if not np.isnan(picture.dice)]
        return sorted(scored, key=lambda picture: picture.dice)[:count]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values. JSON has no NaN: a score that does not exist is null."""
        content: dict[str, Any] = without_nan(asdict(self))
        content["definitions"] = DEFINITIONS
        content["problems"] = [problem.sentence for problem in self.problems]
        return content


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One picture, and what comes of comparing its prediction with its mask.

    Attributes:
        image: ``(H, W, C)``.
        truth: Its mask, classes ``(H, W)``.
        mask: What was predicted, likewise.
        row: The scores.
        confusion: `metrics.confusion_counts` of both.
        table: What the probabilities are worth, by `certainty.count_probabilities`.
    """

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    row: PictureScore
    confusion: NDArray[np.int64]
    table: NDArray[np.float64]


class Counted(NamedTuple):
    """What is counted of a picture: its scores, the confusion of its classes, what its probabilities are worth."""

    row: PictureScore
    confusion: NDArray[np.int64]
    table: NDArray[np.float64]


def scores_from_json(content: dict[str, Any]) -> Scores:
    """The scores that `Scores.to_json` made plain values of; of problems, their sentences name the files.

    Files of earlier versions hold fewer measures, which are NaN then, and no fingerprints; those of a cross-validation
    hold no classes.
    """
    calibration, sweep = content.get("calibration"), content.get("sweep")
    return Scores(
        **_intervals(content),
        pictures=tuple(_picture(row) for row in content["pictures"]),
        groups=content["groups"],
        classes=tuple(
            ClassScore(name=row["name"], pictures=row["pictures"], **_intervals(row))
            for row in content.get("classes", ())
        ),
        confusion=tuple(map(tuple, content.get("confusion", ()))),
        calibration=calibration and Calibration(calibration["error"], tuple(Bin(**row) for row in calibration["bins"])),
        sweep=sweep
        and Sweep(
            tuple(sweep["thresholds"]),
            tuple(map(number_or_nan, sweep["on_validation"])),
            tuple(map(number_or_nan, sweep["on_others"])),
            sweep["best"],
        ),
        problems=tuple(Problem(Path(), sentence) for sentence in content.get("problems", ())),
    )


def remarks_on(content: Mapping[str, Any]) -> list[str]:
    """What a reader of a scores.json must know, whether `evaluate` or a run has written it."""
    remarks = [str(remark) for remark in content.get("remarks", ())]
    if content.get("part") == "val":
        remarks.append(
            "The best weights were chosen on pictures of the same part, so that these scores may flatter the model."
        )
    available = content.get("available")
    if isinstance(available, int) and available > len(content["pictures"]):
        remarks.append(f"A sample of the {available} pictures of that part, for want of time.")
    return remarks


def is_leak(remark: str) -> bool:
    """Whether a remark says that training saw some of what was scored."""
    return remark.startswith("LEAK")


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
    tolerance: float | None = None,
    is_validation: Callable[[str], bool] = lambda _: False,
    look: Callable[[Compared], None] = lambda _: None,
    advance: Callable[[], None],
) -> Scores:
    """Predict every picture and compare with its mask.

    Args:
        predictor: The model.
        pairs: Pictures and masks.
        groups: The group of each pair's name.
        formats: How the pairs are read, where it is not the way of the model's own pictures; its classes are the
            model's.
        tolerance: How far an outline may be off, pixels; by default a share of each picture's diagonal.
        is_validation: Whether the best weights were chosen on the picture of a name; asked when all are scored.
        look: Called with each picture that was scored, while it is there to be drawn.
        advance: Called after each picture, for a progress bar.
    """
    counted = count_pairs(predictor, pairs, groups, formats=formats, tolerance=tolerance, look=look, advance=advance)
    return summarise(list(counted), predictor.card, is_validation=is_validation)


def count_pairs(
    predictor: Predictor,
    pairs: Iterable[Pair],
    groups: Mapping[str, str],
    *,
    formats: Formats | None = None,
    tolerance: float | None = None,
    must_fit: bool = False,
    look: Callable[[Compared], None] = lambda _: None,
    advance: Callable[[], None],
) -> Iterator[Counted | Problem]:
    """Predict every picture and count where it agrees with its mask, or why that cannot be; see `evaluate_pairs`.

    With ``must_fit``, a picture that takes too much memory ends it all, for whoever goes on where there is more.
    """
    for pair in pairs:
        try:
            with nullcontext() if must_fit else naming_what_is_too_large(pair.image):
                compared = score_pair(predictor, pair, groups[pair.name], formats, tolerance)
            look(compared)
            yield Counted(compared.row, compared.confusion, compared.table)
        except InputError as error:
            yield Problem(pair.image, str(error))
        advance()


def summarise(
    counted: Sequence[Counted | Problem],
    card: ModelCard,
    *,
    is_validation: Callable[[str], bool] = lambda _: False,
) -> Scores:
    """What was counted of many pictures, in their order, as means over them; see `evaluate_pairs`."""
    scored, labels = [of for of in counted if isinstance(of, Counted)], card.labels
    rows, tables = [of.row for of in scored], [of.table for of in scored]
    confusion = np.zeros((labels.num_classes, labels.num_classes), np.int64)
    for of in scored:
        confusion += of.confusion
    names = [row.group for row in rows]
    has_threshold = card.architecture.num_classes == 1
    return Scores(
        **_means_of(rows, names),
        pictures=tuple(rows),
        groups=len(set(names)),
        classes=tuple(
            _score_class(labels.class_names[index], [row.classes[place] for row in rows], names)
            for place, index in enumerate(labels.scored_classes)
        ),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=calibrate(tables),
        sweep=sweep_thresholds(tables, [is_validation(row.name) for row in rows]) if has_threshold else None,
        problems=tuple(of for of in counted if isinstance(of, Problem)),
    )


def score_pair(
    predictor: Predictor, pair: Pair, group: str, formats: Formats | None = None, tolerance: float | None = None
) -> Compared:
    """Predict one picture and compare with its mask, both at the picture's own size."""
    image, truth = read_pair(pair, formats or predictor.card.formats)
    return score_logits(
        predictor,
        predictor.logits(image),
        image,
        truth,
        name=pair.name,
        group=group,
        fingerprint=fingerprint_of(pair.image),
        tolerance=tolerance,
    )


def score_logits(
    predictor: Predictor,
    logits: NDArray[np.float32],
    image: NDArray[Any],
    truth: NDArray[np.uint8],
    *,
    name: str,
    group: str,
    fingerprint: str = "",
    tolerance: float | None = None,
) -> Compared:
    """Compare what was predicted of a picture with its mask, both at the picture's own size."""
    mask, labels = predictor.mask(logits), predictor.card.labels
    counts = confusion_counts(truth, mask, num_classes=labels.num_classes)
    return Compared(
        image=image,
        truth=truth,
        mask=mask,
        row=score_mask(
            mask, truth, labels, name=name, group=group, fingerprint=fingerprint, tolerance=tolerance, counts=counts
        ),
        confusion=counts,
        table=count_logits(logits, truth),
    )


def score_mask(
    mask: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    labels: LabelMap,
    *,
    name: str = "",
    group: str = "",
    fingerprint: str = "",
    tolerance: float | None = None,
    counts: NDArray[np.int64] | None = None,
) -> PictureScore:
    """Compare a mask with what it should be, both ``(H, W)``.

    Args:
        mask: What was predicted.
        truth: What it should be.
        labels: The classes of both.
        name: Of the picture.
        group: That it belongs with.
        fingerprint: Of its file, where it has one.
        tolerance: How far an outline may be off, pixels; by default a share of the picture's diagonal.
        counts: The confusion of both, where it was counted already.
    """
    if counts is None:
        counts = confusion_counts(truth, mask, num_classes=labels.num_classes)
    regions = {
        "dice": dice_per_class(counts),
        "iou": iou_per_class(counts),
        "precision": precision_per_class(counts),
        "recall": recall_per_class(counts),
    }
    counted = truth < labels.num_classes
    tolerance = tolerance or tolerance_of(*truth.shape)
    classes = [
        Measures[float](
            **{measure: float(values[index]) for measure, values in regions.items()},
            **asdict(compare_outlines(truth == index, mask == index, counted, tolerance=tolerance)),
        )
        for index in labels.scored_classes
    ]
    means = {measure: _mean([getattr(row, measure) for row in classes]) for measure in TITLES}
    return PictureScore(name=name, group=group, fingerprint=fingerprint, **means, classes=tuple(classes))


def _score_class(name: str, rows: Sequence[Measures[float]], groups: Sequence[str]) -> ClassScore:
    has_it = [row for row in rows if not np.isnan(row.dice)]
    return ClassScore(name=name, pictures=len(has_it), **_means_of(rows, groups))


def _means_of(rows: Sequence[Measures[float]], groups: Sequence[str]) -> dict[str, Interval]:
    """The mean of each measure, with its interval."""
    return {measure: bootstrap_interval([getattr(row, measure) for row in rows], groups) for measure in TITLES}


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")


def without_nan(value: Any) -> Any:  # noqa: ANN401 - walks any JSON
    """The same with None for each NaN, which JSON does not have."""
    match value:
        case float():
            return None if np.isnan(value) else value
        case dict():
            return {key: without_nan(entry) for key, entry in value.items()}
        case list() | tuple():
            return [without_nan(entry) for entry in value]
        case _:
            return value


def _picture(row: Mapping[str, Any]) -> PictureScore:
    classes = tuple(Measures[float](**_numbers(entry)) for entry in row.get("classes", ()))
    return PictureScore(
        name=row["name"],
        group=row["group"],
        classes=classes,
        fingerprint=row.get("fingerprint", ""),
        **_numbers(row),
    )


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {measure: number_or_nan(row.get(measure)) for measure in TITLES}


def _intervals(row: Mapping[str, Any]) -> dict[str, Interval]:
    nothing = dict.fromkeys(field.name for field in fields(Interval))
    return {
        measure: Interval(**{name: number_or_nan(value) for name, value in (row.get(measure) or nothing).items()})
        for measure in TITLES
    }


def number_or_nan(value: float | None) -> float:
    """What `without_nan` was given: JSON's null is NaN."""
    return float("nan") if value is None else value
