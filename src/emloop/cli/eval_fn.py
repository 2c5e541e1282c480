"""The module path of the reference; the command is in :mod:`emloop.cli._training.eval`."""

from ._training.eval import evaluate

__all__ = ["evaluate"]
