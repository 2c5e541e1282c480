"""The module path of the reference; the command is in :mod:`emloop.cli._training.train`."""

from ._training.train import train

__all__ = ["train"]
