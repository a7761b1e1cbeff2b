"""A picture to its mask, at the picture's own size.

The way is the one that training prepared its pictures on: bring to 0..255 by the scale that training fixed, fit to the
model's size, compute logits. The logits are then enlarged to the original size and thresholded last, so that outlines
fall between the model's pixels.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data import image_files
from maskwright.data.input_format import scale_pixels
from maskwright.device import choose_device
from maskwright.errors import InputError
from maskwright.inference.engines import Engine, TorchEngine
from maskwright.inference.model_file import ModelCard, load_model


class Predictor:
    """A model file in use: call it with a picture, get its mask.

    >>> predictor = load("runs/cars/model.safetensors")  # doctest: +SKIP
    >>> mask = predictor(image)                          # doctest: +SKIP
    """

    def __init__(self, card: ModelCard, engine: Engine) -> None:
        self.card = card
        self._engine = engine

    def with_threshold(self, threshold: float) -> "Predictor":
        """The same model with another probability from which a pixel is foreground."""
        return Predictor(replace(self.card, threshold=threshold), self._engine)

    def __call__(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Class of each pixel.

        Args:
            image: ``(H, W, 3)`` or grey ``(H, W)``, uint8; for a model of other pictures, as they
                are stored, ``(H, W, C)``.

        Returns:
            Class indices ``(H, W)``, uint8; 0 is the background.
        """
        return self.classes(self.logits(image))

    def classes(self, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Class indices ``(H, W)`` of logits ``(C, H, W)``."""
        if len(logits) == 1:
            # The threshold is moved to the logits: the same answer without an exponential for each pixel.
            inside = logits[0] >= math.log(self.card.threshold / (1 - self.card.threshold))
            return np.asarray(inside, np.uint8)
        return np.asarray(logits.argmax(axis=0), np.uint8)

    def probabilities(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Probability of each class at each pixel, ``(C, H, W)``; of the foreground alone where ``C`` is 1."""
        return as_probabilities(self.logits(image))

    def logits(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Logits ``(C, H, W)`` at the picture's own size."""
        if image.ndim not in (2, 3) or not image.size:
            raise InputError(f"A picture is an array of shape (H, W, C) or (H, W), not {image.shape}.")
        pixels = scale_pixels(image if image.ndim == 3 else image[..., np.newaxis], self.card.input, "The picture")
        height, width = pixels.shape[:2]
        small = image_files.resize_image(pixels, *image_files.fit_size(height, width, self.card.size))
        batch = (small.astype(np.float32) / 255).transpose(2, 0, 1)[np.newaxis]  # (1, 3, h, w)
        logits = self._engine.logits(np.ascontiguousarray(batch))[0]  # (C, h, w)
        return np.stack([image_files.resize_plane(plane, height, width) for plane in logits])


def load(path: str | Path, *, device: str = "cpu") -> Predictor:
    """A predictor from a model file.

    Raises:
        InputError: The file is missing or is not one of ours, or the device cannot be used.
    """
    card, weights = load_model(Path(path))
    try:
        engine = TorchEngine(card.architecture, weights, choose_device(device))
    except ValueError as error:
        raise InputError(f"{path} holds weights of another network than it says; use another model file.") from error
    return Predictor(card, engine)


def as_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities ``(C, H, W)`` of logits, as `Predictor.probabilities` gives them."""
    if len(logits) == 1:
        return _sigmoid(logits)
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    # Logits beyond +-30 are certain; clipping keeps exp from overflowing.
    return np.asarray(1 / (1 + np.exp(-logits.clip(-30, 30))), np.float32)
