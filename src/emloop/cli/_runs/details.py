"""A run in every detail, and runs as data for other programs."""

import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from emloop._run_dir.headline import headline
from emloop._run_dir.layout import DESCRIPTIONS, current_config
from emloop._run_dir.summary import RunSummary
from emloop._support.files import read_small

from .. import render
from .fields import RUN_FIELDS, Field

_DATA = (
    *("name", "path", "run_id", "kind", "status", "reason", "nan", "exit_status", "epochs_done", "attempts", "seed"),
    *("begin", "end", "duration"),
)


class Artifact(NamedTuple):
    """A file or directory that a run has produced.

    Args:
        name: Name in the run directory.
        is_directory: Whether it is a directory.
        size: Size in bytes, that of a directory with everything in it.
    """

    name: str
    is_directory: bool
    size: int


def show_details(run: RunSummary) -> None:
    """Write problems, configuration and artifacts of a run."""
    if run.problem:
        render.say(f"problem: {run.problem}\n")
    render.say(render.boxed("config"))
    try:
        render.say(read_small(current_config(run.path)).decode(errors="replace").rstrip("\n"))
    except OSError as error:
        render.say(f"cannot be read: {error.strerror or error}")
    render.say()
    render.say(render.boxed("artifacts"))
    rows = [("d" if found.is_directory else "-", found.name, *render.file_size(found.size)) for found in artifacts(run)]
    render.say(render.aligned(rows))


def artifacts(run: RunSummary) -> list[Artifact]:
    """List what a run has produced, as far as it can be read; files that only describe it are left out."""
    try:
        entries = sorted(run.path.iterdir())
    except OSError:
        return []
    return [
        Artifact(entry.name, entry.is_dir() and not entry.is_symlink(), size_of(entry))
        for entry in entries
        if not entry.name.startswith((".", "config.")) and entry.name not in DESCRIPTIONS
    ]


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of all files below a directory, each once; links are not followed."""
    return sum(dict(_sizes(path)).values())


def _sizes(path: Path) -> Iterator[tuple[int, int]]:
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            for entry in path.iterdir():
                yield from _sizes(entry)
        else:
            yield status.st_ino, status.st_size


def as_data(run: RunSummary, columns: Sequence[Field]) -> dict[str, Any]:
    """Describe a run for JSON.

    Args:
        run: The run.
        columns: The fields to include; if empty, those of the long form and more.
    """
    if columns:
        return {field.name: field.read(run) for field in columns}
    metric = headline(run)
    return {
        **{name: RUN_FIELDS[name](run) for name in _DATA},
        "metric": metric,
        "value": None if metric is None else run.metric(metric),
        **{key.replace(".", "_"): run.config.get(key) for key in ("model.name", "model.class", "dataset.class")},
        "problem": run.problem,
    }
