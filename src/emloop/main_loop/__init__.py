"""The main loop, and what belongs to it."""

from emloop._reporter.reporter import Reporter

from .commit_policy import CommitPolicy, Keep
from .interrupts import CaughtInterrupts, TrainingInterrupted
from .loop import MainLoop
from .record import Record, outcome
from .run_record import RunRecord, log_failure

__all__ = [
    "CaughtInterrupts",
    "CommitPolicy",
    "Keep",
    "MainLoop",
    "Record",
    "Reporter",
    "RunRecord",
    "TrainingInterrupted",
    "log_failure",
    "outcome",
]
