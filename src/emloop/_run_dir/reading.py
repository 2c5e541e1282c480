"""Read a small file of a run directory that somebody else may have tampered with, or that a crash has torn."""

from __future__ import annotations

import os
from pathlib import Path

from emloop._support.files import open_inside

__all__ = ["MAX_BYTES", "read_small"]

MAX_BYTES = 16 * 1024 * 1024
"""No description of a run comes near this size; what is larger is not read."""


def read_small(path: Path) -> bytes:
    """The content of a regular file; neither follows a link nor waits for a pipe.

    What is appended meanwhile is not read.

    Raises:
        OSError: If there is no such file, or it is no regular file, or larger than :data:`MAX_BYTES`.
    """
    descriptor = open_inside(path.parent, path.name)
    try:
        # Asking for as much as is allowed would reserve that much for every file.
        size = os.fstat(descriptor).st_size
        if size > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES} bytes")
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)
