"""Log where the run's files are."""

from __future__ import annotations

import logging

from emloop._contracts import AbstractHook

__all__ = ["LogDir"]

_LOGGER = logging.getLogger(__name__)


class LogDir(AbstractHook):
    """Log the output directory before and after the training and after every epoch.

    Args:
        output_dir: The run directory.
    """

    stateless = True
    reads = writes = ()

    def __init__(self, output_dir: str) -> None:
        super().__init__()
        self._output_dir = output_dir

    def _log(self) -> None:
        _LOGGER.info("Output dir: %s", self._output_dir)

    def before_training(self) -> None:
        """Log the directory."""
        self._log()

    def after_epoch(self, *_args: object, **_kwargs: object) -> None:
        """Log the directory, whatever the epoch was."""
        self._log()

    def after_training(self, success: bool) -> None:
        """Log the directory."""
        self._log()
