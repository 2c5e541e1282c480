"""What a process says without a logger, ``print`` and ``warnings``, passed on as log records while somebody listens.

What is printed appears on the terminal as before; only a copy goes to the listener. File descriptors are left alone, so
what a library in C writes is not heard.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, TextIO

__all__ = ["Overhearing"]

_Listener = Callable[[logging.LogRecord], Any]


class Overhearing:
    """Replaces ``sys.stdout`` and ``warnings.showwarning`` by ones that tell a listener, too.

    Args:
        listener: Takes a record of level ``INFO`` for every printed line, of level ``WARNING`` for every warning.
    """

    def __init__(self, listener: _Listener) -> None:
        self._pid = os.getpid()
        self._listener: _Listener | None = listener
        self._stdout, self._show = sys.stdout, warnings.showwarning
        self._copying = None if self._stdout is None else _Copying(self._stdout, self._tell)
        if self._copying is not None:
            sys.stdout = self._copying
        # Bound once, since every access makes another object.
        self._replacement = self._shown
        warnings.showwarning = self._replacement

    def stop(self) -> None:
        """Put back what was there; what somebody else has put in its place since stays, and tells nobody."""
        if self._copying is not None:
            self._copying.finish()
            if sys.stdout is self._copying:
                sys.stdout = self._stdout
        if warnings.showwarning is self._replacement:
            warnings.showwarning = self._show
        self._listener = None

    def _shown(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self._show(message, category, filename, lineno, file, line)
        if file is None:
            self._tell(logging.WARNING, filename, lineno, f"{category.__name__}: {message}")

    def _tell(self, level: int, filename: str, lineno: int, text: str) -> None:
        # A forked worker shares the log's file, but does not know how long it has become.
        if self._listener is not None and os.getpid() == self._pid:
            self._listener(logging.LogRecord("stdout", level, filename, lineno, text, None, None))


class _Copying:
    """A text stream that passes on everything, and tells of whole lines.

    Args:
        stream: The stream.
        tell: Takes level, file and line of the caller, and what it printed.
    """

    def __init__(self, stream: TextIO, tell: Callable[[int, str, int, str], None]) -> None:
        self._stream = stream
        self._tell: Callable[[int, str, int, str], None] | None = tell
        self._line = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write to the stream."""
        return self._write(text, sys._getframe(1))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write to the stream."""
        for line in lines:
            self._write(line, sys._getframe(1))

    def _write(self, text: str, frame: FrameType) -> int:
        written = self._stream.write(text)
        # A log handler on stdout shows records that the log has heard already.
        if self._tell is not None and frame.f_globals.get("__name__") != "logging":
            *lines, rest = (getattr(self._line, "rest", "") + text).split("\n")
            self._line.place = frame.f_code.co_filename, frame.f_lineno
            for line in lines:
                self._say(line)
            self._line.rest = _visible(rest)
        return written

    def finish(self) -> None:
        """Tell of an unfinished line, and of nothing more."""
        self._say(getattr(self._line, "rest", ""))
        self._tell = None

    def _say(self, line: str) -> None:
        if self._tell is not None and line.strip():
            filename, lineno = self._line.place
            self._tell(logging.INFO, filename, lineno, _visible(line).rstrip("\r"))


def _visible(line: str) -> str:
    """The last of the lines that a progress bar has written over each other, with its carriage return."""
    text = line.rstrip("\r")
    return text.rpartition("\r")[2] + line[len(text) :][:1]
