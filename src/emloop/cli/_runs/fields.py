"""Fields of runs: what listings show, filter and sort by.

==================== ===================================================================================
``epochs_done``      of the run itself; see :data:`RUN_FIELDS`
``model.lr``         of its configuration, spelt as for an override: ``hooks.StopAfter.epochs``
``valid.loss``       of its last epoch, the mean where there are several aggregations: ``valid.loss.std``
``min:valid.loss``   the smallest (``max:``: the largest) of all its epochs
``last:eval.loss``   of its last epoch, where the stream has the name of a section of the configuration
==================== ===================================================================================
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from operator import itemgetter
from typing import Any

from emloop._run_dir.config import FlatConfig
from emloop._run_dir.headline import headline
from emloop._run_dir.summary import RunSummary, metric_names
from emloop._run_dir.trace import Extremum
from emloop._support.suggest import nearest
from emloop.constants import EL_NA_STR
from emloop.errors import UsageError

from .. import render

_SECTIONS = frozenset({"dataset", "model", "hooks", "main_loop", "eval"})
_EPOCHS: dict[str, Extremum | None] = {"last": None, "min": "min", "max": "max"}
_LISTED = 20
"""Most names that an error lists."""
_WIDEST = 40
"""Characters of a cell of the table."""


SPANS = frozenset({"age", "duration"})
"""Fields that are spans of time."""


@dataclass(frozen=True)
class Field:
    """A named value that runs have.

    Args:
        name: The name as the user wrote it.
        read: Reads the value of a run; ``None`` if the run does not have it, or has ``null``.
        is_metric: Whether it is a result, which is shown rounded.
    """

    name: str
    read: Callable[[RunSummary], Any]
    is_metric: bool = False

    def show(self, run: RunSummary) -> str:
        """Format the value of a run for a cell of a table."""
        value = self.read(run)
        if value is None:
            return EL_NA_STR
        if self.name == "status" and run.trace.nan is not None:
            return f"{value}, NaN"
        if self.name in SPANS:
            return render.duration(value) + (" ago" if self.name == "age" else "")
        if self.name in ("begin", "end"):
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        text = render.number(value) if self.is_metric and isinstance(value, float) else _as_text(value)
        return text if len(text) <= _WIDEST or self.name in RUN_FIELDS else f"{text[: _WIDEST - 1]}…"


def find_field(name: str, runs: Sequence[RunSummary]) -> Field:
    """Find a field by its name.

    Args:
        name: The name.
        runs: Runs of which at least one must have the field; without runs, any name will do.

    Raises:
        UsageError: If none of the runs has it; suggests what they have.
    """
    if name in RUN_FIELDS:
        return Field(name, RUN_FIELDS[name])
    how, colon, metric = name.partition(":")
    if colon and how not in _EPOCHS:
        raise UsageError(f"{name!r}: expected min:, max: or last: before the name of a metric, got {how + ':'!r}")
    if colon:
        field = Field(name, lambda run: run.metric(metric, _EPOCHS[how]), is_metric=True)
    elif name.partition(".")[0] in _SECTIONS:
        field = config_field(name)
    else:  # a metric, or else a key of a section of the user's own

        def read(run: RunSummary) -> Any:
            value = run.metric(name)
            return run.config.get(name) if value is None else value

        field = Field(name, read, is_metric=True)
    if runs and all(field.read(run) is None and name not in run.config for run in runs):
        raise UsageError(_unknown(name, runs))
    return field


def config_field(key: str) -> Field:
    """Make the field of a config key."""
    return Field(key, lambda run: run.config.get(key))


def headline_field(runs: Sequence[RunSummary]) -> Field | None:
    """The field of the number that runs are judged by; ``None`` if they have none."""
    names = {name for run in runs if (name := headline(run)) is not None}
    if len(names) == 1:
        name = names.pop()
        return Field(name, lambda run: run.metric(name), is_metric=True)
    return Field("metric", _headline, is_metric=True) if names else None


def differing_keys(runs: Sequence[RunSummary]) -> list[str]:
    """List the config keys in which runs differ, in their order; a missing key differs from any value.

    Configs that cannot be read are left out.
    """
    configs = [config for config in distinct_configs(runs) if config]
    differing: set[str] = set()
    for config in configs[1:]:
        if config != (first := configs[0]):
            differing.update(key for key in first if key not in config or config[key] != first[key])
            differing.update(key for key in config if key not in first)
    return [key for key in dict.fromkeys(chain.from_iterable(configs)) if key in differing] if differing else []


def distinct_configs(runs: Iterable[RunSummary]) -> list[FlatConfig]:
    """The flat configs of runs, each once where they share it."""
    return [found.flat for found in dict.fromkeys(run.configuration for run in runs)]


def sort_runs(runs: Sequence[RunSummary], field: Field, *, reverse: bool) -> list[RunSummary]:
    """Sort by a field; runs without it come last, either way."""
    keyed = [(_sort_key(field.read(run)), run) for run in runs]
    having = sorted((pair for pair in keyed if pair[0]), key=itemgetter(0), reverse=reverse)
    return [run for _, run in having] + [run for key, run in keyed if not key]


def state(run: RunSummary) -> str:
    """How a run stands; ``broken`` if its files cannot tell."""
    return "broken" if run.status == "unknown" and run.problem is not None else run.status


def as_moment(day: date) -> datetime:
    """Read a date, or a time without an offset, as local time."""
    moment = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day)
    return moment if moment.tzinfo else moment.astimezone()


def _sort_key(value: Any) -> tuple[Any, ...]:
    """Key by which values of all kinds can be sorted, numbers first; empty for a missing value."""
    match value:
        case None:
            return ()
        case int() | float():
            return () if isinstance(value, float) and math.isnan(value) else (0, value)
        case date():
            return (1, as_moment(value))
    return (2, _as_text(value))


def _unknown(name: str, runs: Sequence[RunSummary]) -> str:
    prefix, colon, bare = name.rpartition(":")
    there = list(dict.fromkeys(_names_in(runs, only_metrics=bool(colon))))
    similar = nearest(bare, there) or next((known for known in there if bare in known.split(".")), None)
    hint = f"; did you mean {prefix + colon + similar!r}?" if similar else "."
    there = [known for known in there if known.partition(".")[0] == bare.partition(".")[0]] or there
    more = f", and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
    whose = f"none of the {len(runs)} runs has" if len(runs) > 1 else "the run does not have"
    return f"{whose} {name!r}{hint} There are: {', '.join(there[:_LISTED])}{more}"


def _names_in(runs: Sequence[RunSummary], *, only_metrics: bool) -> Iterator[str]:
    for run in runs:
        for name in metric_names(run.metrics):
            yield f"last:{name}" if name.partition(".")[0] in _SECTIONS and not only_metrics else name
    if not only_metrics:
        yield from RUN_FIELDS
        for run in runs:
            yield from run.config


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else render.in_yaml(value)


def _age(run: RunSummary) -> float | None:
    return None if run.begin is None else (datetime.now(UTC) - run.begin).total_seconds()


def _value(run: RunSummary) -> Any:
    name = headline(run)
    return None if name is None else run.metric(name)


def _headline(run: RunSummary) -> str | None:
    value = _value(run)
    return None if value is None else f"{headline(run)} {render.number(value)}"


def _last_part(key: str) -> Callable[[RunSummary], str | None]:
    def read(run: RunSummary) -> str | None:
        name = run.config.get(key)
        return name.rpartition(".")[2] if isinstance(name, str) else None

    return read


RUN_FIELDS: dict[str, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.name,
    "model": _last_part("model.class"),
    "dataset": _last_part("dataset.class"),
    "age": _age,
    "duration": lambda run: run.duration,
    "epochs_done": lambda run: run.epochs_done,
    "status": state,
    "metric": headline,
    "value": _value,
    "kind": lambda run: run.kind,
    "begin": lambda run: run.begin,
    "end": lambda run: run.end,
    "attempts": lambda run: run.trace.attempts,
    "exit_status": lambda run: run.trace.exit_status,
    "reason": lambda run: run.trace.reason,
    "nan": lambda run: run.trace.nan,
    "seed": lambda run: run.info.seed if run.info else None,
    "run_id": lambda run: run.info.run_id if run.info else None,
    "host": lambda run: run.trace.host,
    "path": lambda run: os.fspath(run.path),
    "problem": lambda run: run.problem,
}
"""Name of a field → reads it from a run, ``None`` if the run does not say; spans are in seconds."""
