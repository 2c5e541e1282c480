"""``emloop train``: train the model that a config describes.

Examples:
    emloop train config.yaml
    emloop train config.yaml model.hidden=64 hooks.StopAfter.epochs=20
    emloop train config.yaml --dry-run 2
    emloop train config.yaml --overfit 4
    emloop train config.yaml --output_dir night --auto-resume
    emloop train config.yaml --nproc 4
    torchrun --nproc-per-node 4 -m emloop train config.yaml
"""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from emloop._config import find_config
from emloop._config.check import checked_config
from emloop.constants import EL_RUN_FILE
from emloop.errors import UsageError

from ..args import CONFIG, add_accept_data, add_overrides, add_run_options, at_least_one, overrides
from ..render import say
from .resume import go_on
from .running import processes, rehearsal, run_loop

logger = logging.getLogger(__name__)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("config_file", metavar="CONFIG", help=CONFIG)
    add_overrides(parser)
    add_run_options(parser)
    add_accept_data(parser)
    parser.add_argument(
        "--auto-resume", action="store_true", help="go on with the run in --output_dir, if there is one"
    )
    parser.add_argument(
        "--dry-run", type=at_least_one, metavar="N", help="run N batches of each stream, and show them; write nothing"
    )
    parser.add_argument(
        "--overfit",
        type=at_least_one,
        metavar="N",
        help="train on the same N batches in every epoch, which a sound model learns by heart: main_loop.overfit=N",
    )


def run(arguments: Namespace) -> int:
    """Run the command."""
    changes = overrides(arguments.words)
    if arguments.overfit is not None:
        changes = [*changes, f"main_loop.overfit={arguments.overfit}"]
    if arguments.dry_run is not None:
        if arguments.nproc is not None:
            raise UsageError("--dry-run is run by one process; leave --nproc out")
        return dry_run(arguments.config_file, changes, arguments.dry_run)
    options = arguments.output_root, arguments.delete_dir, arguments.output_dir
    flags = {"auto_resume": arguments.auto_resume, "accept_data": arguments.accept_data}
    with processes(arguments.nproc):
        return train(arguments.config_file, changes, *options, **flags)


def train(
    config_path: str,
    cl_arguments: Sequence[str],
    output_root: str,
    delete_dir: bool = False,
    output_dir: str | None = None,
    *,
    auto_resume: bool = False,
    accept_data: bool = False,
) -> int:
    """Train a model.

    Args:
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides, such as ``model.hidden=64``.
        output_root: Where run directories live.
        delete_dir: Whether to delete the run directory in the end.
        output_dir: Name of the run directory, instead of a generated one.
        auto_resume: Whether to go on with the run in ``output_dir``, if there is one.
        accept_data: Whether it may go on with other data, which are its own from then on.

    Returns:
        The exit code.
    """
    if auto_resume and output_dir is None:
        raise UsageError("--auto-resume needs --output_dir: the name that tells which run to go on with")
    config = checked_config(find_config(config_path), cl_arguments)
    # Where there is no run.json yet, a process was killed that had just begun to create the run: nothing is lost.
    if auto_resume and Path(output_root, str(output_dir), EL_RUN_FILE).exists():
        return go_on(config, Path(output_root, str(output_dir)), guarded=True, accept_data=accept_data)
    from emloop.api import create_emloop_training

    create = partial(create_emloop_training, config, output_root, None, output_dir)
    return run_loop(create, config=config, delete=delete_dir)


def dry_run(config_path: str, cl_arguments: Sequence[str], batches: int) -> int:
    """Run a few batches of every stream through model and hooks, in a temporary directory, and show what they were.

    What is saved there is no more than the model's state: no program is made of it.

    Args:
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides.
        batches: Batches per stream.

    Returns:
        The exit code.
    """
    from emloop._contracts import Stateful

    from .first_batches import FirstBatches, save_state

    with rehearsal(
        "train --dry-run", config_path, cl_arguments, epochs_count=1, workers=0, overfit=batches
    ) as rehearsed:
        if isinstance(rehearsed.model, Stateful):
            rehearsed.model.save = partial(save_state, rehearsed.model, rehearsed.output_dir)  # type: ignore[attr-defined]
        seen = FirstBatches()
        loop = rehearsed.main_loop([*rehearsed.hooks, seen])
        loop.run_training()
    say(seen.told())
    logger.info("Dry run done: %s batches of every stream; nothing was kept", batches)
    return loop.exit_status
