"""One process at a time works on a run.

The lock is a POSIX record lock on the file ``.lock``. The kernel drops it when its process dies, however that happens,
and forked workers do not inherit it (as they would inherit ``flock``, and block the resumed run). The price: closing
*any* descriptor of the file releases it. So only this module ever opens ``.lock``, and if this process itself holds the
lock, the answer comes from memory, without touching the file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emloop._support.files import atomic_write, open_inside
from emloop._support.printable import printable
from emloop.errors import RunDirError, RunLockedError

__all__ = ["RunLock", "holder", "is_held"]

_LOCK = ".lock"
_HOLDER = "holder.json"
_MAX_HOLDER_BYTES = 64 << 10

_WORDS = {"pid": "process", "host": "on", "since": "since", "attempt": "attempt"}

_Identity = tuple[int, int]
"""Device and inode of a lock file: the same for every path that leads to it."""

_held: dict[_Identity, int] = {}  # lock → process id; a forked child sees its parent's and must not take it for its own
_guard = threading.Lock()

# struct flock: type, whence, start, length, pid on Linux; start, length, pid, type, whence on macOS.
_IS_MACOS = sys.platform == "darwin"
_FLOCK = struct.Struct("@qqihh" if _IS_MACOS else "@hhqqi4x")
# A shared lock may be asked for on a read-only descriptor, and only another process's exclusive lock conflicts with it.
_QUESTION = (0, 0, 0, fcntl.F_RDLCK, os.SEEK_SET) if _IS_MACOS else (fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)


class RunLock:
    """The right to write to a run directory, held from :meth:`acquire` to :meth:`release` or the end of the process.

    Args:
        directory: The run directory; must exist.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = Path(directory)
        self._descriptor = -1
        self._identity: _Identity = (-1, -1)

    def acquire(self, *, attempt: int | None = None) -> None:
        """Take the lock, or fail at once.

        Args:
            attempt: Number of the attempt, recorded in ``holder.json`` for other processes to report.

        Raises:
            RunLockedError: If a process holds it, this one included; names that process.
            RunDirError: If the directory cannot be locked.
        """
        with _guard:
            if _is_ours(_identity(self._directory)):
                raise _locked(self._directory)
            self._descriptor = _take(self._directory)
            status = os.fstat(self._descriptor)
            self._identity = status.st_dev, status.st_ino
            _held[self._identity] = os.getpid()
        description = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "boot_id": _boot_id(),
            "attempt": attempt,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            atomic_write(self._directory / _HOLDER, json.dumps(description) + "\n")
        except OSError as error:
            self.release()
            raise RunDirError(f"{self._directory}: cannot be written to: {error}") from error

    def follow(self, directory: Path) -> None:
        """Adopt the new path of the run directory, after it was moved with the lock in it."""
        self._directory = Path(directory)

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._descriptor < 0:
            return
        if _is_ours(self._identity):
            # A leftover does no harm: it does not say that the lock is held.
            with contextlib.suppress(OSError):
                (self._directory / _HOLDER).unlink()
        with _guard:
            if _is_ours(self._identity):
                del _held[self._identity]
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(directory: Path | str) -> bool:
    """Whether any process, maybe this one, works on the run. Needs no write access and never takes the lock.

    Raises:
        RunDirError: If that cannot be determined.
    """
    with _guard:
        if _held and _is_ours(_identity(directory)):
            return True
        try:
            descriptor = os.open(f"{directory}/{_LOCK}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                answer = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, _FLOCK.pack(*_QUESTION)))
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _unknowable(directory, error) from error
        return bool(answer[3 if _IS_MACOS else 0] != fcntl.F_UNLCK)


def holder(directory: Path) -> dict[str, Any] | None:
    """What the last process to take the lock said about itself; ``None`` if it left orderly or left nothing readable.

    Returns:
        ``pid``, ``host``, ``boot_id`` (if the system has one), ``attempt`` and ``since`` (ISO 8601, UTC).
    """
    try:
        with os.fdopen(open_inside(directory, _HOLDER), "rb") as file:
            found = json.loads(file.read(_MAX_HOLDER_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _take(directory: Path) -> int:
    """Open the lock file and lock it."""
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise RunDirError(f"{directory}: cannot be locked: {error}") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise _locked(directory) from error
        raise RunDirError(f"{directory}: its file system does not support locks: {error}") from error
    return descriptor


def _identity(directory: Path | str) -> _Identity | None:
    """Identity of the lock file without opening it; ``None`` if there is none."""
    try:
        status = os.stat(f"{directory}/{_LOCK}")  # noqa: PTH116 - thousands for a listing
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unknowable(directory, error) from error
    return status.st_dev, status.st_ino


def _is_ours(identity: _Identity | None) -> bool:
    return identity is not None and _held.get(identity) == os.getpid()


def _locked(directory: Path) -> RunLockedError:
    found = holder(directory) or {}
    who = [f"{word} {found[key]}" for key, word in _WORDS.items() if found.get(key) is not None]
    name = f": {printable(' '.join(who))}" if who else ""
    return RunLockedError(f"{directory}: another process works on it{name}; wait for it to end, or stop it")


def _unknowable(directory: Path | str, error: OSError) -> RunDirError:
    return RunDirError(f"{directory}: cannot tell whether a process works on it: {error}")


def _boot_id() -> str | None:
    """Identifies this boot of the machine, on Linux."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
