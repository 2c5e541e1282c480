"""``emloop eval``: evaluate a model on a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emloop._config import find_config
from emloop._config.check import checked_config
from emloop._run_dir.layout import current_config, find_run, is_run_dir
from emloop.api import create_emloop_training
from emloop.errors import UsageError

from .util import run

__all__ = ["config_beside", "evaluate"]


def evaluate(
    model_path: str,
    eval_target: str,
    config_path: str | None,
    cl_arguments: Sequence[str],
    output_root: str,
    delete_dir: bool = False,
    output_dir: str | None = None,
) -> int:
    """Evaluate a model.

    Args:
        model_path: A saved model, or a run: its directory, the beginning of its name, or ``@`` for the latest training.
        eval_target: Name of a stream, or of a part of the section ``eval``, which may list several.
        config_path: Config to use instead of the run's own.
        cl_arguments: Overrides.
        output_root: Where run directories live.
        delete_dir: Whether to delete the evaluation's run directory in the end.
        output_dir: Name of the evaluation's run directory, instead of a generated one.

    Returns:
        The exit code.
    """
    model = Path(model_path) if Path(model_path).exists() else find_run(model_path, output_root)
    path = find_config(config_path) if config_path else config_beside(model)
    config = checked_config(path, cl_arguments, eval_target, restoring=True)
    section = (config.get("eval") or {}).get(eval_target) or {}
    streams = section.get("stream_names") or [eval_target]
    return run(
        lambda: create_emloop_training(config, output_root, str(model), output_dir),
        lambda loop: loop.run_evaluation(*streams),
        delete=delete_dir,
    )


def config_beside(model: Path) -> str:
    """The configuration of a run, or of the run that a saved model lies in.

    Raises:
        UsageError: If it lies in none.
    """
    for directory in (model, model.parent, model.parent.parent):
        if is_run_dir(directory):
            return str(current_config(directory))
    raise UsageError(f"{model} is not in a run directory, so there is no config beside it; name one with --config")
