"""One run in a folder at a time: a lock that dies with the process, however that ends."""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from maskwright import terminal
from maskwright.errors import InputError

LOCK = ".lock"

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(1 << 30)  # a byte that nobody reads: here a lock keeps readers out as well
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        # Not `flock`: that lock belongs to the open file, which forked processes share, so a worker that outlives a
        # killed run would hold it. This one belongs to the process, and network file systems know it too.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other run out of a folder, which is made where there is none and goes again if nothing is put in it.

    Raises:
        InputError: Another run has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    try:
        with _open_locked(path):
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows removes no file that is open
                    path.unlink()
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _open_locked(path: Path) -> BinaryIO:
    """Open a file and lock it; its content says by whom."""
    while True:
        file = path.open("ab+", buffering=0)
        try:
            _lock(file)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                file.seek(0)
                holder = file.read().decode(errors="replace") or "a process that has just begun"
                file.close()
                raise InputError(
                    f"A run is at work in {path.parent} ({holder}): wait for its end, or choose another --out."
                ) from error
            terminal.warn(f"{path.parent} is on a disk without locks ({error.strerror}): start no second run in it.")
        if _is_still_there(file, path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            return file
        file.close()  # its run ended, and took the name away, between the two


def _is_still_there(file: BinaryIO, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False
