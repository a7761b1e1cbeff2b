"""`maskwright predict`: pictures and videos to masks, cutouts, overlays and lists."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.config import PredictSettings
from maskwright.data.pairs import Problem
from maskwright.data.reading import fingerprint_of
from maskwright.errors import InputError
from maskwright.inference.claims import GATHERED_FILES
from maskwright.inference.jobs import Job, find_jobs, is_large, with_truths

if TYPE_CHECKING:
    from maskwright.data.labels import LabelMap
    from maskwright.inference.claiming import Claimed
    from maskwright.inference.cutout import Background
    from maskwright.inference.predictor import Predictor
    from maskwright.inference.results import Wish

# In place of a file: a picture from standard input, whose result goes to standard output.
PIPE = "-"


@dataclass(frozen=True)
class Prediction:
    """What was written, and what could not be predicted."""

    written: tuple[Path, ...]
    problems: tuple[Problem, ...]


def predict(
    model: str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path = "predictions",
    save: str = "mask",
    masks: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    settings: PredictSettings | None = None,
) -> Prediction:
    """Predict pictures and videos and write what was asked for.

    Results that are there already are left as they are: a run that was stopped goes on where it was.

    Args:
        model: The model file.
        inputs: Pictures, videos, folders (with every picture below them) and patterns such as ``photos/*.jpg``; or
            ``-`` alone, for a picture on standard input whose result goes to standard output.
        out: Where the results go; the folders below an input folder are mirrored.
        save: What to write, a comma list of the kinds in docs/predict.md.
        masks: Folder of true masks for the panel; by default they are looked for beside the pictures.
        overwrite: Make results anew that are there already.
        device: Where to compute.
        settings: Everything else.

    Returns:
        What was written. A picture that cannot be read is listed and does not keep the others from being done.

    Raises:
        InputError: Something given cannot be used, or there are results that something else made.
    """
    from maskwright.inference.claiming import claim_results
    from maskwright.inference.predictor import load_as_set
    from maskwright.inference.results import GATHERED, SUFFIXES, Wish, check_kinds, read_kinds

    settings = settings or PredictSettings()
    kinds = read_kinds(save)
    wish = Wish(kinds, _read_background(kinds, settings.background), renew=overwrite)
    if PIPE in map(str, inputs):
        return _predict_pipe(model, inputs, wish, device, settings)
    found = find_jobs(inputs, Path(out), tuple(SUFFIXES))
    _refuse_lists_of_videos(found.jobs, kinds)
    jobs = with_truths(found.jobs, Path(masks) if masks else None) if "panel" in kinds else found.jobs
    if settings.large:
        jobs = [replace(job, by_rows=is_large(job.source)) for job in jobs]
    predictor = load_as_set(model, settings, device=device, many_at_once=are_many_at_once(jobs))
    check_kinds(kinds, predictor.card.labels)
    makers = {"model": fingerprint_of(Path(model)), **asdict(replace(settings, engine=None, large=False))}
    claimed = claim_results(Path(out), jobs, wish, predictor.card.labels, makers)
    if claimed.changed:
        terminal.say(f"{claimed.changed} pictures have changed since they were predicted and are predicted anew")
    written: list[Path] = []
    problems = [*found.problems]
    pending = [job for job in jobs if not _is_done(job, wish, predictor)]
    for outcome in _outcomes(predictor, pending, wish):
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            written += outcome
    for kind in (kind for kind in kinds if kind in GATHERED):
        written += _gather(kind, claimed, Path(out), predictor.card.labels)
    for problem in problems:
        terminal.warn(f"Not predicted: {problem.sentence}")
    done, number = len(pending) + len(found.problems) - len(problems), len(jobs) + len(found.problems)
    there = len(jobs) - len(pending)
    already = f" ({there} were there already; --overwrite makes them anew)" if there else ""
    terminal.say(f"{done} of {number} pictures predicted{already}; results in {out}")
    return Prediction(tuple(written), tuple(problems))


def are_many_at_once(jobs: Sequence[Job]) -> bool:
    """Whether pictures are computed side by side, on one core each, rather than one after the other on all of them.

    One picture among the jobs that is predicted row by row takes longer than many others, and is not to wait on one
    core. The jobs are those that were asked for, so that a run that goes on where it stopped computes as it began.
    """
    if any(job.by_rows for job in jobs):
        return False
    return len(jobs) > 1 or any(job.is_video for job in jobs)


def _read_background(kinds: Sequence[str], wish: str | None) -> "Background | None":
    """The picture of that name, or a colour."""
    from PIL import ImageColor

    from maskwright.data.input_format import read_image

    if ("background" in kinds) != (wish is not None):
        raise InputError("--save background and --background go together: what comes behind, such as '#00ff88'.")
    if wish is None:
        return None
    if Path(wish).is_file():
        return read_image(Path(wish))
    try:
        red, green, blue = ImageColor.getrgb(wish)[:3]
    except ValueError as error:
        raise InputError(f"--background {wish} is neither a picture nor a colour such as '#00ff88'.") from error
    return red, green, blue


def _refuse_lists_of_videos(jobs: Sequence[Job], kinds: Sequence[str]) -> None:
    from maskwright.inference.results import GATHERED

    video = next((job for job in jobs if job.is_video), None)
    kind = next((kind for kind in kinds if kind in ("panel", *GATHERED)), None)
    if video and kind:
        raise InputError(f"--save {kind} is made of pictures, and {video.source} is a video; leave one of them out.")


def _is_done(job: Job, wish: "Wish", predictor: "Predictor") -> bool:
    """Whether all of a picture's results are there; the frames of a video are looked at one by one."""
    from maskwright.inference.bulk import film_of
    from maskwright.inference.results import DRAWN, missing_kinds

    if job.by_rows and [*wish.kinds] != ["mask"]:
        return False
    if not job.is_video:
        return not missing_kinds(job, wish, predictor.card.labels)
    return not wish.renew and all(kind in DRAWN and film_of(kind, job).exists() for kind in wish.kinds)


def _outcomes(predictor: "Predictor", jobs: Sequence[Job], wish: "Wish") -> Iterator[list[Path] | Problem]:
    """Pictures first; videos, and pictures too large to be held, one after the other."""
    from maskwright.inference.bulk import predict_pictures

    pictures = [job for job in jobs if not job.is_video and not job.by_rows]
    if pictures:
        with terminal.counting("Predicting", len(pictures)) as advance:
            for outcome in predict_pictures(predictor, pictures, wish):
                yield outcome
                advance()
    for job in jobs:
        if job.is_video or job.by_rows:
            try:
                yield _predict_alone(predictor, job, wish)
            except InputError as error:
                yield Problem(job.source, str(error))


def _predict_alone(predictor: "Predictor", job: Job, wish: "Wish") -> list[Path]:
    from maskwright.inference.bulk import predict_by_rows, predict_video

    with terminal.progressing(f"Predicting {job.name}") as update:
        if job.by_rows:
            written = predict_by_rows(predictor, job, wish)
            update(1, "row by row")
            return written

        def advance(frame: int, frames: int) -> None:
            update(min(frame / frames, 1) if frames else 0, f"frame {frame} of {frames or '?'}")

        return predict_video(predictor, job, wish, advance=advance)


def _gather(kind: str, claimed: "Claimed", out: Path, labels: "LabelMap") -> list[Path]:
    """Write the file, or the few, that hold one kind of result of all pictures."""
    from maskwright.inference.claiming import claimed_parts
    from maskwright.inference.gathering import write_coco, write_kaggle, write_sheets

    file, parts = out / GATHERED_FILES[kind], claimed_parts(out, kind, claimed, labels)
    match kind:
        case "coco":
            write_coco(file, parts, labels)
        case "kaggle":
            write_kaggle(file, parts, labels)
        case "sheet":
            return write_sheets(out, parts, known=sum(some == kind for _, some in claimed.claims))
    return [file]


def _predict_pipe(
    model: str | Path, inputs: Sequence[str | Path], wish: "Wish", device: str, settings: PredictSettings
) -> Prediction:
    """A picture from standard input to one result on standard output, and nothing else there."""
    from maskwright.data.image_files import MOST_BYTES
    from maskwright.inference.bulk import predict_pictures
    from maskwright.inference.predictor import load_as_set
    from maskwright.inference.results import GATHERED, check_kinds, paths_of

    predictor = load_as_set(model, settings, device=device, many_at_once=False)
    check_kinds(wish.kinds, predictor.card.labels)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder) / "picture", "picture", Path(folder), Path("result"))
        files = [path for kind in wish.kinds for path in paths_of(kind, job, predictor.card.labels)]
        if len(inputs) > 1 or len(files) > 1 or wish.kinds[0] in GATHERED:
            raise InputError("From - one picture becomes one result; name no other input, and one kind to --save.")
        job.source.write_bytes(sys.stdin.buffer.read(MOST_BYTES + 1))
        (outcome,) = predict_pictures(predictor, [job], wish)
        if isinstance(outcome, Problem):
            raise InputError(outcome.sentence.replace(str(job.source), "The picture on standard input"))
        sys.stdout.buffer.write(files[0].read_bytes())
        sys.stdout.buffer.flush()
    return Prediction((), ())
