"""What a mask looks like: a file, an overlay, a contour, a panel."""

import colorsys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from maskwright.data import image_files
from maskwright.data.labels import IGNORED, IGNORED_COLOUR, LabelMap
from maskwright.data.pairs import Colour

# One colour for each of the first classes after the background: told apart with any colour vision, on photographs too.
# Source: Okabe and Ito, "Color Universal Design" (2008).
FIRST_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Hues of further classes lie this share of a turn apart, which never repeats and keeps neighbours far from each other.
GOLDEN_TURN = 0.618034
OVERLAY_STRENGTH = 0.45
PANEL_HEIGHT = 400
PANEL_GAP = 12
PANEL_CAPTION = 34


def binary_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class indices 0 and 1 as 0 and 255, the way masks of two classes are written."""
    return mask * np.uint8(255)


def class_colours(labels: LabelMap) -> tuple[Colour, ...]:
    """What each class is drawn in: the data set's own colours, else a background in black and colours of ours."""
    if labels.colours:
        return labels.colours
    colours = [(0, 0, 0), *FIRST_COLOURS] if labels.has_background else [*FIRST_COLOURS]
    for place in range(labels.num_classes - len(colours)):
        # Further classes repeat the round of hues, lighter and darker by turns.
        shade = colorsys.hsv_to_rgb(place * GOLDEN_TURN % 1, 0.65, (0.95, 0.7)[place % 2])
        red, green, blue = (round(255 * channel) for channel in shade)
        colours.append((red, green, blue))
    return tuple(colours[: labels.num_classes])


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of any number of channels ``(H, W, C)`` as one to look at: its first three, or its first in grey."""
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def overlay(image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """The picture with its classes tinted and their outlines drawn, ``(H, W, 3)``; a background stays as it is."""
    painted = as_rgb(image).copy()
    for index, colour in _drawn_classes(mask, labels):
        inside = mask == index
        tinted = painted[inside] * (1 - OVERLAY_STRENGTH) + colour * OVERLAY_STRENGTH
        painted[inside] = tinted.round().astype(np.uint8)
        painted[outline(inside)] = colour.astype(np.uint8)
    return painted


def contour(image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """The picture with a smooth line around each of its classes, ``(H, W, 3)``; a background gets none."""
    drawn = as_rgb(image).copy()
    width = max(1, round(max(mask.shape) / 1000))
    for index, colour in _drawn_classes(mask, labels):
        inside = mask == index
        line = outline(inside, width) | outline(~inside, width)
        smooth = Image.fromarray(line.view(np.uint8) * np.uint8(255)).filter(ImageFilter.BoxBlur(width / 2))
        share = np.asarray(smooth)
        near = share > 0
        strength = share[near][:, np.newaxis] / np.float32(255)
        drawn[near] = np.rint(drawn[near] * (1 - strength) + colour * strength)
    return drawn


def outline(inside: NDArray[np.bool_], width: int | None = None) -> NDArray[np.bool_]:
    """Pixels of a region within so many of its edge; by default, about a thousandth of the picture's longer side."""
    edge = np.zeros_like(inside)
    for step in range(1, 1 + (width or max(1, max(inside.shape) // 1000))):
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
    labels: LabelMap,
) -> NDArray[np.uint8]:
    """The picture original | ground truth | prediction; without a truth, its column is left out."""
    columns = [("original", as_rgb(image))]
    if truth is not None:
        columns.append(("ground truth", coloured(truth, labels)))
    columns.append(("prediction", coloured(prediction, labels)))
    height = min(PANEL_HEIGHT, image.shape[0])
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return side_by_side([(caption, image_files.resize_image(tile, height, width)) for caption, tile in columns])


def _drawn_classes(mask: NDArray[np.uint8], labels: LabelMap) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The classes that a mask holds, but for a background, each with the colour that shows it on a photograph."""
    # Of two classes one is drawn, and a colour of ours shows on any photograph; masks are often white on black.
    colours = class_colours(labels) if labels.num_classes > 2 else ((0, 0, 0), FIRST_COLOURS[0])
    for index in labels.scored_classes:
        if (mask == index).any():
            yield index, np.array(colours[index], np.float32)


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


def coloured(mask: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """Classes as a picture ``(H, W, 3)``: white on black for two, their colours for more, grey where ignored."""
    palette = np.full((IGNORED + 1, 3), IGNORED_COLOUR, np.uint8)
    palette[: labels.num_classes] = class_colours(labels) if labels.num_classes > 2 else ((0, 0, 0), (255, 255, 255))
    return palette[mask]


def encode_mask(mask: NDArray[np.uint8], labels: LabelMap) -> bytes:
    """The content of a mask's PNG file: 0 and 255 of two classes, else class indices with a palette."""
    if labels.num_classes == 2:
        return image_files.encode_png(binary_mask(mask))
    return image_files.encode_png(mask, palette=class_colours(labels))
