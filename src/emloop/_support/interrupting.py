"""What a signal ends at once: code whose effect can be thrown away.

A signal that asks to stop only leaves a mark, since in the middle of a batch or a commit nothing may be torn. In code
that says so, its handler raises :class:`Interrupted` as well: inside ``with interruptible("exporting the model"):``,
and in functions that are marked. Marks cost nothing until a signal arrives, which then looks at the frames in progress.

Code that swallows the exception, or does not come back from C for ten seconds, is named in the log.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any, ClassVar, TypeVar

__all__ = [
    "WAITING",
    "Interrupted",
    "Watchdog",
    "arrived",
    "interruptible",
    "interruptible_function",
    "is_interrupted",
    "raise_if_interruptible",
    "region",
    "uninterrupted",
]

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
What = str | None
"""What is given up by a signal; ``None``: this must not be torn."""

WAITING = "waiting for the next batch"

PATIENCE = 10.0
"""Seconds that code may take to end after a signal before it is named."""

arrived: list[int] = []
"""Signals since the outermost block that catches them was entered; only their handler adds to it."""
_regions: list[str] = []  # of the main thread, the innermost last
_marks: dict[CodeType, What | Callable[[FrameType], What]] = {}


class Interrupted(KeyboardInterrupt):
    """A signal asks to stop; what is in progress is thrown away.

    Libraries know a ``KeyboardInterrupt`` as what nobody has to handle, and clean up after.
    """


def is_interrupted() -> bool:
    """Whether a signal has asked to stop, so that nothing long should begin."""
    return bool(arrived)


def region() -> str | None:
    """What takes long and can be given up at the moment, as :func:`interruptible` was told."""
    try:
        return _regions[-1]
    except IndexError:
        return None


@contextmanager
def interruptible(what: str) -> Generator[None]:
    """Let a signal end the block at once, because its effect can be thrown away.

    What has to be put back, whatever happens, belongs into :func:`uninterrupted` functions. Only for the main thread,
    where Python runs handlers; without effect in others.

    Args:
        what: What the block does, such as ``exporting the model``; ends up in messages.

    Raises:
        Interrupted: If a signal arrives, or has arrived already.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _raise_if_arrived()
    _regions.append(what)
    try:
        yield
    finally:
        if _regions:  # none are left once a signal has been raised
            _regions.pop()


def interruptible_function(what: str | Callable[[FrameType], What]) -> Callable[[F], F]:
    """Mark a function like a block of :func:`interruptible`, but without any cost when it is called.

    Args:
        what: What it does, or a function that tells this from its frame while it waits for another one; ``None`` for
            nothing that could be given up.
    """

    def mark(function: F) -> F:
        _marks[_code(function)] = what
        return function

    return mark


def uninterrupted(function: F) -> F:
    """Mark a function whose work is finished before a signal is raised, e.g. what puts things back.

    Of a context manager made from a generator, both ends are finished.
    """
    _marks[_code(function)] = None
    return function


def raise_if_interruptible(frame: FrameType | None) -> None:
    """Called by a handler of signals.

    Args:
        frame: What was in progress.

    Raises:
        Interrupted: If that can be thrown away.
    """
    what = _in_progress(frame)
    if what is not None:
        logger.info("Gave up %s", what)
        _raise_if_arrived()


def _raise_if_arrived() -> None:
    if arrived:
        _regions.clear()
        raise Interrupted(f"interrupted by {signal.Signals(arrived[0]).name}")


def _in_progress(innermost: FrameType | None) -> What:
    frame = innermost
    while frame is not None:
        mark = _marks.get(frame.f_code, "")
        what = mark if mark is None or isinstance(mark, str) else frame is not innermost and mark(frame)
        if what or mark is None:
            return what or None
        frame = frame.f_back
    return _regions[-1] if _regions else None


def _code(function: Any) -> CodeType:
    code: CodeType = getattr(function, "__wrapped__", function).__code__
    return code


class Watchdog:
    """Names what goes on for too long after a signal, in a thread that sleeps until one arrives.

    Only between ``start`` and ``stop``. Python tells it of a signal even while the main thread is in C code, where no
    handler of Python's runs.
    """

    running: ClassVar[bool] = False

    def __init__(self, numbers: Collection[int]) -> None:
        self._numbers = numbers
        self._ended = threading.Event()
        self._pipe: tuple[int, int] | None = None

    def start(self) -> None:
        """Begin to watch, unless somebody else (an event loop) is told of signals already."""
        self._ended.clear()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        others = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if others != -1:
            signal.set_wakeup_fd(others)
            os.close(reading)
            os.close(writing)
            return
        self._pipe, Watchdog.running = (reading, writing), True
        threading.Thread(target=self._watch, args=(reading,), name="signals", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._pipe is not None:
            signal.set_wakeup_fd(-1)
            Watchdog.running = False
            os.close(self._pipe[1])  # which ends the thread, and with it the other end
            self._pipe = None

    def heard(self) -> None:
        """The signal has reached whoever ends the training."""
        self._ended.set()

    def _watch(self, reading: int) -> None:
        with suppress(OSError), open(reading, "rb", buffering=0) as signals:
            number = next((byte[0] for byte in iter(lambda: signals.read(1), b"") if byte[0] in self._numbers), None)
            if number is not None and not self._ended.wait(PATIENCE):
                frame = sys._current_frames().get(threading.main_thread().ident or 0)
                what = _in_progress(frame)
                logger.warning(
                    "%s: still in %s%s; a second signal stops at once",
                    signal.Signals(number).name,
                    "the batch in progress" if what is None else what,
                    "" if frame is None else f", at {_place(frame)}",
                )


def _place(frame: FrameType) -> str:
    file = PurePath(frame.f_code.co_filename)
    return f"{file.parent.name}/{file.name}:{frame.f_lineno} ({frame.f_code.co_name})"


def _forget() -> None:
    # A worker process that is forked meanwhile is not asked to stop, and must not report its signals to this one.
    arrived.clear()
    _regions.clear()
    if Watchdog.running:
        Watchdog.running = False
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget)
