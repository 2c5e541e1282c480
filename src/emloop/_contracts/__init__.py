"""The contracts of datasets, models and hooks."""

from .abilities import (
    Described,
    EpochAware,
    Explaining,
    Exportable,
    Gathering,
    Inspectable,
    NaNAware,
    Predicting,
    Prefetching,
    Restorable,
    Stateful,
    Steerable,
)
from .dataset import AbstractDataset
from .hook import AbstractHook, Loop, Monitored, declares_state
from .model import AbstractModel, bind_run, weights_of
from .resume_changes import REFUSED, SAFE, ResumeChanges

__all__ = [
    "REFUSED",
    "SAFE",
    "AbstractDataset",
    "AbstractHook",
    "AbstractModel",
    "Described",
    "EpochAware",
    "Explaining",
    "Exportable",
    "Gathering",
    "Inspectable",
    "Loop",
    "Monitored",
    "NaNAware",
    "Predicting",
    "Prefetching",
    "Restorable",
    "ResumeChanges",
    "Stateful",
    "Steerable",
    "bind_run",
    "declares_state",
    "weights_of",
]
