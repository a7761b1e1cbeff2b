import os
import signal
import threading

import pytest

from maskwright.training.signals import catching_signals

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks(number: signal.Signals) -> None:
    with catching_signals() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()


def test_the_second_signal_has_its_usual_effect() -> None:
    with catching_signals() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert asked()


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with catching_signals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_handlers_are_restored_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(RuntimeError), catching_signals():
        raise RuntimeError("no more memory")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_outside_the_main_thread_the_answer_is_no() -> None:
    answers = []

    def ask() -> None:
        with catching_signals() as asked:
            answers.append(asked())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [False]
