"""Work on many files at once."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from maskwright.signals import undisturbed

Item = TypeVar("Item")
Result = TypeVar("Result")

# Under way or waiting to be fetched; bounds the memory of results, and the wait of someone who interrupts.
AHEAD = 32
# Pixels that all threads together decode at a time. A picture takes some 12 bytes for each while it is read.
PIXELS_AT_A_TIME = 40_000_000


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None, ahead: int = AHEAD
) -> Iterator[Result]:
    """Apply a function to each item, in order; files are read, hashed and decoded outside the interpreter's lock.

    >>> list(in_threads(str.upper, "abc"))
    ['A', 'B', 'C']

    Args:
        function: Called in several threads at once.
        items: Taken in the thread that takes the results, as they are needed.
        threads: How many; by default a few more than there are cores.
        ahead: Items that are under way or waiting to be fetched.
    """
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            with undisturbed():
                pending.append(pool.submit(function, item))
            if len(pending) == ahead:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())
    finally:
        with undisturbed():
            pool.shutdown(cancel_futures=True)


def _result(future: Future[Result]) -> Result:
    with undisturbed():
        return future.result()


def limit_pixels(most: int = PIXELS_AT_A_TIME) -> Callable[[int], AbstractContextManager[None]]:
    """Something to hold while so many pixels are decoded; who asks for more than there are gets them alone."""
    free, changed = most, threading.Condition()

    @contextmanager
    def hold(pixels: int) -> Iterator[None]:
        nonlocal free
        taken = min(pixels, most)
        with changed:
            changed.wait_for(lambda: free >= taken)
            free -= taken
        try:
            yield
        finally:
            with changed:
                free += taken
                changed.notify_all()

    return hold
