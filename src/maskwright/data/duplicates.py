"""Pictures that are copies of each other although their files differ.

A picture that was saved again, resized, made brighter or cropped by a hundredth looks like another one to everything
that compares files, and a split that puts the two apart measures what was learned by heart. Different cars before one
background must not look like copies, and there are thousands of them: coarse averages propose the few pairs whose
pixels are compared. What was mirrored, turned, cropped further or clipped by brightness is not found, nor what has so
little contrast that strong JPEG compression changes it as much as another car would.
"""

import base64
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
_COARSE = 16

# Root mean square between the coarse averages of two normalised pictures. Copies of the kinds above stay
# below, except a crop where everything shown is small; of different cars in one view of a studio few pairs do.
_MOST_COARSELY_DIFFERENT = 0.2
# In a film nearly everything is proposed. Copies are among the nearest, and larger families of copies hang together by
# their nearest.
_MOST_PROPOSED = 8
# Differences by `_differences`. `tests/data/test_duplicates.py` keeps what this rests on: copies of Carvana's pictures
# stay below 0.15, different cars in its studio above 0.35, and the two most alike of 318 drawn cars above 0.2.
_MOST_DIFFERENT = 0.18
# Below this contrast, in grey levels, a picture shows too little to recognise another one by.
_LEAST_CONTRAST = 2.0
# Added to the contrast, in grey levels, that pictures are divided by: what is left of JPEG noise does not fade with it.
_NOISE = 6.0
# Pixels of a thumbnail: a crop of 1 % moves none further.
_FURTHEST = 1.0
# Of a picture's look, which a model file keeps: cells a side, and what a step of a byte is worth. Of Carvana's
# pictures, copies stay below the difference, and different cars in its studio above.
_LOOK_SIDE, _LOOK_STEP = 8, 1 / 32
_MOST_UNLIKE = 0.16
# From red, green and blue to grey and to what red and blue are above it. Dark paints differ in little else, so that
# colour counts a little more than it would by itself; much more, and what JPEG leaves of it would count.
_COLOURS = np.array([[0.299, 0.98, -0.42], [0.587, -0.82, -0.82], [0.114, -0.16, 1.24]], np.float32)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average a picture over 64x64 equal areas, whatever its aspect.

    Args:
        image: ``(H, W, C)``; three channels are taken as they are, of more the first three, of fewer the first alone.

    Returns:
        ``(64, 64, 3)``.
    """
    colours = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    picture = Image.fromarray(np.ascontiguousarray(colours))
    return np.array(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def find_near_duplicates(thumbnails: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Find the pictures that are copies of each other.

    Copies of one picture are joined by a chain of pairs, not by every pair there is: a film of a resting camera would
    have millions. Pictures that are nearly one colour are never copies. Time grows with the square of the number of
    pictures, but by tens of nanoseconds.

    Args:
        thumbnails: ``(N, 64, 64, 3)``, as `thumbnail` makes them.

    Returns:
        Pairs of indices, the smaller one first, sorted.
    """
    cell = SIDE // _COARSE
    averages = thumbnails.reshape(-1, _COARSE, cell, _COARSE, cell, 3).mean((2, 4), dtype=np.float32)
    shows_something = averages.std((1, 2)).mean(-1) >= _LEAST_CONTRAST
    coarse = _normalised(averages).reshape(-1, _COARSE * _COARSE * 3)
    family = np.arange(len(thumbnails))
    pairs = []
    for first in range(len(thumbnails)):
        if first % 64 == 0:  # the products of many rows at once take far less time
            apart = _mean_squares(coarse[first : first + 64], coarse[first:])
        row = apart[first % 64, first % 64 :]
        wanted = (row <= _MOST_COARSELY_DIFFERENT**2) & shows_something[first:] & (family[first:] != family[first])
        near = np.flatnonzero(wanted & shows_something[first])
        near = near[np.argsort(row[near], kind="stable")[:_MOST_PROPOSED]]
        differences = _differences(thumbnails[first], thumbnails[first + near])
        for second in first + near[differences <= _MOST_DIFFERENT]:
            if family[second] != family[first]:
                family[family == family[second]] = family[first]
                pairs.append((first, int(second)))
    return sorted(pairs)


def looks_of(thumbnails: NDArray[np.uint8]) -> list[str]:
    """What pictures look like: too coarsely to be seen, enough to recognise most of their copies by.

    Args:
        thumbnails: ``(N, 64, 64, 3)``, as `thumbnail` makes them.

    Returns:
        256 letters for each picture; none for one that is nearly one colour.
    """
    cell = SIDE // _LOOK_SIDE
    averages = thumbnails.reshape(-1, _LOOK_SIDE, cell, _LOOK_SIDE, cell, 3).mean((2, 4), dtype=np.float32)
    shows_something = averages.std((1, 2)).mean(-1) >= _LEAST_CONTRAST
    cells = np.round(_normalised(averages) / _LOOK_STEP).clip(-128, 127).astype(np.int8)
    return [
        base64.b64encode(own.tobytes()).decode() if shown else ""
        for own, shown in zip(cells, shows_something, strict=True)
    ]


def read_looks(looks: Iterable[str]) -> NDArray[np.float32]:
    """Looks of pictures as numbers ``(N, 8, 8, 3)``, without those that show nothing."""
    content = b"".join(base64.b64decode(look) for look in looks)
    cells = np.frombuffer(content, np.int8).reshape(-1, _LOOK_SIDE, _LOOK_SIDE, 3)
    return cells.astype(np.float32) * np.float32(_LOOK_STEP)


def look_alike(look: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pictures ``(N, 8, 8, 3)`` look like copies of one ``(8, 8, 3)``, in the worst of 4x4 blocks."""
    blocks = _LOOK_SIDE // 2
    squares = np.square(others - look).reshape(-1, blocks, 2, blocks, 2, 3)
    alike: NDArray[np.bool_] = np.sqrt(squares.mean((2, 4, 5)).max((1, 2))) <= _MOST_UNLIKE
    return alike


def _mean_squares(rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared differences between each row of one matrix and each row of another."""
    sums = np.square(rows).sum(1)[:, np.newaxis] + np.square(columns).sum(1) - 2 * rows @ columns.T
    means: NDArray[np.float32] = sums / np.float32(rows.shape[1])
    return means


def _normalised(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pictures ``(N, side, side, 3)`` as grey and colour, without their brightness, tint and contrast."""
    colours = pictures @ _COLOURS
    centred = colours - colours.mean((1, 2), keepdims=True)
    normalised: NDArray[np.float32] = centred / (centred.std((1, 2, 3), keepdims=True) + np.float32(_NOISE))
    return normalised


def _smoothed(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means over 3x3 pixels: derivatives of anything sharper do not say how a small shift changes it."""
    padded = np.pad(pictures.astype(np.float32), [(0, 0), (1, 1), (1, 1), (0, 0)], "edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    means: NDArray[np.float32] = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return means


def _differences(first: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much of a thumbnail each of others ``(N, 64, 64, 3)`` does not explain, at the worst place.

    A shift, a zoom and what is left of a gain are fitted out: the derivatives of the mean of both pictures say, up to
    the third order, how a move changes one into the other, and their order decides nothing.

    Source: Lucas and Kanade, "An iterative image registration technique" (1981); here one step about the mean.

    Returns:
        Root mean squares of what is left in the worst of 10x10 blocks, as shares of the contrast: another car in the
        same studio differs only where it stands. Its sign is averaged over 3x3 pixels, for edges leave both.
    """
    if not len(others):
        return np.zeros(0, np.float32)
    model, pictures = _normalised(_smoothed(first[np.newaxis])), _normalised(_smoothed(others))
    mean = (model + pictures) / 2
    down, right = np.gradient(mean, axis=1), np.gradient(mean, axis=2)
    places = np.linspace(-1, 1, SIDE, dtype=np.float32)[:, np.newaxis]
    zoom = right * places + down * places[:, np.newaxis]
    # Without the borders, of which a crop leaves nothing.
    inner = [part[:, 2:-2, 2:-2].reshape(len(others), -1) for part in (pictures - model, mean, down, right, zoom)]
    change, features = inner[0][:, :, np.newaxis], np.stack(inner[1:], 2)  # (N, pixels, 1), (N, pixels, 4)
    turned = features.transpose(0, 2, 1)
    # A little more on the diagonal, because a picture that is the same in all rows has no derivative down.
    amounts = np.linalg.solve(turned @ features + np.eye(4, dtype=np.float32), turned @ change)
    rest = (change - features @ amounts.clip(-_FURTHEST, _FURTHEST)).reshape(len(others), 20, 3, 20, 3, 3)
    squares = np.square(rest.mean((2, 4))).reshape(len(others), 10, 2, 10, 2 * 3)
    worst: NDArray[np.float32] = np.sqrt(squares.mean((2, 4)).max((1, 2)))
    return worst
