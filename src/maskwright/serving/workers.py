"""Where pictures are computed: a bounded number of places, and a thread with a decoder of its own for each core.

Pictures are computed side by side, each on one core, as `predict` does with many (inference/bulk.py): on a processor
that is a third faster than batches, or than one after the other on all cores, and a mask depends on nothing that is
computed beside it. docs/decisions/0027 has more.
"""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from maskwright.config import ServeLimits
from maskwright.data.input_format import InputFormat
from maskwright.errors import is_out_of_memory
from maskwright.serving.decoder import Decoder
from maskwright.serving.refusals import out_of_memory, too_busy, took_too_long

Result = TypeVar("Result")


class Places:
    """How many pictures are under way, from the first byte to the last use of memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.taken = 0

    def take(self) -> "Place":
        """One of them.

        Raises:
            Refusal: All are taken.
        """
        with self._lock:
            if self.taken == self._most:
                raise too_busy()
            self.taken += 1
        return Place(self)

    def release(self) -> None:
        """Give one back."""
        with self._lock:
            self.taken -= 1


class Place:
    """One of `Places`, held while the request is answered and for as long as its picture is computed, if longer."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._work: Future[Any] | None = None

    def keep_for(self, work: Future[Any]) -> None:
        """Hold it until this is done, too: a computation that nobody waits for any more goes on."""
        self._work = work

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is None:
            self._places.release()
        else:
            self._work.add_done_callback(lambda _: self._places.release())


class Workers:
    """Threads that compute, each with a decoder; closed with `close`, which lets them finish."""

    def __init__(self, input_format: InputFormat, limits: ServeLimits, *, number: int | None = None) -> None:
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="maskwright-serve-")
        self._threads = ThreadPoolExecutor(number or os.cpu_count(), thread_name_prefix="picture")
        self._idle: SimpleQueue[Decoder] = SimpleQueue()
        for place in range(number or os.cpu_count() or 1):
            folder = Path(self._folder.name) / f"decoder-{place}"
            most, seconds = limits.picture_pixels, limits.decode_seconds
            self._idle.put(Decoder(folder, input_format, most_pixels=most, seconds=seconds))

    async def ask(self, place: Place, work: Callable[[Decoder], Result]) -> Result:
        """Have something done with a decoder.

        Args:
            place: Held for it.
            work: Called in one of the threads.

        Raises:
            Refusal: It takes too long or too much memory; or whatever ``work`` raises.
        """
        future = self._threads.submit(self._run, work)
        place.keep_for(future)
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise took_too_long(self._limits.request_seconds) from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory() from error

    def close(self) -> None:
        """Let what is computed be finished, and end the decoders."""
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().close()
        self._folder.cleanup()

    def _run(self, work: Callable[[Decoder], Result]) -> Result:
        decoder = self._idle.get()  # there are as many as threads
        try:
            return work(decoder)
        finally:
            self._idle.put(decoder)
