"""What a dataset, a model and a hook promise."""

from .dataset import AbstractDataset
from .hook import AbstractHook, Loop, declares_state
from .model import AbstractModel, bind_run, has_state

__all__ = ["AbstractDataset", "AbstractHook", "AbstractModel", "Loop", "bind_run", "declares_state", "has_state"]
