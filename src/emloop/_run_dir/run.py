"""The life of one run directory: created once, reopened by every further attempt, ended by each.

The order of writing decides what is seen after a crash. The lock comes first, then ``run.json``, so that a directory is
known to be ours before anything else stands in it. An attempt begins with the trace, then its line in
``attempts.jsonl``, and ends with its line, then the trace, then the lock: a run that was killed in between is never
taken for one that its last attempt has not touched.
"""

import errno
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Self

from emloop import constants
from emloop._state.lock import RunLock
from emloop._support.files import atomic_write, has_above, read_small
from emloop._support.trust import is_untrusted
from emloop.errors import RunDirError

from .append import AppendFiles, open_append
from .beginnings import explained
from .config import write_config
from .info import Kind, RunInfo, append_attempt, read_attempts, read_info, to_line, write_info
from .layout import TEMPORARY, attempt_config, current_config, made_here, only_locked
from .log import RunLog
from .provenance import code_patch, environment, hash_seed, installed_distributions
from .trace import EndStatus, Trace, local_now, local_timezone, read_trace, write_trace

logger = logging.getLogger(__name__)

Prepare = Callable[[], tuple[int | None, Iterable[Mapping[str, Any]]]]
"""Called with the lock held; returns the number of the commit from which the attempt goes on (``None``: from the start)
and the commit's records of append-only files."""


class Run:
    """One attempt on a run: holds the directory's lock from :meth:`create` or :meth:`reopen` to :meth:`end`.

    Attributes:
        directory: The run directory, absolute, so that a change of the working directory does no harm.
        info: What is settled about the run.
        attempt: Number of this attempt, from 1.
        checkpoints: Directory of the commits; made with the first one.
        appends: The run's append-only files; what they hold becomes durable with every commit.
        trace: Status of the run, as this attempt knows it.
        created: Whether this attempt created the run.
        ended: Whether :meth:`end` was called.
    """

    def __init__(self, directory: Path, info: RunInfo, trace: Trace, lock: RunLock, *, created: bool) -> None:
        """Serve :meth:`create` and :meth:`reopen`."""
        self.directory = directory
        self.info = info
        self.attempt = trace.attempts
        self.checkpoints = directory / constants.EL_CHECKPOINTS_DIR
        self.trace = trace
        self.created = created
        self.ended = False
        self._lock = lock
        self._began, self._seconds_before = monotonic(), trace.spent or 0.0
        self._identity = _identity(directory)

    @property
    def is_gone(self) -> bool:
        """Whether somebody has moved or deleted the directory meanwhile."""
        return _identity(self.directory) != self._identity

    @classmethod
    def create(
        cls,
        directory: Path | str,
        *,
        kind: Kind,
        config_text: str,
        source: bytes | None,
        bases: Iterable[tuple[str, bytes]] = (),
        seed: int,
        command: Sequence[str],
        parent: Mapping[str, Any] | None = None,
        home: Mapping[str, Any] | None = None,
        prepare: Prepare | None = None,
    ) -> Self:
        """Turn an empty directory into a run and begin its first attempt.

        Args:
            directory: The directory, as :func:`create_run_dir` makes it.
            kind: Whether the run trains or evaluates.
            config_text: The configuration as resolved, in YAML.
            source: The configuration file byte for byte; ``None`` if there was none.
            bases: Path and content of the files that it extends.
            seed: The run's only seed.
            command: The command line.
            parent: Origin of the state; see :class:`RunInfo`.
            home: Where the code is; see :class:`RunInfo`.
            prepare: As for :meth:`reopen`; may put files into the directory.

        Raises:
            RunLockedError: If another process is working in the directory; says which.
            RunDirError: If the directory is not empty or cannot be written.
        """
        directory = Path(directory).absolute()
        with explained(directory, "cannot create a run"), _locked(directory) as lock:
            if not only_locked(directory):
                raise RunDirError(f"{directory}: cannot create a run in a directory that is not empty")
            _remove_leftovers(directory)
            source_name = None if source is None else constants.EL_CONFIG_SOURCE_FILE
            info = RunInfo(
                kind, seed, tuple(command), parent, config_source=source_name, home=home, hash_seed=hash_seed()
            )
            write_info(directory, info)
            write_config(directory / constants.EL_CONFIG_FILE, config_text)
            if source is not None:
                atomic_write(directory / constants.EL_CONFIG_SOURCE_FILE, source)
            for number, (path, content) in enumerate(bases, start=1):
                folder = directory / constants.EL_CONFIG_BASES_DIR
                folder.mkdir(exist_ok=True)
                # Numbered, since files of several directories may have the same name.
                atomic_write(folder / f"{number}-{Path(path).name}", content)
            atomic_write(directory / constants.EL_ENVIRONMENT_FILE, installed_distributions())
            # Git obeys the settings of the repository, which may lie in what a stranger has sent.
            patch = None if is_untrusted() or has_above(".", constants.EL_RUN_FILE) else code_patch(Path.cwd())
            if patch is not None:
                atomic_write(directory / constants.EL_PATCH_FILE, patch)
            trace = Trace(train_begin=local_now(), timezone=local_timezone(), attempts=1)
            run = cls(directory, info, trace, lock, created=True)
            _created.append(run)
            run._begin(command, prepare)
        return run

    @classmethod
    def reopen(
        cls,
        directory: Path | str,
        *,
        config_text: str | None,
        command: Sequence[str],
        home: Mapping[str, Any] | None = None,
        prepare: Prepare | None = None,
    ) -> Self:
        """Begin a further attempt on a run.

        Args:
            directory: The run directory.
            config_text: The configuration of this attempt, in YAML, kept as ``config.attempt-N.yaml`` if it is not the
                newest one already; ``None``: as before.
            command: The command line.
            home: Where the code is now, if it has moved.
            prepare: Called with the lock held, before anything is appended. Append-only files are cut back to what it
                returns, and what is cut off is kept under ``discarded/``. ``None``: they stay as they are.

        Raises:
            RunLockedError: If another process is working on the run; says which.
            CheckpointError: If an append-only file is not what it was at the commit.
            RunDirError: If the directory is no run, or cannot be written.
        """
        directory = Path(directory).absolute()
        _refuse_read_only(directory)
        with explained(directory, "cannot go on with this run"), _locked(directory) as lock:
            info = read_info(directory)
            _remove_leftovers(directory)
            before = read_trace(directory)
            attempt = max(before.attempts, *(record["attempt"] for record in read_attempts(directory)), 0) + 1
            trace = replace(
                before,
                train_begin=before.train_begin or local_now(before.timezone),
                train_end=None,
                exit_status=None,
                timezone=before.timezone or local_timezone(),
                reason=None,
                attempts=attempt,
                seconds=before.spent,
            )
            if config_text is not None:
                current = current_config(directory)
                if not current.exists():  # the run was not created to the end
                    write_config(current, config_text)
                elif config_text.encode() != read_small(current):
                    write_config(directory / attempt_config(attempt), config_text)
            run = cls(directory, info, trace, lock, created=False)
            run._begin(command, prepare, home)
        return run

    def log_metrics(self, line: Mapping[str, Any]) -> None:
        """Append a line to ``metrics.jsonl``; durable with the next commit.

        Args:
            line: Scalars, possibly in nested mappings and lists.
        """
        open_append(self.directory / constants.EL_METRICS_FILE).write(to_line(line))

    def log_steps(self, line: Mapping[str, Any]) -> None:
        """Append a line to ``steps.jsonl``; likewise."""
        open_append(self.directory / constants.EL_STEPS_FILE).write(to_line(line))

    def update_trace(self, **changes: Any) -> None:
        """Change fields of the trace and write it; an error in writing is only logged, since no run depends on it."""
        self._note(**changes)
        with _tolerated(self.directory / constants.EL_TRACE_FILE):
            write_trace(self.directory, self.trace)

    def end(self, status: EndStatus, reason: str, *, exit_status: int) -> None:
        """End the attempt: record it, close the log, release the lock; a second call does nothing.

        A failure to record, e.g. because the disk is full, is logged, so that it does not hide why the run ended.

        Args:
            status: How the attempt ended; ``stopped`` means that it can be resumed.
            reason: Why, in words.
            exit_status: Exit status of the process to come.
        """
        if self.ended:
            return
        self.ended = True
        with ExitStack() as closing:
            closing.callback(self._lock.release)
            closing.enter_context(suppress(OSError) if self.is_gone else _tolerated(self.directory))
            closing.callback(self.appends.close)
            closing.callback(self._log.detach)
            if self.is_gone:
                return
            with _tolerated(self.directory / constants.EL_ATTEMPTS_FILE):
                self._record("end", status=status, reason=reason, exit_status=exit_status)
            train_end = local_now(self.trace.timezone)
            self.update_trace(status=status, reason=reason, exit_status=exit_status, train_end=train_end)

    def _begin(self, command: Sequence[str], prepare: Prepare | None, home: Mapping[str, Any] | None = None) -> None:
        commit = None
        with ExitStack() as undo:
            self.appends = AppendFiles(self.directory)
            undo.callback(self.appends.close)
            if prepare is not None:
                commit, appended = prepare()
                self.appends.restore(appended)
            host, pid = platform.node(), os.getpid()
            self._note(status="running", host=host, pid=pid, problem=None)
            write_trace(self.directory, self.trace)
            details = {"host": host, "pid": pid, "commit": commit, "command": list(command)}
            details |= {} if home is None else {"home": dict(home)}
            self._record("start", **details, hash_seed=hash_seed(), environment=environment())
            _tell_caller(self.directory)
            self._log = RunLog(self.directory)
            self._log.attach()
            undo.pop_all()

    def _note(self, **changes: Any) -> None:
        seconds = round(self._seconds_before + monotonic() - self._began, 3)
        self.trace = replace(self.trace, **changes, seconds=seconds, written=local_now(self.trace.timezone))

    def _record(self, event: str, **details: Any) -> None:
        time = datetime.now(UTC).isoformat()
        append_attempt(self.directory, {"attempt": self.attempt, "event": event, "time": time, **details})


def _tell_caller(directory: Path) -> None:
    """Add the directory to the file by which a program learns what the commands that it calls work on."""
    if path := os.environ.get(constants.EL_RUNS_VARIABLE):
        with suppress(OSError), Path(path).open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"{directory}\n")


_created: list[Run] = []


def runs_created() -> list[Run]:
    """The runs that this process has created, in order."""
    return list(_created)


def delete_run(run: Run) -> None:
    """Delete what an ended run has left, and its directory if this process has made it.

    Raises:
        RunDirError: If the run was not created by this process, has not ended, or cannot be deleted.
        RunLockedError: If another process has taken it up since.
    """
    directory = run.directory
    if not run.created:
        raise RunDirError(f"{directory}: not deleted, because an earlier command has created this run")
    if not run.ended:
        raise RunDirError(f"{directory}: not deleted, because the run has not ended")
    with explained(directory, "cannot delete this run"), _locked(directory) as lock:
        if read_info(directory).run_id != run.info.run_id:
            raise RunDirError(f"{directory}: not deleted, because it holds another run now")
        if made_here(directory):
            shutil.rmtree(directory)
        else:
            for entry in directory.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        lock.release()


def _remove_leftovers(directory: Path) -> None:
    """Remove files that a killed process was writing."""
    for leftover in directory.glob(f"{TEMPORARY}*"):
        if not leftover.is_dir() or leftover.is_symlink():
            leftover.unlink()


def _identity(directory: Path) -> tuple[int, int] | None:
    """What tells a directory from another one of its name; ``None`` if there is none."""
    try:
        status = directory.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refuse_read_only(directory: Path) -> None:
    """Refuse a run that cannot be committed to before it has trained until its next commit."""
    for place in (directory, directory / constants.EL_CHECKPOINTS_DIR):
        if place.is_dir() and not os.access(place, os.W_OK):
            is_mounted_so = os.statvfs(place).f_flag & os.ST_RDONLY
            reason = os.strerror(errno.EROFS if is_mounted_so else errno.EACCES)
            raise RunDirError(
                f"{place}: cannot be written: {reason}; to go on elsewhere: emloop resume {directory} --fork -o DIR"
            )


@contextmanager
def _locked(directory: Path) -> Iterator[RunLock]:
    """Take the lock of a directory, and give it back only if the block fails."""
    lock = RunLock(directory)
    lock.acquire()
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


@contextmanager
def _tolerated(path: Path) -> Iterator[None]:
    """Log an error of the file system and go on."""
    try:
        yield
    except OSError as error:
        if path.parent.is_dir():  # else the whole run was taken away, and says so when it ends
            logger.warning("%s could not be written: %s", path, error)
