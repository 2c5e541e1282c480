"""The module path of the reference; the command is in :mod:`emloop.cli._training.resume`."""

from ._training.resume import resume

__all__ = ["resume"]
