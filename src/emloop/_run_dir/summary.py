"""What a listing shows of runs. Every file of a run is read when something first asks for what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from emloop.constants import EL_RUN_FILE, EL_TRACE_FILE
from emloop.errors import RunDirError

from .flat_config import FlatConfig, read_flat_config
from .info import Kind, RunInfo, read_info
from .layout import is_run_dir, iter_runs
from .metrics import Extremum, extreme_metric, last_metrics, metric_of
from .trace import MISSING, Status, Trace, effective_status, read_trace

__all__ = ["RunSummary", "list_runs"]

_LAST = datetime.max.replace(tzinfo=UTC)


class RunSummary:
    """A run at a glance; whatever is broken in it becomes its ``problem``.

    Args:
        path: The run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name or self.path.resolve().name

    @cached_property
    def trace(self) -> Trace:
        """Its trace."""
        return read_trace(self.path)

    @cached_property
    def _info(self) -> RunInfo | RunDirError | None:
        # A run of emloop 0.2 has no run.json, but a trace.
        if not os.path.lexists(self.path / EL_RUN_FILE) and self.trace.problem != MISSING:
            return None
        try:
            return read_info(self.path)
        except RunDirError as error:
            return error

    @property
    def info(self) -> RunInfo | None:
        """Its ``run.json``; ``None`` if there is none (emloop 0.2 wrote none) or it is damaged."""
        return self._info if isinstance(self._info, RunInfo) else None

    @cached_property
    def status(self) -> Status:
        """How it really stands."""
        status = effective_status(self.path, self.trace)
        if status == "lost":
            # It may have ended since its trace was read; now that nobody holds the lock, the trace is final.
            self.trace = read_trace(self.path)
            status = effective_status(self.path, self.trace)
        if status == "unknown" and self.trace.problem == MISSING:
            # Killed before it could write a trace.
            return "lost"
        return status

    @cached_property
    def problem(self) -> str | None:
        """What is damaged, in one line; ``None`` for a sound run, and for a live one, which may be just writing it."""
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
        """Training epochs done, as far as the trace knows."""
        return self.trace.epochs_done

    @cached_property
    def begin(self) -> datetime | None:
        """When it began, with its offset; ``None`` if nothing says so."""
        return self.trace.begin or (self.info.created if self.info else None)

    @property
    def end(self) -> datetime | None:
        """When it ended, with its offset; ``None`` if it has not, or nothing says so."""
        return self.trace.end

    @cached_property
    def config(self) -> FlatConfig:
        """Its newest configuration, flat: ``model.lr`` → value; empty if it cannot be read."""
        return read_flat_config(self.path)

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """The last whole line of ``metrics.jsonl``; empty if there is none."""
        return last_metrics(self.path)

    def metric(self, name: str, extremum: Extremum | None = None) -> Any:
        """A number that the hooks have left of an epoch, e.g. ``valid.loss``.

        Args:
            name: Stream, variable and, unless it is the mean that is wanted, aggregation, with dots between them.
            extremum: The smallest or largest of all epochs instead of the last epoch's.

        Returns:
            The number (or text, where a hook has left some), ``None`` if there is none.
        """
        return metric_of(self.metrics, name) if extremum is None else extreme_metric(self.path, name, extremum)


def list_runs(root: Path | str, *, recursive: bool = False) -> list[RunSummary]:
    """All runs in a directory, earliest begin first; those that tell no begin come last.

    Args:
        root: A directory of runs; a run directory stands for itself.
        recursive: Whether to look into directories that are no runs, too.

    Raises:
        RunDirError: If the root is not a directory.
    """
    summaries = map(RunSummary, _runs(Path(root), recursive))
    return sorted(summaries, key=lambda summary: (summary.begin or _LAST, summary.name))


def _runs(root: Path, recursive: bool) -> Iterator[Path]:
    return iter([root]) if is_run_dir(root) else iter_runs(root, recursive=recursive)
