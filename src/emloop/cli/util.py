"""What the commands share: running a main loop and saying how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from emloop._config import find_config, validate_config
from emloop._run_dir.layout import directories_made
from emloop.api import EmloopTraining
from emloop.constants import EXIT_FAILED
from emloop.errors import EmloopError, ProducerError

__all__ = ["fallback", "find_config", "run", "validate_config"]

logger = logging.getLogger(__name__)


def run(
    create: Callable[[], EmloopTraining], work: Callable[[Any], None], delete: Callable[[str], None] | None = None
) -> int:
    """Create a training and let its main loop work.

    Args:
        create: Creates the training.
        work: What to do with the main loop.
        delete: With ``--rm``: what deletes the run directory in the end, whatever happened.

    Returns:
        The exit code. An error of ours has been logged as one message, one of the user's code with its traceback.
    """
    if delete is not None:
        logger.warning("--rm: the run directory will be deleted in the end")
    made_before = directories_made()
    training: Any = None
    try:
        training = create()
        logger.info("Run directory: %s", training.output_dir)
        work(training.main_loop)
    except EmloopError as error:
        _log_error(error)
        return error.exit_code
    except Exception:
        logger.exception("The run failed")
        return EXIT_FAILED
    finally:
        if delete is not None:
            made = [str(directory) for directory in directories_made()[len(made_before) :]]
            for directory in made if training is None else [training.output_dir]:
                delete(directory)
    code: int = training.main_loop.exit_status
    return code


def fallback(message: str, error: Exception) -> None:
    """Log that something failed, with the traceback, and end the process with exit code 1.

    Raises:
        SystemExit: Always.
    """
    logger.error("%s: %s", message, error, exc_info=error)
    raise SystemExit(EXIT_FAILED)


def _log_error(error: EmloopError) -> None:
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    # The traceback of a stream is the user's own.
    cause = error.__cause__ if isinstance(error, ProducerError) else None
    logger.error("%s%s", error, notes, exc_info=cause)
