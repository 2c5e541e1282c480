"""What a dataset, a model and a hook promise."""

from .dataset import AbstractDataset
from .exporting import Exportable
from .hook import AbstractHook, Loop, declares_state
from .model import AbstractModel, bind_run, has_state, optional_method
from .resume_changes import REFUSED, SAFE, ResumeChanges

__all__ = [
    "REFUSED",
    "SAFE",
    "AbstractDataset",
    "AbstractHook",
    "AbstractModel",
    "Exportable",
    "Loop",
    "ResumeChanges",
    "bind_run",
    "declares_state",
    "has_state",
    "optional_method",
]
