"""``emloop ls``: the runs in a directory, and how they stand."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from emloop._run_dir.layout import DESCRIPTIONS, current_config, is_run_dir
from emloop._run_dir.reading import read_small
from emloop._run_dir.summary import RunSummary, list_runs
from emloop._support import yaml
from emloop._support.printable import printable
from emloop.constants import EL_DEFAULT_LOG_DIR, EL_NA_STR
from emloop.errors import ConfigError, RunDirError

from . import render

__all__ = ["list_train_dirs"]


@dataclass(frozen=True)
class _Parts:
    """What a run's configuration says of its model and dataset."""

    model_name: str | None = None
    model_class: str | None = None
    dataset_class: str | None = None


def list_train_dirs(dir_: str, recursive: bool, all_: bool, long: bool, verbose: bool, as_json: bool = False) -> int:
    """List runs on standard output, earliest first.

    Args:
        dir_: A directory of runs, or a run directory, which is then listed alone.
        recursive: Whether to look into directories that are no runs, too.
        all_: Whether to show also runs that have no epoch done, as evaluations; live ones and those whose trace cannot
            be read are always shown.
        long: Whether to show more than names, and a summary of several runs.
        verbose: Whether to show, like ``long``, and for a single run its configuration and artifacts, too.
        as_json: Whether to write a JSON list instead.

    Returns:
        Exit status: 1 if there is no such directory.
    """
    root = Path(dir_)
    try:
        runs = list_runs(root, recursive=recursive)
    except RunDirError as error:
        if dir_ == EL_DEFAULT_LOG_DIR and not root.exists():
            render.complain(
                f"There are no runs yet: {dir_} does not exist. Give another directory, or train something."
            )
        else:
            render.complain(str(error))
        return 1
    alone = is_run_dir(root)
    shown = runs if all_ or alone else [run for run in runs if _is_worth_showing(run)]
    if as_json:
        render.say(json.dumps([_as_json(run) for run in shown], indent=2))
    elif recursive and not alone:
        for directory, group in groupby(sorted(shown, key=_parent), _parent):
            render.say(f"{directory}:")
            _show(list(group), long, verbose)
            render.say()
    else:
        _show(shown, long, verbose)
    return 0


def _is_worth_showing(run: RunSummary) -> bool:
    return run.epochs_done > 0 or run.status == "running" or _is_broken(run)


def _is_broken(run: RunSummary) -> bool:
    return run.problem is not None and run.status == "unknown"


def _parent(run: RunSummary) -> Path:
    return run.path.parent


def _show(runs: Sequence[RunSummary], long: bool, verbose: bool) -> None:
    if not (long or verbose):
        for run in runs:
            render.say(printable(run.name))
        return
    parts = [_parts(run) for run in runs]
    render.say(f"total {len(runs)}")
    if runs:
        render.say(render.aligned(map(_row, runs, parts)))
    if len(runs) > 1:
        render.say()
        _show_summary(parts)
    elif runs and verbose:
        render.say()
        _show_details(runs[0])


def _row(run: RunSummary, parts: _Parts) -> list[str]:
    now = datetime.now(UTC)
    end = now if run.status == "running" else run.end
    state = "broken" if _is_broken(run) else EL_NA_STR if run.status == "unknown" else run.status
    return [
        run.name,
        _last_part(parts.model_class),
        _last_part(parts.dataset_class),
        f"{_span(run.begin, now)} ago" if run.begin else EL_NA_STR,
        _span(run.begin, end),
        str(run.epochs_done),
        f"{state} evaluation" if run.kind == "evaluation" else state,
    ]


def _span(begin: datetime | None, end: datetime | None) -> str:
    return render.duration((end - begin).total_seconds()) if begin and end else EL_NA_STR


def _show_summary(parts: Sequence[_Parts]) -> None:
    names = Counter(part.model_name or "Unnamed" for part in parts)
    classes = Counter((part.model_class or EL_NA_STR, part.dataset_class or EL_NA_STR) for part in parts)
    render.say(render.boxed("summary"))
    render.say(render.grid(["model.name", "count"], [[name, str(number)] for name, number in sorted(names.items())]))
    render.say()
    rows = [[*pair, str(number)] for pair, number in sorted(classes.items())]
    render.say(render.grid(["model.class", "dataset.class", "count"], rows))


def _show_details(run: RunSummary) -> None:
    if run.problem:
        render.say(f"problem: {run.problem}\n")
    render.say(render.boxed("config"))
    try:
        render.say(read_small(current_config(run.path)).decode(errors="replace").rstrip("\n"))
    except OSError as error:
        render.say(f"cannot be read: {error.strerror or error}")
    render.say()
    render.say(render.boxed("artifacts"))
    render.say(render.aligned(_artifacts(run.path)))


def _artifacts(directory: Path) -> Iterable[list[str]]:
    for entry in sorted(directory.iterdir()):
        if not entry.name.startswith((".", "config.")) and entry.name not in DESCRIPTIONS:
            is_directory = entry.is_dir() and not entry.is_symlink()
            yield ["d" if is_directory else "-", entry.name, *render.file_size(_bytes(entry))]


def _bytes(path: Path) -> int:
    """Size of a file, or of all files below a directory; links count as themselves, what vanishes meanwhile not."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(map(_bytes, path.iterdir()))
    except OSError:
        return 0


def _parts(run: RunSummary) -> _Parts:
    try:
        config = yaml.load(read_small(current_config(run.path)), os.fspath(run.path))
    except (OSError, ConfigError):
        return _Parts()
    model, dataset = (_section(config, name) for name in ("model", "dataset"))
    return _Parts(_text(model.get("name")), _text(model.get("class")), _text(dataset.get("class")))


def _section(config: Any, name: str) -> Mapping[Any, Any]:
    section = config.get(name) if isinstance(config, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _last_part(class_name: str | None) -> str:
    return class_name.rpartition(".")[2] if class_name else EL_NA_STR


def _as_json(run: RunSummary) -> dict[str, Any]:
    parts = _parts(run)
    return {
        "name": run.name,
        "path": os.fspath(run.path),
        "run_id": run.info.run_id if run.info else None,
        "kind": run.kind,
        "status": run.status,
        "reason": run.trace.reason,
        "exit_status": run.trace.exit_status,
        "epochs_done": run.epochs_done,
        "attempts": run.trace.attempts,
        "begin": run.begin.isoformat() if run.begin else None,
        "end": run.end.isoformat() if run.end else None,
        "model_name": parts.model_name,
        "model_class": parts.model_class,
        "dataset_class": parts.dataset_class,
        "problem": run.problem,
    }
