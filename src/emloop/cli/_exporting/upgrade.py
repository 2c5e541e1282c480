"""``emloop upgrade``: make the programs of saved models anew, with the versions that are installed.

Examples:
    emloop upgrade @
    emloop upgrade @ --dry-run
    emloop upgrade log/majority_keen-noether/model_best
    emloop upgrade log/majority_keen-noether --trust-source     (by the source that the run took along)
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from emloop._config import load_config
from emloop._run_dir.layout import is_run_dir
from emloop.constants import EXIT_DONE, EXIT_FAILED

from .. import render
from .._configs.named import config_of_model
from ..args import SAVED_MODEL, add_common, add_config, add_overrides, add_trust_source, overrides


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("model_path", metavar="MODEL", help=SAVED_MODEL)
    add_overrides(parser)
    add_config(parser)
    add_trust_source(parser)
    parser.add_argument("--dry-run", action="store_true", help="make and compare the programs, and change nothing")
    add_common(parser)


def run(arguments: Namespace) -> int:
    """Run the command."""
    changes, root = overrides(arguments.words), arguments.output_root
    flags = {"trust_source": arguments.trust_source, "dry_run": arguments.dry_run}
    return upgrade(arguments.model_path, arguments.config, changes, root, **flags)


def upgrade(
    model_path: str,
    config_path: str | None,
    cl_arguments: Sequence[str],
    output_root: str,
    *,
    trust_source: bool = False,
    dry_run: bool = False,
) -> int:
    """Make the programs of saved models anew; their states stay as they are.

    Args:
        model_path: A saved model; or a run, by its directory, the beginning of its name, or ``@``: all that it saved.
        config_path: Config to use instead of the run's own.
        cl_arguments: Overrides.
        output_root: Where run directories live.
        trust_source: Whether the source capsule may run, where the source is not there.
        dry_run: Whether to change nothing.

    Returns:
        The exit code; 1 if a program stays because the new one would do less.

    Raises:
        ConfigError: If the configuration is wrong.
        RunLockedError: If another process works on the run.
        SavedModelError: If there is nothing to upgrade, its source is missing, or it says something else than the old
            program. Of the model that it names, nothing has changed.
        UntrustedError: If the capsule has been changed, or another module here has one of its names.
    """
    from emloop._state.lock import RunLock
    from emloop._state.random import seed_everything, use_seed
    from emloop.saved_models import evaluating, trust_source_of

    from .export import seed_of
    from .remaking import Remaker, require_source, targets_of

    origin, config_file = config_of_model(model_path, config_path, output_root)
    config = load_config(config_file, cl_arguments)
    targets = targets_of(origin)
    if trust_source:
        trust_source_of(targets[0].path)
    require_source(config, targets[0])
    seed = seed_of(config, targets[0].path)
    seed_everything(seed)
    with use_seed(seed), TemporaryDirectory() as scratch, ExitStack() as around:
        around.enter_context(evaluating())
        if is_run_dir(origin) and not dry_run:
            lock = RunLock(origin)
            lock.acquire()
            around.callback(lock.release)
        maker = Remaker(config, targets[0], Path(scratch))
        told = [maker.upgrade(saved, dry_run=dry_run) for saved in targets]
    render.say(render.aligned(told))
    if dry_run:
        render.say("Nothing has been changed (--dry-run)")
    return EXIT_FAILED if maker.kept else EXIT_DONE
