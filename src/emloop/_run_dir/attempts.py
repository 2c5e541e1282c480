"""``attempts.jsonl``: the history of the processes that worked on a run, a line per start and per end.

Nothing ever cuts this file back: what a resumed run undoes has happened all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emloop._support.files import fsync_dir, sync, write_all
from emloop.constants import EL_ATTEMPTS_FILE

from .jsonl import to_line
from .reading import read_small

__all__ = ["append_attempt", "last_attempt", "read_attempts"]


def append_attempt(directory: Path, record: Mapping[str, Any]) -> None:
    """Write one line, and return when it is durable.

    Args:
        directory: The run directory.
        record: At least ``attempt`` (its number, from 1) and ``event`` (``start`` or ``end``).

    Raises:
        OSError: If it cannot be written.
    """
    path = directory / EL_ATTEMPTS_FILE
    line = to_line(record).encode()
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            # A crash has torn the last line; this one must not be joined to it.
            line = b"\n" + line
        write_all(file.fileno(), line)
        sync(file.fileno())
    if not size:
        fsync_dir(directory)


def read_attempts(directory: Path) -> list[dict[str, Any]]:
    """All records that are whole, oldest first; nothing if the file is not there."""
    records = []
    with contextlib.suppress(FileNotFoundError):
        for line in read_small(directory / EL_ATTEMPTS_FILE).splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("attempt"), int):
                    records.append(record)
    return records


def last_attempt(directory: Path) -> int:
    """Number of the newest attempt, 0 if there was none."""
    return max((record["attempt"] for record in read_attempts(directory)), default=0)
