"""The run, or the model, that somebody means: a path, the beginning of a name, ``@``, ``@-1``, ``best:valid.loss``."""

import contextlib
import glob
import os
import re
from collections.abc import Iterable
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from emloop import constants
from emloop._support.suggest import did_you_mean
from emloop.errors import RunDirError, UsageError

from .headline import direction
from .info import read_info
from .layout import current_config, is_config_name, is_run_dir, iter_runs
from .summary import list_runs, metric_names
from .trace import Extremum, read_trace

_LATEST = re.compile(r"@(?:-(\d{1,9}))?")
_BEST = "best:"
_LISTED = 10
"""Number of names that an error shows at most."""


def is_selector(spec: str) -> bool:
    """Whether a word selects a run by what is known of it, and is no path or name."""
    return _LATEST.fullmatch(spec) is not None or spec.startswith(_BEST)


def find_run(spec: str, root: Path | str) -> Path:
    """Find the run that somebody means.

    Args:
        spec: Path of a run directory or of a ``config.yaml`` in one; or the beginning of a run's name under the root;
            or ``@`` for the latest training under the root, ``@-1`` for the one before it; or ``best:METRIC`` for the
            training whose best epoch is the best of all, such as ``best:valid.loss`` or ``best:max:valid.score``.
        root: Where runs are looked for.

    Raises:
        RunDirError: If there is no such run, or more than one; lists those that there are.
        UsageError: If it is doubtful whether less of the metric is better.
    """
    root = Path(root)
    if latest := _LATEST.fullmatch(spec):
        return _latest_training(root, int(latest[1] or 0))
    if spec.startswith(_BEST):
        return best_training(spec.removeprefix(_BEST), root)
    path = Path(spec)
    if _is_config_of_run(path):
        path = path.parent
    if spec and is_run_dir(path):
        return path
    runs: dict[str, Path] = {}
    with contextlib.suppress(RunDirError):
        runs = {str(run.relative_to(root)): run for run in iter_runs(root, recursive=True)}
    matches = names_beginning(spec, runs)
    if len(matches) == 1:
        return runs[matches[0]]
    if matches:
        raise RunDirError(f"{spec!r} is the beginning of {len(matches)} runs in {root}: {_some(matches)}")
    there = f"runs there: {_some(list(runs))}" if runs else "there are no runs there"
    hint = "".join(f"; {text}" for text in did_you_mean(spec, runs))
    why = _why_no_run(path) if spec else ""
    raise RunDirError(
        f"{spec!r} is neither a run directory{why} nor the beginning of a run's name in {root}{hint}; {there}"
    )


def _why_no_run(path: Path) -> str:
    """Why something that exists is no run, in brackets, where that is not plain to see."""
    if not os.path.lexists(path):
        return ""
    if around := next((above for above in path.parents if is_run_dir(above)), None):
        return f" (but a part of {str(around)!r})"
    try:
        os.stat(f"{path}/.")  # noqa: PTH116 - a path would leave out the dot, which has the directory entered
    except OSError as error:
        leads = f"a link to {str(path.readlink())!r}: " if path.is_symlink() else ""
        return f" ({leads}{error.strerror})"
    return ""


def names_beginning(spec: str, names: Iterable[str]) -> list[str]:
    """The names that begin so; a whole name wins."""
    matches = [name for name in names if spec and name.startswith(spec)]
    return [spec] if spec in matches else matches


def best_training(metric: str, root: Path | str) -> Path:
    """The training whose best epoch is the best of all; of equal ones, the one begun first.

    Args:
        metric: Name of a metric, ``valid.loss`` or ``valid/loss``; after ``min:`` or ``max:``, that is the best.
        root: Where runs are looked for.

    Raises:
        RunDirError: If no training has the metric.
        UsageError: If it is doubtful whether less of it is better.
    """
    how, colon, name = metric.rpartition(":")
    if how not in ("", "min", "max") or (colon and not how):
        raise UsageError(f"{_BEST + metric!r}: expected min: or max: before the metric, got {how + ':'!r}")
    trainings = [run for run in list_runs(root, recursive=True) if run.kind == "training"]
    for spelling in dict.fromkeys((name, name.replace("/", ".", 1))):
        having = [run for run in trainings if run.best(spelling, "min") is not None]
        if having:
            better: Extremum = "min" if how == "min" else "max" if how == "max" else direction(spelling, having)
            values = [(run.metric(spelling, better), run.path) for run in having]
            return (min if better == "min" else max)(values, key=itemgetter(0))[1]
    there = list(dict.fromkeys(other for run in trainings for other in metric_names(run.metrics)))
    hint = "".join(f"; {text}" for text in did_you_mean(name.replace("/", ".", 1), there))
    raise RunDirError(f"no training in {root} has {name!r}{hint}; there are: {_some(there) or 'none'}")


class Restorable(NamedTuple):
    """Something that a model can be restored from, and the configuration that belongs to it.

    Args:
        path: What the model is given as ``restore_from``.
        config: The configuration's file, if there is one.
    """

    path: Path
    config: Path | None


def find_restorable(spec: str | Path, root: Path | str | None = None) -> Restorable:
    """Find what somebody wants a model to be restored from.

    That is a run, a checkpoint, a saved or an exported model, a directory with a ``config.yaml`` and a model, as models
    are shipped, a configuration in such a directory, or a file that the model's own ``save`` wrote. The configuration
    is that of the run around it, or the ``config.yaml`` in or beside it.

    Args:
        spec: Its path, or whatever else :func:`find_run` takes.
        root: Where runs are looked for; ``None`` if only a path is meant.

    Raises:
        RunDirError: If there is no such thing.
    """
    path = Path(spec)
    if root is not None and not path.exists():
        try:
            path = find_run(str(spec), root)
        except RunDirError:
            if not _is_prefix(path):
                raise
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return Restorable(path.parent, current_config(path.parent) if _is_config_of_run(path) else path)
    for directory in (path, path.parent):
        if is_run_dir(directory):
            return Restorable(path, current_config(directory))
        if (directory / constants.EL_CONFIG_FILE).is_file():
            return Restorable(path, directory / constants.EL_CONFIG_FILE)
    run = path.parent.parent
    return Restorable(path, current_config(run) if is_run_dir(run) else None)


def _is_config_of_run(path: Path) -> bool:
    return is_config_name(path.name) and is_run_dir(path.parent)


def _is_prefix(path: Path) -> bool:
    """Whether the names of several files begin so, as those of a checkpoint of TensorFlow do."""
    return bool(path.name) and any(path.parent.glob(f"{glob.escape(path.name)}.*"))


def _latest_training(root: Path, before: int) -> Path:
    """The training begun last, or the one so many before it."""
    begun = [(begin, run) for run in iter_runs(root, recursive=True) if (begin := _training_begin(run)) is not None]
    if not begun:
        raise RunDirError(f"there is no training in {root}; give the path of a run")
    if before >= len(begun):
        only, first = f"there are only {len(begun)} trainings in {root}", f"'@-{len(begun) - 1}'"
        raise RunDirError(f"'@-{before}': {only}, so the first of them is {first}")
    return sorted(begun)[-1 - before][1]


def _training_begin(run: Path) -> datetime | None:
    """When a training was created; ``None`` for an evaluation, and for what is too broken to say."""
    if not os.path.lexists(run / constants.EL_RUN_FILE):
        return read_trace(run).begin
    try:
        info = read_info(run)
    except RunDirError:
        return None
    return info.created if info.kind == "training" else None


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return f"{shown}, and {len(names) - _LISTED} more" if len(names) > _LISTED else shown
