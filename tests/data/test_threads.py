import os
import signal
from pathlib import Path

import pytest

from maskwright.data.threads import AHEAD, in_threads
from maskwright.signals import Stopped, catching_signals


def test_results_come_in_order_however_many_there_are() -> None:
    assert list(in_threads(lambda value: value * 2, range(3 * AHEAD))) == list(range(0, 6 * AHEAD, 2))


def test_items_are_taken_only_as_results_are() -> None:
    taken: list[int] = []
    results = in_threads(abs, (taken.append(value) or value for value in range(1000)))  # type: ignore[func-returns-value]
    next(results)
    assert len(taken) == AHEAD


def test_an_error_is_raised_where_its_result_is_due() -> None:
    results = in_threads(lambda value: 1 // value, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_stop_does_not_disturb_what_threads_wait_for() -> None:
    """Raised within their locks, it left some of them taken, and others were freed twice."""

    def ask_to_stop(number: int) -> None:
        if number == AHEAD:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as raised, catching_signals():
        for _ in in_threads(ask_to_stop, range(2 * AHEAD)):
            pass
    assert not {Path(entry.path).name for entry in raised.traceback} & {"threading.py", "thread.py", "_base.py"}
