"""``trace.yaml``: the status of a run, for people and for quick listings.

Everything in it is derived; what a resume needs stands in the commits. Moments are naive and local, as older readers
expect, all in the one offset that ``timezone`` names, so that durations are right across a change of the clocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed_timezone
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from emloop._state.lock import is_held
from emloop._support.files import atomic_write
from emloop._yaml import quick as yaml_quick
from emloop._yaml.dump import dump
from emloop.constants import EL_TRACE_FILE
from emloop.errors import ConfigError, RunDirError

from .reading import read_small

__all__ = ["MISSING", "Status", "Trace", "effective_status", "local_now", "local_timezone", "read_trace", "write_trace"]

Status = Literal["running", "done", "failed", "stopped", "lost", "unknown"]
"""``stopped``: ended by a signal, can be resumed. ``lost``: died without saying so. ``unknown``: the trace says nothing
that could be trusted. Only the first four are ever written."""

MISSING: Final = "missing"
"""``problem`` of the trace of a directory that has none."""

T = TypeVar("T")

_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


@dataclass(frozen=True)
class Trace:
    """The content of a trace, in the order of the file.

    Args:
        train_begin: When the run began, naive, in ``timezone``.
        train_end: When it ended; ``None`` while it has not.
        epochs_done: Training epochs done.
        exit_status: Exit status of the process, ``None`` while it has not ended.
        timezone: Offset of the moments from UTC, e.g. ``+01:00``; ``None``: the reader's own.
        status: How the run stands, according to itself; see :func:`effective_status`.
        reason: Why it ended, in words.
        attempts: How many processes have worked on it.
        streams: Name of a stream → how exactly it can be resumed.
        host: Where the last process ran.
        pid: Its id there.
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
    host: str | None = None
    pid: int | None = None
    problem: str | None = None

    @property
    def begin(self) -> datetime | None:
        """When the run began, with its offset."""
        return _aware(self.train_begin, self.timezone)

    @property
    def end(self) -> datetime | None:
        """When the run ended, with its offset."""
        return _aware(self.train_end, self.timezone)


def local_timezone() -> str:
    """This moment's offset of the local time from UTC, e.g. ``+01:00``."""
    return datetime.now(UTC).astimezone().isoformat(timespec="minutes")[16:]


def local_now(timezone: str | None = None) -> datetime:
    """This moment, naive, in an offset from UTC or in local time."""
    return datetime.now(UTC).astimezone(_parse_offset(timezone)).replace(tzinfo=None)


def write_trace(directory: Path, trace: Trace) -> None:
    """Replace the trace, so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: If it cannot be written; the old one is still there.
    """
    content = {name: getattr(trace, name) for name in _WRITTEN}
    content["streams"] = dict(trace.streams)
    atomic_write(directory / EL_TRACE_FILE, dump(content))


def read_trace(directory: Path) -> Trace:
    """Read a trace of any age; one that is missing or damaged has a ``problem`` and the status ``unknown``.

    Takes a mapping and the ordered map that emloop 0.2 wrote, whole or in part. A value of the wrong type counts as
    absent.
    """
    path = directory / EL_TRACE_FILE
    try:
        content = yaml_quick.load(read_small(path), str(path))
    except FileNotFoundError:
        return Trace(problem=MISSING)
    except OSError as error:
        return Trace(problem=f"cannot be read: {error.strerror or error}")
    except ConfigError as error:
        return Trace(problem=f"is damaged: {str(error).splitlines()[0]}")
    if not isinstance(content, Mapping):
        return Trace(problem="is damaged: it is not a mapping")
    return _parse(content)


def effective_status(directory: Path, trace: Trace) -> Status:
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
    timezone = _of_type(content.get("timezone"), str)
    if _parse_offset(timezone) is None:
        timezone = None
    begin = _naive(content.get("train_begin"), timezone)
    end = _naive(content.get("train_end"), timezone)
    exit_status = _of_type(content.get("exit_status"), int)
    streams = content.get("streams")
    return Trace(
        train_begin=begin,
        train_end=end,
        epochs_done=_of_type(content.get("epochs_done"), int) or 0,
        exit_status=exit_status,
        timezone=timezone,
        status=_status(content, begin, end, exit_status),
        reason=_of_type(content.get("reason"), str),
        attempts=_of_type(content.get("attempts"), int) or 0,
        streams={str(name): str(level) for name, level in streams.items()} if isinstance(streams, Mapping) else {},
        host=_of_type(content.get("host"), str),
        pid=_of_type(content.get("pid"), int),
    )


def _status(
    content: Mapping[Any, Any], begin: datetime | None, end: datetime | None, exit_status: int | None
) -> Status:
    if "status" in content:
        return next((word for word in _WRITTEN_STATUS if word == content["status"]), "unknown")
    # emloop 0.2 wrote no status.
    if exit_status is not None:
        return "failed" if exit_status else "done"
    return "running" if begin is not None and end is None else "unknown"


def _of_type(value: Any, kind: type[T]) -> T | None:
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _naive(moment: Any, timezone: str | None) -> datetime | None:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return _of_type(moment, datetime)
    try:
        return moment.astimezone(_parse_offset(timezone)).replace(tzinfo=None)
    except (OverflowError, ValueError):
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


def _parse_offset(text: str | None) -> fixed_timezone | None:
    match = _OFFSET.fullmatch(text or "")
    if match is None or int(match[2]) > 23 or int(match[3]) > 59:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return fixed_timezone(-offset if match[1] == "-" else offset)


_WRITTEN = tuple(entry.name for entry in fields(Trace) if entry.name != "problem")
_WRITTEN_STATUS: tuple[Status, ...] = ("running", "done", "failed", "stopped")
