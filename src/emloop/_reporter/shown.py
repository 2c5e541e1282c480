"""The reporter that shows something, wherever that is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from emloop._support.interrupting import region
from emloop._support.printable import printable
from emloop.types import Batch, EpochData

from .areas import Area
from .bar import Bar
from .reporter import Facts, Reading, Reporter
from .table import Table
from .wording import Cells, Line, cells_of, fold, number, short_time

__all__ = ["Shown"]

_NARROWEST = 20
_FILES = 6
"""Most files that the summary names."""

_PICTURES_AND_TABLES = {".csv", ".png", ".svg", ".pdf", ".jpg", ".html"}


class Shown(Reporter):
    """Header, a line an epoch, a changing line, summary.

    Args:
        area: Where to draw.
        clock: Seconds since some moment, never going back.
    """

    def __init__(self, area: Area, clock: Callable[[], float] = time.monotonic) -> None:
        self._area = area
        self._clock = clock
        self._facts = Facts()
        self._table = Table()
        self._bar: Bar | None = None
        self._waiting: tuple[str, float] | None = None
        self._doing = ""
        self._epoch_began = self._began = clock()
        self._noted: Cells = {}
        self._trained: list[tuple[int, float]] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.totals: dict[str, int] = {}
        """Stream → number of its batches when it was last read."""
        self.log: Callable[[str], None] | None = None
        """Gets the plain lines about the progress as well."""

    @property
    def _width(self) -> int:
        return max(self._area.width, _NARROWEST)

    def open(self, doing: str = "") -> None:
        """Begin to draw; what was opened before stays as it is.

        Args:
            doing: What takes long now.
        """
        if self._thread is not None:
            return
        self._doing = doing
        self._began = self._epoch_began = self._clock()
        self._area.open()
        self._ended.clear()
        self._thread = threading.Thread(target=self._draw_again, args=(self._ended,), name="reporter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End drawing; a second call does nothing."""
        if self._thread is not None:
            self._ended.set()
            self._bar, self._doing = None, ""
            self._area.close()
            if self._thread is not threading.current_thread() and self._thread.is_alive():
                self._thread.join()
            self._thread = None

    def begin(self, facts: Facts) -> None:
        """Draw the header."""
        self.open()
        self._facts, self._table = facts, Table(facts.monitored)
        for line in facts.history:
            inside = "epoch_id" not in line
            where = f"after batch {line.get('batches')}" if inside else f"in epoch {line['epoch_id']}"
            self._table.learn(where, cells_of(line))
        self._area.add(self._header())
        self._began = self._epoch_began = self._clock()
        self._doing = "the first batches"

    def reading(self, reading: Reading) -> None:
        """Begin a bar."""
        total = reading.total if reading.total is not None else self.totals.get(reading.stream)
        self._bar = Bar(reading, total, self._clock, self._noted)
        self._reading = reading

    def saw(self, outputs: Batch) -> None:
        """Keep the loss for the bar."""
        if self._bar is not None:
            self._bar.saw(outputs)

    def read(self) -> None:
        """End the bar."""
        bar, self._bar = self._bar, None
        if bar is not None:
            self.totals[self._reading.stream] = bar.done  # here, so that the epoch's own commit has it
            if self._reading.trains or self._facts.evaluates:
                self._trained.append((bar.run, bar.seconds))
            self._doing = "hooks"

    def epoch_done(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Add the epoch's line."""
        cells, seconds = cells_of(epoch_data), self._clock() - self._epoch_began
        batches, spent = (sum(part) for part in zip(*self._trained, strict=True)) if self._trained else (0, 0.0)
        rate, width = batches / spent if spent > 0 and batches else None, self._width
        if self._facts.evaluates:
            lines = self._table.items("evaluated", cells, set(), seconds, rate, width)
        elif not self._area.live:
            best = self._table.learn(f"in epoch {epoch_id}", cells)
            lines = self._table.items(f"epoch {epoch_id}", cells, best, seconds, rate, width)
        else:
            lines = self._table.rows(epoch_id, cells, seconds, rate, width)
        self._area.add(lines)
        self._trained.clear()
        self._doing = ""
        self._epoch_began = self._clock()

    def evaluated(self, batches: int, epoch_data: EpochData) -> None:
        """Add a line beside those of the epochs."""
        where, cells = f"after batch {batches}", cells_of(epoch_data)
        self._area.add(self._table.items(where, cells, self._table.learn(where, cells), None, None, self._width))

    def noted(self, data: EpochData) -> None:
        """Keep running means for the bar, which a thread may be drawing."""
        self._noted = self._noted | cells_of(data)
        if self._bar is not None:
            self._bar.noted = self._noted

    def end(self, status: str, reason: str) -> None:
        """Draw the summary, and end drawing."""
        if self._thread is None:
            return
        self.close()
        if status != "failed":  # of which the log says everything
            self._area.add(self._summary(status, reason))

    def _draw_again(self, ended: threading.Event) -> None:
        """Draw the changing line every now and then, in a thread, so that it costs no batch anything."""
        while not ended.wait(self._area.seconds):
            with self._area.lock:
                if ended.is_set():
                    return
                bar = self._bar
                if bar is not None:
                    self._waiting = None
                    self._area.change(bar)
                    if self._area.live:
                        self._reading.look_soon()
                    elif self.log is not None:
                        self.log(bar.text())
                else:
                    self._area.change(self._what_takes_long())

    def _what_takes_long(self) -> str | None:
        doing = region() or self._doing
        if not doing:
            self._waiting = None
            return None
        if self._waiting is None or self._waiting[0] != doing:
            self._waiting = doing, self._clock()
        return f"{doing} … {short_time(self._clock() - self._waiting[1])}"

    def _header(self) -> Iterator[Line]:
        facts, width = self._facts, self._width
        if facts.directory is not None:
            yield [("Run directory: ", "dim"), (printable(_short(facts.directory)), "bold")]
        for paragraph in facts.paragraphs:
            yield from fold(
                ([("  " * (not at), ""), (printable(item), "dim")] for at, item in enumerate(paragraph)), width
            )

    def _summary(self, status: str, reason: str) -> Iterator[Line]:
        facts, width = self._facts, self._width
        if reason:
            what = "Evaluation" if facts.evaluates else "Training"
            words = f"{what} terminated: {printable(reason)}".split()
            yield from fold(([(word, "")] for word in words), width, " ")
        for monitored, (where, value) in self._table.best.items():
            what = f"{printable(monitored.stream)} {printable(monitored.variable)}"
            yield [("Best: ", "dim"), (f"{what} {number(value)} {printable(where)}", "bold")]
        if facts.directory is not None:
            files = _written(facts.directory)
            if files:
                items = [[(("  " * (not at)) + printable(name), "")] for at, name in enumerate(files[:_FILES])]
                more = [[(f"and {len(files) - _FILES} more", "dim")]] if len(files) > _FILES else []
                yield [("In ", "dim"), (printable(_short(facts.directory)), ""), (":", "dim")]
                yield from fold([*items, *more], width)
        for at, command in enumerate(facts.next_commands(status)):
            yield [("Next: " if not at else "      ", "dim"), (printable(command), "")]


def _short(path: Path) -> str:
    """A path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _written(directory: Path) -> list[str]:
    """Saved models, pictures and tables in a run directory."""
    found: list[str] = []
    with suppress(OSError):
        for entry in sorted(directory.iterdir()):
            if entry.name.startswith("model_") or (entry.suffix in _PICTURES_AND_TABLES and entry.is_file()):
                found.append(entry.name)
            elif entry.is_dir() and entry.name not in ("checkpoints", "program"):
                inside = (file for file in sorted(entry.iterdir()) if file.suffix in _PICTURES_AND_TABLES)
                found += [f"{entry.name}/{file.name}" for file in inside]
    return found
