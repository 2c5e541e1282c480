"""Inside of ``CaughtInterrupts``, as of a main loop, the first signal is noted and the second ends the process."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import emloop as el
from emloop.types import TrainingTerminated
from emloop.utils import CaughtInterrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def send(number):
    os.kill(os.getpid(), number)
    # A handler runs between two steps of the interpreter, at the latest here.
    signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_raised_when_somebody_looks(number, caplog):
    """Nothing is interrupted; two warnings say what will happen."""
    with CaughtInterrupts() as caught:
        caught.raise_check_interrupt()
        send(number)
        with pytest.raises(TrainingTerminated, match=signal.Signals(number).name):
            caught.raise_check_interrupt()

    assert isinstance(caught, CaughtInterrupts)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_signal_ends_the_process_at_once(first, second):
    """With the status that a shell gives to a process that a signal has ended."""
    with CaughtInterrupts():
        send(first)
        with pytest.raises(SystemExit) as stop:
            send(second)

    assert stop.value.code == 128 + second


def test_every_block_starts_anew():
    """What came in an earlier one has been dealt with."""
    caught = CaughtInterrupts()
    with caught:
        send(signal.SIGINT)
    with caught:
        caught.raise_check_interrupt()


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_the_block_handlers_are_what_they_were(number):
    """Before, after, and after an error inside."""
    received = []
    before = signal.signal(number, lambda *_: received.append(number))
    try:
        caught = CaughtInterrupts()
        send(number)
        with pytest.raises(RuntimeError), caught:
            raise RuntimeError
        send(number)
        caught.raise_check_interrupt()
    finally:
        signal.signal(number, before)

    assert received == [number, number]
    assert SIGNALS == list(CaughtInterrupts.INTERRUPT_SIGNALS)


def test_it_does_no_harm_in_another_thread():
    """Where Python cannot install handlers: notebooks and servers train there."""
    entered = []

    def work():
        with CaughtInterrupts() as caught:
            caught.raise_check_interrupt()
            entered.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert entered == [True]


def test_a_hook_that_fails_at_the_beginning_leaves_no_handler_behind():
    """Hooks that have begun are ended, too; those behind it are not."""
    events = []

    class Note(el.AbstractHook):
        def __init__(self, name):
            super().__init__()
            self._name = name

        def before_training(self):
            events.append(f"{self._name} begins")
            if self._name == "b":
                raise RuntimeError("b")

        def after_training(self, success):
            events.append(f"{self._name} ends {success}")

    class Model:
        input_names = output_names = ()

        def run(self, batch, train):
            return {}

    before = [signal.getsignal(number) for number in SIGNALS]
    loop = el.MainLoop(Model(), object(), [Note("a"), Note("b"), Note("c")])
    with pytest.raises(RuntimeError, match="b"), loop:
        events.append("never")

    assert events[:2] == ["a begins", "b begins"]
    assert "a ends False" in events
    assert "c ends False" not in events
    assert "never" not in events
    assert [signal.getsignal(number) for number in SIGNALS] == before
