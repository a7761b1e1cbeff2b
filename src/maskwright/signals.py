"""A polite end: the first signal lets what is under way come to a good end, Ctrl-C after it ends the process."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Ctrl-C, the end that a system or a scheduler asks for, and Slurm's notice that it will (`--signal=USR1@120`).
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal asked to stop."""


class Signals:
    """Whether a signal came. It raises `Stopped` wherever the program is, but in `waiting`, where somebody asks."""

    def __init__(self) -> None:
        self.came = False
        self.is_waiting = False
        self.owner = os.getpid()
        self.before: dict[int, Any] = {number: signal.getsignal(number) for number in STOPPING}

    def asked(self) -> bool:
        """Whether one came."""
        return self.came

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the block come to its end by itself.

        Raises:
            Stopped: A signal came before that.
        """
        self._raise_if_asked()
        self.is_waiting = True
        try:
            yield
        finally:
            self.is_waiting = False
        self._raise_if_asked()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.came or os.getpid() != self.owner:  # forked workers end when their owner does
            return
        self.came = True
        is_program = hasattr(sys.modules["__main__"], "__file__")
        signal.signal(signal.SIGINT, signal.SIG_DFL if is_program else self.before[signal.SIGINT])
        if not self.is_waiting:
            raise Stopped

    def _raise_if_asked(self) -> None:
        if self.came:
            raise Stopped


@contextmanager
def catching_signals() -> Iterator[Signals]:
    """Catch the first of `STOPPING` and ignore the others, but for Ctrl-C, which then ends the process at once.

    It may do so, since what lies on the disk is whole at any time. In an interactive session, which should live on, it
    does what it did before. Outside the main thread Python catches no signals. Within another block of this kind it is
    that one that goes on, so that nothing is caught anew while the first signal is still obeyed.
    """
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, Signals) or threading.current_thread() is not threading.main_thread():
        yield outer if isinstance(outer, Signals) else Signals()
        return
    signals = Signals()
    try:
        for number in STOPPING:
            signal.signal(number, signals)
        yield signals
    finally:
        for number, handler in signals.before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a stop wait for the end of a block that hands work to threads or waits for them.

    Raised in the midst of it, it would leave a lock taken, for which threads then wait for ever, or free one twice.
    """
    signals = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and isinstance(signals, Signals)) or signals.is_waiting or signals.came:
        yield
        return
    with signals.waiting():
        yield


def leave_signals_to(parent: int) -> None:
    """Let nobody but its parent end this process: a group of processes is sent a signal together."""
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS and Windows do not say who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for, args=(parent,), daemon=True).start()


def _end_for(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
