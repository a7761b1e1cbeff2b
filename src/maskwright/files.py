"""Where results go, and writing them so that a reader never meets a half-written one."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from maskwright.errors import InputError

# Results go here, where no other folder is named.
RUNS = Path("runs")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends well.

    The temporary file lies in the same folder (a rename across file systems is a copy), keeps the suffix (writers
    look at it), is flushed to the disk before the rename, and is removed when the block fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the name, which may already be as long as a file system takes.
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
