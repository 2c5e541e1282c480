"""What the commands share: running a main loop and saying how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from emloop._config import find_config, validate_config
from emloop._run_dir.run import delete_run, runs_created
from emloop.api import EmloopTraining
from emloop.constants import EXIT_FAILED
from emloop.errors import EmloopError
from emloop.main_loop.run_record import log_failure, was_logged

__all__ = ["fallback", "find_config", "print_delete_warning", "run", "validate_config"]

logger = logging.getLogger(__name__)


def run(create: Callable[[], EmloopTraining], work: Callable[[Any], None], *, delete: bool = False) -> int:
    """Create a training and let its main loop work.

    Args:
        create: Creates the training.
        work: What to do with the main loop.
        delete: With ``--rm``: whether to delete, in the end, whatever the run has created.

    Returns:
        The exit code. Why a run failed has been logged; see :func:`log_failure`.

    Raises:
        EmloopError: If not even a run was created.
    """
    if delete:
        print_delete_warning()
    before = len(runs_created())
    training: Any = None
    try:
        training = create()
        logger.info("Run directory: %s", training.output_dir)
        work(training.main_loop)
    except EmloopError as error:
        if training is None and len(runs_created()) == before and not was_logged(error):
            raise  # nothing has begun yet, so this is about the command
        log_failure(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - logged with its traceback
        log_failure(error)
        return EXIT_FAILED
    finally:
        if delete:
            for ended in runs_created()[before:]:
                delete_run(ended)
    code: int = training.main_loop.exit_status
    return code


def print_delete_warning() -> None:
    """Say what ``--rm`` is going to do."""
    logger.warning("--rm: the run directory will be deleted in the end")


def fallback(message: str, error: Exception) -> None:
    """Log that something failed, with the traceback, and end the process with exit code 1.

    Raises:
        SystemExit: Always.
    """
    logger.error("%s: %s", message, error, exc_info=error)
    raise SystemExit(EXIT_FAILED)
