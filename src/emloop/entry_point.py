"""Target of the console script ``emloop``."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

__all__ = ["entry_point"]

_REPEATABLE = {"train", "resume", "eval", "verify"}
_TAKE_A_VALUE = {"-o", "--output_root", "--home"}
_SHOWN = {"-h", "--help", "--version"}


def entry_point() -> None:
    """Run the command line and end the process with its exit code."""
    again = _repeatable(sys.argv, sys.orig_argv, os.environ)
    if again is not None:
        with suppress(OSError):  # it goes on as it is, and the run records that
            os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606 - it is this process
    try:
        # Not earlier: a process that begins anew has no use for it.
        from emloop.cli.app import main  # noqa: PLC0415

        code = main(sys.argv[1:])
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:
        if not _is_read(sys.stdout.fileno()):
            # Otherwise, the interpreter would flush once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - the words of a command
        # A training that had not even begun can begin again.
        sys.exit(75 if _command(sys.argv[1:]) in _REPEATABLE else 130)


def _is_read(pipe: int) -> bool:
    """Whether somebody is still there to read, as ``| head`` is not once it has seen enough."""
    from select import POLLERR, poll  # noqa: PLC0415

    asked = poll()
    asked.register(pipe, 0)
    return not any(event & POLLERR for _, event in asked.poll(0))


def _repeatable(argv: Sequence[str], original: Sequence[str], environ: Mapping[str, str]) -> list[str] | None:
    """The command line that begins this process anew, with texts hashed as in every other run.

    Otherwise, the order of a set of texts, such as a vocabulary, would be another one in every process.

    Returns:
        ``None`` if the command reads no data, if texts are hashed so already, if the variable would have no effect, or
        if something else has started this process: a debugger, a profiler, a fork of a server.
    """
    words, options = list(argv[1:]), list(original[1 : len(original) - len(argv) + 1])
    is_fixed = environ.get("PYTHONHASHSEED") or not sys.flags.hash_randomization
    if is_fixed or sys.flags.ignore_environment or not sys.executable or _is_watched():
        return None
    if (
        _command(words) not in _REPEATABLE
        or _SHOWN & set(words)
        or list(original[len(original) - len(words) :]) != words
    ):
        return None
    if options[-2:] == ["-m", "emloop"]:
        del options[-2:]
    elif options and options[-1] == argv[0]:
        del options[-1:]
    else:
        return None
    takes_value = False
    for option in options:  # whatever is no option of the interpreter would run something else
        if not takes_value and (not option.startswith("-") or option in {"-c", "-m", "-R"}):
            return None
        takes_value = not takes_value and option in {"-X", "-W"}
    return [sys.executable, *original[1:]]


def _command(words: Sequence[str]) -> str | None:
    for before, word in zip(["", *words], words, strict=False):
        if not word.startswith("-") and before not in _TAKE_A_VALUE:
            return word
    return None


def _is_watched() -> bool:
    """Whether a debugger, a profiler or a measurement of coverage follows this process."""
    monitoring = getattr(sys, "monitoring", None)
    tools = () if monitoring is None else map(monitoring.get_tool, range(6))
    return sys.gettrace() is not None or sys.getprofile() is not None or any(tools)
