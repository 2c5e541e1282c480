"""``emloop prune``: move worthless runs to the trash.

Only what is certainly a run of ours is touched, never one that a process works on, and evaluations only on demand.
People may take minutes to confirm, so each run is looked at again once its lock is held.

Examples:
    emloop prune --dry-run
    emloop prune log -e 5
    emloop prune --keep-best 3:valid.accuracy --yes
    emloop prune --keep-best 3:min:valid.loss -s
    emloop prune --empty-trash
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from emloop._run_dir.layout import is_run_dir
from emloop._run_dir.summary import RunSummary
from emloop._run_dir.trace import read_trace
from emloop._run_dir.trash import Batch, batches, is_ours, new_batch
from emloop._state.lock import RunLock, is_held
from emloop.constants import EL_DEFAULT_LOG_DIR, EXIT_DONE, EXIT_FAILED
from emloop.errors import RunDirError, UsageError

from .. import render
from .details import size_of
from .fields import RUN_FIELDS, Field
from .filters import Ranking, parse_ranking
from .ls import NO_RUNS_YET

_SHOWN = ("status", "epochs_done", "age")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("dir", metavar="DIR", nargs="?", help="directory of the runs (default: the output root)")
    subdirs = "of the other finished trainings, prune the sub-directories: checkpoints, saved models, pictures"
    best = "of the finished trainings, keep only the N best, e.g. by `valid.accuracy` or by `min:valid.loss`"
    epochs = "prune trainings with fewer epochs (default: 1)"
    parser.add_argument("-e", "--epochs", metavar="N", type=int, default=1, help=epochs)
    parser.add_argument("-s", "--subdirs", action="store_true", help=subdirs)
    parser.add_argument("--keep-best", metavar="N:METRIC", help=best)
    parser.add_argument("--evaluations", action="store_true", help="prune all evaluations, too")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--empty-trash", action="store_true", help="delete for good what was pruned; prune nothing")


def run(arguments: Namespace) -> int:
    """Run the command."""
    directory = arguments.dir or arguments.output_root
    options = {"dry_run": arguments.dry_run, "confirm": None if arguments.yes else ask}
    what = {"keep_best": arguments.keep_best, "evaluations": arguments.evaluations}
    if not arguments.empty_trash:
        return prune_train_dirs(directory, arguments.epochs, arguments.subdirs, **what, **options)
    if arguments.subdirs or arguments.evaluations or arguments.keep_best is not None:
        raise UsageError("--empty-trash prunes nothing; prune first, then empty the trash")
    return empty_trash(directory, **options)


class _Removal(NamedTuple):
    """A directory to remove.

    Args:
        run: The run that it is, or is part of.
        why: Reason for removing it.
        part: Its name in the run; empty for the run itself.
        obstacle: Reason for keeping it all the same, if known already.
    """

    run: RunSummary
    why: str
    part: str = ""
    obstacle: str | None = None

    @property
    def name(self) -> str:
        """Name below the directory of runs."""
        return f"{self.run.name}/{self.part}" if self.part else self.run.name

    @property
    def path(self) -> Path:
        """Path of the directory."""
        return self.run.path / self.part


def prune_train_dirs(
    dir_: str | Path,
    epochs: int,
    subdirs: bool,
    *,
    keep_best: str | None = None,
    evaluations: bool = False,
    dry_run: bool = False,
    confirm: Callable[[str], bool] | None = None,
) -> int:
    """Move trainings with too few epochs, and whatever the options add, to ``DIR/.trash``.

    Args:
        dir_: The directory of runs; only its immediate sub-directories are looked at.
        epochs: Trainings with fewer epochs go; those without any always do.
        subdirs: Whether the sub-directories of other trainings go, unless the training could be resumed.
        keep_best: ``N:METRIC``: keep only the ``N`` best finished trainings; see :func:`parse_ranking`.
        evaluations: Whether all evaluations go, too.
        dry_run: Whether to show only what would go.
        confirm: Asks whether to go on, once the plan is on the screen; ``None`` asks nobody.

    Returns:
        The exit status: 1 if there is no such directory or something could not be moved.

    Raises:
        UsageError: If nobody can be asked, or ``keep_best`` makes no sense.
        RunDirError: If the directory is itself a run, or the trash cannot be made.
    """
    root = Path(dir_)
    if not root.is_dir():
        render.complain(NO_RUNS_YET if os.fspath(dir_) == EL_DEFAULT_LOG_DIR else f"{root}: there is no such directory")
        return EXIT_FAILED
    if is_run_dir(root):
        raise RunDirError(f"{root} is a run itself; give the directory in which the runs are")
    ranking = None if keep_best is None else parse_ranking(keep_best)
    try:
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        runs = [RunSummary(path) for path in paths if is_ours(path)]
    except OSError as error:
        raise RunDirError(f"{root}: cannot look for runs there: {error.strerror}") from error
    unwanted = [
        (removal, removal.obstacle or _obstacle(removal.run.path))
        for removal in _unwanted(runs, epochs, subdirs, ranking, evaluations=evaluations)
    ]
    removals = [removal for removal, obstacle in unwanted if obstacle is None]
    if removals:
        render.say(f"Of {_counted(len(runs), 'run', 'runs')} in {root}, this goes to the trash:")
        render.say(_table(removals))
    else:
        render.say(f"There is nothing to prune in {root}.")
    for removal, obstacle in unwanted:
        if obstacle is not None:
            render.say(f"{removal.name} stays: {obstacle}")
    if dry_run or not removals:
        return EXIT_DONE
    if confirm is not None and not confirm(f"Move {_counted(len(removals))} to the trash?"):
        render.say("Nothing was moved.")
        return EXIT_DONE
    batch = new_batch(root, [removal.name for removal in removals], datetime.now())
    moved = [_move(removal, batch) for removal in removals]
    batch.close()
    render.say(
        f"Moved {_counted(sum(moved))} to {batch.directory}. Move back what you want back; "
        f"emloop prune {root} --empty-trash deletes it for good."
    )
    return EXIT_DONE if all(moved) else EXIT_FAILED


def ask(question: str) -> bool:
    """Ask a yes-or-no question at the terminal.

    Raises:
        UsageError: If nobody is there.
    """
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at: say --yes to go on without a question, or --dry-run")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        render.say()
        return False


def empty_trash(dir_: str | Path, *, dry_run: bool = False, confirm: Callable[[str], bool] | None = None) -> int:
    """Delete pruned directories in ``DIR/.trash`` for good.

    Args:
        dir_: The directory of runs.
        dry_run: Whether to show only what would go.
        confirm: Asks whether to go on; ``None`` asks nobody.

    Returns:
        The exit status: 1 if something could not be deleted.

    Raises:
        UsageError: If nobody can be asked.
    """
    root = Path(dir_)
    emptied = list(batches(root))
    found = [(batch, path) for batch in emptied for path in batch.content()]
    if found:
        render.say(f"To be deleted for good from {root}:")
        rows = [(os.fspath(path.relative_to(root)), " ".join(render.file_size(size_of(path)))) for _, path in found]
        render.say(render.aligned(rows))
    else:
        render.say(f"There is nothing in the trash of {root}.")
    if dry_run:
        return EXIT_DONE
    if found and confirm is not None and not confirm("Delete this for good?"):
        render.say("Nothing was deleted.")
        return EXIT_DONE
    deleted = [_delete(batch, path) for batch, path in found]
    for batch in emptied:
        batch.close()
    if found:
        render.say(f"Deleted {_counted(sum(deleted))}.")
    return EXIT_DONE if all(deleted) else EXIT_FAILED


def _unwanted(
    runs: Sequence[RunSummary], epochs: int, subdirs: bool, ranking: Ranking | None, *, evaluations: bool
) -> Iterator[_Removal]:
    trainings = []
    for run in runs:
        done = run.epochs_done
        if run.kind == "evaluation":
            if evaluations:
                yield _Removal(run, "is an evaluation")
        elif done == 0:
            yield _Removal(run, "has no finished epoch")
        elif done < epochs:
            yield _Removal(run, f"has fewer than {epochs} epochs")
        elif run.kind == "training":
            trainings.append(run)
    if ranking is not None:
        for run, value in ranking.others([run for run in trainings if run.status == "done"]):
            trainings.remove(run)
            yield _Removal(run, f"is not among the {ranking.number} best by {ranking.metric}: {value:.6g}")
    for run in trainings if subdirs else ():
        yield from _parts(run)


def _parts(run: RunSummary) -> Iterator[_Removal]:
    why = "is a sub-directory of a training that stays"
    try:
        parts = sorted(path.name for path in run.path.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError as error:
        yield _Removal(run, why, obstacle=str(error))
        return
    if parts and run.info is not None and run.status != "done":
        yield _Removal(run, why, obstacle="its sub-directories are needed if it is resumed")
        return
    for part in parts:
        yield _Removal(run, why, part)


def _obstacle(directory: Path) -> str | None:
    """Reason not to touch a run, if any."""
    try:
        return "a process works on it" if is_held(directory) else None
    except RunDirError as error:
        return str(error)


def _table(removals: Sequence[_Removal]) -> str:
    fields = [Field(name, RUN_FIELDS[name]) for name in _SHOWN]
    rows = [["name", *_SHOWN, "size", "why"]]
    for removal in removals:
        size = " ".join(render.file_size(size_of(removal.path)))
        rows.append([removal.name, *(field.show(removal.run) for field in fields), size, removal.why])
    return render.aligned(rows)


def _move(removal: _Removal, batch: Batch) -> bool:
    lock = RunLock(removal.run.path)
    try:
        lock.acquire()
        if not is_ours(removal.run.path) or read_trace(removal.run.path) != removal.run.trace:
            raise RunDirError("it has changed meanwhile")
        target = batch.put(removal.path, removal.name)
        if not removal.part:
            lock.follow(target)
    except OSError as error:
        render.complain(f"{removal.name} stays: {error}")
        return False
    finally:
        lock.release()
    return True


def _delete(batch: Batch, path: Path) -> bool:
    try:
        if (obstacle := _obstacle(path)) is not None:
            raise RunDirError(obstacle)
        batch.delete(path)
    except OSError as error:
        render.complain(f"{path} stays: {error}")
        return False
    return True


def _counted(number: int, one: str = "directory", many: str = "directories") -> str:
    return f"{number} {one if number == 1 else many}"
