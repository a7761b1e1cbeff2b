"""Which pictures and videos are to be predicted, and where the results of each go."""

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskwright import terminal
from maskwright.data.finding import find_dataset
from maskwright.data.image_files import IMAGE_SUFFIXES, describe
from maskwright.data.large_files import LARGE_SUFFIXES, open_large
from maskwright.data.pairing import find_masks, match_masks, problem_of_name, survey_pictures
from maskwright.data.pairs import AlphaChannel, Drawing, Mask, Pair, Problem, mask_files
from maskwright.data.video_files import VIDEO_SUFFIXES
from maskwright.errors import InputError
from maskwright.inference.claims import NOTES, Claim, Claims, is_result, leaves_no_room, read_claims


@dataclass(frozen=True)
class Job:
    """One picture or video.

    Attributes:
        source: The file.
        name: What lists call it: its path below the folder that was named, posix.
        out: The folder of all results.
        place: Folder and stem of its results below that.
        truth: Its true mask, where one is known.
        by_rows: Whether it is too large to be held, and predicted row by row.
    """

    source: Path
    name: str
    out: Path
    place: Path
    truth: Mask | None = None
    by_rows: bool = False

    @property
    def target(self) -> Path:
        """The folder and the stem of its results' names."""
        return self.out / self.place

    @property
    def part(self) -> Path:
        """Likewise, of what it leaves for files that are gathered from all pictures."""
        return self.out / NOTES / self.place

    @property
    def is_video(self) -> bool:
        """By its suffix."""
        return self.source.suffix.lower() in VIDEO_SUFFIXES

    def claim(self, makers: str, kinds: Iterable[str]) -> Claim:
        """What is to be noted of its results; a file that is gone is as large as none."""
        try:
            source = os.path.relpath(self.source, self.out)
        except ValueError:  # on another drive
            source = str(self.source.absolute())
        try:
            status = self.source.stat()
        except OSError:  # said when it is read
            return Claim(self.place.as_posix(), self.name, source, -1, -1, makers, tuple(kinds))
        size, modified = status.st_size, status.st_mtime_ns
        return Claim(self.place.as_posix(), self.name, source, size, modified, makers, tuple(kinds))


@dataclass
class Found:
    """What the inputs name: things to predict, what could not be looked at, and how many results of earlier runs."""

    jobs: list[Job] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    results: int = 0


Notes = Mapping[Path, Claims]
"""The claims of folders of results, by the folders' whole paths; of those that have some."""


def find_jobs(inputs: Sequence[str | Path], out: Path, kinds: Collection[str]) -> Found:
    """Every picture and video that the inputs name, once each.

    Args:
        inputs: Files, folders (with every picture below them) and patterns.
        out: Where results go; the folders below an input folder are mirrored. Results that lie there are no input.
        kinds: What results are called, so that those among the pictures are known as results.

    Raises:
        InputError: An input names nothing, or two of them would have the same results.
    """
    found, notes = Found(), _read_notes([out])
    jobs: dict[Path, Job] = {}
    for name in inputs:
        path = Path(name)
        some = _in_folder(path, out, kinds, notes) if path.is_dir() else _of_files(str(name), out, notes)
        found.problems += some.problems
        found.results += some.results
        for job in some.jobs:
            jobs.setdefault(job.source, job)
    if not jobs and not found.problems:
        what = "only results of earlier runs" if found.results else "no pictures"
        where = terminal.first_few([*map(str, inputs)])
        raise InputError(f"There are {what} in {where}; name files or another folder.")
    unfit = {source: problem for source, job in jobs.items() if (problem := _problem_of(job))}
    found.problems += unfit.values()
    found.jobs = [job for source, job in jobs.items() if source not in unfit]
    _refuse_collisions(found.jobs)
    return found


def with_truths(jobs: Sequence[Job], masks: Path | None) -> list[Job]:
    """The jobs with their true masks: from a folder that was named, else from where they usually lie."""
    if masks:
        named = match_masks([job.source for job in jobs], masks)
        return [replace(job, truth=named.get(job.source)) for job in jobs]
    found = find_masks([job.source for job in jobs if not job.truth])
    folders = {file.resolve().parent for truth in found.values() for file in mask_files(truth)}
    notes = _read_notes({around for folder in folders for around in (folder, *folder.parents)})
    return [
        replace(job, truth=truth) if truth and not _was_made(truth, notes) else job
        for job in jobs
        for truth in (None if job.truth else found.get(job.source),)
    ]


def is_large(path: Path) -> bool:
    """Whether a file is larger than `image_files` reads, and can be read by rows."""
    if path.suffix.lower() not in LARGE_SUFFIXES:
        return False
    try:
        open_large(path)
    except InputError:  # whoever reads it says what is wrong
        return False
    try:
        describe(path)
    except InputError:
        return True
    return False


def _in_folder(folder: Path, out: Path, kinds: Collection[str], notes: Notes) -> Found:
    """The pictures below a folder. Masks that lie beside their pictures are truths, not pictures to predict."""
    filled: dict[Path, Claims] = {}

    def enters(below: Path) -> bool:
        """Whether it may hold photographs, which its notes tell from results; those of --runner ray name none."""
        if below.resolve() != out.resolve() and (claims := read_claims(below)):
            filled[below] = claims
        return below in filled

    pictures, problems = survey_pictures(folder, enters=enters)
    notes = {**notes, **{below.resolve(): claims for below, claims in filled.items()}}
    pairs = [pair for place in (folder, *filled) for pair in _pairs_in(place)]
    truths = {pair.image: pair.mask for pair in pairs if not _was_made(pair.mask, notes)}
    masks = {file for mask in truths.values() if not isinstance(mask, AlphaChannel) for file in mask_files(mask)}
    results = set(_results_among(pictures, folder, out, kinds, notes))
    jobs = [
        Job(picture, name.as_posix(), out, name.with_suffix(""), truths.get(picture))
        for picture in pictures
        if picture not in masks and picture not in results
        for name in (picture.relative_to(folder),)
    ]
    return Found(jobs, problems, len(results))


def _pairs_in(folder: Path) -> Sequence[Pair]:
    try:
        return find_dataset(folder).pairs
    except InputError:  # a folder without masks is the usual case here
        return ()


def _read_notes(folders: Iterable[Path]) -> Notes:
    return {folder.resolve(): claims for folder in folders if (claims := read_claims(folder))}


def _was_made(mask: Mask, notes: Notes) -> bool:
    """Whether a mask is no truth: an earlier run has predicted it."""
    files = [mask.path] if isinstance(mask, Drawing) else mask_files(mask)
    return any(_is_claimed(file, notes) for file in files)


def _is_claimed(file: Path, notes: Notes) -> bool:
    if not notes:
        return False
    whole = file.resolve()
    return any(is_result(whole.relative_to(folder), notes[folder]) for folder in whole.parents if folder in notes)


def _results_among(
    pictures: Sequence[Path], folder: Path, out: Path, kinds: Collection[str], notes: Notes
) -> Iterator[Path]:
    """Pictures that an earlier run left: in a folder of results, beside their own pictures, or as it has noted."""
    yield from (picture for picture in pictures if _is_claimed(picture, notes))
    out, folder = out.resolve(), folder.resolve()
    if out != folder and out.is_relative_to(folder):
        yield from (picture for picture in pictures if picture.resolve().is_relative_to(out))
    if out != folder:
        return
    word = re.compile(rf"(.+)_(?:{'|'.join(kinds)})(?:_\d+)?")
    sources = {picture.with_suffix("") for picture in pictures}
    for picture in pictures:
        match = word.fullmatch(picture.stem)
        if match and picture.with_name(match[1]) in sources:
            yield picture


def _of_files(name: str, out: Path, notes: Notes) -> Found:
    """A file, or the pictures and videos that a pattern matches; not what is noted as a result, for shells expand."""
    files = [Path(name)]
    if not files[0].exists():
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = [path for path in map(Path, matches) if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not files:
        raise InputError(f"{name} matches no picture; check the name.")
    jobs = [Job(file, file.name, out, Path(file.stem)) for file in files if not _is_claimed(file, notes)]
    return Found(jobs, results=len(files) - len(jobs))


def _problem_of(job: Job) -> Problem | None:
    """Why results cannot be called by a picture's name."""
    if problem := problem_of_name(job.source):
        return problem
    if leaves_no_room(job.place.name):
        return Problem(job.source, f"{job.source} has too long a name for its results; rename it.", "name")
    return None


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    owners: dict[Path, Path] = {}
    for job in jobs:
        other = owners.setdefault(job.target, job.source)
        if other != job.source:
            raise InputError(
                f"{other} and {job.source} would both be written to {job.target}_...; "
                "predict them into different --out folders."
            )
