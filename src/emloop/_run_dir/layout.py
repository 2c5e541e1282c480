"""Run directories among others: making and recognising them."""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from operator import attrgetter
from pathlib import Path, PurePath

from emloop import constants
from emloop._support.files import fsync_dir
from emloop._support.names import random_name
from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError, Problem, RunDirError

TEMPORARY = ".tmp-"
"""Beginning of the names of files that are being written."""

_LOCK_FILES = frozenset({".lock", "holder.json"})

DESCRIPTIONS = _LOCK_FILES | {
    constants.EL_ATTEMPTS_FILE,
    constants.EL_DATA_FILE,
    constants.EL_ENVIRONMENT_FILE,
    constants.EL_LOG_FILE,
    constants.EL_LOSSES_FILE,
    constants.EL_PATCH_FILE,
    constants.EL_RUN_FILE,
    constants.EL_STATUS_FILE,
    constants.EL_TRACE_FILE,
}
"""Files that describe a run, besides its configurations; all others are results."""

_ATTEMPT_CONFIG = re.compile(r"config\.attempt-([1-9]\d*)\.yaml")
_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^\w.+-]+")
_LONGEST = 120
"""Bytes of a model's name that are kept: file systems take names of 255 bytes, and something is appended."""

_made: dict[tuple[int, int], Path] = {}
"""Device and inode of every run directory that this process has made, and its absolute path."""


def create_run_dir(root: Path | str, *, name: str | None, model_name: str) -> Path:
    """Make a new, empty run directory; no two processes are ever given the same new one.

    Args:
        root: Directory of runs; made with its parents if it is missing.
        name: Its name under the root, which may have several parts. An empty directory of that name is taken as it is,
            and so is one that a killed process has left on the point of creating a run.
            ``None``: a name after ``EMLOOP_OUTPUT_DIR_FORMAT``; if taken, with ``_1``, ``_2``, … appended.
        model_name: Value of the template's ``{model_name}``; made fit for a file name.

    Returns:
        The directory: ``root`` joined with the name.

    Raises:
        RunDirError: If the name leads out of the root, is taken by something that is not an empty directory, or the
            directory cannot be made.
        ConfigError: If the template is wrong.
    """
    root = Path(root)
    numbered = name is None
    name = _new_name(model_name) if name is None else name
    path = PurePath(name)
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or ".." in path.parts:
        raise RunDirError(f"{name!r} leads out of {root}; to put runs elsewhere, use --output_root")
    if not path.parts or not name.isprintable():
        raise RunDirError(f"{name!r} is no name for a run directory")
    directory = root / path
    try:
        _make_directories(directory.parent)
        return make_numbered(directory, _make) if numbered else _make_named(directory)
    except RunDirError:
        raise
    except OSError as error:
        raise RunDirError(
            f"{directory}: cannot make this run directory: {error}; to put runs elsewhere, use --output_root"
        ) from error


def make_numbered(directory: Path, make: Callable[[Path], None] = Path.mkdir) -> Path:
    """Make a directory, with ``_1``, ``_2``, … appended to its name if that is taken."""
    candidate, taken = directory, 0
    while True:
        try:
            make(candidate)
        except FileExistsError:
            taken += 1
            candidate = directory.with_name(f"{directory.name}_{taken}")
        else:
            return candidate


def made_here(directory: Path) -> bool:
    """Whether this process has made the run directory."""
    status = directory.stat()
    # The path as well, because inodes of deleted directories are used again.
    return _made.get((status.st_dev, status.st_ino)) == directory.absolute()


def safe_name(text: str) -> str:
    """The text as part of a file name: no separators, no white space, no leading dot or dash, not too long."""
    name = _UNSAFE.sub("_", text).encode()[:_LONGEST].decode(errors="ignore").lstrip(".-")
    return name or "Unnamed"


def is_run_dir(directory: Path | str) -> bool:
    """Whether a directory is a run of ours, however broken.

    A run has a ``run.json``; or, as emloop 0.2 left it, a ``config.yaml`` beside a trace or a log; or nothing but a
    lock, if its process was killed on the point of creating it.
    """
    if os.path.lexists(f"{directory}/{constants.EL_RUN_FILE}"):
        return True
    if os.path.lexists(f"{directory}/{constants.EL_CONFIG_FILE}"):
        return any(os.path.lexists(f"{directory}/{name}") for name in (constants.EL_TRACE_FILE, constants.EL_LOG_FILE))
    try:
        return os.path.lexists(f"{directory}/.lock") and only_locked(Path(directory))
    except OSError:
        return False


def only_locked(directory: Path) -> bool:
    """Whether a directory holds nothing but what a process leaves there before it creates a run."""
    return all(entry.name in _LOCK_FILES or entry.name.startswith(TEMPORARY) for entry in directory.iterdir())


def iter_runs(root: Path | str, *, recursive: bool = False) -> Iterator[Path]:
    """Like :func:`run_places`, as paths."""
    return map(Path, run_places(root, recursive=recursive))


def run_places(root: Path | str, *, recursive: bool = False) -> Iterator[str]:
    """The run directories in a directory, sorted by name, without hidden and unreadable ones.

    Args:
        root: Where to look; not itself taken for a run.
        recursive: Whether to look into directories that are no runs, too, except through links.

    Raises:
        RunDirError: If the root is not a directory.
    """
    try:
        entries = _entries(root)
    except OSError as error:
        raise RunDirError(f"{root}: cannot look for runs there: {error.strerror}") from error
    yield from _runs_among(entries, recursive=recursive)


def is_config_name(name: str) -> bool:
    """Whether a file of this name is a configuration of a run, as resolved."""
    return name == constants.EL_CONFIG_FILE or _ATTEMPT_CONFIG.fullmatch(name) is not None


def current_config(directory: Path | str, attempt: int | None = None) -> Path:
    """Like :func:`current_config_name`, as a path."""
    return Path(directory, current_config_name(directory, attempt))


def current_config_name(directory: Path | str, attempt: int | None = None) -> str:
    """The present configuration of a run: ``config.attempt-N.yaml`` with the largest ``N``, else ``config.yaml``.

    Args:
        directory: The run directory.
        attempt: Look for the configuration of this attempt instead; later ones do not count.
    """
    # Few names begin so, and the pattern takes longer to say no.
    names = [name for name in os.listdir(directory) if name.startswith("config.attempt-")]  # noqa: PTH208
    if not names:
        return constants.EL_CONFIG_FILE
    numbers = [int(match[1]) for name in names if (match := _ATTEMPT_CONFIG.fullmatch(name))]
    latest = max((number for number in numbers if attempt is None or number <= attempt), default=None)
    return constants.EL_CONFIG_FILE if latest is None else attempt_config(latest)


def attempt_config(attempt: int) -> str:
    """Name of the configuration of a later attempt that changed it."""
    return f"config.attempt-{attempt}.yaml"


def _new_name(model_name: str) -> str:
    """Fill in the template of names; another call may return another name.

    The template may use ``{model_name}``, ``{random_name}`` and ``{timestamp}`` (local time, to the second).
    """
    template = os.environ.get(constants.EL_OUTPUT_DIR_FORMAT_VARIABLE) or constants.EL_DEFAULT_OUTPUT_DIR_FORMAT
    fields = {
        "model_name": safe_name(model_name),
        "random_name": random_name(),
        "timestamp": datetime.now().astimezone().strftime("%Y-%m-%d-%H-%M-%S"),
    }

    def wrong(message: str, *hints: str) -> ConfigError:
        hints = (*hints, "it may use {model_name}, {random_name} and {timestamp}")
        return ConfigError(Problem(message, path=constants.EL_OUTPUT_DIR_FORMAT_VARIABLE, hints=hints))

    # Not str.format: its fields reach attributes, and the template comes from the environment.
    for name in _FIELD.findall(template):
        if name not in fields:
            raise wrong(f"unknown field {{{name}}} in {template!r}", *did_you_mean(name, fields))
    if re.search("[{}]", _FIELD.sub("", template)):
        raise wrong(f"a brace without its partner in {template!r}")
    return _FIELD.sub(lambda match: fields[match[1]], template)


def _make_named(directory: Path) -> Path:
    try:
        _make(directory)
    except FileExistsError:
        if not directory.is_dir():
            raise RunDirError(f"{directory} exists and is not a directory; choose another name") from None
        if not only_locked(directory):
            way_out = f"or go on with it: emloop resume {directory}" if is_run_dir(directory) else "or empty it"
            raise RunDirError(f"{directory} exists and is not empty; choose another name, {way_out}") from None
    return directory


def _make(directory: Path) -> None:
    directory.mkdir()
    status = directory.stat()
    _made[status.st_dev, status.st_ino] = directory.absolute()
    fsync_dir(directory.parent)


def _make_directories(directory: Path) -> None:
    """Like ``mkdir(parents=True, exist_ok=True)``, but the new directories survive a power cut."""
    if not directory.is_dir():
        _make_directories(directory.parent)
        directory.mkdir(exist_ok=True)
        fsync_dir(directory.parent)


def _entries(directory: Path | str) -> list[os.DirEntry[str]]:
    # Unlike paths, entries know without asking whether they are directories.
    with os.scandir(directory) as found:
        return sorted(found, key=attrgetter("name"))


def _runs_among(entries: Iterable[os.DirEntry[str]], *, recursive: bool) -> Iterator[str]:
    for entry in entries:
        with contextlib.suppress(OSError):
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if is_run_dir(entry.path):
                yield entry.path
            elif recursive and not entry.is_symlink():
                yield from _runs_among(_entries(entry.path), recursive=True)
