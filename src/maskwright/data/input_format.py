"""Stored pixels of any depth and number of channels to the 0..255 that everything after sees.

The scale is decided once, from the pictures that are learnt from, and stands in the model file: never by the picture at
hand, which would look different beside other pictures.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class InputFormat:
    """What the pictures of a model look like when they are stored.

    Attributes:
        channels: 3 for photographs, grey ones included; any other number for pictures that have so many.
        low: Of each channel of pictures with more than 8 bits, the stored value that becomes 0. Empty where all
            pictures have 8 bits.
        high: Likewise, the value that becomes 255.
    """

    channels: int = 3
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
