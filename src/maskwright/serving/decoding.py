"""The process that decodes what strangers send: ``python -m maskwright.serving.decoding FOLDER FORMAT PIXELS``.

It is a process of its own so that it can be ended: a picture of a few kilobytes can keep a decoder busy for hours (a
progressive JPEG file of thousands of scans), and one that makes a decoder crash takes nothing with it. `decoder` is the
other side.

An order is a line of JSON, ``{"kind": "picture" or "mask", "bytes": number}``, and the content of the file; the answer
a line, ``{"shape": [...], "dtype": name}``, and the pixels, or ``{"refused": [status, code, sentence]}``.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maskwright.data.image_files import describe, read_mask_values
from maskwright.data.input_format import InputFormat, read_image
from maskwright.data.readers.refusals import TooManyPixelsError
from maskwright.errors import InputError, MissingExtraError
from maskwright.serving.refusals import Refusal, too_many_pixels

# What pictures are called in sentences, in place of a path that nobody knows.
NAMES = {"picture": "The picture", "mask": "The mask"}
# "Send me this signal when the thread that started me ends." Source: prctl(2), <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Decode what comes on standard input, until it ends."""
    folder, input_format, most_pixels = Path(sys.argv[1]), read_format(sys.argv[2]), int(sys.argv[3])
    end_with_the_server()
    for number in (signal.SIGINT, signal.SIGTERM):  # a service manager sends them to all; the server says when
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints
    Image.init()  # formats are imported when the first picture is looked at, whose time that is not
    write_line(answers, {"ready": True})
    orders = sys.stdin.buffer
    while line := orders.readline():
        order = json.loads(line)
        file = folder / order["kind"]
        file.write_bytes(orders.read(order["bytes"]))
        try:
            pixels = np.ascontiguousarray(decode(file, order["kind"], input_format, most_pixels))
        except Refusal as refusal:
            write_line(answers, {"refused": [refusal.status, refusal.code, refusal.message]})
        else:
            write_line(answers, {"shape": pixels.shape, "dtype": pixels.dtype.name})
            answers.write(pixels.data)
            answers.flush()
        finally:
            file.unlink()


def end_with_the_server() -> None:
    """Have the system end this process when the server is no more, in the midst of a picture too.

    A server that ends well ends its decoders itself; one that is killed cannot. Elsewhere than on Linux the decoder
    notices at the end of its pipe, once it is done with its picture; so it does here where the server ended before.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def decode(file: Path, kind: str, input_format: InputFormat, most_pixels: int) -> NDArray[Any]:
    """The picture as a model sees it ``(H, W, C)``, or the stored values of a mask.

    Raises:
        Refusal: It cannot be read, or is too large.
    """
    try:
        stored = describe(file)
        if stored.height * stored.width > most_pixels:
            raise too_many_pixels(most_pixels)
        return read_mask_values(file) if kind == "mask" else read_image(file, input_format)
    except TooManyPixelsError as error:
        raise too_many_pixels(most_pixels) from error
    except InputError as error:
        sentence = str(error).replace(str(file), NAMES[kind])
        if isinstance(error, MissingExtraError) or isinstance(error.__cause__, UnidentifiedImageError):
            raise Refusal(415, "not_a_picture", sentence) from error
        raise Refusal(422, "unusable_picture", sentence) from error


def read_format(text: str) -> InputFormat:
    """An input format from the JSON that `write_format` makes of it."""
    channels, low, high = json.loads(text)
    return InputFormat(channels, tuple(low), tuple(high))


def write_format(input_format: InputFormat) -> str:
    """An input format as JSON."""
    return json.dumps([input_format.channels, input_format.low, input_format.high])


def write_line(file: IO[bytes], content: object) -> None:
    """Send a line of JSON."""
    file.write(json.dumps(content).encode() + b"\n")
    file.flush()


if __name__ == "__main__":
    main()
