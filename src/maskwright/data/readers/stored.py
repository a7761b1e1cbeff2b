"""What a picture file holds, and how its pixels are brought upright."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# What brings stored pixels upright, by the EXIF orientation; all of them are views.
TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}

Mode = Literal["colour", "grey", "palette", "1 bit", "CMYK", "channels"]


@dataclass(frozen=True)
class Stored:
    """What a picture file holds, as far as that shows without its pixels.

    Attributes:
        height: Upright, in pixels.
        width: Likewise.
        orientation: EXIF orientation that is applied on reading, 1 to 8; 1 is upright already.
        mode: How the pixels are meant; "channels" where the file holds neither grey nor colour.
        channels: As many as `read_pixels` gives.
        dtype: Name of the stored numbers' type, such as "uint8".
        has_alpha: Whether `read_alpha` finds a channel.
    """

    height: int
    width: int
    orientation: int
    mode: Mode
    channels: int
    dtype: str
    has_alpha: bool = False

    @property
    def is_deep(self) -> bool:
        """Whether the numbers need a range to become 0..255."""
        return self.dtype not in ("uint8", "bool")


def array_mode(channels: int) -> Mode:
    """How numbers of so many channels are meant."""
    return "grey" if channels == 1 else "colour" if channels == 3 else "channels"


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Bring a stored picture ``(H, W, ...)`` upright, by its EXIF orientation."""
    turned = TURNS.get(orientation)
    return pixels if turned is None else np.ascontiguousarray(turned(pixels))
