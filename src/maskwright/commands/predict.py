"""`maskwright predict`: pictures to masks, overlays and panels."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.data.finding import find_dataset
from maskwright.data.image_files import IMAGE_SUFFIXES
from maskwright.data.pairing import find_masks, find_pictures, match_masks
from maskwright.data.pairs import AlphaChannel, Mask, Pair, Problem, mask_files
from maskwright.errors import InputError

if TYPE_CHECKING:
    from maskwright.inference.predictor import Predictor

OUTPUTS = ("mask", "overlay", "panel")


@dataclass(frozen=True)
class Prediction:
    """What was written, and which pictures could not be predicted."""

    written: tuple[Path, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Job:
    """One picture.

    Attributes:
        image: The file.
        target: Where its results go: the folder and the stem of their names.
        truth: Its true mask, where one is known.
    """

    image: Path
    target: Path
    truth: Mask | None = None

    def output(self, kind: str) -> Path:
        """The file of one kind of result."""
        return self.target.with_name(f"{self.target.name}_{kind}.png")


def predict(
    model: str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path = "predictions",
    save: str = "mask",
    masks: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
) -> Prediction:
    """Predict pictures and write what was asked for.

    Args:
        model: The model file.
        inputs: Pictures, folders (with everything below them) and patterns such as ``photos/*.jpg``.
        out: Where the results go; the folders below an input folder are mirrored.
        save: What to write, a comma list of ``mask``, ``overlay`` and ``panel``.
        masks: Folder of true masks for the panel; by default they are looked for beside the pictures.
        overwrite: Replace results that are there already.
        device: Where to compute.

    Returns:
        What was written. A picture that cannot be read is listed and does not keep the others from being done.

    Raises:
        InputError: Something given cannot be used, or results are there already.
    """
    from maskwright.inference.predictor import load

    kinds = [kind.strip() for kind in save.split(",")]
    unknown = [kind for kind in kinds if kind not in OUTPUTS]
    if unknown:
        raise InputError(f"--save knows {', '.join(OUTPUTS)}, not {unknown[0]!r}.")
    jobs = find_jobs(inputs, Path(out))
    _refuse_collisions(jobs, kinds, overwrite=overwrite)
    if "panel" in kinds:
        jobs = _with_truths(jobs, Path(masks) if masks else None)
    predictor = load(model, device=device)
    written: list[Path] = []
    problems: list[Problem] = []
    with terminal.counting("Predicting", len(jobs)) as advance:
        for job in jobs:
            try:
                written += _predict_one(predictor, job, kinds)
            except InputError as error:
                problems.append(Problem(job.image, str(error)))
            advance()
    for problem in problems:
        terminal.warn(f"Not predicted: {problem.sentence}")
    terminal.say(f"{len(jobs) - len(problems)} of {len(jobs)} pictures predicted; results in {out}")
    return Prediction(tuple(written), tuple(problems))


def find_jobs(inputs: Sequence[str | Path], out: Path) -> list[Job]:
    """Every picture that the inputs name, once each."""
    jobs: dict[Path, Job] = {}
    for name in inputs:
        path = Path(name)
        found = _jobs_in_folder(path, out) if path.is_dir() else _jobs_of_files(str(name), out)
        for job in found:
            jobs.setdefault(job.image, job)
    if not jobs:
        raise InputError(f"There are no pictures in {', '.join(map(str, inputs))}; name files or another folder.")
    return list(jobs.values())


def _jobs_in_folder(folder: Path, out: Path) -> list[Job]:
    """The pictures below a folder. Masks that lie beside their pictures are truths, not pictures to predict."""
    try:
        truths = {pair.image: pair.mask for pair in find_dataset(folder).pairs}
    except InputError:  # a folder without masks is the usual case here
        truths = {}
    masks = {file for mask in truths.values() if not isinstance(mask, AlphaChannel) for file in mask_files(mask)}
    return [
        Job(image, out / image.relative_to(folder).with_suffix(""), truths.get(image))
        for image in find_pictures(folder)
        if image not in masks
    ]


def _jobs_of_files(name: str, out: Path) -> list[Job]:
    """A file, or the pictures that a pattern matches."""
    path = Path(name)
    if path.exists():
        return [Job(path, out / path.stem)]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    images = [path for path in map(Path, matches) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise InputError(f"{name} matches no picture; check the name.")
    return [Job(image, out / image.stem) for image in images]


def _refuse_collisions(jobs: Sequence[Job], kinds: Sequence[str], *, overwrite: bool) -> None:
    """Refuse to write one result over another, or over one that is there already."""
    owners: dict[Path, Path] = {}
    for job in jobs:
        other = owners.setdefault(job.target, job.image)
        if other != job.image:
            raise InputError(
                f"{other} and {job.image} would both be written to {job.target}_{kinds[0]}.png; "
                "predict them into different --out folders."
            )
        existing = next((job.output(kind) for kind in kinds if job.output(kind).exists()), None)
        if existing and not overwrite:
            raise InputError(f"{existing} is there already; choose another --out, or replace results with --overwrite.")


def _with_truths(jobs: Sequence[Job], masks: Path | None) -> list[Job]:
    """The jobs with their true masks: from a folder that was named, else from where they usually lie."""
    images = [job.image for job in jobs if masks or not job.truth]
    truths = match_masks(images, masks) if masks else find_masks(images)
    return [job if job.truth and not masks else replace(job, truth=truths.get(job.image)) for job in jobs]


def _predict_one(predictor: "Predictor", job: Job, kinds: Sequence[str]) -> list[Path]:
    """Predict one picture and write its results."""
    from maskwright.data.image_files import write_image
    from maskwright.data.input_format import read_image
    from maskwright.data.reading import read_mask
    from maskwright.inference import outputs

    labels = predictor.card.labels
    image = read_image(job.image, predictor.card.input)
    mask = predictor(image)
    written = []
    for kind in kinds:
        if kind == "mask":
            outputs.write_mask(job.output(kind), mask, labels)
        elif kind == "overlay":
            write_image(job.output(kind), outputs.overlay(image, mask, labels))
        else:
            pair = Pair(job.image.stem, job.image, job.truth) if job.truth else None
            truth = read_mask(pair, labels, *mask.shape) if pair else None
            write_image(job.output(kind), outputs.panel(image, mask, truth, labels=labels))
        written.append(job.output(kind))
    return written
