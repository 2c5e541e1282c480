"""``emloop eval``: evaluate a model on a stream.

Examples:
    emloop eval test @
    emloop eval predict log/majority_keen-noether
    emloop eval test log/majority_keen-noether/model_best --config other.yaml
"""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from emloop._config.check import checked_config, new_library
from emloop._config.hook_order import without_variables

from .._configs.named import config_of_model
from ..args import (
    SAVED_MODEL,
    add_accept_data,
    add_config,
    add_overrides,
    add_run_options,
    add_trust_source,
    add_untrusted,
    overrides,
)
from .running import processes, run_loop

logger = logging.getLogger(__name__)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("eval_target", metavar="TARGET", help="name of a stream, or of a part of the section `eval`")
    parser.add_argument("model_path", metavar="MODEL", help=SAVED_MODEL)
    add_overrides(parser)
    add_config(parser)
    add_run_options(parser)
    add_accept_data(parser)
    add_trust_source(parser)
    add_untrusted(parser)


def run(arguments: Namespace) -> int:
    """Run the command."""
    changes = overrides(arguments.words)
    options = arguments.output_root, arguments.delete_dir, arguments.output_dir
    flags = {"accept_data": arguments.accept_data, "trust_source": arguments.trust_source}
    with processes(arguments.nproc):
        return evaluate(arguments.model_path, arguments.eval_target, arguments.config, changes, *options, **flags)


def evaluate(
    model_path: str,
    eval_target: str,
    config_path: str | None,
    cl_arguments: Sequence[str],
    output_root: str,
    delete_dir: bool = False,
    output_dir: str | None = None,
    *,
    accept_data: bool = False,
    trust_source: bool = False,
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
        accept_data: Whether other data than those of the run are meant, and need no warning.
        trust_source: Whether the model's source capsule may run, where its source is not there.

    Returns:
        The exit code.
    """
    model, file = config_of_model(model_path, config_path, output_root)
    config = checked_config(file, cl_arguments, eval_target, restoring=True)
    _fit_to_export(config, str(model))
    streams = ((config.get("eval") or {}).get(eval_target) or {}).get("stream_names") or [eval_target]
    from emloop.api import create_emloop_training

    return run_loop(
        lambda: create_emloop_training(
            config, output_root, str(model), output_dir, accept_data=accept_data, trust_source=trust_source
        ),
        lambda loop: loop.run_evaluation(*streams),
        config=config,
        restore_from=str(model),
        delete=delete_dir,
    )


def _fit_to_export(config: dict[str, Any], model: str) -> None:
    """Let hooks do without what only the original of an exported model gives."""
    from emloop.saved_models import class_of_export, find_saved

    if class_of_export(model) not in (None, config["model"]["class"]):
        gone = set(config["model"].get("outputs") or ()).difference(find_saved(model).manifest["outputs"])
        for change in without_variables(config, gone, new_library()):
            logger.warning("%s, which the exported model does not give", change)
