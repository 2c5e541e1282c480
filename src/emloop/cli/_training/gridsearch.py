"""``emloop gridsearch``: run a command for every combination of some parameters, one after the other.

Values may be written as a Python list (``["x", None]``) or in YAML (``[x, null]``). Each member of the grid gets its
values in YAML, with their types. A type after a parameter's name (``lr:float=[1]``), as in older scripts, is ignored.

Examples:
    emloop gridsearch 'emloop train config.yaml' 'model.lr=[0.1, 0.01]' 'model.hidden=[32, 64]'
    emloop gridsearch 'emloop train config.yaml' 'model.activation=[relu, tanh]' --dry-run
"""

from __future__ import annotations

import ast
import itertools
import logging
import re
import shlex
import signal
import subprocess
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

from emloop import _yaml
from emloop._yaml.flow import one_line
from emloop.constants import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
from emloop.errors import ConfigError, UsageError

from .. import render

logger = logging.getLogger(__name__)

_TYPE = re.compile(":(int|float|str|bool)$")
_OUTCOMES = {EXIT_DONE: "done", EXIT_STOPPED: "stopped"}
_CANNOT_START = 127
"""Exit code that shells use for a command not found."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("script", metavar="SCRIPT", help="the command, as one word in quotes")
    parser.add_argument("words", metavar="PARAM=LIST", nargs="*", help="a key of the config and the values to try")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands, one a line")


def run(arguments: Namespace) -> int:
    """Run the command."""
    return grid_search(arguments.script, arguments.words, arguments.dry_run)


class _Result(NamedTuple):
    """How a member of the grid ended.

    Args:
        command: The words of its command line.
        code: Exit code; negative if a signal ended it, ``None`` if it was not started.
        seconds: Duration.
    """

    command: Sequence[str]
    code: int | None = None
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """The end in words."""
        if self.code is None:
            return "not started"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return _OUTCOMES.get(self.code, "failed")

    def row(self, number: int) -> list[str]:
        """The row in the table of results."""
        code, took = ("", "") if self.code is None else (str(self.code), render.duration(self.seconds))
        return [str(number), code, self.outcome, took, shlex.join(self.command)]


def grid_search(script: str, params: Sequence[str], dry_run: bool = False) -> int:
    """Run a command for every combination of parameters, the last one varying fastest.

    The first interrupt lets the member in progress end and starts no other; a second one is passed on to it.

    Args:
        script: The command, such as ``emloop train config.yaml``, with quotes as in a shell.
        params: Parameters with their values, such as ``model.lr=[0.1, 0.01]``.
        dry_run: Whether to print the commands only, one a line, as a shell takes them.

    Returns:
        The exit code: 1 if a member failed, 75 if the search was interrupted.

    Raises:
        UsageError: If a parameter has no list of values, or one that cannot be written in YAML.
    """
    commands = [
        [*words, *(f"{_TYPE.sub('', name)}={_encoded(name, value)}" for name, value in settings.items())]
        for words, settings in _members(script, params)
    ]
    if dry_run:
        for command in commands:
            render.say(shlex.join(command))
        return EXIT_DONE
    results = []
    search = _Search()
    with search.catching_signals():
        for number, command in enumerate(commands, start=1):
            results.append(search.run(command, f"Member {number} of {len(commands)}"))
    head = ["member", "exit code", "outcome", "took", "command"]
    render.say(render.aligned([head, *(result.row(number) for number, result in enumerate(results, start=1))]))
    if any(result.code not in (EXIT_DONE, EXIT_STOPPED, None) for result in results):
        return EXIT_FAILED
    return EXIT_DONE if all(result.code == EXIT_DONE for result in results) else EXIT_STOPPED


def _build_grid_search_commands(script: str, params: Sequence[str]) -> Iterator[list[str]]:
    """Build the commands in the notation of emloop 0.2, every value as text in double quotes.

    Kept for programs that import it; :func:`grid_search` keeps the types of values.

    Raises:
        UsageError: As :func:`grid_search`.
    """
    for words, settings in _members(script, params):
        yield [*words, *(f'{name}="{value}"' for name, value in settings.items())]


def _members(script: str, params: Sequence[str]) -> list[tuple[list[str], Mapping[str, Any]]]:
    """List the words of the command and the values of the parameters for each member of the grid."""
    try:
        words = shlex.split(script)
    except ValueError as error:
        raise UsageError(f"{script!r} is no command: {error}") from error
    if not words:
        raise UsageError("there is no command; give one such as 'emloop train config.yaml'")
    lists: dict[str, list[Any]] = {}
    for name, values in map(_parameter, params):
        if name in lists:
            raise UsageError(f"{name!r} is given twice; write all its values into one list")
        lists[name] = values
    return [(words, dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]


def _parameter(text: str) -> tuple[str, list[Any]]:
    name, equals, written = text.partition("=")
    if not name or not equals:
        raise UsageError(f"{text!r} is no parameter; write its name and its values: model.lr=[0.1, 0.01]")
    try:
        values = ast.literal_eval(written)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        try:
            values = _yaml.load(written.encode(errors="surrogatepass"), text)
        except ConfigError as error:
            raise UsageError(f"{text!r}: its values can be read neither as Python nor as YAML: {error}") from error
    if not isinstance(values, list):
        raise UsageError(f"{text!r}: expected a list of values, such as {name}=[1, 2]")
    return name, values


def _encoded(name: str, value: Any) -> str:
    try:
        return one_line(value)
    except TypeError as error:
        raise UsageError(f"{name}: {error}") from error


class _Search:
    """Runs members one at a time; a signal makes the one in progress the last, and a second signal reaches it."""

    def __init__(self) -> None:
        self._interrupted = False
        self._member: subprocess.Popen[bytes] | None = None

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Keep signals from ending the search in the middle of a member."""
        # Elsewhere Python cannot install handlers.
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if is_main else ()
        previous = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                # A handler that was not installed from Python is ``None`` and cannot be put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def run(self, command: Sequence[str], name: str) -> _Result:
        """Run a member to its end, unless the search was interrupted."""
        if self._interrupted:
            return _Result(command)
        logger.info("%s: %s", name, shlex.join(command))
        started = monotonic()
        try:
            self._member = subprocess.Popen(command)
        except OSError as error:
            logger.error("%s cannot be started: %s", command[0], error)  # noqa: TRY400 - no traceback would help
            result = _Result(command, _CANNOT_START)
        else:
            result = _Result(command, self._member.wait(), monotonic() - started)
        self._member = None
        logger.info("%s: %s after %s", name, result.outcome, render.duration(result.seconds))
        return result

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if not self._interrupted:
            self._interrupted = True
            name = signal.Signals(number).name
            logger.warning("%s: the member in progress is the last one; a second signal is passed on to it", name)
        elif self._member is not None:
            self._member.send_signal(number)
