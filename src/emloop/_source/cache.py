"""What was read from a file, kept until the file changes.

One small file for each that was read, in the user's cache directory. It is replaced as a whole, so that processes
at the same time do not disturb each other; what is damaged, or cannot be written, is as good as not there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from zlib import crc32

__all__ = ["FileCache", "cache_directory"]

T = TypeVar("T")

_FORMAT = 6
_MOST = 2000
_SETTLED_NS = 50_000_000
_SETTLED_COARSELY_NS = 2_500_000_000


def cache_directory() -> str | None:
    """Where the user's caches of emloop are: ``$EMLOOP_CACHE``, or ``$XDG_CACHE_HOME/emloop``.

    Returns:
        ``None`` if there is no home, or ``EMLOOP_CACHE`` is ``off``.
    """
    own = os.environ.get("EMLOOP_CACHE", "")
    if own:
        return None if own == "off" else os.path.abspath(own)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "emloop") if os.path.isabs(base) else None


class FileCache:
    """Values computed from the content of files.

    Args:
        directory: Where to keep them; ``None`` keeps nothing.
        kind: What is computed; a word.
    """

    def __init__(self, directory: str | None, kind: str) -> None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self._directory = None if directory is None else os.path.join(directory, f"{kind}-{_FORMAT}-py{version}")

    def get(self, path: str, compute: Callable[[bytes], T]) -> T:
        """The value for a file.

        Args:
            path: The file.
            compute: What makes the value, of JSON's types, from the content.

        Raises:
            OSError: If the file cannot be read.
        """
        path = os.path.abspath(path)
        stamp = _stamp(os.stat(path))
        kept = self._read(path, stamp)
        if kept is not None:
            value: T = kept[0]
            return value
        with open(path, "rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            content = file.read()
        value = compute(content)
        if _is_settled(stamp):
            self._write(path, stamp, value)
        return value

    def _read(self, path: str, stamp: list[int]) -> tuple[Any] | None:
        if self._directory is None:
            return None
        try:
            with open(_entry(self._directory, path), "rb") as file:
                checksum, _, text = file.read().partition(b"\n")
            kept = json.loads(text) if int(checksum, 16) == crc32(text) else {"path": None}
        except (OSError, ValueError):
            return None
        return (kept["value"],) if kept["path"] == path and kept["stamp"] == stamp else None

    def _write(self, path: str, stamp: list[int], value: object) -> None:
        if self._directory is None:
            return
        text = json.dumps({"path": path, "stamp": stamp, "value": value}).encode()
        temporary = os.path.join(self._directory, f".new-{os.getpid()}-{time.monotonic_ns()}")
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(b"%08x\n%s" % (crc32(text), text))
            self._make_room(self._directory)
            os.replace(temporary, _entry(self._directory, path))
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)

    @staticmethod
    def _make_room(directory: str) -> None:
        """Remove the older half of too many entries."""
        found = list(os.scandir(directory))
        if len(found) > _MOST:
            with suppress(OSError):  # another process may be doing the same
                for old in sorted(found, key=lambda entry: entry.stat().st_mtime)[: _MOST // 2]:
                    os.unlink(old)


def _entry(directory: str, path: str) -> str:
    return os.path.join(directory, f"{os.path.basename(path)}-{crc32(os.fsencode(path)):08x}.json")


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _is_settled(stamp: list[int]) -> bool:
    """Whether a later change would show in the stamp; clocks of file systems tick slowly, some only once in seconds."""
    written = stamp[0]
    wait = _SETTLED_COARSELY_NS if written % 1_000_000_000 == 0 else _SETTLED_NS
    return time.time_ns() - written > wait
