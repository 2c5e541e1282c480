"""Where things are drawn: lines that stay, and below them one line that changes.

A terminal's changing line leaves the cursor at its start, so that even what is written past all of Python lands on a
line of its own. What Python code prints, or logs, to the terminal meanwhile goes above it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TextIO, cast

from .bar import Bar
from .wording import Line, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Area", "Notebook", "Plain", "Terminal"]

Live = Bar | str | None
"""What the changing line is about: a stream in progress, something else that takes long, or nothing."""

_WIDEST_BAR = 40
_NARROWEST_BAR = 5
_NOTEBOOK_LINES = 500
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Area:
    """Somewhere to draw.

    Attributes:
        seconds: Between two drawings of the changing line.
        live: Whether there is a line that changes; elsewhere, a plain one is added.
    """

    seconds: ClassVar[float] = 0.2
    live: ClassVar[bool] = True

    def __init__(self) -> None:
        self.lock = threading.RLock()

    @property
    def width(self) -> int:
        """Number of columns."""
        return 100

    def open(self) -> None:
        """Begin to draw."""

    def close(self) -> None:
        """Leave only the lines that stay; may be opened again."""

    def add(self, lines: Iterable[Line]) -> None:
        """Add lines that stay."""

    def change(self, live: Live) -> None:
        """Draw the changing line anew."""


class Plain(Area):
    """Lines of text for files, pipes and simple terminals: no control characters, each line flushed.

    Args:
        output: Where to write; ``None``: nowhere.
    """

    seconds = 30.0
    live = False

    def __init__(self, output: TextIO | None) -> None:
        super().__init__()
        self._output = output

    @property
    def width(self) -> int:
        """No end, so that an epoch is one line."""
        return sys.maxsize

    def add(self, lines: Iterable[Line]) -> None:
        """Write lines."""
        if self._output is None:
            return
        try:
            for line in lines:
                self._output.write(f"{_encodable(plain(line), self._output)}\n")
            self._output.flush()
        except BrokenPipeError:
            # Whoever reads has seen enough, as `head`: the same as a terminal that is closed, once.
            self._output = None
            if callable(signal.getsignal(signal.SIGHUP)) and threading.current_thread() is threading.main_thread():
                signal.raise_signal(signal.SIGHUP)
        except (OSError, ValueError):
            pass  # a full disk, or a stream that was closed: nothing that should end a training

    def change(self, live: Live) -> None:
        """Write a line."""
        if live is not None:
            self.add([[(live.text() if isinstance(live, Bar) else live, "")]])


class Terminal(Area):
    """A terminal.

    Args:
        output: The terminal.
    """

    def __init__(self, output: TextIO) -> None:
        self.lock = _of_terminals  # which runs of several threads may share
        from rich.console import Console  # noqa: PLC0415 - only when something is drawn

        self._output = output
        self._console = Console(file=cast("TextIO", _Encoded(output)), force_terminal=True, highlight=False)
        self._drawn = False
        self._unfinished = False
        self._replaced: list[tuple[str, Any, _Above]] = []

    @property
    def width(self) -> int:
        """Number of columns; the last one stays free, since some terminals break the line after it."""
        return max(self._console.width - 1, 1)

    def open(self) -> None:
        """Begin to draw, and send what is printed above the changing line."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                above = _Above(stream, self)
                self._replaced.append((name, stream, above))
                setattr(sys, name, above)
        _open.append(self)

    def close(self) -> None:
        """Erase the changing line, and give the streams back, unless somebody else has replaced them since."""
        with self.lock:
            self.erase()
            while self._replaced:
                name, stream, above = self._replaced.pop()
                above.area = None
                if getattr(sys, name) is above:
                    setattr(sys, name, stream)
            if self in _open:
                _open.remove(self)

    def forget(self) -> None:
        """In a process that was forked from this one: draw nothing, and wait for no thread that is not here."""
        for _, _, above in self._replaced:
            above.area = None

    def add(self, lines: Iterable[Line]) -> None:
        """Write lines above the changing one."""
        from rich.text import Text  # noqa: PLC0415

        with self.lock, suppress(OSError, ValueError):
            self.erase()
            for line in lines:
                self._console.print(Text.assemble(*line), soft_wrap=True)  # a path, or a command, can be copied whole

    def change(self, live: Live) -> None:
        """Draw the changing line, unless somebody is about to print in its place."""
        from rich.segment import Segments  # noqa: PLC0415

        with self.lock, suppress(OSError, ValueError):
            if self._unfinished:
                return
            if live is None:
                self.erase()
                return
            console, width = self._console, self.width
            lines = console.render_lines(_drawing(live, width), console.options.update_width(width), pad=False)
            with console:  # written in one go, so that nothing flickers
                self.erase()
                console.print(Segments(lines[0]), end="\r")
                self._drawn = True

    def erase(self) -> None:
        """Erase the changing line."""
        if self._drawn or len(_open) > 1:
            from rich.control import Control  # noqa: PLC0415
            from rich.segment import ControlType  # noqa: PLC0415

            self._drawn = False
            with suppress(OSError, ValueError):  # a terminal that was closed must not turn a stop into a failure
                self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))

    def wrote(self, text: str) -> None:
        """Note whether a line is unfinished after what was written."""
        ends = "\n" in text or "\r" in text
        rest = _ESCAPES.sub("", re.split("[\r\n]", text)[-1])
        self._unfinished = bool(rest) or (self._unfinished and not ends)


class Notebook(Area):
    """The output of a notebook's cell: one display, drawn anew as a whole."""

    seconds = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []
        self._live: Live = None
        self._display: Any = None

    def open(self) -> None:
        """Put the display where the cell is now."""
        self._lines, self._live = [], None
        display = sys.modules["IPython"].display.display  # which is there in every notebook
        self._display = display(self._bundle(), raw=True, display_id=True)

    def close(self) -> None:
        """Take the changing line away."""
        self.change(None)

    def add(self, lines: Iterable[Line]) -> None:
        """Add lines, of which a display shows the last 500."""
        with self.lock:
            self._lines += lines
            del self._lines[:-_NOTEBOOK_LINES]
            self._show()

    def change(self, live: Live) -> None:
        """Draw the changing line anew."""
        self._live = live
        self._show()

    def _show(self) -> None:
        with self.lock:
            if self._display is not None:
                self._display.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        from io import StringIO  # noqa: PLC0415

        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console(
            file=StringIO(), record=True, width=self.width, force_jupyter=False, force_terminal=True, highlight=False
        )
        for line in self._lines:
            console.print(Text.assemble(*line, no_wrap=True, overflow="ignore"), crop=False)
        if self._live is not None:
            console.print(_drawing(self._live, self.width))
        code = '<pre style="line-height:normal;white-space:pre;overflow-x:auto">{code}</pre>'
        html = console.export_html(code_format=code, inline_styles=True, clear=False)
        return {"text/html": html, "text/plain": console.export_text()}


def _drawing(live: Bar | str, width: int) -> RenderableType:
    """A bar with what belongs beside it, as far as there is room; or a line that says what takes so long."""
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if isinstance(live, str):
        return Text(live, style="dim", no_wrap=True, overflow="ellipsis")
    details, total = live.details(), live.total
    while details and len(live.stream) + 1 + len(" ".join(details)) > width:
        details.pop()
    room = width - len(live.stream) - 2 - len(" ".join(details))
    grid = Table.grid(padding=(0, 1))
    bar = (
        []
        if total is None or room < _NARROWEST_BAR
        else [ProgressBar(total=max(total, 1), completed=live.done if total else 1, width=min(room, _WIDEST_BAR))]
    )
    for _ in range(2 + len(bar)):
        grid.add_column(no_wrap=True, overflow="crop")
    grid.add_row(Text(live.stream, style="bold"), *bar, Text(" ".join(details)))
    return grid


class _Above:
    """A text stream to the terminal whose text appears above the changing line."""

    def __init__(self, stream: Any, area: Terminal) -> None:
        self._stream = stream
        self.area: Terminal | None = area

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write to the stream."""
        area = self.area
        if area is None:
            return int(self._stream.write(text))
        with area.lock:
            area.erase()
            written = int(self._stream.write(text))
            area.wrote(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write to the stream."""
        for line in lines:
            self.write(line)


class _Encoded:
    """A terminal that gets a ``?`` for what it cannot show."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._stream.write(_encodable(text, self._stream))


def _encodable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


_open: list[Terminal] = []
_of_terminals = threading.RLock()


def _forget() -> None:
    global _of_terminals  # noqa: PLW0603
    _of_terminals = threading.RLock()
    for area in _open:
        area.forget()
    _open.clear()


os.register_at_fork(after_in_child=_forget)
