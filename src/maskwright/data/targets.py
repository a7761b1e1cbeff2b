"""Soft targets packed small: what share of each training pixel belongs to which class.

With two classes, one byte holds the foreground's share. With more, a pixel seldom lies on more than two of them: the
largest, the second and how the two share it take three bytes, whatever the number of classes. Pictures in which some
pixels do not count have a further byte for that.
"""

import numpy as np
from numpy.typing import NDArray

from maskwright.data.image_files import resize_mask
from maskwright.data.labels import IGNORED

# Of pixels that do not count by more than half, what remains says too little.
LEAST_WEIGHT = 0.5


def pack_target(mask: NDArray[np.uint8], num_classes: int, height: int, width: int) -> NDArray[np.uint8]:
    """Average a mask over the area of each new pixel. Where it is enlarged, each takes its nearest old one.

    Args:
        mask: Class indices ``(H, W)``; `IGNORED` where a pixel does not count.
        num_classes: The background included.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        ``(height, width, P)``. With two classes one plane: the share of the pixel that counts and is foreground,
        0..255. With more three: the largest class, the second, and the share of the largest in the two of them. One
        plane more where any pixel is ignored: the share of the pixel that counts.
    """
    counts = mask != IGNORED
    planes = [resize_mask(mask == 1, height, width)] if num_classes == 2 else _two_largest(mask, height, width)
    if not counts.all():
        planes.append(resize_mask(counts, height, width))
    return np.stack(planes, axis=-1)


def unpack_target(
    packed: NDArray[np.uint8], num_classes: int, target: NDArray[np.float32], weight: NDArray[np.float32]
) -> None:
    """Write the share of each class, and how much each pixel counts.

    Args:
        packed: ``(H, W, P)`` from `pack_target`; of two classes it may have been averaged since.
        num_classes: The background included.
        target: Takes the shares among what counts, ``(K, H, W)`` in 0..1; ``K`` is 1, the foreground, for two classes.
        weight: Takes the share that counts, ``(1, H, W)``, or 0 where that is less than half.
    """
    if num_classes == 2:
        _unpack_share(packed[..., 0], target[0])
    else:
        share = np.empty(packed.shape[:2], np.float32)
        _unpack_share(packed[..., 2], share)
        target[:] = 0
        # The largest last: where there is no second, that may have the same index.
        np.put_along_axis(target, packed[None, ..., 1].astype(np.intp), 1 - share[None], axis=0)
        np.put_along_axis(target, packed[None, ..., 0].astype(np.intp), share[None], axis=0)
    if packed.shape[2] == _target_planes(num_classes):
        weight[:] = 1
        return
    _unpack_share(packed[..., -1], weight[0])
    weight[weight < LEAST_WEIGHT] = 0
    if num_classes == 2:  # what was kept is the share among all of the pixel
        target[:] = np.where(weight > 0, np.minimum(target / np.maximum(weight, LEAST_WEIGHT), 1), 0)


def _target_planes(num_classes: int) -> int:
    """Bytes of a packed pixel, that of the share which counts left out."""
    return 1 if num_classes == 2 else 3


def _two_largest(mask: NDArray[np.uint8], height: int, width: int) -> list[NDArray[np.uint8]]:
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORED + 1)[:IGNORED])
    classes = present.astype(np.uint8) if len(present) else np.zeros(1, np.uint8)
    shares = np.stack([resize_mask(mask == index, height, width) for index in classes])
    first = shares.argmax(0)[None]
    largest = np.take_along_axis(shares, first, 0)[0].astype(np.uint16)
    np.put_along_axis(shares, first, 0, 0)
    second = shares.argmax(0)[None]
    both = largest + np.take_along_axis(shares, second, 0)[0]
    share = np.round(255 * largest / np.maximum(both, 1)).astype(np.uint8)
    return [classes[first[0]], classes[second[0]], share]


def _unpack_share(plane: NDArray[np.uint8], share: NDArray[np.float32]) -> None:
    np.multiply(plane, np.float32(1 / 255), out=share, dtype=np.float32)
