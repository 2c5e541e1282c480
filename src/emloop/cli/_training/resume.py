"""``emloop resume``: go on with a run, in its directory, in a fork, or with nothing but its model.

Examples:
    emloop resume @
    emloop resume log/majority_keen-noether
    emloop resume @ main_loop.epochs_count=20
    emloop resume @ --fork model.learning_rate=0.01
    emloop resume config.yaml log/majority_keen-noether     (a new run, only the model is restored)
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emloop._config import load_config
from emloop._config._composing.foreign import mark_foreign
from emloop._config.check import checked_config
from emloop._run_dir.finding import find_restorable, find_run
from emloop._run_dir.info import read_attempts, read_info
from emloop._run_dir.layout import current_config
from emloop._run_dir.trace import read_trace
from emloop.constants import EL_CHECKPOINTS_DIR, EL_RUN_FILE, EXIT_DONE
from emloop.errors import CannotResumeError, RunDirError, UsageError

from .._configs.named import named_config
from ..args import (
    RUN,
    add_accept_data,
    add_overrides,
    add_run_options,
    add_trust_source,
    add_untrusted,
    is_override,
    overrides,
)
from .review import differences, review
from .running import processes, run_loop

if TYPE_CHECKING:
    from emloop._state.commit import Commit

logger = logging.getLogger(__name__)

_TRIES = 3
"""Starts from the same commit after which ``--auto-resume`` gives up."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("config_path", metavar="RUN", help=RUN)
    add_overrides(parser)
    add_run_options(parser)
    add_accept_data(parser)
    add_trust_source(parser)
    add_untrusted(parser)
    parser.add_argument("--fork", action="store_true", help="go on in a new directory and leave the run alone")


def run(arguments: Namespace) -> int:
    """Run the command."""
    words = overrides(arguments.words, after=1)
    restore_from = words.pop(0) if words and not is_override(words[0]) else ""
    options = arguments.output_root, arguments.delete_dir, arguments.output_dir
    flags = {name: getattr(arguments, name) for name in ("fork", "accept_data", "trust_source")}
    with processes(arguments.nproc):
        return resume(arguments.config_path, restore_from, words, *options, **flags)


def resume(
    config_path: str,
    restore_from: str | None,
    cl_arguments: Sequence[str],
    output_root: str,
    delete_dir: bool = False,
    output_dir: str | None = None,
    *,
    fork: bool = False,
    accept_data: bool = False,
    trust_source: bool = False,
) -> int:
    """Go on with a run.

    Args:
        config_path: The run: its directory, its ``config.yaml``, the beginning of its name, or ``@`` for the latest; or
            a directory with a config and a model, for a new run. With ``restore_from``: a config.
        restore_from: What to restore a model from, in a new run that starts at epoch 0; empty: go on with the run.
        cl_arguments: Overrides, such as ``main_loop.epochs_count=20``.
        output_root: Where run directories live.
        delete_dir: Whether to delete a newly made run directory in the end.
        output_dir: Name of a newly made run directory, instead of a generated one.
        fork: Whether to go on in a new directory.
        accept_data: Whether to go on with other data, which are the run's own from then on.
        trust_source: Whether the model's source capsule may run, where its source is not there.

    Returns:
        The exit code.
    """
    from emloop._state.commit import newest_commit, open_commit
    from emloop.api import create_emloop_training, fork_emloop_training

    if restore_from:
        with suppress(RunDirError):  # whatever it is, the model may know
            restore_from = str(find_restorable(restore_from, output_root).path)
        config = checked_config(named_config(config_path, output_root).file, cl_arguments, restoring=True)
        return run_loop(
            lambda: create_emloop_training(config, output_root, restore_from, output_dir, trust_source=trust_source),
            config=config,
            restore_from=restore_from,
            delete=delete_dir,
        )
    path = Path(config_path)
    is_commit = path.parent.name == EL_CHECKPOINTS_DIR and path.is_dir()
    commit = open_commit(path) if is_commit else None
    found = find_restorable(commit.path.parent.parent if commit else config_path, output_root)
    if found.config is None or found.config.parent != found.path:
        found = find_restorable(find_run(config_path, output_root))
    run_dir, config_file = found.path, str(found.config)
    mark_foreign(config_file)
    if not (run_dir / EL_RUN_FILE).exists():
        # emloop 0.2 made it, or it was shipped, so there is nothing but the model to go on with.
        logger.info("%s holds a model, and no run to go on with: a new run begins", run_dir)
        options = output_root, delete_dir, output_dir
        return resume(config_file, str(run_dir), cl_arguments, *options, trust_source=trust_source)
    config = checked_config(config_file, cl_arguments, restoring=True)
    if fork:
        review(load_config(config_file), config, seed=read_info(run_dir).seed, fork=True)
        origin = commit or newest_commit(run_dir / EL_CHECKPOINTS_DIR, set_aside=False)[0]
        if origin is None:
            raise CannotResumeError(f"{run_dir} has no commit to fork from; it ended before its first one")
        return run_loop(
            lambda: fork_emloop_training(
                config, origin, output_root, output_dir, accept_data=accept_data, trust_source=trust_source
            ),
            config=config,
            restore_from=str(origin.path),
            delete=delete_dir,
        )
    if commit is not None:
        raise UsageError(
            f"{config_path} is a commit; a run always goes on from its newest one. To go on from here: --fork"
        )
    if output_dir is not None or delete_dir:
        raise UsageError("a resumed run stays in its directory: --output_dir and --rm go with --fork")
    return go_on(config, run_dir, accept_data=accept_data, trust_source=trust_source)


def go_on(
    config: Mapping[str, Any],
    run_dir: Path,
    *,
    guarded: bool = False,
    accept_data: bool = False,
    trust_source: bool = False,
) -> int:
    """Go on with a run in its own directory.

    Args:
        config: The config, possibly changed.
        run_dir: The run directory.
        guarded: Whether to refuse when the last attempts all died before they could commit.
        accept_data: Whether to go on with other data, which are the run's own from then on.
        trust_source: Whether the run's source capsule may run, where its source is not there.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the run cannot go on with the changes of the config.
        CannotResumeError: If ``guarded`` and the last attempts died.
    """
    from emloop._state.commit import newest_commit
    from emloop.api import resume_emloop_training

    commit, _ = newest_commit(run_dir / EL_CHECKPOINTS_DIR, set_aside=False)
    info = read_info(run_dir)
    before = current_config(run_dir)
    if before.exists():  # a process may have been killed between the run's first file and this one
        review(load_config(str(before)), config, seed=info.seed)
    only_finish = commit is not None and _has_ended(run_dir, commit, info.run_id, config)
    trace = read_trace(run_dir)
    if only_finish and trace.status == "done":
        logger.info(
            "%s is finished, after epoch %s (%s). To train on, raise its limit: emloop resume %s %s",
            run_dir.name,
            trace.epochs_done,
            trace.reason or "no reason given",
            run_dir,
            _raised_limit(config, trace.epochs_done),
        )
        return EXIT_DONE
    if guarded:
        _refuse_crash_loop(run_dir, commit)
    flags = {"only_finish": only_finish, "accept_data": accept_data, "trust_source": trust_source}
    create = partial(resume_emloop_training, config, run_dir, **flags)
    return run_loop(create, config=config, restore_from=str(run_dir))


def _has_ended(run_dir: Path, commit: Commit, run_id: str, config: Mapping[str, Any]) -> bool:
    """Tell whether a commit ends the training that a config describes.

    It does not if it was copied from another run, nor if the config has changed since it was made: an attempt with a
    raised limit may have failed since.
    """
    if not commit.entry("complete", bool) or commit.entry("run_id", str) != run_id:
        return False
    return not differences(load_config(str(current_config(run_dir, commit.entry("attempt", int)))), config)


def _raised_limit(config: Mapping[str, Any], epochs_done: int) -> str:
    """Suggest an override that lets a finished training go on."""
    more = max(2 * epochs_done, epochs_done + 1)
    if (config.get("main_loop") or {}).get("epochs_count") is not None:
        return f"main_loop.epochs_count={more}"
    for entry in config.get("hooks") or []:
        if isinstance(entry, dict) and "epochs" in (entry.get("StopAfter") or {}):
            return f"hooks.StopAfter.epochs={more}"
    return f"main_loop.epochs_count={more}"


def _refuse_crash_loop(run_dir: Path, commit: Commit | None) -> None:
    seq = commit.seq if commit else None
    lines = read_attempts(run_dir)
    # A signal from outside, such as that of a scheduler, says nothing against the run.
    stopped = [line.get("attempt") for line in lines if line.get("status") == "stopped"]
    counted = (line for line in lines if line.get("event") == "start" and line.get("attempt") not in stopped)
    starts = [line.get("commit") for line in counted]
    fruitless = len(list(takewhile(lambda start: start == seq, reversed(starts))))
    if fruitless >= _TRIES:
        raise CannotResumeError(
            f"the last {fruitless} attempts on {run_dir} all ended before a new commit; look into its train.log, "
            f"then start one by hand: emloop resume {run_dir}"
        )
