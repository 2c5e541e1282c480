"""Running a main loop for a command."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from emloop._config import find_config
from emloop._config.check import checked_config
from emloop._config.home import use_home
from emloop.constants import EL_SHOWN, EXIT_FAILED, EXIT_STOPPED
from emloop.errors import EmloopError

if TYPE_CHECKING:
    from emloop.api import EmloopTraining
    from emloop.main_loop import MainLoop

logger = logging.getLogger(__name__)


_wanted: ContextVar[int] = ContextVar("wanted", default=1)


@contextmanager
def processes(count: int | None) -> Iterator[None]:
    """Let :func:`run_loop` start so many inside the block, unless a launcher has done so."""
    token = _wanted.set(count or 1)
    try:
        yield
    finally:
        _wanted.reset(token)


def run_loop(
    create: Callable[[], EmloopTraining],
    work: Callable[[MainLoop], None] | None = None,
    *,
    config: Mapping[str, Any],
    restore_from: str | None = None,
    delete: bool = False,
) -> int:
    """Create a training and let its main loop work; or take part in it, where a launcher has started several processes.

    Args:
        create: Creates the training.
        work: What the main loop does; by default, it trains.
        config: The configuration.
        restore_from: What the model will be restored from.
        delete: Whether to delete what the run has created in the end.

    Returns:
        The exit code; failures are logged.

    Raises:
        EmloopError: If the failure came before a run was created.
    """
    from emloop._reporter.choosing import open_reporter
    from emloop.main_loop import MainLoop
    from emloop.main_loop.interrupts import CaughtInterrupts
    from emloop.main_loop.run_record import was_logged

    if (start := _starter()) is not None:
        return start(_wanted.get(), config, restore_from, partial(run_loop, create, work, config=config, delete=delete))
    training = None
    with _new_runs(delete=delete) as is_begun:
        try:
            with CaughtInterrupts(), open_reporter("importing and building"):
                training = create()
                logger.info("Run directory: %s", training.output_dir, extra=EL_SHOWN)
                (work or MainLoop.run_training)(training.main_loop)
        except KeyboardInterrupt as stop:
            logger.warning("Stopped: %s", str(stop) or type(stop).__name__)
            return EXIT_STOPPED
        except EmloopError as error:
            if training is None and not is_begun() and not was_logged(error):
                raise  # nothing has begun yet, so this is about the command
            _failed(error)
            return error.exit_code
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            _failed(error)
            return EXIT_FAILED
    return training.main_loop.exit_status


def _starter() -> Callable[..., int] | None:
    """What lets several processes run a command together; ``None`` where one does, or they do so already."""
    from emloop._contracts.ranks import current_ranks
    from emloop._ranks.joining import scene_of

    if current_ranks() is not None or (scene_of(os.environ) is None and _wanted.get() == 1):
        return None
    from .._ranks.together import start_together

    return start_together


@contextmanager
def _new_runs(*, delete: bool) -> Iterator[Callable[[], bool]]:
    """Around a command that creates runs: tells whether it has begun one, and deletes them in the end if asked to."""
    from emloop._run_dir.run import delete_run, runs_created

    if delete:
        print_delete_warning()
    before = len(runs_created())
    try:
        yield lambda: len(runs_created()) > before
    finally:
        for ended in runs_created()[before:] if delete else ():
            delete_run(ended)


def _failed(error: Exception) -> None:
    """Log a failure, and let other processes of the training know."""
    from emloop._contracts.ranks import current_ranks
    from emloop.main_loop.run_record import log_failure

    log_failure(error)
    if (ranks := current_ranks()) is not None:
        from .._ranks.together import told_by

        ranks.fail(told_by(error))


@dataclass(frozen=True)
class Rehearsal:
    """All that a training needs, made in a temporary directory.

    Args:
        config: The configuration.
        arguments: Those of the main loop.
        dataset: The dataset.
        model: The model.
        hooks: The hooks.
        output_dir: The directory.
    """

    config: Mapping[str, Any]
    arguments: Mapping[str, Any]
    dataset: Any
    model: Any
    hooks: Sequence[Any]
    output_dir: str

    def main_loop(self, hooks: Sequence[Any]) -> MainLoop:
        """A new main loop with some hooks."""
        from emloop import _build
        from emloop.main_loop import MainLoop

        loop = MainLoop(model=self.model, dataset=self.dataset, hooks=hooks, **self.arguments)
        loop.streams.workers = _build.start_workers(
            self.arguments.get("workers", 0), self.config, self.output_dir, self.arguments["seed"]
        )
        return loop


@contextmanager
def rehearsal(command: str, config_path: str, cl_arguments: Sequence[str], **arguments: Any) -> Iterator[Rehearsal]:
    """Build what a config describes, for as long as the block lasts; nothing is kept.

    Args:
        command: Name of the command.
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides.
        **arguments: Arguments of the main loop, in place of the configured ones.
    """
    from emloop import _build
    from emloop._ranks.joining import require_alone
    from emloop._state.random import seed_everything, use_seed
    from emloop.main_loop import MainLoop

    require_alone(command)
    config = checked_config(find_config(config_path), cl_arguments)
    use_home(config.origin)
    _build.check(config, MainLoop)
    own = {**(config.get("main_loop") or {}), **arguments}
    own["seed"] = own.get("seed") or 0
    seed_everything(own["seed"])
    with use_seed(own["seed"]), tempfile.TemporaryDirectory(prefix="emloop-rehearsal-") as output_dir:
        dataset = _build.build_dataset(config, output_dir)
        model = _build.build_model(config, output_dir, dataset)
        hooks = _build.build_hooks(config, model, dataset, output_dir)
        yield Rehearsal(config, own, dataset, model, hooks, output_dir)


def print_delete_warning() -> None:
    """Warn that ``--rm`` deletes the run."""
    logger.warning("--rm: the run directory will be deleted in the end")
