"""What a listing shows of runs, read from ``run.json`` and the trace alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from emloop.constants import EL_RUN_FILE, EL_TRACE_FILE
from emloop.errors import RunDirError

from .info import Kind, RunInfo, read_info
from .layout import is_run_dir, iter_runs
from .trace import MISSING, Status, Trace, effective_status, read_trace

__all__ = ["RunSummary", "list_runs", "summarise"]

_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance.

    Args:
        path: The run directory.
        info: Its ``run.json``; ``None`` if there is none (emloop 0.2 wrote none) or it is damaged.
        trace: Its trace.
        status: How it really stands.
        problem: What is damaged, in one line; ``None`` for a sound run.
    """

    path: Path
    info: RunInfo | None
    trace: Trace
    status: Status
    problem: str | None

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name or self.path.resolve().name

    @property
    def kind(self) -> Kind:
        """Whether it trains or evaluates; a run of emloop 0.2 does not say, and counts as a training."""
        return self.info.kind if self.info else "training"

    @property
    def epochs_done(self) -> int:
        """Training epochs done, as far as the trace knows."""
        return self.trace.epochs_done

    @property
    def begin(self) -> datetime | None:
        """When it began, with its offset; ``None`` if nothing says so."""
        return self.trace.begin or (self.info.created if self.info else None)

    @property
    def end(self) -> datetime | None:
        """When it ended, with its offset; ``None`` if it has not, or nothing says so."""
        return self.trace.end


def summarise(directory: Path) -> RunSummary:
    """Look at one run directory; whatever is broken in it becomes the summary's ``problem``."""
    trace = read_trace(directory)
    status = effective_status(directory, trace)
    info, problems = None, []
    # A run of emloop 0.2 has no run.json, but a trace.
    if os.path.lexists(directory / EL_RUN_FILE) or trace.problem == MISSING:
        try:
            info = read_info(directory)
        except RunDirError as error:
            problems.append(str(error))
    if trace.problem is not None:
        problems.append(f"{directory / EL_TRACE_FILE}: {trace.problem}")
    if trace.problem == MISSING and status == "unknown":
        # Killed before it could write a trace.
        status = "lost"
    # A live run may be just about to write what is missing.
    problem = "; ".join(problems) if status != "running" else ""
    return RunSummary(directory, info, trace, status, problem or None)


def list_runs(root: Path | str, *, recursive: bool = False) -> list[RunSummary]:
    """All runs in a directory, earliest begin first; those that tell no begin come last.

    Args:
        root: A directory of runs; a run directory stands for itself.
        recursive: Whether to look into directories that are no runs, too.

    Raises:
        RunDirError: If the root is not a directory.
    """
    summaries = map(summarise, _runs(Path(root), recursive))
    return sorted(summaries, key=lambda summary: (summary.begin or _LAST, summary.name))


def _runs(root: Path, recursive: bool) -> Iterator[Path]:
    return iter([root]) if is_run_dir(root) else iter_runs(root, recursive=recursive)
