"""From the words of a command line to a command and an exit code."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext

from emloop.constants import EL_HOME_VARIABLE, EL_RUN_FILE, EXIT_FAILED, EXIT_USAGE

from .args import get_emloop_arg_parser

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run a command.

    Args:
        argv: The words after ``emloop``.

    Returns:
        The exit code: 0 done, 1 failed, 2 configuration or usage, 3 cannot resume exactly, 4 untrusted input, 75
        stopped and resumable.
    """
    from emloop._support.files import has_above
    from emloop._support.trust import untrusted
    from emloop.errors import EmloopError

    parser = get_emloop_arg_parser(words=argv)
    try:
        arguments, rest = parser.parse_known_args(argv)
    except EmloopError as error:
        _complain(error)
        return error.exit_code
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    if getattr(arguments, "logs", True):
        _show_records(arguments)
    if arguments.home is not None:
        os.environ[EL_HOME_VARIABLE] = arguments.home
    working_directory = os.getcwd()  # noqa: PTH109 - pathlib would be the slowest part of a short command
    if has_above(working_directory, EL_RUN_FILE):
        # What lies in a run is data, also for who stands in it.
        sys.path[:] = [place for place in sys.path if os.path.realpath(place or ".") != os.path.realpath(".")]
    elif working_directory not in sys.path:
        # Last, so that a file there cannot take the place of a module of the standard library.
        sys.path.append(working_directory)
    try:
        _add_words(arguments, rest)
        with untrusted() if getattr(arguments, "untrusted", False) else nullcontext():
            code: int = arguments.run(arguments)
    except EmloopError as error:
        _complain(error)
        return error.exit_code
    except OSError as error:
        from emloop._reporter.telling import disk_failure

        if arguments.verbose or isinstance(error, BrokenPipeError) or (failure := disk_failure(error)) is None:
            raise
        _complain(failure)
        return EXIT_FAILED
    return code


def _add_words(arguments: Namespace, rest: Sequence[str]) -> None:
    """Give a command the words that argparse does not assign because they follow an option.

    Raises:
        UsageError: For a misspelt option, or a word too many.
    """
    if not rest:
        return
    from emloop._support.suggest import did_you_mean
    from emloop.errors import UsageError

    for word in rest:
        if word.startswith("-"):
            options = arguments.parser._option_string_actions  # argparse offers no other way to ask
            hint = "".join(f"; {text}" for text in did_you_mean(word.partition("=")[0], options))
            raise UsageError(f"unknown option {word!r}{hint}")
    if "words" not in arguments:
        raise UsageError(f"{rest[0]!r} is one word too many; see {arguments.parser.prog} --help")
    arguments.words += rest


def _show_records(arguments: Namespace) -> None:
    from emloop._reporter.records import show_records

    show_records(verbose=arguments.verbose, only_warnings=arguments.quiet)


def _complain(problem: object) -> None:
    from emloop._support.printable import folded, printable, short_lines

    print(folded(short_lines(printable(str(problem), keep="\n\t")), sys.stderr), file=sys.stderr)
