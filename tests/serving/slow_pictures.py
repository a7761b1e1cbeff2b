"""Small files that take decoders long."""

import io

from PIL import Image

# Scans after the first; each is a walk over all of the picture's blocks.
SCANS = 200_000


def endless_jpeg(side: int = 2000) -> bytes:
    """A progressive JPEG file whose last scan comes again and again: a few MB, hours to decode."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * SCANS + b"\xff\xd9"
