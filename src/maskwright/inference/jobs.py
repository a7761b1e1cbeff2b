"""Which pictures and videos are to be predicted, and where the results of each go."""

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskwright.data.finding import find_dataset
from maskwright.data.image_files import IMAGE_SUFFIXES, describe
from maskwright.data.large_files import LARGE_SUFFIXES, open_large
from maskwright.data.pairing import find_masks, match_masks, survey_pictures
from maskwright.data.pairs import AlphaChannel, Drawing, Mask, Pair, Problem, mask_files
from maskwright.data.video_files import VIDEO_SUFFIXES
from maskwright.errors import InputError
from maskwright.inference.claims import NOTES, Claim, Claims, is_result, read_claims


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
    """What the inputs name: things to predict, and what could not be looked at."""

    jobs: list[Job] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def find_jobs(inputs: Sequence[str | Path], out: Path, kinds: Collection[str]) -> Found:
    """Every picture and video that the inputs name, once each.

    Args:
        inputs: Files, folders (with every picture below them) and patterns.
        out: Where results go; the folders below an input folder are mirrored. What lies there is no input.
        kinds: What results are called, so that those among the pictures are known as results.

    Raises:
        InputError: An input names nothing, or two of them would have the same results.
    """
    found = Found()
    jobs: dict[Path, Job] = {}
    for name in inputs:
        path = Path(name)
        some = _in_folder(path, out, kinds) if path.is_dir() else Found(_of_files(str(name), out))
        found.problems += some.problems
        for job in some.jobs:
            jobs.setdefault(job.source, job)
    if not jobs and not found.problems:
        raise InputError(f"There are no pictures in {', '.join(map(str, inputs))}; name files or another folder.")
    found.jobs = list(jobs.values())
    _refuse_collisions(found.jobs)
    return found


def with_truths(jobs: Sequence[Job], masks: Path | None) -> list[Job]:
    """The jobs with their true masks: from a folder that was named, else from where they usually lie."""
    if masks:
        named = match_masks([job.source for job in jobs], masks)
        return [replace(job, truth=named.get(job.source)) for job in jobs]
    found = find_masks([job.source for job in jobs if not job.truth])
    claims = {out: read_claims(out) for out in {job.out for job in jobs}}
    return [
        replace(job, truth=truth) if truth and not _was_made(truth, job.out, claims[job.out]) else job
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


def _in_folder(folder: Path, out: Path, kinds: Collection[str]) -> Found:
    """The pictures below a folder. Masks that lie beside their pictures are truths, not pictures to predict."""
    claims = read_claims(out)
    try:
        pairs = find_dataset(folder).pairs
    except InputError:  # a folder without masks is the usual case here
        pairs = tuple[Pair]()
    truths = {pair.image: pair.mask for pair in pairs if not _was_made(pair.mask, out, claims)}
    masks = {file for mask in truths.values() if not isinstance(mask, AlphaChannel) for file in mask_files(mask)}
    pictures, problems = survey_pictures(folder)
    results = set(_results_among(pictures, folder, out, kinds, claims))
    jobs = [
        Job(picture, name.as_posix(), out, name.with_suffix(""), truths.get(picture))
        for picture in pictures
        if picture not in masks and picture not in results
        for name in (picture.relative_to(folder),)
    ]
    return Found(jobs, problems)


def _was_made(mask: Mask, out: Path, claims: Claims) -> bool:
    """Whether a mask is no truth: an earlier run has predicted it."""
    files = [mask.path] if isinstance(mask, Drawing) else mask_files(mask)
    return any(_is_claimed(file, out, claims) for file in files)


def _is_claimed(file: Path, out: Path, claims: Claims) -> bool:
    if not claims:
        return False
    whole, folder = file.resolve(), out.resolve()
    return whole.is_relative_to(folder) and is_result(whole.relative_to(folder), claims)


def _results_among(
    pictures: Sequence[Path], folder: Path, out: Path, kinds: Collection[str], claims: Claims
) -> Iterator[Path]:
    """Pictures that an earlier run left: in a folder of results, beside their own pictures, or as it has noted."""
    yield from (picture for picture in pictures if _is_claimed(picture, out, claims))
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


def _of_files(name: str, out: Path) -> list[Job]:
    """A file, or the pictures and videos that a pattern matches."""
    path = Path(name)
    if path.exists():
        return [Job(path, path.name, out, Path(path.stem))]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = [path for path in map(Path, matches) if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not files:
        raise InputError(f"{name} matches no picture; check the name.")
    return [Job(file, file.name, out, Path(file.stem)) for file in files]


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    owners: dict[Path, Path] = {}
    for job in jobs:
        other = owners.setdefault(job.target, job.source)
        if other != job.source:
            raise InputError(
                f"{other} and {job.source} would both be written to {job.target}_...; "
                "predict them into different --out folders."
            )
