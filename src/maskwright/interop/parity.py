"""Whether an exported file computes what the model does: on real pictures, at sizes that the export has not seen.

Two things tell them apart, the largest difference between their logits and the number of pixels whose class differs,
both at the picture's own size. A little is allowed, because runtimes add up in another order. A file that is used alone
sees pictures whole, and is compared with the model that does so too; in tiles, logits may be others by design.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InputError
from maskwright.inference.predictor import Predictor

Compute = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.float32]]]
"""A picture ``(H, W, C)`` to its mask ``(H, W)`` and its logits ``(K, H, W)``."""

Way = Compute | Predictor
"""How a file is used: alone, where it sees every picture whole, or by a predictor, which cuts large ones into tiles."""

# What may differ: logits by so much of their range over the picture, or of 1 where they hardly vary; and so large a
# share of the pixels, or a single one.
LOGIT_TOLERANCE = 1e-3
PIXEL_TOLERANCE = 1e-5
# Sizes that cut-outs of a picture are taken at, beside those that pictures have: one pixel, odd, and upright.
CUT_OUTS = ((1, 1), (37, 211), (301, 173))


@dataclass(frozen=True)
class Agreement:
    """How far an exported file and its model agree on one picture.

    Attributes:
        picture: Its name.
        way: How the file was used.
        height: Of the picture.
        width: Of the picture.
        logit_difference: The largest.
        logit_range: From the model's smallest logit to its largest.
        pixels: How many get another class.
    """

    picture: str
    way: str
    height: int
    width: int
    logit_difference: float
    logit_range: float
    pixels: int

    @property
    def holds(self) -> bool:
        """Whether they agree as far as they should."""
        return self.logit_difference <= LOGIT_TOLERANCE * max(1.0, self.logit_range) and self.pixels <= max(
            1, PIXEL_TOLERANCE * self.height * self.width
        )

    @property
    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"{self.picture} at {self.width}x{self.height}, {self.way}: logits differ by up to "
            f"{self.logit_difference:.2g}, {self.pixels} pixels get another class"
        )


def as_compute(predictor: Predictor) -> Compute:
    """A predictor as something to compare."""
    return lambda image: (predictor(image), predictor.logits(image))


def compare(
    model: Predictor,
    ways: Mapping[str, Way],
    pictures: Iterable[tuple[str, NDArray[np.uint8]]],
    *,
    advance: Callable[[], None] = lambda: None,
) -> list[Agreement]:
    """Compute every picture with the model and in each of the ways.

    Args:
        model: What is right.
        ways: How the exported file is used, by a phrase that completes "at 640x480, ..."; what sees pictures whole is
            compared with the model that does so too.
        pictures: Names and pictures ``(H, W, C)``.
        advance: Called after each picture, for a progress bar.
    """
    found, untiled = [], model.untiled()
    for name, image in pictures:
        in_tiles = as_compute(model)(image)
        whole = in_tiles if model.sees_at_once(*image.shape[:2]) else as_compute(untiled)(image)
        for way, use in ways.items():
            if isinstance(use, Predictor):
                (mask, logits), (other_mask, other_logits) = in_tiles, as_compute(use)(image)
            else:
                (mask, logits), (other_mask, other_logits) = whole, use(image)
            found.append(
                Agreement(
                    name,
                    way,
                    height=image.shape[0],
                    width=image.shape[1],
                    logit_difference=float(np.abs(other_logits - logits).max()),
                    logit_range=float(np.ptp(logits)),
                    pixels=int((other_mask != mask).sum()),
                )
            )
        advance()
    return found


def require_agreement(found: Sequence[Agreement], path: Path) -> None:
    """Refuse an exported file that computes something else.

    Raises:
        InputError: It does; the sentence says where they differ most.
    """
    failed = [agreement for agreement in found if not agreement.holds]
    if failed:
        worst = max(failed, key=lambda agreement: agreement.pixels / (agreement.height * agreement.width))
        raise InputError(
            f"{path} was not written, because it computes something else than the model in {len(failed)} of "
            f"{len(found)} comparisons. {worst.sentence}."
        )


def write_if_equal(
    out: Path,
    write: Callable[[Path], Mapping[str, Way]],
    model: Predictor,
    pictures: Iterable[tuple[str, NDArray[np.uint8]]],
    *,
    advance: Callable[[], None] = lambda: None,
    finish: Callable[[Path], None] = lambda _: None,
) -> list[Agreement]:
    """Write a file, and others that it needs beside it, if it computes what the model does; else nothing.

    Args:
        out: The file.
        write: Writes it under another name, and returns the ways that it is used in; see `compare`.
        model: What is right.
        pictures: Names and pictures ``(H, W, C)``.
        advance: Called after each picture, for a progress bar.
        finish: What is to be done to the file once it has passed.

    Raises:
        InputError: It computes something else.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".unfinished-") as folder:
        file = Path(folder) / out.name
        found = compare(model, write(file), pictures, advance=advance)
        require_agreement(found, out)
        finish(file)
        for part in sorted(file.parent.iterdir(), key=lambda part: part.name == out.name):
            part.replace(out.parent / part.name)
    return found


def with_cut_outs(pictures: Sequence[tuple[str, NDArray[np.uint8]]]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The pictures, and cut-outs from the middle of the first ones at further sizes."""
    yield from pictures
    for (height, width), (name, image) in zip(CUT_OUTS, cycle(pictures), strict=False):
        top, left = max(0, image.shape[0] - height) // 2, max(0, image.shape[1] - width) // 2
        yield f"a part of {name}", np.ascontiguousarray(image[top : top + height, left : left + width])
