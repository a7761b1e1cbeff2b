"""What a signal does. Those that end a process are sent to another one."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from maskwright.signals import STOPPING, Signals, Stopped, catching_signals, leave_signals_to, undisturbed

PROGRAM = """
import os, signal
from maskwright.signals import catching_signals
with catching_signals() as signals, signals.waiting():
    os.kill(os.getpid(), signal.FIRST)
    print("goes on", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("never")
"""


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def send_in_a_block_that_asks(signals: Signals, *numbers: int) -> None:
    with signals.waiting():
        assert not signals.asked()
        send(*numbers)
        assert signals.asked()


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_raises_where_nobody_asks(number: int) -> None:
    with catching_signals() as signals:
        with pytest.raises(Stopped):
            send(number)
        assert signals.asked()


@pytest.mark.parametrize("number", STOPPING)
def test_it_waits_where_somebody_asks(number: int) -> None:
    with catching_signals() as signals, pytest.raises(Stopped):
        send_in_a_block_that_asks(signals, number)


def send_undisturbed(number: int, steps: list[str]) -> None:
    with undisturbed():
        send(number)
        steps.append("came to its end")


@pytest.mark.parametrize("number", STOPPING)
def test_it_waits_for_the_end_of_a_block_that_is_not_to_be_disturbed(number: int) -> None:
    steps: list[str] = []
    with catching_signals():
        with pytest.raises(Stopped):
            send_undisturbed(number, steps)
        send_undisturbed(signal.SIGTERM, steps)  # while all comes to its end
    assert steps == ["came to its end"] * 2


def test_such_a_block_within_one_where_somebody_asks_leaves_it_to_that() -> None:
    steps: list[str] = []
    with catching_signals() as signals:
        with suppress(Stopped), signals.waiting():
            send_undisturbed(signal.SIGTERM, steps)
            send_undisturbed(signal.SIGTERM, steps)
        assert signals.asked()
    assert steps == ["came to its end"] * 2


def test_nothing_is_begun_after_a_signal_that_was_lost() -> None:
    with catching_signals() as signals:
        signals.came = True  # Python drops what a handler raises while an object is being finalised
        with pytest.raises(Stopped), signals.waiting():
            pytest.fail("begun")


def test_later_notices_are_ignored() -> None:
    with catching_signals() as signals, pytest.raises(Stopped):
        send_in_a_block_that_asks(signals, signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM)


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_an_interrupt_after_it_ends_a_program_at_once(first: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("FIRST", first))
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("goes on\n", -signal.SIGINT)


def test_in_a_session_it_does_what_it_always_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)  # a worker of pytest's has none
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    try:
        with catching_signals() as signals:
            with pytest.raises(KeyboardInterrupt) as raised:
                send_in_a_block_that_asks(signals, signal.SIGINT, signal.SIGINT)
            assert raised.type is KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_within_a_command_catches_nothing_anew() -> None:
    with catching_signals() as outer:
        with catching_signals() as inner, pytest.raises(Stopped):
            send_in_a_block_that_asks(inner, signal.SIGTERM)
        send(signal.SIGTERM, signal.SIGUSR1)  # while the process comes to its end
        assert outer.asked()


def test_forked_processes_leave_signals_to_their_owner() -> None:
    with catching_signals():
        child = os.fork()
        if not child:
            send(signal.SIGINT, signal.SIGUSR1)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_worker_ends_for_its_parent_alone() -> None:
    begun, says = os.pipe()
    worker = os.fork()
    if not worker:
        leave_signals_to(os.getppid())
        # By somebody else. Whoever has taken the second has survived the first; one that nobody has taken yet would
        # swallow that of the parent.
        for number in (*STOPPING, signal.SIGTERM):
            send(number)
            while number in signal.sigpending():
                pass
        os.write(says, b"lives")
        os.read(os.pipe()[0], 1)
    os.close(says)
    assert os.read(begun, 5) == b"lives"
    os.kill(worker, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0


def catch_and_raise(error: BaseException) -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with catching_signals():
        assert [signal.getsignal(number) for number in STOPPING] != before
        raise error


@pytest.mark.parametrize("error", [RuntimeError, Stopped])
def test_handlers_are_restored(error: type[BaseException]) -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with pytest.raises(error):
        catch_and_raise(error())
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_outside_the_main_thread_the_answer_is_no() -> None:
    answers = []

    def ask() -> None:
        with catching_signals() as signals:
            answers.append(signals.asked())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [False]
