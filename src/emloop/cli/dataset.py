"""The module path of the reference; the command is in :mod:`emloop.cli._training.dataset`."""

from ._training.dataset import invoke_dataset_method

__all__ = ["invoke_dataset_method"]
