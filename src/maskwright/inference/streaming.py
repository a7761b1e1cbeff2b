"""A picture to its mask without holding either: rows come in, rows go out, from top to bottom.

What is held are the rows under one row of tiles, at the size that the model sees; for a model that fits pictures to
one size, that small picture. The mask is the one that `Predictor` makes of the whole picture, but for pixels whose
logits lie on the threshold within rounding.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.input_format import scale_pixels
from maskwright.data.large_files import open_large, write_large_mask
from maskwright.data.row_bands import Rows, Source, resize_bands
from maskwright.errors import InputError
from maskwright.inference.cleanup import NOTHING
from maskwright.inference.outputs import binary_mask, class_colours
from maskwright.inference.predictor import Predictor

# Takes the rows of a mask ``(n, W)``, from top to bottom.
Sink = Callable[[Iterator[NDArray[np.uint8]]], None]


def predict_large(predictor: Predictor, path: Path, out: Path) -> None:
    """Predict a picture file of any size and write its mask as a TIFF file in compressed tiles.

    Two classes are written as 0 and 255, more as class indices with a palette, as in `outputs.encode_mask`.

    Args:
        predictor: The model.
        path: A TIFF file in tiles or strips, or a `.npy` file.
        out: The mask; a file of that name is replaced.

    Raises:
        InputError: The file cannot be read so, is not a picture of the model's kind, or the mask cannot be written.
        MissingExtraError: tifffile is not installed.
    """
    source, labels = open_large(path), predictor.card.labels
    is_binary = labels.num_classes == 2

    def write(bands: Iterator[NDArray[np.uint8]]) -> None:
        rows = (binary_mask(band) for band in bands) if is_binary else bands
        palette = None if is_binary else np.array(class_colours(labels), np.uint8)
        write_large_mask(out, rows, source.height, source.width, palette=palette)

    predict_stream(predictor, source, write)


def predict_stream(predictor: Predictor, source: Source, sink: Sink) -> None:
    """Predict a picture that comes in rows, and hand the rows of its mask on.

    Raises:
        InputError: The picture is not one of the model's kind, or the mask is to be cleaned up, for which all of it
            would have to be there.
    """
    if predictor.cleanup != NOTHING:
        raise InputError("A mask that is written row by row cannot be cleaned up; leave that out.")
    sink(_mask_bands(predictor, source))


def _mask_bands(predictor: Predictor, source: Source) -> Iterator[NDArray[np.uint8]]:
    """The mask of a picture that comes in rows, in bands ``(n, W)``."""
    shape = (source.height, source.width)
    seen = predictor.card.resize.shape_of(*shape)

    def scaled(band: NDArray[Any]) -> NDArray[np.uint8]:
        return scale_pixels(band, predictor.card.input, "The picture")

    def channels_last(strip: NDArray[np.float32]) -> NDArray[np.float32]:
        return strip.transpose(1, 2, 0)

    def classes(band: NDArray[np.float32]) -> NDArray[np.uint8]:
        return predictor.classes(band.transpose(2, 0, 1))

    # `map` and not loops, whose variables would hold one band while the next is made.
    strips = predictor.strips(Rows(resize_bands(map(scaled, source.bands()), shape, seen)).take, *seen)
    yield from map(classes, resize_bands(map(channels_last, strips), seen, shape))
