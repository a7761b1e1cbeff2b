"""Whether a file lost detail in compression, so that its values are no longer those that were stored."""

from pathlib import Path
from typing import BinaryIO

# Formats that change values: 0 and 255 come back as 3 and 251.
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


def has_lost_detail(path: Path) -> bool:
    """Whether a picture is a JPEG file by its name, or a WebP file that was not stored without loss."""
    suffix = path.suffix.lower()
    return suffix in LOSSY_SUFFIXES or (suffix == ".webp" and not _is_lossless_webp(path))


def _is_lossless_webp(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(12)
            return head.startswith(b"RIFF") and head.endswith(b"WEBP") and _first_pixels(file) == b"VP8L"
    except OSError:  # whoever reads the pixels says so
        return False


def _first_pixels(file: BinaryIO) -> bytes:
    """The kind of the first chunk that holds pixels; metadata and frames of an animation come before it."""
    while len(head := file.read(8)) == 8:
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind
        # A frame's own chunks follow 16 bytes of its place and duration; others are filled up to an even length.
        file.seek(16 if kind == b"ANMF" else length + length % 2, 1)
    return b""
