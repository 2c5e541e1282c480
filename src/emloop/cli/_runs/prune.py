"""``emloop prune``: put the runs that are worth nothing into the trash.

Only what is certainly a run of ours is touched, never one that a process works on, and an evaluation only on demand.
Whoever is asked may take minutes to answer, so each run is looked at once more when its lock is held.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

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
from .ls import NO_RUNS_YET
from .ranking import Ranking, parse_ranking

_SHOWN = ("status", "epochs_done", "age")

EXAMPLES = """
emloop prune --dry-run
emloop prune log -e 5
emloop prune --keep-best 3:valid.accuracy --yes
emloop prune --keep-best 3:min:valid.loss -s
emloop prune --empty-trash
"""


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
    if arguments.subdirs or any(what.values()):
        raise UsageError("--empty-trash prunes nothing; prune first, then empty the trash")
    return empty_trash(directory, **options)


@dataclass(frozen=True)
class _Removal:
    """A directory that is to go.

    Args:
        run: The run that it is, or is in.
        part: Its name in the run; ``None`` for the run itself.
        why: Why it is to go, in words.
    """

    run: RunSummary
    part: str | None
    why: str

    @property
    def name(self) -> str:
        """Its name below the directory of runs."""
        return self.run.name if self.part is None else f"{self.run.name}/{self.part}"

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.run.path if self.part is None else self.run.path / self.part


@dataclass
class _Plan:
    """What is to be done.

    Args:
        runs: Number of runs in the directory.
        removals: What is to go.
        left: Names of runs that would have to go, but stay, and why.
    """

    runs: int = 0
    removals: list[_Removal] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


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
    """Move trainings with too few epochs, and what else is asked for, to ``DIR/.trash``.

    Args:
        dir_: The directory of runs; only its immediate sub-directories are looked at.
        epochs: Trainings with fewer epochs go; those without any always do.
        subdirs: Whether of the other trainings the sub-directories go, unless the training could be resumed.
        keep_best: ``N:METRIC``: of the finished trainings only the ``N`` best stay; see :func:`parse_ranking`.
        evaluations: Whether all evaluations go, too.
        dry_run: Whether to show only what would go.
        confirm: Asks whether to go on, after it was shown what will be done; without it nobody is asked.

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
    plan = _plan(root, epochs, subdirs, ranking, evaluations=evaluations)
    _show(root, plan)
    if not plan.removals or dry_run:
        return EXIT_DONE
    if confirm is not None and not confirm(f"Move {_counted(len(plan.removals))} to the trash?"):
        render.say("Nothing was moved.")
        return EXIT_DONE
    return _carry_out(root, plan)


def ask(question: str) -> bool:
    """Ask the person at the terminal.

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
    """Delete for good what pruning has put into ``DIR/.trash``.

    Args:
        dir_: The directory of runs.
        dry_run: Whether to show only what would go.
        confirm: Asks whether to go on; without it nobody is asked.

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


def _plan(root: Path, epochs: int, subdirs: bool, ranking: Ranking | None, *, evaluations: bool) -> _Plan:
    plan = _Plan()
    remaining: list[RunSummary] = []
    for run in _own_runs(root):
        plan.runs += 1
        why = _worthless(run, epochs, evaluations=evaluations)
        if why is None:
            remaining.append(run)
        else:
            _add(plan, _Removal(run, None, why))
    trainings = [run for run in remaining if run.kind == "training"]
    if ranking is not None:
        finished = [run for run in trainings if run.status == "done"]
        for run, value in ranking.others(finished):
            trainings.remove(run)
            _add(plan, _Removal(run, None, f"is not among the {ranking.number} best by {ranking.metric}: {value:.6g}"))
    if subdirs:
        for run in trainings:
            _add_parts(plan, run)
    return plan


def _own_runs(root: Path) -> list[RunSummary]:
    try:
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        return [RunSummary(path) for path in paths if is_ours(path)]
    except OSError as error:
        raise RunDirError(f"{root}: cannot look for runs there: {error.strerror}") from error


def _worthless(run: RunSummary, epochs: int, *, evaluations: bool) -> str | None:
    """Why a run has to go; ``None`` if it does not."""
    if run.kind == "evaluation":
        return "is an evaluation" if evaluations else None
    done = _epochs_done(run)
    if done == 0:
        return "has no finished epoch"
    return f"has fewer than {epochs} epochs" if done < epochs else None


def _epochs_done(run: RunSummary) -> int:
    """The epochs of a run, also if its trace is torn."""
    in_metrics = run.metrics.get("epoch_id")
    return max(run.epochs_done, in_metrics) if isinstance(in_metrics, int) else run.epochs_done


def _add(plan: _Plan, removal: _Removal) -> None:
    obstacle = _obstacle(removal.run.path)
    if obstacle is None:
        plan.removals.append(removal)
    else:
        plan.left.append((removal.name, obstacle))


def _add_parts(plan: _Plan, run: RunSummary) -> None:
    try:
        parts = sorted(path.name for path in run.path.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError as error:
        plan.left.append((run.name, str(error)))
        return
    if not parts:
        return
    if run.info is not None and run.status != "done":
        plan.left.append((run.name, "its sub-directories are needed if it is resumed"))
        return
    for part in parts:
        _add(plan, _Removal(run, part, "is a sub-directory of a training that stays"))


def _obstacle(directory: Path) -> str | None:
    """Why a run must not be touched."""
    try:
        return "a process works on it" if is_held(directory) else None
    except RunDirError as error:
        return str(error)


def _show(root: Path, plan: _Plan) -> None:
    if plan.removals:
        runs = f"{plan.runs} run" if plan.runs == 1 else f"{plan.runs} runs"
        render.say(f"Of {runs} in {root}, this goes to the trash:")
        fields = [Field(name, RUN_FIELDS[name]) for name in _SHOWN]
        rows = [
            [
                removal.name,
                *(shown.show(removal.run) for shown in fields),
                " ".join(render.file_size(size_of(removal.path))),
                removal.why,
            ]
            for removal in plan.removals
        ]
        render.say(render.aligned([["name", *_SHOWN, "size", "why"], *rows]))
    else:
        render.say(f"There is nothing to prune in {root}.")
    for name, why in plan.left:
        render.say(f"{name} stays: {why}")


def _carry_out(root: Path, plan: _Plan) -> int:
    batch = new_batch(root, [removal.name for removal in plan.removals], datetime.now())
    moved = [_move(removal, batch) for removal in plan.removals]
    batch.close()
    render.say(
        f"Moved {_counted(sum(moved))} to {batch.directory}. Move back what you want back; "
        f"emloop prune {root} --empty-trash deletes it for good."
    )
    return EXIT_DONE if all(moved) else EXIT_FAILED


def _move(removal: _Removal, batch: Batch) -> bool:
    lock = RunLock(removal.run.path)
    try:
        lock.acquire()
    except RunDirError as error:
        render.complain(f"{removal.name} stays: {error}")
        return False
    try:
        if not is_ours(removal.run.path) or read_trace(removal.run.path) != removal.run.trace:
            render.complain(f"{removal.name} stays: it has changed meanwhile")
            return False
        target = batch.put(removal.path, removal.name)
        if removal.part is None:
            lock.follow(target)
    except OSError as error:
        render.complain(f"{removal.name} stays: {error}")
        return False
    finally:
        lock.release()
    return True


def _delete(batch: Batch, path: Path) -> bool:
    obstacle = _obstacle(path)
    if obstacle is None:
        try:
            batch.delete(path)
        except OSError as error:
            obstacle = str(error)
        else:
            return True
    render.complain(f"{path} stays: {obstacle}")
    return False


def _counted(number: int) -> str:
    return f"{number} directory" if number == 1 else f"{number} directories"
