"""`maskwright evaluate`: scores of a model on pictures that it has not seen."""

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.config import MASKS_AS_TRAINED, MaskSettings
from maskwright.data.finding import find_dataset
from maskwright.data.groups import Groups, find_groups
from maskwright.data.pairs import Pair, Pairing
from maskwright.errors import InputError
from maskwright.files import choose_new_folder, write_json

if TYPE_CHECKING:
    from maskwright.data.reading import Formats
    from maskwright.evaluation.certainty import Sweep
    from maskwright.evaluation.evaluate import Scores
    from maskwright.evaluation.machine import Effort
    from maskwright.evaluation.pages.gallery import Gallery
    from maskwright.evaluation.unseen import Sieve
    from maskwright.inference.predictor import Predictor

WORST = 5
WORST_MEASURES = ("dice", "iou", "boundary_f", "hausdorff_95")


def evaluate(
    model: str | Path,
    photos: str | Path,
    *,
    out: str | Path | None = None,
    group: str | None = None,
    masks: MaskSettings = MASKS_AS_TRAINED,
    everything: bool = False,
    tolerance: float | None = None,
    as_json: bool = False,
    device: str = "auto",
) -> "Scores":
    """Score a model on the pictures of a folder that training did not see.

    Args:
        model: The model file.
        photos: Folder of photographs and masks.
        out: Folder for ``report.html``, ``scores.json`` and the panels of the worst pictures; by default a new one
            under ``runs/``.
        group: Regular expression that finds a picture's group in its name.
        masks: What their values mean, where they are stored in another way than those of training.
        everything: Score pictures that training saw as well; the summary says how many.
        tolerance: How far an outline may be off, pixels; by default 0.75 % of each picture's diagonal.
        as_json: Print ``scores.json`` instead of a table.
        device: Where to compute.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    from maskwright.evaluation.evaluate import formats_for_model
    from maskwright.evaluation.pages.gallery import Gallery
    from maskwright.evaluation.pages.report import Report, write_report
    from maskwright.evaluation.unseen import Sieve
    from maskwright.inference.predictor import load
    from maskwright.training.record import read_record
    from maskwright.training.run_folder import RunFolder

    if tolerance is not None and tolerance <= 0:
        raise InputError(f"--tolerance must be above 0 pixels, not {tolerance:g}.")
    photos = Path(photos)
    predictor, pairing = load(model, device=device), _find_pairs(photos)
    folder = choose_new_folder(out, f"evaluate-{photos.resolve().name}")
    with terminal.counting("Looking at masks", len(pairing.pairs)) as advance:
        formats = formats_for_model(pairing, predictor.card, masks, advance=advance)
    given = {pair.name: pair.group for pair in pairing.pairs}
    groups = find_groups(list(given), pattern=group, given=given, known=predictor.card.group)
    sieve = Sieve(predictor.card, groups.of, everything=everything)
    gallery = Gallery(formats.labels)
    with _new_folder(folder):
        scores, effort = _score(predictor, pairing, formats, groups, sieve, gallery, tolerance)
        if not sieve.passed:
            raise InputError(
                f"Training learnt from every picture in {photos}; give a folder of other pictures, or --everything."
            )
    leaks, remarks = sieve.leaks(), sieve.remarks()
    content = {
        "model": str(model),
        "photos": str(photos),
        "remarks": [*leaks, *remarks],
        "tolerance": tolerance,
        "masks": dataclasses.asdict(masks),
        "grouping": groups.rule,
        **scores.to_json(),
    }
    write_json(folder / "scores.json", content)
    _draw_worst(folder, scores, sieve.passed, predictor, formats)
    report = Report(
        model=Path(model),
        photos=str(photos),
        scored=f"all pictures of {photos}" if everything else f"pictures of {photos} that training did not learn from",
        card=predictor.card,
        scores=scores,
        gallery=gallery,
        leaks=leaks,
        remarks=remarks,
        effort=effort,
        training=read_record(RunFolder(Path(model).parent), predictor.card),
        options=_options(group=group, masks=masks, everything=everything, tolerance=tolerance),
    )
    write_report(folder / "report.html", report)
    if as_json:
        terminal.say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _show(scores, predictor.card.threshold)
    _tell(leaks, remarks)
    if not as_json:
        _say_where(folder)
    return scores


def _find_pairs(photos: Path) -> Pairing:
    """Find the pictures, and say which of them are left out."""
    pairing = find_dataset(photos)
    for problem in pairing.problems:
        terminal.warn(f"Left out: {problem.sentence}")
    if not pairing.pairs:
        raise InputError(f"{photos} holds no image with a mask of its own; see the list above.")
    return pairing


def _score(
    predictor: "Predictor",
    pairing: Pairing,
    formats: "Formats",
    groups: Groups,
    sieve: "Sieve",
    gallery: "Gallery",
    tolerance: float | None,
) -> tuple["Scores", "Effort"]:
    """Score what training has not seen, and say what could not be scored."""
    from maskwright.evaluation.evaluate import evaluate_pairs
    from maskwright.evaluation.machine import Effort, machine_here, peak_of_process

    started = time.monotonic()
    with terminal.counting("Scoring", len(pairing.pairs)) as advance:
        scores = evaluate_pairs(
            predictor,
            sieve.passing(pairing.pairs, advance),
            groups.of,
            formats=formats,
            tolerance=tolerance,
            is_validation=sieve.is_validation,
            look=gallery.look,
            advance=advance,
        )
    effort = Effort(time.monotonic() - started, peak_of_process(), machine_here(predictor.engine_name))
    for problem in scores.problems:
        terminal.warn(f"Not scored: {problem.sentence}")
    return dataclasses.replace(scores, problems=(*pairing.problems, *scores.problems)), effort


def _tell(leaks: Sequence[str], remarks: Sequence[str]) -> None:
    for leak in leaks:
        terminal.warn_loudly(leak)
    for remark in remarks:
        terminal.warn(remark)


def _say_where(folder: Path) -> None:
    """Say what the figures mean, and where they lie."""
    from maskwright.evaluation.evaluate import DEFINITIONS

    terminal.say(DEFINITIONS)
    terminal.say(f"Scores and panels of the worst pictures: {folder}")
    terminal.say(f"Report: {folder / 'report.html'}")


def _options(*, group: str | None, masks: MaskSettings, everything: bool, tolerance: float | None) -> list[str]:
    """What was asked for, as options of the command."""
    given: dict[str, object] = {"group": group, "tolerance": tolerance}
    for field in dataclasses.fields(masks):
        value = getattr(masks, field.name)
        given[field.name] = None if value == getattr(MASKS_AS_TRAINED, field.name) else value
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    return [*words, "--everything"] if everything else words


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make a folder before the work begins, in case it cannot be made; it goes again where the work fails."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise


def _draw_worst(
    folder: Path, scores: "Scores", pairs: Sequence[Pair], predictor: "Predictor", formats: "Formats"
) -> None:
    """Panels of the worst pictures, worst first."""
    from maskwright.data.image_files import write_image
    from maskwright.data.reading import read_pair
    from maskwright.inference.outputs import panel

    by_name = {pair.name: pair for pair in pairs}
    for rank, picture in enumerate(scores.worst(WORST), start=1):
        image, truth = read_pair(by_name[picture.name], formats)
        drawn = panel(image, predictor(image), truth, labels=predictor.card.labels)
        write_image(folder / "worst" / f"{rank}_{Path(picture.name).name}_panel.png", drawn)


def _show(scores: "Scores", threshold: float) -> None:
    from maskwright.evaluation.evaluate import TITLES

    def figure(value: float, measure: str) -> str:
        if math.isnan(value):
            return "–"
        return f"{value:.2f}" if measure == "hausdorff_95" else f"{value:.4f}"

    intervals = {measure: getattr(scores, measure) for measure in TITLES}
    rows = [(TITLES[of], figure(score.mean, of), score.range_in_words()) for of, score in intervals.items()]
    title = f"{len(scores.pictures)} pictures of {scores.groups} groups, each at its own size"
    terminal.show_table(title, ("score", "mean", "95 % interval"), rows)
    if len(scores.classes) > 1:
        by_class = [
            (score.name, *(figure(getattr(score, of).mean, of) for of in TITLES), str(score.pictures))
            for score in scores.classes
        ]
        terminal.show_table("Classes", ("class", *TITLES.values(), "pictures that have it"), by_class)
    worst = [
        (picture.name, *(figure(getattr(picture, of), of) for of in WORST_MEASURES)) for picture in scores.worst(WORST)
    ]
    terminal.show_table("Worst pictures", ("picture", *(TITLES[of] for of in WORST_MEASURES)), worst)
    if scores.calibration:
        terminal.say(f"Calibration error of the probabilities: {scores.calibration.error:.4f}.")
    if scores.sweep:
        terminal.say(_threshold_in_words(scores.sweep, threshold))


def _threshold_in_words(sweep: "Sweep", threshold: float) -> str:
    if sweep.best is None:
        return "No threshold was chosen: none of these pictures is one that the best weights were chosen on."
    on_validation, on_others = sweep.at(sweep.best)
    best = (
        f"Best threshold on validation pictures: {sweep.best:g} (Dice {on_validation:.4f}); the model's: {threshold:g}."
    )
    others = "" if math.isnan(on_others) else f" On the other pictures it gives Dice {on_others:.4f}."
    return best + others
