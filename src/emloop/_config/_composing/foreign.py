"""Configurations that came with a run, or with a saved model, and so maybe from a stranger."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from emloop._support.files import read_small
from emloop._support.trust import is_untrusted
from emloop.constants import EL_LOG_FILE, EL_RUN_FILE, EL_TRACE_FILE
from emloop.errors import ConfigFileError, Problem

__all__ = ["is_foreign", "is_in_run", "is_shipped", "mark_foreign", "read_foreign"]

_marked: set[str] = set()


def is_in_run(file: str | os.PathLike[str]) -> bool:
    """Whether a file lies in a run directory."""
    directory = os.path.dirname(file)
    return any(os.path.lexists(os.path.join(directory, name)) for name in (EL_RUN_FILE, EL_TRACE_FILE))


def is_shipped(file: str | os.PathLike[str]) -> bool:
    """Whether a file lies beside a saved model, or a log, as what was left of a run or is handed on."""
    directory = os.path.dirname(file) or "."
    if os.path.lexists(os.path.join(directory, EL_LOG_FILE)):
        return True
    try:
        with os.scandir(directory) as entries:
            folders = [entry.path for entry in entries if entry.name.startswith("model_") and entry.is_dir()]
    except OSError:
        return False
    return any(os.path.lexists(os.path.join(folder, "manifest.json")) for folder in folders)


def mark_foreign(file: str | os.PathLike[str]) -> None:
    """Note that a file was found beside a model that the user has named; it came with that."""
    if is_untrusted():
        _marked.add(os.path.abspath(file))


def is_foreign(file: str | os.PathLike[str]) -> bool:
    """Whether a file must be taken for a stranger's: one in a run; of an untrusted one, all that came with it."""
    return is_in_run(file) or (is_untrusted() and (is_shipped(file) or os.path.abspath(file) in _marked))


def read_foreign(file: str) -> bytes:
    """A configuration that may be a link to what is nobody's business, or a pipe.

    Raises:
        ConfigFileError: If it is no regular file, or cannot be read.
    """
    try:
        return read_small(Path(file))
    except OSError as error:
        what = "is a link, which is not followed in a run" if error.errno == errno.ELOOP else error.strerror or error
        raise ConfigFileError(Problem(f"cannot be read: {what}", path=file)) from error
