"""Many pictures, or the frames of a video: while one is computed, others are read and written, so that no core waits.

Each picture is one task from its file to its results, and as many tasks run at a time as there are cores, on one core
each: decoders, networks and encoders all work outside the interpreter's lock. On a GPU few of their networks compute at
a time (`engines.turns_on`). Results are to the last byte those that a picture gets alone, and come in the pictures'
order. Memory is bounded by the pixels that are under way, however many pictures there are.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright import terminal
from maskwright.data.image_files import describe
from maskwright.data.input_format import read_image
from maskwright.data.labels import LabelMap
from maskwright.data.pairs import Mask, Pair, Problem
from maskwright.data.reading import read_mask
from maskwright.data.threads import in_threads, limit_pixels
from maskwright.data.video_files import open_video, writing_video
from maskwright.errors import InputError, naming_what_is_too_large
from maskwright.inference.claims import FRAMES
from maskwright.inference.cleanup import clean
from maskwright.inference.engines import one_core_each
from maskwright.inference.jobs import Job
from maskwright.inference.predictor import Predictor
from maskwright.inference.results import DRAWN, SUFFIXES, Seen, Wish, draw_result, missing_kinds, paths_of, write_result
from maskwright.inference.streaming import predict_large

# Pixels of all pictures under way. Logits, results and what they are made from take dozens of bytes for each.
PIXELS_UNDER_WAY = 24_000_000


def predict_pictures(
    predictor: Predictor, jobs: Iterable[Job], wish: Wish, *, threads: int | None = None
) -> Iterator[list[Path] | Problem]:
    """Predict picture files and write their results.

    Args:
        predictor: The model.
        jobs: The pictures.
        wish: What is made of each; of kinds whose files are there already, only those to be renewed.
        threads: Pictures at a time; by default as many as there are cores.

    Yields:
        For each picture in its turn the files that were written, or why there are none.
    """
    room = limit_pixels(PIXELS_UNDER_WAY)

    def work(job: Job) -> list[Path] | Problem:
        try:
            with naming_what_is_too_large(job.source):
                return _predict_one(predictor, job, wish, room)
        except InputError as error:
            return Problem(job.source, str(error))

    with one_core_each():
        yield from in_threads(work, jobs, threads=threads or os.cpu_count())


def predict_by_rows(predictor: Predictor, job: Job, wish: Wish) -> list[Path]:
    """Predict a picture that is too large to be held; see `streaming`.

    Returns:
        The mask, a TIFF file.

    Raises:
        InputError: It cannot be read or its mask not be written, it takes more memory than there is, or more than a
            mask is wished for.
    """
    if [*wish.kinds] != ["mask"]:
        raise InputError(f"{job.source} is predicted row by row, which makes a mask and nothing else; use --save mask.")
    (path,) = paths_of("mask", job, predictor.card.labels)
    with naming_what_is_too_large(job.source):
        predict_large(predictor, job.source, path)
    return [path]


def predict_video(predictor: Predictor, job: Job, wish: Wish, *, advance: Callable[[int, int], None]) -> list[Path]:
    """Predict the frames of a video.

    Kinds that are pictures to look at become a video each, ``<stem>_<kind>.mp4``; of the others, which a video would
    spoil, every frame has files of its own, ``<stem>_frames/<number>_<kind>``.

    Args:
        predictor: The model.
        job: The video.
        wish: What is made of it.
        advance: Called after each frame, with its number and how many the file says there are, or 0.

    Returns:
        The videos, and the folder of frames.

    Raises:
        InputError: The video cannot be read or its results not be written, or a frame takes more memory than there is.
    """
    threads = os.cpu_count() or 1
    films = {kind: film_of(kind, job) for kind in wish.kinds if kind in DRAWN}
    films = {kind: path for kind, path in films.items() if wish.renew or not path.exists()}
    stills = Wish([kind for kind in wish.kinds if kind not in DRAWN], renew=wish.renew)
    folder = _frames_of(job)

    def work(numbered: tuple[int, NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        number, frame = numbered
        still = replace(job, name=f"{job.name} {number}", place=folder / f"{number:06}")
        missing = missing_kinds(still, stills, predictor.card.labels)
        if not films and not missing:
            return []
        seen = look(predictor, frame)
        for kind in missing:
            write_result(kind, still, seen, None)
        return [draw_result(kind, seen, wish.background) for kind in films]

    with ExitStack() as stack:
        stack.enter_context(naming_what_is_too_large(job.source))
        stack.enter_context(one_core_each())
        video = stack.enter_context(open_video(job.source))
        write = [stack.enter_context(writing_video(path, video.frames_per_second)) for path in films.values()]
        # Frames wait to be computed and written: no more of them than keep the cores busy.
        frames = in_threads(work, enumerate(video.frames, 1), threads=threads, ahead=2 * threads)
        for number, drawn in enumerate(frames, 1):
            for write_frame, picture in zip(write, drawn, strict=True):
                write_frame(picture)
            advance(number, video.length)
    return [*films.values(), *([job.out / folder] if stills.kinds else [])]


def film_of(kind: str, job: Job) -> Path:
    """The video that a kind of result of a video becomes."""
    return job.target.with_name(f"{job.target.name}_{kind}.mp4")


def results_there(kind: str, job: Job, labels: LabelMap) -> list[Path]:
    """The files of one kind of result of a picture or video that are there already."""
    if not job.is_video:
        return [path for path in paths_of(kind, job, labels) if path.exists()]
    if kind in DRAWN:
        return [film] if (film := film_of(kind, job)).exists() else []
    return sorted((job.out / _frames_of(job)).glob(f"*_{kind}*{SUFFIXES[kind]}"))


def _frames_of(job: Job) -> Path:
    """The folder of a video's results that are files for each frame, below that of all results."""
    return job.place.with_name(f"{job.place.name}{FRAMES}")


def look(predictor: Predictor, image: NDArray[np.uint8], truth: NDArray[np.uint8] | None = None) -> Seen:
    """A picture ``(H, W, C)`` as a model sees it; the network is asked once, whatever is made of it."""
    logits = predictor.logits(image)
    mask = clean(predictor.classes(logits), predictor.cleanup)
    return Seen(image, mask, logits, predictor, truth)


def _predict_one(
    predictor: Predictor, job: Job, wish: Wish, room: Callable[[int], AbstractContextManager[None]]
) -> list[Path]:
    stored = describe(job.source)
    with room(stored.height * stored.width):
        image = read_image(job.source, predictor.card.input)
        truth = _read_truth(job.source, job.truth, predictor, image.shape) if "panel" in wish.kinds else None
        seen = look(predictor, image, truth)
        kinds = missing_kinds(job, wish, predictor.card.labels)
        return [path for kind in kinds for path in write_result(kind, job, seen, wish.background)]


def _read_truth(
    source: Path, truth: Mask | None, predictor: Predictor, shape: tuple[int, ...]
) -> NDArray[np.uint8] | None:
    if truth is None:
        return None
    try:
        return read_mask(Pair(source.stem, source, truth), predictor.card.labels, *shape[:2])
    except InputError as error:  # it is beside the point: what was asked for is the prediction
        terminal.warn(f"No true mask beside the prediction: {error}")
        return None
