"""Keep the status of a training in ``trace.yaml``, if no run directory does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from emloop._contracts import AbstractHook
from emloop._run_dir.trace import Trace, local_now, local_timezone, write_trace
from emloop.constants import EL_RUN_FILE
from emloop.types import EpochData

__all__ = ["TrainingTrace", "TrainingTraceKeys"]


class TrainingTraceKeys:
    """Keys of ``trace.yaml``."""

    TRAIN_BEGIN = "train_begin"
    TRAIN_END = "train_end"
    EPOCHS_DONE = "epochs_done"
    EXIT_STATUS = "exit_status"


class TrainingTrace(AbstractHook):
    """Keep ``trace.yaml`` up to date.

    A run keeps the trace of its own directory; there, this hook does nothing. It serves main loops used from Python
    with some other directory.

    Args:
        output_dir: The directory.
    """

    stateless = True
    reads = writes = ()

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self._directory = Path(output_dir)
        self._trace = Trace(timezone=local_timezone())

    def save(self) -> None:
        """Replace the file, unless the directory is a run's."""
        if not (self._directory / EL_RUN_FILE).exists():
            write_trace(self._directory, self._trace)

    def before_training(self) -> None:
        """Write down the beginning."""
        begin = local_now(self._trace.timezone)
        self._trace = replace(self._trace, train_begin=begin, train_end=None, exit_status=None, status="running")
        self.save()

    def after_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:
        """Write down the number of finished epochs."""
        self._trace = replace(self._trace, epochs_done=epoch_id)
        self.save()

    def after_training(self, success: bool) -> None:
        """Write down the end."""
        end = local_now(self._trace.timezone)
        ended = replace(self._trace, train_end=end, status="done", exit_status=0)
        self._trace = ended if success else replace(ended, status="failed", exit_status=1)
        self.save()
