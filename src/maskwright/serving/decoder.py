"""Pictures decoded in a process that can be ended, from the server's side; see `decoding`."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskwright.data.input_format import InputFormat
from maskwright.serving.decoding import NAMES, write_format, write_line
from maskwright.serving.refusals import Refusal, decoding_too_slow

# A pipe holds 64 KiB by default, for which a photograph would wait a hundred times; Linux gives any user so much.
PIPE_BYTES = 2**20

Kind = Literal["picture", "mask"]
Room = Callable[[int], AbstractContextManager[None]]


class Decoder:
    """One process, which decodes one picture after the other; for one thread at a time.

    Args:
        folder: Where it may write; its own.
        input_format: Of the model that will see the pictures.
        most_pixels: Of a picture.
        seconds: That a picture may take; the process is ended then, and another one started for the next picture.
    """

    def __init__(self, folder: Path, input_format: InputFormat, *, most_pixels: int, seconds: float) -> None:
        self._seconds = seconds
        self._folder = folder
        folder.mkdir()
        self._command = [sys.executable, "-m", "maskwright.serving.decoding", str(folder)]
        self._command += [write_format(input_format), str(most_pixels)]
        self._process = self._start()

    @contextmanager
    def decoded(self, content: bytes, kind: Kind, room: Room) -> Iterator[NDArray[Any]]:
        """A picture as the model sees it ``(H, W, C)``, or the stored values of a mask.

        Args:
            content: Of the file.
            kind: Which of them.
            room: Held from the moment its size is known, with its number of pixels.

        Raises:
            Refusal: It cannot be read, is too large, or takes too long.
            MemoryError: There is no room for its pixels.
        """
        head = self._ask(content, kind)
        if "refused" in head:
            raise Refusal(*head["refused"])
        with ExitStack() as held:
            try:
                held.enter_context(room(head["shape"][0] * head["shape"][1]))
                pixels = np.empty(head["shape"], head["dtype"])
                if not _fill(self._answers, pixels):
                    raise _ended(kind)
            except BaseException:
                self.close()  # what is still in its pipe would be taken for the next picture's
                raise
            yield pixels

    def close(self) -> None:
        """End the process, and leave nothing behind."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._orders, self._answers):
            with suppress(BrokenPipeError):  # of what was still to be sent
                pipe.close()
        for left_behind in self._folder.iterdir():
            left_behind.unlink()

    def _ask(self, content: bytes, kind: Kind) -> dict[str, Any]:
        if self._process.poll() is not None:
            self.close()
            self._process = self._start()
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            self._process.kill()

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            write_line(self._orders, {"kind": kind, "bytes": len(content)})
            self._orders.write(content)
            self._orders.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if line and not is_late.is_set():
            head: dict[str, Any] = json.loads(line)
            return head
        self.close()
        if is_late.is_set():
            raise decoding_too_slow(self._seconds)
        raise _ended(kind)

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to a terminal's whole group
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        _widen(process.stdout)
        process.stdout.readline()  # it is ready: what it takes to start is no picture's time
        return process

    @property
    def _orders(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        return self._process.stdin

    @property
    def _answers(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        return self._process.stdout


def _ended(kind: Kind) -> Refusal:
    sentence = f"{NAMES[kind]} is damaged in a way that ends its decoder; save it again in another program."
    return Refusal(422, "unusable_picture", sentence)


def _fill(file: IO[bytes], pixels: NDArray[Any]) -> bool:
    """Read pixels to where they are to be; whether all of them came."""
    rest = pixels.reshape(-1).view(np.uint8).data
    while rest:
        number: int = file.readinto(rest)  # type: ignore[attr-defined] # pipes have it, whatever typeshed says
        if not number:
            return False
        rest = rest[number:]
    return True


def _widen(pipe: IO[bytes]) -> None:
    """Let more wait in a pipe, where the system can."""
    with suppress(ImportError, AttributeError, OSError):  # not Unix; not Linux; more than this user may have
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
