"""What is said of an error that a user's model, stream or hook has raised: where, with what, and its own frames."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException, extract_tb

from emloop.errors import EmloopError
from emloop.types import Batch

__all__ = ["disk_failure", "place_of", "told"]

_OF_THE_DISK = {
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENODEV, errno.ENXIO, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.ENOLCK),
}
"""What is wrong with the disk or the system, whoever wanted to read or write."""

_LIBRARY = Path(os.__file__).parent
_SOURCES = Path(__file__).parents[2]
_SHOWN = 8
"""Most sources that are described."""


def place_of(batch: Batch | None, stream: str, passed: int, epoch: int, *, train: bool) -> str:
    """Where an error came up.

    Args:
        batch: The batch that was being worked on; ``None`` or empty where the next one was being read.
        stream: Name of the stream.
        passed: Number of its batches so far, in this epoch.
        epoch: Number of the epoch.
        train: Whether it was for training.
    """
    if not batch:
        return f"while batch {passed + 1} of stream {stream!r} was read, in epoch {epoch}"
    sources = [f"{name}: {_described(values)}" for name, values in list(batch.items())[:_SHOWN]]
    what = "training on" if train else "evaluating"
    return f"while {what} batch {passed} of stream {stream!r} in epoch {epoch}, with {', '.join(sources)}"


def _described(values: object) -> str:
    shape, dtype = getattr(values, "shape", None), getattr(values, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{str(dtype).rpartition('.')[2]} {list(shape)}"
    length = len(values) if hasattr(values, "__len__") else "?"
    return f"{type(values).__name__} of {length}"


def told(error: BaseException, *, in_full: bool) -> str:
    """An error of the user's own code: what, where, the notes on it, then the traceback.

    Args:
        error: The error.
        in_full: Whether to keep the frames of emloop.
    """
    lines = [f"{type(error).__name__}: {error}"]
    # What was noted last came from furthest out: where before why.
    lines += [f"  {note}" for note in reversed(getattr(error, "__notes__", ()))]
    trace = TracebackException.from_exception(error)
    trace.__notes__ = None
    folded = sum([_fold(one) for one in _chain(trace)] if not in_full else [])
    text = "".join(trace.format())
    if folded:
        text = text.replace(
            "Traceback (most recent call last):",
            f"Traceback (most recent call last; {folded} frames of emloop are left out, -v shows them):",
            1,
        )
    return "\n".join([*lines, text.rstrip("\n")])


def disk_failure(error: BaseException | None) -> str | None:
    """An error of the file system in one line, where no traceback would say more; ``None`` for any other error.

    That is so for a disk that is full or broken, and for any error that emloop itself has met.
    """
    while isinstance(error, EmloopError) and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, OSError) or error.errno is None:
        return None
    frames = (frame for frame in reversed(extract_tb(error.__traceback__)) if not _is_library(frame))
    if error.errno not in _OF_THE_DISK and not any(_is_ours(frame) for frame in [next(frames, None)] if frame):
        return None
    file = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{file}{error.strerror or error}"


def _is_library(frame: FrameSummary) -> bool:
    path = Path(frame.filename)
    return frame.filename.startswith("<frozen") or (
        path.is_relative_to(_LIBRARY) and "site-packages" not in path.relative_to(_LIBRARY).parts
    )


def _chain(trace: TracebackException | None) -> Iterator[TracebackException]:
    if trace is not None:
        yield trace
        yield from _chain(trace.__cause__ or trace.__context__)


def _fold(trace: TracebackException) -> int:
    """Leave out the frames of emloop, unless they are where the error was raised; return their number."""
    frames = list(trace.stack)
    if not frames or _is_ours(frames[-1]):
        return 0
    trace.stack = StackSummary.from_list([frame for frame in frames if not _is_ours(frame)])
    return len(frames) - len(trace.stack)


def _is_ours(frame: FrameSummary) -> bool:
    path = Path(frame.filename)
    return path.is_relative_to(_SOURCES) and path.relative_to(_SOURCES).parts[0].startswith("emloop")
