"""``emloop train``: train the model that a config describes."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from emloop import _build
from emloop._config import find_config
from emloop._config.check import checked_config
from emloop._state.random import seed_everything, use_seed
from emloop.api import create_emloop_training
from emloop.constants import EL_RUN_FILE
from emloop.errors import UsageError
from emloop.main_loop import MainLoop
from emloop.types import Batch

from .resume_fn import go_on
from .util import run

__all__ = ["dry_run", "train"]

logger = logging.getLogger(__name__)


def train(
    config_path: str,
    cl_arguments: Sequence[str],
    output_root: str,
    delete_dir: bool = False,
    output_dir: str | None = None,
    *,
    auto_resume: bool = False,
) -> int:
    """Train a model.

    Args:
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides, such as ``model.hidden=64``.
        output_root: Where run directories live.
        delete_dir: Whether to delete the run directory in the end.
        output_dir: Name of the run directory, instead of a generated one.
        auto_resume: Whether to go on with the run in ``output_dir``, if there is one.

    Returns:
        The exit code.
    """
    if auto_resume and output_dir is None:
        raise UsageError("--auto-resume needs --output_dir: the name that tells which run to go on with")
    config = checked_config(find_config(config_path), cl_arguments)
    # Where there is no run.json yet, a process was killed that had just begun to create the run: nothing is lost.
    if auto_resume and Path(output_root, str(output_dir), EL_RUN_FILE).exists():
        return go_on(config, Path(output_root, str(output_dir)), guarded=True)
    return run(
        lambda: create_emloop_training(config, output_root, None, output_dir),
        MainLoop.run_training,
        delete=delete_dir,
    )


def dry_run(config_path: str, cl_arguments: Sequence[str], batches: int) -> int:
    """Run some batches of every stream through model and hooks, in a directory that is thrown away.

    Args:
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides.
        batches: Number of batches of every stream.

    Returns:
        The exit code.
    """
    config = checked_config(find_config(config_path), cl_arguments)
    _build.check(config, MainLoop)
    arguments: dict[str, Any] = {"seed": 0, **(config.get("main_loop") or {}), "epochs_count": 1}
    arguments["seed"] = arguments["seed"] or 0
    seed_everything(arguments["seed"])
    with use_seed(arguments["seed"]), tempfile.TemporaryDirectory(prefix="emloop-dry-run-") as output_dir:
        dataset = _build.build_dataset(config, output_dir)
        model = _build.build_model(config, output_dir, dataset)
        hooks = _build.build_hooks(config, model, dataset, output_dir)
        loop = MainLoop(model=model, dataset=_FirstBatches(dataset, batches), hooks=hooks, **arguments)
        loop.run_training()
    logger.info("Dry run done: %s batches of every stream; nothing was kept", batches)
    return loop.exit_status


class _FirstBatches:
    """A dataset whose streams end early."""

    def __init__(self, dataset: object, batches: int) -> None:
        self._dataset = dataset
        self._batches = batches

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._dataset, name)
        if not name.endswith("_stream"):
            return found

        def first() -> Iterator[Batch]:
            stream: Iterable[Mapping[str, Any]] = found()
            return islice(iter(stream), self._batches)

        return first
