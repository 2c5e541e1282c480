"""Functions that programs written for the reference import from here."""

import logging

from emloop._config import find_config, validate_config
from emloop.constants import EXIT_FAILED

from ._training.running import print_delete_warning

__all__ = ["fallback", "find_config", "print_delete_warning", "validate_config"]

logger = logging.getLogger(__name__)


def fallback(message: str, ex: Exception) -> None:
    """Log that something failed, with the traceback, and end the process with exit code 1.

    Raises:
        SystemExit: Always.
    """
    logger.error("%s: %s", message, ex, exc_info=ex)
    raise SystemExit(EXIT_FAILED)
