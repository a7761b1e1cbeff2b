"""Work on many files at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Under way or waiting to be fetched; bounds the memory of results, and the wait of someone who interrupts.
AHEAD = 32


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply a function to each item, in order; files are read, hashed and decoded outside the interpreter's lock.

    >>> list(in_threads(str.upper, "abc"))
    ['A', 'B', 'C']
    """
    pool = ThreadPoolExecutor()
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) == AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
