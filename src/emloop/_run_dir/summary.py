"""What listings show of runs; each file of a run is read once, when it is first needed.

A line of ``metrics.jsonl`` holds the variables of an epoch as numbers, or as their aggregations:
``{"valid": {"loss": {"mean": 0.3, "std": 0.1}}}``. Their names: ``valid.loss``, which is the mean, ``valid.loss.std``.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

from emloop._support.files import open_file
from emloop.constants import EL_CONFIG_FILE, EL_METRICS_FILE, EL_RUN_FILE, EL_TRACE_FILE
from emloop.errors import RunDirError

from .config import FlatConfig, KnownConfigs, RunConfig, read_config
from .info import Kind, RunInfo, read_info
from .layout import attempt_config, is_run_dir, run_places
from .trace import MISSING, Extremum, Status, Trace, effective_status, read_trace

_LAST = datetime.max.replace(tzinfo=UTC)
_TAIL = 1 << 16  # bytes; an epoch's line is much shorter, as a rule
_LONGEST_LINE = 16 << 20  # bytes; a longer one is no epoch's
_MEAN = "mean"
_NO_JSON_NUMBERS = {word: float(word) for word in ("nan", "inf", "-inf")}


class RunSummary:
    """A run at a glance; whatever is broken in it becomes its ``problem``.

    Args:
        path: The run directory.
        known: Configurations that runs listed together may share.
    """

    def __init__(self, path: Path | str, known: KnownConfigs | None = None) -> None:
        self._place = os.fspath(path)  # paths would take a third of the time of a listing
        self._known = known

    @cached_property
    def path(self) -> Path:
        """The run directory."""
        return Path(self._place)

    @cached_property
    def name(self) -> str:
        """The directory's name."""
        last = self._place.rpartition("/")[2]
        return last if last not in ("", ".", "..") else self.path.resolve().name

    @cached_property
    def trace(self) -> Trace:
        """Its trace."""
        return read_trace(self._place)

    @cached_property
    def _info(self) -> RunInfo | RunDirError | None:
        try:
            return read_info(self._place)
        except RunDirError as error:
            # A run of emloop 0.2 has no run.json, but a trace.
            is_old = not os.path.lexists(f"{self._place}/{EL_RUN_FILE}") and self.trace.problem != MISSING
            return None if is_old else error

    @property
    def info(self) -> RunInfo | None:
        """Its ``run.json``; ``None`` if there is none (emloop 0.2 wrote none) or it is damaged."""
        return self._info if isinstance(self._info, RunInfo) else None

    @cached_property
    def status(self) -> Status:
        """How it really stands."""
        status = effective_status(self._place, self.trace)
        if status == "lost":
            # It may have ended since its trace was read; now that nobody holds the lock, the trace is final.
            self.trace = read_trace(self._place)
            status = effective_status(self._place, self.trace)
        if status == "unknown" and self.trace.problem == MISSING:
            # Killed before it could write a trace.
            return "lost"
        return status

    @cached_property
    def problem(self) -> str | None:
        """What is damaged, in one line; ``None`` for a sound run, and for a live one, which may be writing just now."""
        problems = []
        if isinstance(self._info, RunDirError):
            problems.append(str(self._info))
        if self.trace.problem is not None:
            problems.append(f"{self.path / EL_TRACE_FILE}: {self.trace.problem}")
        return "; ".join(problems) if problems and self.status != "running" else None

    @property
    def kind(self) -> Kind:
        """Whether it trains or evaluates; a run of emloop 0.2 does not say, and counts as a training."""
        return self.info.kind if self.info else "training"

    @property
    def epochs_done(self) -> int:
        """Training epochs done; those after the trace was last written, if it is no final one, are in the metrics."""
        done, in_metrics = self.trace.epochs_done, 0 if self.trace.end else self.metrics.get("epoch_id")
        return max(done, in_metrics) if isinstance(in_metrics, int) else done

    @cached_property
    def begin(self) -> datetime | None:
        """When it began, with its offset; ``None`` if unknown."""
        return self.trace.begin or (self.info.created if self.info else None)

    @property
    def end(self) -> datetime | None:
        """When it ended, with its offset; ``None`` if it has not, or if unknown."""
        return self.trace.end

    @property
    def duration(self) -> float | None:
        """Seconds that its attempts have taken, without the time between them; ``None`` if unknown."""
        trace = self.trace
        if self.status != "running":
            return trace.spent
        since = trace.as_of or self.begin
        return None if since is None else (trace.seconds or 0.0) + (datetime.now(UTC) - since).total_seconds()

    @cached_property
    def configuration(self) -> RunConfig:
        """Its newest configuration; empty if it cannot be read."""
        # A run whose second attempt has not begun has one configuration, and no directory is searched for others.
        is_first = self.trace.attempts == 1 and not os.path.lexists(f"{self._place}/{attempt_config(2)}")
        return read_config(self._place, EL_CONFIG_FILE if is_first else None, self._known)

    @property
    def config(self) -> FlatConfig:
        """The same, flat: ``model.lr`` → value."""
        return self.configuration.flat

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """The last whole line of ``metrics.jsonl``; empty if there is none."""
        return last_line(self._place, EL_METRICS_FILE)

    def metric(self, name: str, extremum: Extremum | None = None) -> Any:
        """A number that the hooks have left of an epoch, e.g. ``valid.loss``.

        Args:
            name: Stream, variable and, unless the mean is wanted, aggregation, with dots between them.
            extremum: The smallest or largest of all epochs instead of the last epoch's; those in which it is no number
                are left out.

        Returns:
            The number (or text, where a hook has left some), ``None`` if there is none.
        """
        if extremum is None:
            return metric_of(self.metrics, name)
        best = self.best(name, extremum)
        return None if best is None else metric_of(best, name)

    def best(self, name: str, extremum: Extremum) -> Mapping[str, Any] | None:
        """The line of the first epoch in which a number was smallest or largest; ``None`` if it never was one."""
        sign = 1 if extremum == "min" else -1
        numbers = ((sign * value, record) for record in self.records() if (value := _number(record, name)) is not None)
        return min(numbers, key=itemgetter(0), default=(0, None))[1]

    def of_epoch(self, number: int) -> Mapping[str, Any]:
        """The line of an epoch; empty if there is none."""
        return next((record for record in self.records() if record.get("epoch_id") == number), {})

    def records(self) -> Iterator[Mapping[str, Any]]:
        """All whole lines of ``metrics.jsonl``."""
        with contextlib.suppress(OSError), os.fdopen(open_file(f"{self._place}/{EL_METRICS_FILE}")[0], "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if line.endswith(b"\n"):
                    yield _record(line)


def last_line(run: Path | str, name: str) -> Mapping[str, Any]:
    """The last whole line of a run's metrics, read from the end of the file; empty if there is none."""
    try:
        descriptor, size = open_file(f"{run}/{name}")
    except OSError:
        return {}
    # No file object, no context: a listing does this thousands of times.
    try:
        return _last_record(descriptor, size)
    except OSError:
        return {}
    finally:
        os.close(descriptor)


def list_runs(root: Path | str, *, recursive: bool = False) -> list[RunSummary]:
    """All runs in a directory, earliest begin first, those without a known begin last.

    Args:
        root: A directory of runs; a run directory stands for itself.
        recursive: Whether to look into directories that are no runs, too.

    Raises:
        RunDirError: If the root is not a directory.
    """
    return summaries([root] if is_run_dir(root) else run_places(root, recursive=recursive))


def summaries(places: Iterable[Path | str]) -> list[RunSummary]:
    """Run directories at a glance, in the order of :func:`list_runs`."""
    known: KnownConfigs = {}
    found = [RunSummary(place, known) for place in places]
    return sorted(found, key=lambda summary: (summary.begin or _LAST, summary.name))


def _last_record(descriptor: int, size: int) -> Mapping[str, Any]:
    length = min(_TAIL, size)
    while 0 < length <= _LONGEST_LINE:
        lines = os.pread(descriptor, length, size - length).split(b"\n")
        # The first one may have begun before, the last one may not have ended yet.
        for line in reversed(lines[length < size : -1]):
            if record := _record(line):
                return record
        if length == size:
            break
        length = min(4 * length, size)
    return {}


def metric_of(record: Mapping[str, Any], name: str) -> Any:
    """The value of a metric in a line: a number, ``True``, ``False`` or text; ``None`` if there is none."""
    return _plain(_inner(record, name))


def _plain(value: Any) -> Any:
    """A value as a number, ``True``, ``False`` or text; of statistics, the mean; ``None`` for all else."""
    if isinstance(value, dict):
        value = value.get(_MEAN)
    if isinstance(value, str):
        return _NO_JSON_NUMBERS.get(value, value)
    return value if isinstance(value, bool | int | float) else None


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = metric_of(record, name)
    return value if isinstance(value, int) or (isinstance(value, float) and not math.isnan(value)) else None


def metric_names(record: Mapping[str, Any]) -> Iterator[str]:
    """Names of all metrics in a line."""
    return (name for name, _ in metrics_of(record))


def metrics_of(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of all metrics in a line, in its order; values as :func:`metric_of` has them."""
    for stream, variables in record.items():
        # A stack, since a stranger's line may nest as deep as JSON can.
        waiting = [(f"{stream}.{name}", value) for name, value in _reversed(variables)]
        while waiting:
            name, value = waiting.pop()
            if not isinstance(value, dict) or _MEAN in value:
                yield name, _plain(value)
            waiting += [(f"{name}.{inner}", item) for inner, item in _reversed(value) if inner != _MEAN]


def _reversed(value: Any) -> list[tuple[str, Any]]:
    return list(value.items())[::-1] if isinstance(value, dict) else []


def _inner(record: Any, name: str) -> Any:
    """The value below a name; its parts are keys, some of which may hold dots themselves."""
    if not isinstance(record, dict) or name in record:
        return record.get(name) if isinstance(record, dict) else None
    parts = name.split(".")
    for end in range(1, len(parts)):
        key, rest = ".".join(parts[:end]), ".".join(parts[end:])
        if key in record and (found := _inner(record[key], rest)) is not None:
            return found
    return None


def _record(line: bytes) -> Mapping[str, Any]:
    """A line as a record; empty if a crash has torn it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
