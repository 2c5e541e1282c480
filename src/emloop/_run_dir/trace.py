"""How a run stands: ``trace.yaml`` for people, ``status.json`` with the same for listings.

All of it is derived; what a resume needs is in the commits. Moments are naive and local, as older readers expect, all
in the one offset that ``timezone`` names, so that durations are right across a change of the clocks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed_timezone
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

from emloop._state.lock import is_held
from emloop._support.files import atomic_write
from emloop._yaml.dump import dump
from emloop.constants import EL_RUN_FILE, EL_STATUS_FILE, EL_TRACE_FILE
from emloop.errors import ConfigError, RunDirError

from .info import read_attempts, read_yaml, write_yaml

EndStatus = Literal["done", "failed", "stopped"]
Status = EndStatus | Literal["running", "lost", "unknown"]
"""``stopped``: ended by a signal, can be resumed. ``lost``: died without a word. ``unknown``: the trace says nothing
that could be trusted. The last two are never written."""

MISSING: Final = "missing"
"""``problem`` of the trace of a directory that has none."""

Extremum = Literal["min", "max"]

T = TypeVar("T")

_STATUSES: Mapping[Any, Status] = {word: word for word in ("running", *get_args(EndStatus))}
_LONGEST = 1e10
"""Seconds, some 300 years; a longer span is nobody's training."""
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


class Watched(NamedTuple):
    """A metric that a hook watches.

    Args:
        metric: Its name, such as ``valid.loss``.
        better: Whether the smallest or the largest is the best.
        saved_as: Suffix of the model that is saved when it is best; empty if none is.
    """

    metric: str
    better: Extremum = "min"
    saved_as: str = ""


@dataclass(frozen=True)
class Trace:
    """The content of a trace, in the order of the file.

    Args:
        train_begin: Begin of the run, naive, in ``timezone``.
        train_end: Its end; ``None`` before.
        epochs_done: Training epochs done.
        exit_status: Exit status of the process; ``None`` before its end.
        timezone: Offset of the moments from UTC, e.g. ``+01:00``; ``None``: the reader's own.
        status: How the run stands, according to itself; see :func:`effective_status`.
        reason: Why it ended, in words.
        attempts: Number of processes that have worked on it.
        streams: Name of a stream → how exactly it can be resumed.
        monitored: What its hooks watch, those that save models first.
        host: Machine of the last process.
        pid: Its id there.
        nan: Where the loss was not a number first; ``None`` if it never was, as far as the run has noticed.
        other_data: How the data differ from those of the run that is evaluated, or resumed; ``None`` if they do not.
        seconds: Time spent on it when this was written: that of all attempts, but none between them; ``None`` in runs
            of emloop 0.2.
        written: When this was written, naive, in ``timezone``.
        problem: Why the file could not be read, :data:`MISSING` if there is none; not part of the file.
    """

    train_begin: datetime | None = None
    train_end: datetime | None = None
    epochs_done: int = 0
    exit_status: int | None = None
    timezone: str | None = None
    status: Status = "unknown"
    reason: str | None = None
    attempts: int = 0
    streams: Mapping[str, str] = field(default_factory=dict)
    monitored: tuple[Watched, ...] = ()
    host: str | None = None
    pid: int | None = None
    nan: str | None = None
    other_data: str | None = None
    seconds: float | None = None
    written: datetime | None = None
    problem: str | None = None

    @property
    def begin(self) -> datetime | None:
        """When the run began, with its offset."""
        return _aware(self.train_begin, self.timezone)

    @property
    def spent(self) -> float | None:
        """Seconds that its attempts have taken so far, none of the time between them; ``None`` if unknown."""
        if self.seconds is None and self.begin is not None and self.end is not None:
            return (self.end - self.begin).total_seconds()
        return self.seconds

    @property
    def as_of(self) -> datetime | None:
        """When it was written, with its offset."""
        return _aware(self.written, self.timezone)

    @property
    def end(self) -> datetime | None:
        """When the run ended, with its offset."""
        return _aware(self.train_end, self.timezone)


def local_timezone() -> str:
    """The present offset of the local time from UTC, e.g. ``+01:00``."""
    return datetime.now(UTC).astimezone().isoformat(timespec="minutes")[16:]


def local_now(timezone: str | None = None) -> datetime:
    """This moment, naive, in an offset from UTC or in local time."""
    return datetime.now(UTC).astimezone(_parse_offset(timezone)).replace(tzinfo=None)


def write_trace(directory: Path, trace: Trace) -> None:
    """Replace the trace, and in a run ``status.json``; a reader sees the old or the new state, never a part.

    Raises:
        OSError: If a file cannot be written; the old one is still there.
    """
    content = {entry.name: getattr(trace, entry.name) for entry in fields(Trace) if entry.name != "problem"}
    content |= {"streams": dict(trace.streams), "monitored": [seen._asdict() for seen in trace.monitored]}
    path, text = directory / EL_TRACE_FILE, dump(content)
    if (directory / EL_RUN_FILE).exists():
        data = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in content.items()}
        write_yaml(path, text, EL_STATUS_FILE, data)
    else:  # a directory of the user's own, see the hook TrainingTrace
        atomic_write(path, text)


def read_trace(directory: Path | str) -> Trace:
    """Read a trace of any age; one that is missing or damaged has a ``problem`` and the status ``unknown``.

    Takes a mapping and the ordered map that emloop 0.2 wrote, whole or in part. A value of the wrong type counts as
    absent.
    """
    try:
        content = read_yaml(directory, EL_TRACE_FILE, EL_STATUS_FILE)
    except FileNotFoundError:
        return Trace(problem=MISSING)
    except OSError as error:
        return Trace(problem=f"cannot be read: {error.strerror or error}")
    except ConfigError as error:
        return Trace(problem=f"is damaged: {str(error).splitlines()[0]}")
    if not isinstance(content, Mapping):
        return Trace(problem="is damaged: it is not a mapping")
    trace = _parse(content)
    return _ended(trace, directory) if trace.status == "running" else trace


def effective_status(directory: Path | str, trace: Trace) -> Status:
    """How a run really stands: it is running while its lock is held, and lost if it only claims to run."""
    try:
        held = is_held(directory)
    except RunDirError:
        # Only the lock could tell.
        return "unknown" if trace.status == "running" else trace.status
    if held:
        return "running"
    return "lost" if trace.status == "running" else trace.status


def _parse(content: Mapping[Any, Any]) -> Trace:
    def typed(key: str, kind: type[T]) -> T | None:
        value = content.get(key)
        return value if type(value) is kind else None

    timezone = typed("timezone", str)
    if _parse_offset(timezone) is None:
        timezone = None
    begin, end = (_naive(content.get(key), timezone) for key in ("train_begin", "train_end"))
    exit_status, status = typed("exit_status", int), content.get("status")
    if "status" not in content:  # emloop 0.2 wrote none
        status = "failed" if exit_status else "done" if exit_status == 0 else "running" if begin and not end else None
    streams, monitored = typed("streams", dict) or {}, typed("monitored", list) or ()
    return Trace(
        train_begin=begin,
        train_end=end,
        epochs_done=typed("epochs_done", int) or 0,
        exit_status=exit_status,
        timezone=timezone,
        status=_STATUSES.get(status, "unknown") if isinstance(status, str) else "unknown",
        reason=typed("reason", str),
        attempts=typed("attempts", int) or 0,
        streams={str(name): str(level) for name, level in streams.items()},
        monitored=tuple(seen for item in monitored if (seen := _watched(item))),
        host=typed("host", str),
        pid=typed("pid", int),
        nan=typed("nan", str),
        other_data=typed("other_data", str),
        seconds=_seconds(content.get("seconds")),
        written=_naive(content.get("written"), timezone),
    )


def _watched(item: Any) -> Watched | None:
    if not isinstance(item, Mapping) or not isinstance(metric := item.get("metric"), str):
        return None
    return Watched(metric, "max" if item.get("better") == "max" else "min", str(item.get("saved_as", "")))


def _seconds(value: Any) -> float | None:
    is_span = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LONGEST
    return float(value) if is_span else None


def _ended(trace: Trace, directory: Path | str) -> Trace:
    """A trace corrected by ``attempts.jsonl``: a kill may come after the line of an attempt's end, before its trace."""
    for record in read_attempts(directory):
        status = next((word for word in get_args(EndStatus) if word == record.get("status")), None)
        if record["attempt"] == trace.attempts and record.get("event") == "end" and status is not None:
            reason, code = record.get("reason"), record.get("exit_status")
            end, seconds = _naive(record.get("time"), trace.timezone), trace.seconds
            if end is not None and trace.written is not None and seconds is not None:
                seconds += max((end - trace.written).total_seconds(), 0)
            return replace(
                trace,
                train_end=end,
                seconds=seconds,
                status=status,
                reason=reason if isinstance(reason, str) else None,
                exit_status=code if isinstance(code, int) else None,
            )
    return trace


def _naive(moment: Any, timezone: str | None) -> datetime | None:
    """A moment in an offset; it is a text where it comes from JSON."""
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if isinstance(moment, datetime):
            return moment.astimezone(_parse_offset(timezone)).replace(tzinfo=None) if moment.tzinfo else moment
    except (OverflowError, ValueError):
        pass
    return None


def _aware(moment: datetime | None, timezone: str | None) -> datetime | None:
    if moment is None:
        return None
    offset = _parse_offset(timezone)
    try:
        return moment.replace(tzinfo=offset) if offset else moment.astimezone()
    except (OverflowError, ValueError, OSError):
        # Years 1 and 9999 have no moment in every offset.
        return None


@lru_cache(maxsize=64)
def _parse_offset(text: str | None) -> fixed_timezone | None:
    match = _OFFSET.fullmatch(text or "")
    if match is None or int(match[2]) > 23 or int(match[3]) > 59:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return fixed_timezone(-offset if match[1] == "-" else offset)
