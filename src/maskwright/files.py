"""Where results go, and writing them so that a reader never meets a half-written one."""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from maskwright.errors import InputError

# Results go here, where no other folder is named.
RUNS = Path("runs")
# What a temporary file is called; that of a process that was killed stays behind.
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}(\.\w+)?")


@contextmanager
def replacing(path: Path, *, keep_previous: bool = False, lasting: bool = True) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends well.

    The temporary file lies in the same folder (a rename across file systems is a copy), keeps the suffix (writers
    look at it), is flushed to the disk before the rename, and is removed when the block fails.

    Args:
        path: What is written.
        keep_previous: What ``path`` was stays as `previous_of` it, which for a moment is the only one of the two.
        lasting: The rename outlasts a power cut, too; else it may be undone by one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the name, which may already be as long as a file system takes.
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if keep_previous and path.exists():
            path.replace(previous_of(path))
        temporary.replace(path)
        if lasting:
            _flush_folder(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)  # what the user knows of
        raise
    finally:
        with suppress(OSError):  # on a disk that has become read-only; what went wrong first is what counts
            temporary.unlink()


def previous_of(path: Path) -> Path:
    """Where `replacing` keeps what a file was before: ``state.previous.pth``."""
    return path.with_stem(f"{path.stem}.previous")


def unfinished_in(folder: Path) -> list[Path]:
    """What processes that were killed left half-written in a folder."""
    return [path for path in folder.iterdir() if _UNFINISHED.fullmatch(path.name)]


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as readable JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def choose_new_folder(out: str | Path | None, name: str) -> Path:
    """The folder that a command may fill: ``out``, or a dated one of that name.

    Raises:
        InputError: ``out`` holds something already.
    """
    folder = Path(out) if out else dated_folder(name)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; choose another --out.")
    return folder


def dated_folder(name: str) -> Path:
    """A folder under ``runs/`` that nothing has used: ``<date>-<time>-<name>``."""
    stamp = datetime.now(UTC).astimezone().strftime("%Y-%m-%d-%H%M%S")
    folder = RUNS / f"{stamp}-{name}"
    attempt = 2
    while folder.exists():
        folder = RUNS / f"{stamp}-{name}-{attempt}"
        attempt += 1
    return folder


def _flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    with suppress(OSError):  # Windows and some network file systems have no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
