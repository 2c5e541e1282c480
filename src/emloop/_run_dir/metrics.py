"""Reading ``metrics.jsonl``: a line of numbers per epoch, which a live run may be writing to at this moment.

A variable stands there as a number, or as its aggregations: ``{"valid": {"loss": {"mean": 0.3, "std": 0.1}}}``. It goes
by ``valid.loss``, which is the mean, and ``valid.loss.std``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from emloop._support.files import open_inside
from emloop.constants import EL_METRICS_FILE

__all__ = ["Extremum", "extreme_metric", "last_metrics", "metric_names", "metric_of"]

Extremum = Literal["min", "max"]

_TAIL = 1 << 16  # bytes; an epoch's line is much shorter, as a rule
_MEAN = "mean"
_NO_JSON_NUMBERS = {word: float(word) for word in ("nan", "inf", "-inf")}


def last_metrics(directory: Path) -> Mapping[str, Any]:
    """The last whole line, read from the end of the file; empty if there is none."""
    try:
        descriptor = open_inside(directory, EL_METRICS_FILE)
    except OSError:
        return {}
    try:
        size = os.fstat(descriptor).st_size
        length = min(_TAIL, size)
        while True:
            lines = os.pread(descriptor, length, size - length).split(b"\n")
            # The first one may have begun before, the last one may not have ended yet.
            for line in reversed(lines[1 if length < size else 0 : -1]):
                if record := _record(line):
                    return record
            if length == size:
                return {}
            length = min(4 * length, size)
    except OSError:
        return {}
    finally:
        os.close(descriptor)


def extreme_metric(directory: Path, name: str, extremum: Extremum) -> float | None:
    """The smallest or largest value of a metric in all epochs, those in which it is no number left out."""
    values = (metric_of(record, name) for record in _records(directory))
    numbers = [value for value in values if isinstance(value, int | float) and not _is_nan(value)]
    if not numbers:
        return None
    return min(numbers) if extremum == "min" else max(numbers)


def metric_of(record: Mapping[str, Any], name: str) -> Any:
    """The value of a metric in a line: a number, ``True``, ``False`` or text; ``None`` if there is none."""
    value = _inner(record, name)
    if isinstance(value, Mapping):
        value = value.get(_MEAN)
    if isinstance(value, str):
        return _NO_JSON_NUMBERS.get(value, value)
    return value if isinstance(value, bool | int | float) else None


def metric_names(record: Mapping[str, Any]) -> Iterator[str]:
    """Names of all metrics in a line."""
    for stream, variables in record.items():
        if isinstance(variables, Mapping):
            yield from _names(variables, f"{stream}.")


def _is_nan(value: float) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _names(variables: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in variables.items():
        if not isinstance(value, Mapping):
            yield prefix + name
            continue
        if _MEAN in value:
            yield prefix + name
        yield from (inner for inner in _names(value, f"{prefix}{name}.") if not inner.endswith(f".{_MEAN}"))


def _inner(record: Any, name: str) -> Any:
    """What stands below a name; its parts are keys, some of which may hold dots themselves."""
    if not isinstance(record, Mapping) or name in record:
        return record.get(name) if isinstance(record, Mapping) else None
    parts = name.split(".")
    for end in range(1, len(parts)):
        key, rest = ".".join(parts[:end]), ".".join(parts[end:])
        if key in record and (found := _inner(record[key], rest)) is not None:
            return found
    return None


def _records(directory: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with os.fdopen(open_inside(directory, EL_METRICS_FILE), "rb") as file:
            for line in file:
                if line.endswith(b"\n") and (record := _record(line)):
                    yield record
    except OSError:
        return


def _record(line: bytes) -> Mapping[str, Any]:
    """A line as a record; empty if a crash has torn it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
