"""A command that several processes run together: rank 0 does the work, and the others follow it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from emloop import _build
from emloop._config.home import use_home
from emloop._contracts.ranks import Ranks, Scene, use_ranks
from emloop._ranks import Channel
from emloop._ranks.joining import scene_of
from emloop._ranks.saying import Warnings, use_warnings
from emloop.api import follow_emloop_training
from emloop.constants import EXIT_FAILED, EXIT_STOPPED
from emloop.errors import ConfigError, EmloopError, RankError
from emloop.main_loop import MainLoop, log_failure

__all__ = ["start_together", "told_by"]

logger = logging.getLogger(__name__)

_TIMEOUT = 60.0


def start_together(count: int, config: Mapping[str, Any], restore_from: str | None, work: Callable[[], int]) -> int:
    """Run a command in several processes: those that a launcher has started, or so many on this machine.

    Args:
        count: How many.
        config: The configuration.
        restore_from: What the model will be restored from.
        work: What rank 0 does; returns the exit code.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the model can be trained by one process only.
    """
    scene = scene_of(os.environ)
    return _launch(count, config, restore_from) if scene is None else _join(scene, config, restore_from, work)


def _join(scene: Scene, config: Mapping[str, Any], restore_from: str | None, work: Callable[[], int]) -> int:
    """Join the other processes; on rank 0 do the work, elsewhere follow it.

    Args:
        scene: What the launcher has told.
        config: The configuration.
        restore_from: What the model will be restored from.
        work: What rank 0 does; returns the exit code.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the model can be trained by one process only.
    """
    cls = _class_of(config, restore_from, f"{scene.launcher} has started {scene.size} processes")
    distributed = config["model"].get("distributed") or {}
    ranks: Ranks = cls.join_ranks(scene, float(distributed.get("timeout", _TIMEOUT)))
    try:
        with use_ranks(ranks), _keeping_warnings(shown=ranks.rank == 0):
            if ranks.rank == 0:
                code = work()
                if code in (0, EXIT_STOPPED):
                    Channel(ranks).tell("end", code)
                else:
                    ranks.fail(f"it ended with exit code {code}")
                return code
            with _passing_on_signals(ranks):
                return follow_emloop_training(config, ranks)
    except RankError as error:
        logger.error("rank %s: %s", ranks.rank, error)  # noqa: TRY400 - the cause lies in another process
        return EXIT_FAILED
    except BaseException as error:
        ranks.fail(told_by(error))
        if isinstance(error, EmloopError) and ranks.rank == 0:
            raise
        if not isinstance(error, Exception):
            raise
        log_failure(error)
        return EXIT_FAILED
    finally:
        ranks.close()


def _launch(count: int, config: Mapping[str, Any], restore_from: str | None) -> int:
    """Start processes of this command line on this machine, and wait for their end.

    Args:
        count: How many.
        config: The configuration.
        restore_from: What the model will be restored from.

    Returns:
        The exit code of rank 0.

    Raises:
        ConfigError: If the model can be trained by one process only.
    """
    words = list(sys.argv[1:])
    at = next(number for number, word in enumerate(words) if word.startswith("--nproc"))
    del words[at : at + (1 if "=" in words[at] else 2)]
    code: int = _class_of(config, restore_from, f"--nproc {count}").launch_ranks(count, ["-m", "emloop", *words])
    return code


def _class_of(config: Mapping[str, Any], restore_from: str | None, asked: str) -> Any:
    """The class of the model.

    Raises:
        ConfigError: If it can be trained by one process only.
    """
    use_home(getattr(config, "origin", None))
    _build.check(config, MainLoop, restore_from)
    cls = _build.model_class(config, restore_from)
    if getattr(cls, "join_ranks", None) is None:
        hint = "start one, or take a model of emloop_torch"
        raise ConfigError(f"{asked}, and {cls.__name__} is trained by one process; {hint}")
    return cls


@contextmanager
def _passing_on_signals(ranks: Ranks) -> Iterator[None]:
    """Let rank 0 know of the first signal, which then stops all; the second one ends this process."""
    heard: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) > 1:
            raise SystemExit(128 + number)
        ranks.ask_to_stop(number)

    before = {number: signal.signal(number, on_signal) for number in MainLoop.INTERRUPT_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def _keeping_warnings(*, shown: bool) -> Iterator[None]:
    """Keep the warnings of the block.

    Args:
        shown: Whether they are shown here as well; errors always are.
    """
    root, kept = logging.getLogger(), Warnings()
    others = list(root.handlers)

    def only_errors(record: logging.LogRecord) -> bool:
        return shown or record.levelno >= logging.ERROR

    root.addHandler(kept)
    for handler in others:
        handler.addFilter(only_errors)
    try:
        with use_warnings(kept):
            yield
    finally:
        root.removeHandler(kept)
        for handler in others:
            handler.removeFilter(only_errors)


def told_by(error: BaseException) -> str:
    """A failure in the words of the other processes."""
    return f"{type(error).__name__}: {error}"
