"""Running a main loop for a command."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from emloop.constants import EXIT_FAILED, EXIT_STOPPED
from emloop.errors import EmloopError

if TYPE_CHECKING:
    from emloop.api import EmloopTraining
    from emloop.main_loop import MainLoop

logger = logging.getLogger(__name__)


def run_loop(
    create: Callable[[], EmloopTraining],
    work: Callable[[MainLoop], None] | None = None,
    *,
    delete: bool = False,
) -> int:
    """Create a training and let its main loop work.

    Args:
        create: Creates the training.
        work: What the main loop does; by default, it trains.
        delete: Whether to delete what the run has created in the end.

    Returns:
        The exit code; failures are logged.

    Raises:
        EmloopError: If the failure came before a run was created.
    """
    from emloop._run_dir.run import delete_run, runs_created
    from emloop.main_loop import MainLoop
    from emloop.main_loop.interrupts import CaughtInterrupts
    from emloop.main_loop.run_record import log_failure, was_logged

    if delete:
        print_delete_warning()
    before = len(runs_created())
    training = None
    try:
        with CaughtInterrupts():
            training = create()
            logger.info("Run directory: %s", training.output_dir)
            (work or MainLoop.run_training)(training.main_loop)
    except KeyboardInterrupt as stop:
        logger.warning("Stopped: %s", str(stop) or type(stop).__name__)
        return EXIT_STOPPED
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
    return training.main_loop.exit_status


def print_delete_warning() -> None:
    """Warn that ``--rm`` deletes the run."""
    logger.warning("--rm: the run directory will be deleted in the end")
