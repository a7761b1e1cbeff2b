"""Pictures that an exported file is tried on: the user's own, else what the run held out, else drawn cars."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.data.drawn_cars import draw_car
from maskwright.data.finding import find_dataset
from maskwright.data.input_format import InputFormat, read_image
from maskwright.data.pairing import find_pictures
from maskwright.data.pairs import Pair, Pairing
from maskwright.data.reading import Formats, fingerprint_of, read_pair
from maskwright.errors import InputError
from maskwright.evaluation.evaluate import formats_for_model
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor

Item = TypeVar("Item")

# Sides of the drawn car, where there are no photographs.
VIEWS = (2, 7, 13)


@dataclass(frozen=True)
class TrialPictures:
    """Pictures to try a file on.

    Attributes:
        source: Where they come from, for the user.
        files: The pictures; none where cars are drawn.
        pairs: Those that have masks.
        formats: How those are read.
    """

    source: str
    files: tuple[Path, ...] = ()
    pairs: tuple[Pair, ...] = ()
    formats: Formats | None = None

    def images(self, input_format: InputFormat, most: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Names and pictures ``(H, W, C)``, evenly spaced."""
        if self.files:
            for path in evenly(self.files, most):
                yield str(path), read_image(path, input_format)
            return
        # A model of other channels than red, green and blue sees these again and again.
        channels = np.arange(input_format.channels) % 3
        for view in VIEWS:
            yield f"a drawn car, view {view}", draw_car(0, view)[0][..., channels]

    def samples(self, model: Predictor, most: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Pictures ``(H, W, C)`` with what their masks should be: the true ones, else those of the model."""
        if self.formats is not None:
            for pair in evenly(self.pairs, most):
                yield read_pair(pair, self.formats)
            return
        for _, image in self.images(model.card.input, most):
            yield image, model(image)

    def every_other(self, start: int) -> "TrialPictures":
        """Half of them, from the first or the second; a single one is in both halves."""
        return replace(self, files=self.files[start::2] or self.files, pairs=self.pairs[start::2] or self.pairs)


def choose_trial_pictures(model: Path, card: ModelCard, folder: Path | None) -> TrialPictures:
    """The pictures in a folder, else those that the run of a model held out, else drawn cars.

    Raises:
        InputError: There are none in the folder, or its masks are not of the model's classes.
    """
    if folder is None:
        return _held_out(model, card) or TrialPictures("drawn cars")
    try:
        pairing = find_dataset(folder)
    except InputError:  # pictures without masks will do
        pairing = Pairing((), (), "")
    if pairing.pairs:
        images = tuple(pair.image for pair in pairing.pairs)
        return TrialPictures(str(folder), images, pairing.pairs, formats_for_model(pairing, card))
    files = tuple(find_pictures(folder))
    if not files:
        raise InputError(f"There are no pictures in {folder}; choose another folder for --pictures.")
    return TrialPictures(str(folder), files)


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """So many of them at most, evenly spaced.

    >>> evenly("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    return [items[place * len(items) // most] for place in range(most)] if len(items) > most else list(items)


def _held_out(model: Path, card: ModelCard) -> TrialPictures | None:
    """What the best weights were chosen on, as far as the files beside the model tell where it is."""
    try:
        photos = Path(json.loads(model.with_name("split.json").read_text(encoding="utf-8"))["photos"])
        pairing = find_dataset(photos)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None
    chosen_on = set(card.chosen_on)
    pairs = tuple(pair for pair in pairing.pairs if fingerprint_of(pair.image) in chosen_on)
    return TrialPictures(f"what the run held out of {photos}", tuple(pair.image for pair in pairs)) if pairs else None
