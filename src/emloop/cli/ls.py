"""The module path of the reference; the command is in :mod:`emloop.cli._runs.ls`."""

from ._runs.ls import list_train_dirs

__all__ = ["list_train_dirs"]
