"""Image and mask moved together, by numbers drawn beforehand.

Drawing and applying are apart: `draw_change` is the only place where chance plays a part, so that a sample is decided
by its generator alone.

A picture lies in memory pixel by pixel: the bytes of its channels, then those of its packed target. Moving it is then a
matter of fetching whole words, a fraction of the work of one bilinear look-up for each channel.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.config import Settings

# The bytes beyond the edge of a turned picture. The loss gives them no weight; a middle grey merely looks harmless.
BEYOND = 128
# Pixels worked on at once: their intermediate results stay in the processor's cache.
BAND_PIXELS = 1 << 16
# ITU-R BT.601: what each channel adds to the grey of a pixel.
LUMA = np.array([0.299, 0.587, 0.114])
# From RGB to luma and two axes of colour, around the first of which hue turns.
YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
# What so many bytes of a pixel are handled as.
WORDS = {4: torch.int32, 8: torch.int64}
# Positions are whole numbers of 1/1024 pixel.
FRACTION_BITS = 10

# Of pixels (n, S), which are foreground (n,).
IsForeground = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
# Along one axis: where the pixel in column x and row y comes from is a x + b y + c; 0 is the middle of the first pixel.
Origin = tuple[float, float, float]


@dataclass(frozen=True)
class Tint:
    """Other colours for the foreground alone.

    Attributes:
        order: Which channel becomes red, green and blue.
        factors: What each of them is multiplied by.
        lift: What is added.
    """

    order: tuple[int, int, int]
    factors: tuple[float, float, float]
    lift: float


@dataclass(frozen=True)
class Change:
    """What happens to one picture.

    Attributes:
        mirror: Left becomes right.
        degrees: Turn, clockwise.
        shift: Move to the right and down, as shares of the sides.
        scale: Enlargement.
        brightness: Factor; 1 changes nothing. Likewise ``contrast`` and ``saturation``.
        hue: Turn of the colour wheel; 0 changes nothing.
        tint: What becomes of the foreground besides; None leaves it.
    """

    mirror: bool
    degrees: float
    shift: tuple[float, float]
    scale: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    tint: Tint | None = None


@dataclass(frozen=True)
class Window:
    """The part of a picture that a sample shows, before it is moved.

    Attributes:
        top: Its first row.
        left: Its first column.
        height: In pixels; none lies beyond the picture.
        width: Likewise.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column."""
        return self.top + (self.height - 1) / 2, self.left + (self.width - 1) / 2

    def of(self, pixels: Tensor) -> Tensor:
        """Its part of pixels ``(H, W, S)``, a view."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Band:
    """Some rows of a moved picture.

    Attributes:
        rows: Which ones.
        pixels: ``(n, W, S)`` uint8.
        inside: ``(n, W)`` bool: where the picture is; None where it is everywhere.
    """

    rows: slice
    pixels: Tensor
    inside: Tensor | None


def draw_change(settings: Settings, rng: np.random.Generator) -> Change:
    """Draw the change of one sample. It always draws the same count of numbers, whatever the settings."""

    def around(spread: float) -> float:
        return float(rng.uniform(-spread, spread))

    def factor(spread: float) -> float:
        # Symmetric for factors: as often twice as half.
        return float((1 + spread) ** rng.uniform(-1, 1))

    return Change(
        mirror=bool(rng.random() < settings.flip),
        degrees=around(settings.rotate),
        shift=(around(settings.shift), around(settings.shift)),
        scale=factor(settings.scale),
        brightness=factor(settings.colour),
        contrast=factor(settings.colour),
        saturation=factor(settings.colour),
        hue=around(settings.colour / 10),
        tint=_draw_tint(settings, rng),
    )


def _draw_tint(settings: Settings, rng: np.random.Generator) -> Tint | None:
    """Any car may be of any colour, and much darker or lighter than those that were photographed."""
    is_tinted = rng.random() < (settings.tint or 0)
    swapped = rng.permutation(3).tolist()
    order = swapped if rng.random() < 0.5 else [0, 1, 2]
    factors = 2 ** (rng.uniform(-1.2, 1.2) + rng.uniform(-0.5, 0.5, 3))
    lift = float(rng.uniform(-0.15, 0.15))
    return Tint(tuple(order), tuple(factors.tolist()), lift) if is_tinted else None


def draw_window(
    pixels: NDArray[np.uint8], side: int, rng: np.random.Generator, *, is_foreground: IsForeground | None
) -> Window:
    """Draw where to cut a square out of a picture; a shorter side is taken whole.

    Args:
        pixels: ``(H, W, S)``.
        side: Pixels a side.
        rng: Decides. What is drawn from it depends on the picture.
        is_foreground: Of pixels ``(n, S)``, which are foreground: then the window lies around one of those that are.
    """
    height, width = (min(side, length) for length in pixels.shape[:2])
    most = (pixels.shape[0] - height, pixels.shape[1] - width)
    found = None if is_foreground is None or most == (0, 0) else _draw_pixel(pixels, rng, is_foreground)
    if found is None:
        top, left = (int(rng.integers(free + 1)) for free in most)
        return Window(top, left, height, width)
    # Anywhere in the window, since a network that finds it in the middle learns to look there.
    place = (at - rng.integers(length) for at, length in zip(found, (height, width), strict=True))
    top, left = (int(np.clip(at, 0, free)) for at, free in zip(place, most, strict=True))
    return Window(top, left, height, width)


def _draw_pixel(
    pixels: NDArray[np.uint8], rng: np.random.Generator, is_foreground: IsForeground
) -> tuple[int, int] | None:
    """Row and column of a pixel of the foreground; None where there is none.

    Any row that has some, then any such pixel of it: few rows of a large file are touched.
    """
    for row in rng.permutation(len(pixels)):
        columns = np.flatnonzero(is_foreground(pixels[row]))
        if len(columns):
            return int(row), int(rng.choice(columns))
    return None


def move(change: Change, pixels: Tensor, *, channels: int, mixed: int, window: Window | None = None) -> Iterator[Band]:
    """Mirror, turn, shift and scale a picture, or a window of one, a band of rows at a time.

    A window turns around its own middle, and shows what lies beside it in the picture where it is turned or shrunk.

    Each pixel is the mean of the two that lie nearest to its origin, a quarter of a pixel up and left of it and a
    quarter down and right: linear interpolation in steps of half a pixel, the same for the image and its target.

    Args:
        change: What to do.
        pixels: ``(H, W, S)`` uint8; ``S`` is 4 or a multiple of 8.
        channels: The first so many bytes of a pixel are its image: `BEYOND` beyond the edge, where all others are 0.
        mixed: The first so many bytes of a pixel may be averaged. The others are class indices and what belongs to
            them; they are taken from the one pixel nearest to the origin.
        window: The whole picture where there is none.

    Yields:
        Bands from top to bottom.
    """
    height, width, size = pixels.shape
    window = window or Window(0, 0, height, width)
    word = WORDS[math.gcd(size, 8)]
    words = pixels.view(word).view(height * width, -1).squeeze(1)  # one dimension is faster than two
    beyond = torch.zeros(size, dtype=torch.uint8)
    beyond[:channels] = BEYOND
    axes = _origins(change, window)
    offsets = [-0.25, 0.25] if mixed == size else [-0.25, 0.25, 0.0]
    x_by_column, x_by_row = _position_terms(axes[0], offsets, window)
    y_by_column, y_by_row = _position_terms(axes[1], offsets, window)
    first_columns, last_columns = _spans(axes, (width, height), window)
    columns = np.arange(window.width, dtype=np.int32)
    for rows in _bands_of(window.height, window.width):
        first, last = first_columns[rows, None], last_columns[rows, None]
        is_whole = not first.any() and (last == window.width - 1).all()
        x = (x_by_row[:, rows] + x_by_column).bitwise_right_shift_(FRACTION_BITS)  # (offsets, n, W)
        y = (y_by_row[:, rows] + y_by_column).bitwise_right_shift_(FRACTION_BITS)
        if not is_whole:
            x.clamp_(0, width - 1)
            y.clamp_(0, height - 1)
        fetched = words.index_select(0, x.add_(y, alpha=width).view(-1)).view(torch.uint8)
        one, other, *nearest = fetched.view(len(offsets), -1, window.width, size)
        # The mean of two bytes without a ninth bit.
        moved = (one & other).add_((one ^ other).bitwise_right_shift_(1))
        if nearest:
            moved[..., mixed:] = nearest[0][..., mixed:]
        inside = None
        if not is_whole:
            inside = torch.from_numpy((columns >= first) & (columns <= last))
            moved.view(word)[~inside] = beyond.view(word)
        yield Band(rows, moved, inside)


def _bands_of(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture in portions that are worked on at once."""
    step = max(1, BAND_PIXELS // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def to_planes(pixels: Tensor, first: int, out: Sequence[Tensor]) -> None:
    """Write some bytes of each pixel ``(H, W, S)``, from the ``first`` on, as planes ``(H, W)`` in 0..1."""
    words = pixels.view(torch.int32)  # whole words are faster than stepping over bytes
    byte = torch.empty(pixels.shape[:2], dtype=torch.int32)
    for index, plane in enumerate(out, first):
        word, place = words[..., index // 4], 8 * (index % 4)
        if place == 24:  # where the sign is
            torch.bitwise_right_shift(word, place, out=byte)
            word, place = byte, 0
        # It stays where it is in its word, which multiplies it by a power of two.
        torch.bitwise_and(word, 255 << place, out=byte)
        plane.copy_(byte).mul_(1 / (255 << place))


def recolour(pixels: Tensor, matrix: NDArray[np.float64], offset: float, *, out: Tensor) -> None:
    """Change the colours of pixels ``(H, W, S)`` that begin with RGB by a `colour_matrix`.

    ``out`` takes them as planes ``(3, H, W)``, cut off at 0 and 1.
    """
    words = pixels.view(torch.int32)[..., 0]
    # The bytes stay where they are in their words, which makes green 256 times as large, and blue 65536 times.
    red, green, blue = ((words & (255 << place)).float() for place in (0, 8, 16))
    factors = matrix / 255 / [1, 1 << 8, 1 << 16]
    start = torch.tensor(offset)
    for plane, (from_red, from_green, from_blue) in zip(out, factors.tolist(), strict=True):
        torch.add(start, red, alpha=from_red, out=plane)
        plane.add_(green, alpha=from_green).add_(blue, alpha=from_blue).clamp_(0, 1)


def tint_foreground(tint: Tint, images: Tensor, share: Tensor) -> None:
    """Give the foreground other colours, in place.

    Args:
        tint: Which.
        images: ``(3, H, W)`` in 0..1.
        share: Share of each pixel that is foreground, ``(H, W)``.
    """
    tinted = images[list(tint.order)] * torch.tensor(tint.factors).view(3, 1, 1)
    images.lerp_(tinted.add_(tint.lift).clamp_(0, 1), share)


def colour_matrix(change: Change, grey: float) -> tuple[NDArray[np.float64], float]:
    """Brightness, contrast, saturation and hue as one matrix and an offset.

    Hue turns around the axis of greys in YIQ, which keeps brightness.

    Args:
        change: What to do.
        grey: Mean grey of the picture in 0..1, the pivot of contrast.

    Returns:
        ``(3, 3)`` and what is added to each channel, for RGB in 0..1.
    """
    angle = -2 * math.pi * change.hue  # from red by way of green to blue, as hue is counted
    cos, sin = math.cos(angle), math.sin(angle)
    hue = np.linalg.inv(YIQ) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ YIQ
    saturation = change.saturation * np.eye(3) + (1 - change.saturation) * np.tile(LUMA, (3, 1))
    matrix = change.contrast * change.brightness * hue @ saturation
    return matrix, (1 - change.contrast) * change.brightness * grey


def mean_grey(pixels: Tensor) -> float:
    """Mean grey in 0..1 of pixels ``(H, W, S)`` that begin with RGB, from every eighth pixel of every eighth row."""
    return float(pixels[::8, ::8, :3].numpy().mean((0, 1)) @ LUMA) / 255


def _origins(change: Change, window: Window) -> tuple[Origin, Origin]:
    """Where the pixels of a moved window come from in its picture, along x and along y."""
    angle = math.radians(change.degrees)
    cos, sin = math.cos(angle) / change.scale, math.sin(angle) / change.scale
    middle_y, middle_x = window.middle
    to_x = (window.width - 1) / 2 + change.shift[0] * window.width
    to_y = (window.height - 1) / 2 + change.shift[1] * window.height
    from_x = (cos, sin, middle_x - cos * to_x - sin * to_y)
    from_y = (-sin, cos, middle_y + sin * to_x - cos * to_y)
    if change.mirror:
        from_x = (-from_x[0], -from_x[1], 2 * middle_x - from_x[2])
    return from_x, from_y


def _position_terms(origin: Origin, offsets: Sequence[float], window: Window) -> tuple[Tensor, Tensor]:
    """What a pixel's column and its row, ``(W,)`` and ``(offsets, H, 1)``, add to where it comes from along one axis.

    Fixed point, counted from the border of the first pixel: shifted right, it is the pixel that a position lies in.
    """
    along, down, start = origin
    by_column = along * np.arange(window.width)
    by_row = down * np.arange(window.height) + start + 0.5 + np.array(offsets)[:, None]
    terms = (np.round(term * (1 << FRACTION_BITS)).astype(np.int32) for term in (by_column, by_row[..., None]))
    return tuple(map(torch.from_numpy, terms))  # type: ignore[return-value]


def _spans(
    axes: tuple[Origin, Origin], sides: tuple[int, int], window: Window
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Of each row, the first and the last column that come from the picture; the last lies first where none does.

    ``sides`` are the picture's width and height.
    """
    first, last = np.zeros(window.height), np.full(window.height, window.width - 1.0)
    hair = 1e-3  # what sines and cosines leave of a pixel on the very edge
    for (a, b, c), side in zip(axes, sides, strict=True):
        low = -hair - b * np.arange(window.height) - c  # <= a x
        high = low + side - 1 + 2 * hair  # >= a x
        if abs(a) < 1e-9:
            last[(low > 0) | (high < 0)] = -1
            continue
        first = np.maximum(first, np.ceil(np.minimum(low / a, high / a)))
        last = np.minimum(last, np.floor(np.maximum(low / a, high / a)))
    # Cut off, since a picture may lie anywhere.
    return np.minimum(first, window.width).astype(np.int32), np.maximum(last, -1).astype(np.int32)
