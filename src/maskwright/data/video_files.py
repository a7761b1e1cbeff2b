"""Video files to pictures and back, by OpenCV: one frame at a time, so that memory does not grow with a film's length.

OpenCV's own wheels carry an FFmpeg under the LGPL. It reads what cameras and phones write, and writes MPEG-4 Part 2:
its encoders of H.264 are not free. Sound is left out.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.image_files import MOST_PIXELS
from maskwright.errors import InputError, MissingExtraError
from maskwright.files import replacing

VIDEO_SUFFIXES: frozenset[str] = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})

# Of files that say nothing of it.
_USUAL_RATE = 25.0


@dataclass(frozen=True, eq=False)
class Video:
    """A video that is open.

    Attributes:
        frames_per_second: As the file says.
        length: Frames, as the file says; some say it wrong, and 0 stands for nothing.
        frames: Each ``(H, W, 3)``, in order; they can be taken once.
    """

    frames_per_second: float
    length: int
    frames: Iterator[NDArray[np.uint8]]


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Open a video file to take its frames.

    Raises:
        InputError: The file is missing or no video that can be read, or its frames are too large.
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = _opencv()
    if not path.is_file():
        raise InputError(f"{path} is no file; check the name.")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        width, height = (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not capture.isOpened() or not width * height:
            raise InputError(f"{path} is no video that OpenCV can read; convert it to MP4.")
        if width * height > MOST_PIXELS:
            raise InputError(f"{path} has frames of more than {MOST_PIXELS // 10**6} million pixels; make it smaller.")
        rate, length = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        yield Video(
            rate if math.isfinite(rate) and rate > 0 else _USUAL_RATE,
            int(length) if math.isfinite(length) and length > 0 else 0,
            _frames(cv2, capture, path),
        )
    finally:
        capture.release()


@contextmanager
def writing_video(path: Path, frames_per_second: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Write an MP4 file, whole or not at all: yields what takes its frames ``(H, W, 3)``, all of one size.

    Raises:
        InputError: It cannot be written.
    """
    cv2 = _opencv()
    with ExitStack() as stack:
        temporary = stack.enter_context(replacing(path))
        writer: Any = None

        def write(frame: NDArray[np.uint8]) -> None:
            nonlocal writer
            if writer is None:
                size = (frame.shape[1], frame.shape[0])
                writer = cv2.VideoWriter(
                    str(temporary), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, size
                )
                if not writer.isOpened():
                    raise InputError(f"{path} cannot be written as a video; choose another place.")
                stack.callback(writer.release)
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

        yield write


def _frames(cv2: ModuleType, capture: Any, path: Path) -> Iterator[NDArray[np.uint8]]:  # noqa: ANN401 - cv2's
    found = False
    while True:
        is_there, frame = capture.read()
        if not is_there:
            break
        found = True
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if not found:
        raise InputError(f"{path} holds no frame that can be decoded; copy it again or convert it.")


def _opencv() -> ModuleType:
    # Read when the first file is opened: what is wrong with one becomes a sentence of ours.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "video") from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
