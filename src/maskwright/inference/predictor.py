"""A picture to its mask, at the picture's own size.

The way is the one that training prepared its pictures on: bring to 0..255 by the scale that training fixed, resize to
what the model sees, compute logits, in tiles where that is too large. The logits are then enlarged to the original size
and thresholded last, so that outlines fall between the model's pixels.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import EngineName, PredictSettings
from maskwright.data.input_format import scale_pixels
from maskwright.data.resizing import resize_image, resize_plane
from maskwright.errors import InputError
from maskwright.inference.cleanup import NOTHING, Cleanup, clean
from maskwright.inference.engines import Engine, open_model
from maskwright.inference.flips import Mirroring
from maskwright.inference.model_file import ModelCard
from maskwright.inference.tiling import AT_ONCE, Tiling, choose_tiling, strips_of_logits


class Predictor:
    """A model file in use: call it with a picture, get its mask.

    Args:
        card: What the model file says of itself.
        engine: What computes.
        flips: Look at each picture mirrored as well, and take the mean of the logits: a little better, twice the time.
        cleanup: What is done to each mask.
        tiling: How large pictures are cut; by default as the card says.

    >>> predictor = load("runs/cars/model.safetensors")  # doctest: +SKIP
    >>> mask = predictor(image)                          # doctest: +SKIP
    """

    def __init__(
        self,
        card: ModelCard,
        engine: Engine,
        *,
        flips: bool = False,
        cleanup: Cleanup = NOTHING,
        tiling: Tiling | None = None,
    ) -> None:
        self.card = card
        self.cleanup = cleanup
        self._engine = Mirroring(engine) if flips else engine
        self._tiling = tiling or choose_tiling(card.architecture, card.tile)

    @property
    def engine_name(self) -> str:
        """What computes, with its version and where."""
        return self._engine.name

    def with_threshold(self, threshold: float) -> "Predictor":
        """The same model with another probability from which a pixel is foreground."""
        card = replace(self.card, threshold=threshold)
        return Predictor(card, self._engine, cleanup=self.cleanup, tiling=self._tiling)

    def untiled(self) -> "Predictor":
        """The same model, which sees pictures of any size at once, as an exported file does where it is used alone."""
        return Predictor(self.card, self._engine, cleanup=self.cleanup, tiling=AT_ONCE)

    def sees_at_once(self, height: int, width: int) -> bool:
        """Whether a picture of this size is a single tile."""
        return all(len(self._tiling.spans(side)) == 1 for side in self.card.resize.shape_of(height, width))

    def __call__(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Class of each pixel.

        Args:
            image: ``(H, W, 3)`` or grey ``(H, W)``, uint8; for a model of other pictures, as they
                are stored, ``(H, W, C)``.

        Returns:
            Class indices ``(H, W)``, uint8; 0 is the background.
        """
        return self.mask(self.logits(image))

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        """What a call gives, of logits ``(C, H, W)`` at the picture's own size."""
        return clean(self.classes(logits), self.cleanup)

    def batch(self, images: Iterable[NDArray[Any]]) -> list[NDArray[np.uint8]]:
        """The mask of each picture, whatever their sizes.

        One after the other: on a processor a batch takes longer than its pictures do by themselves, which find more of
        what they need in its caches.
        """
        return [self(image) for image in images]

    def classes(self, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Class indices ``(H, W)`` of logits ``(C, H, W)``."""
        # The threshold is moved to the logits: the same answer without an exponential for each pixel.
        if len(logits) == 1:
            return np.asarray(logits[0] >= self.card.threshold_logit, np.uint8)
        # An imported network may have two logits for two classes; at one half the larger wins, and a tie is background.
        if len(logits) == 2 and self.card.threshold != 0.5:
            return np.asarray(logits[1] - logits[0] >= self.card.threshold_logit, np.uint8)
        return np.asarray(logits.argmax(axis=0), np.uint8)

    def probabilities(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Probability of each class at each pixel, ``(C, H, W)``; of the foreground alone where ``C`` is 1."""
        return as_probabilities(self.logits(image))

    def logits(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Logits ``(C, H, W)`` at the picture's own size."""
        small = self.shrink(image)
        return self.enlarge(self.small_logits(small), *image.shape[:2])

    def shrink(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """What the model sees of a picture, ``(h, w, C)``: the first of the three steps to its logits."""
        if image.ndim not in (2, 3) or not image.size:
            raise InputError(f"A picture is an array of shape (H, W, C) or (H, W), not {image.shape}.")
        pixels = scale_pixels(image if image.ndim == 3 else image[..., np.newaxis], self.card.input, "The picture")
        return resize_image(pixels, *self.card.resize.shape_of(*pixels.shape[:2]))

    def small_logits(self, small: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits ``(C, h, w)`` of what `shrink` gives: the step that the engine computes."""
        strips = list(self.strips(lambda start, stop: small[start:stop], *small.shape[:2]))
        return strips[0] if len(strips) == 1 else np.concatenate(strips, axis=1)  # (C, h, w)

    def enlarge(self, logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """Logits ``(C, H, W)`` at the size of the picture, of those at the size that the model sees."""
        return np.stack([resize_plane(plane, height, width) for plane in logits])

    def strips(
        self, rows_of: Callable[[int, int], NDArray[np.uint8]], height: int, width: int
    ) -> Iterator[NDArray[np.float32]]:
        """Logits ``(C, n, W)`` of a picture at the size that the model sees; see `tiling.strips_of_logits`."""
        return strips_of_logits(self._engine, rows_of, height, width, self._tiling)


def load(
    path: str | Path,
    *,
    engine: EngineName | None = None,
    device: str = "cpu",
    flips: bool = False,
    cleanup: Cleanup = NOTHING,
    many_at_once: bool = False,
    cores: int | None = None,
) -> Predictor:
    """A predictor from a model file, or from one that `maskwright export` made of it, which needs no torch.

    Args:
        path: The file. ``.safetensors`` is computed by PyTorch, ``.onnx`` by ONNX Runtime, ``.xml`` by OpenVINO.
        engine: Refuse a file that another engine computes.
        device: auto, cpu, cuda, cuda:1 or mps.
        flips: As for `Predictor`; for models that have learnt from mirrored pictures.
        cleanup: What is done to each mask.
        many_at_once: Pictures will be predicted by as many threads as there are cores: ONNX Runtime and OpenVINO then
            give each one core, and otherwise all of them to the one picture.
        cores: How many there are for this process; by default all of the machine.

    Raises:
        InputError: The file is missing or is not one of ours, the device cannot be used, pictures must not be
            mirrored for this model, or masks are to be cleaned up whose classes have no background.
        MissingExtraError: What computes the file is not installed.
    """
    card, computing = open_model(Path(path), engine=engine, device=device, many_at_once=many_at_once, cores=cores)
    if flips and not _learnt_mirrored(card):
        raise InputError(f"{path} has not learnt from mirrored pictures, which flips would show it; leave flips out.")
    if cleanup != NOTHING and not card.labels.has_background:
        raise InputError(
            f"{path} tells classes apart that have no background, and a clean-up makes background of what it drops; "
            "leave --fill-holes, --largest and --min-area out."
        )
    return Predictor(card, computing, flips=flips, cleanup=cleanup)


def load_as_set(
    path: str | Path,
    settings: PredictSettings,
    *,
    device: str = "cpu",
    many_at_once: bool = False,
    cores: int | None = None,
) -> Predictor:
    """A predictor that makes masks as the settings of `predict` say.

    Raises:
        InputError: As for `load`, or there is a threshold for a model of several classes.
        MissingExtraError: As for `load`.
    """
    predictor = load(
        path,
        engine=settings.engine,
        device=device,
        flips=settings.flips,
        cleanup=Cleanup(settings.fill_holes, settings.largest, settings.min_area),
        many_at_once=many_at_once,
        cores=cores,
    )
    if settings.threshold is None:
        return predictor
    if predictor.card.labels.num_classes > 2:
        raise InputError("--threshold is for models of two classes; of several, the likeliest is taken.")
    return predictor.with_threshold(settings.threshold)


def _learnt_mirrored(card: ModelCard) -> bool:
    """Whether training mirrored its pictures; a model of other programs, which says nothing of it, may have."""
    return bool(card.settings.get("augment", True)) and card.settings.get("flip", 1.0) > 0


def as_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities ``(C, H, W)`` of logits, as `Predictor.probabilities` gives them."""
    if len(logits) == 1:
        return _sigmoid(logits)
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    # Logits beyond +-30 are certain; clipping keeps exp from overflowing.
    return np.asarray(1 / (1 + np.exp(-logits.clip(-30, 30))), np.float32)
