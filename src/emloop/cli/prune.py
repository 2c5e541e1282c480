"""The module path of the reference; the command is in :mod:`emloop.cli._runs.prune`."""

from ._runs.prune import prune_train_dirs

__all__ = ["prune_train_dirs"]
