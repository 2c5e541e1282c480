"""What a dataset, a model and a hook promise."""

from .dataset import AbstractDataset
from .hook import AbstractHook, Loop, declares_state
from .model import AbstractModel, has_state

__all__ = ["AbstractDataset", "AbstractHook", "AbstractModel", "Loop", "declares_state", "has_state"]
