"""What a mask becomes: a file, an overlay, a panel."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from maskwright.data import image_files

# One colour for each class after the background: told apart with any colour vision, on photographs too.
# Source: Okabe and Ito, "Color Universal Design" (2008).
CLASS_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
OVERLAY_STRENGTH = 0.45
PANEL_HEIGHT = 400
PANEL_GAP = 12
PANEL_CAPTION = 34


def binary_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class indices 0 and 1 as 0 and 255, the way masks of two classes are written."""
    return mask * np.uint8(255)


def overlay(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture ``(H, W, 3)`` with its classes tinted and their outlines drawn."""
    painted = image.copy()
    for index in np.unique(mask[mask > 0]):
        colour = np.array(CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)], np.float32)
        inside = mask == index
        tinted = painted[inside] * (1 - OVERLAY_STRENGTH) + colour * OVERLAY_STRENGTH
        painted[inside] = tinted.round().astype(np.uint8)
        painted[outline(inside)] = colour.astype(np.uint8)
    return painted


def outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a region within a few of its edge; about a thousandth of the picture's longer side."""
    edge = np.zeros_like(inside)
    for step in range(1, 1 + max(1, max(inside.shape) // 1000)):
        edge[step:] |= inside[step:] & ~inside[:-step]
        edge[:-step] |= inside[:-step] & ~inside[step:]
        edge[:, step:] |= inside[:, step:] & ~inside[:, :-step]
        edge[:, :-step] |= inside[:, :-step] & ~inside[:, step:]
    return edge


def panel(
    image: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None = None,
    *,
    num_classes: int = 2,
) -> NDArray[np.uint8]:
    """The picture original | ground truth | prediction; without a truth, its column is left out."""
    columns = [("original", image)]
    if truth is not None:
        columns.append(("ground truth", _coloured(truth, num_classes)))
    columns.append(("prediction", _coloured(prediction, num_classes)))
    height = min(PANEL_HEIGHT, image.shape[0])
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return side_by_side([(caption, image_files.resize_image(tile, height, width)) for caption, tile in columns])


def side_by_side(columns: Sequence[tuple[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Tiles of one height ``(H, W, 3)`` in a row, each under its caption, on white."""
    height = columns[0][1].shape[0]
    width = sum(tile.shape[1] for _, tile in columns) + PANEL_GAP * (len(columns) + 1)
    canvas = Image.new("RGB", (width, height + PANEL_CAPTION + PANEL_GAP), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=18)
    left = PANEL_GAP
    for caption, tile in columns:
        middle = (left + tile.shape[1] / 2, PANEL_CAPTION / 2)
        draw.text(middle, caption, fill=(40, 40, 40), font=font, anchor="mm")
        canvas.paste(Image.fromarray(tile), (left, PANEL_CAPTION))
        left += tile.shape[1] + PANEL_GAP
    return np.asarray(canvas)


def _coloured(mask: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """Classes as a picture ``(H, W, 3)``: white on black for two, a palette for more."""
    if num_classes <= 2:
        return np.repeat(binary_mask(mask)[..., np.newaxis], 3, axis=2)
    repeats = math.ceil(num_classes / len(CLASS_COLOURS))
    palette = np.array([(0, 0, 0), *CLASS_COLOURS * repeats], np.uint8)
    return palette[mask]
