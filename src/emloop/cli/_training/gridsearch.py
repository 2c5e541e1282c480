"""``emloop gridsearch``: run a command for every combination of some parameters, one after the other.

Values may be written as a Python list (``["x", None]``) or in YAML (``[x, null]``). Each member of the grid gets its
values in YAML, with their types. A type after a parameter's name (``lr:float=[1]``), as in older scripts, is ignored.

Examples:
    emloop gridsearch config.yaml 'model.lr=[0.1, 0.01]' 'model.hidden=[32, 64]'
    emloop gridsearch 'emloop train config.yaml' 'model.activation=[relu, tanh]' --dry-run
    emloop gridsearch config.yaml 'dataset.fold=[0, 1, 2, 3, 4]' --ensemble log/five     (makes one model of them)
"""

from __future__ import annotations

import ast
import itertools
import logging
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

from emloop import _yaml
from emloop._run_dir.headline import direction, headline
from emloop._run_dir.layout import is_run_dir
from emloop._run_dir.summary import RunSummary
from emloop._run_dir.trace import Extremum
from emloop._support.printable import printable
from emloop._yaml.flow import one_line
from emloop.constants import EL_RUNS_VARIABLE, EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
from emloop.errors import ConfigError, UsageError

from .. import render
from .._exporting.ensemble import assemble, require_free

logger = logging.getLogger(__name__)

_TYPE = re.compile(":(int|float|str|bool)$")
_OUTCOMES = {EXIT_DONE: "done", EXIT_STOPPED: "stopped"}
_CANNOT_START = 127
"""Exit code that shells use for a command not found."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("script", metavar="SCRIPT", help="the command, as one word in quotes; or a config to train")
    parser.add_argument("words", metavar="PARAM=LIST", nargs="*", help="a key of the config and the values to try")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands, one a line")
    help_text = "make an ensemble of the runs, in a new directory, as `emloop ensemble` does"
    parser.add_argument("--ensemble", metavar="DIR", help=help_text)


def run(arguments: Namespace) -> int:
    """Run the command."""
    return grid_search(arguments.script, arguments.words, arguments.dry_run, arguments.ensemble)


class _Result(NamedTuple):
    """How a member of the grid ended.

    Args:
        command: The words of its command line.
        values: Its values of the parameters, in YAML.
        code: Exit code; negative if a signal ended it, ``None`` if it was not started.
        seconds: Duration.
        run: The run directory that it worked on last; ``None`` if it has none.
    """

    command: Sequence[str]
    values: Mapping[str, str]
    code: int | None = None
    seconds: float = 0.0
    run: Path | None = None

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


def grid_search(script: str, params: Sequence[str], dry_run: bool = False, ensemble: str | None = None) -> int:
    """Run a command for every combination of parameters, the last one varying fastest.

    The first interrupt lets the member in progress end and starts no other; a second one is passed on to it.

    Args:
        script: The command, such as ``emloop train config.yaml``, with quotes as in a shell; a config is trained.
        params: Parameters with their values, such as ``model.lr=[0.1, 0.01]``.
        dry_run: Whether to print the commands only, one a line, as a shell takes them.
        ensemble: Directory in which to make an ensemble of the members' runs.

    Returns:
        The exit code: 1 if a member failed, 75 if the search was interrupted.

    Raises:
        UsageError: If a parameter has no list of values, or one that cannot be written in YAML; or if there is already
            what the ensemble would be.
    """
    if ensemble is not None:
        require_free(ensemble)
    members = [
        (words, {_TYPE.sub("", name): _encoded(name, value) for name, value in settings.items()})
        for words, settings in _members(script, params)
    ]
    commands = [[*words, *(f"{name}={value}" for name, value in values.items())] for words, values in members]
    if dry_run:
        for command in commands:
            print(printable(shlex.join(command)))  # to be copied
        return EXIT_DONE
    results = []
    search = _Search()
    with search.catching_signals():
        for number, (command, (_, values)) in enumerate(zip(commands, members, strict=True), start=1):
            results.append(search.run(_Result(command, values), f"Member {number} of {len(commands)}"))
    head = ["member", "exit code", "outcome", "took", "command"]
    render.say(render.aligned([head, *(result.row(number) for number, result in enumerate(results, start=1))]))
    _compare(results)
    runs = [result.run for result in results if result.run is not None]
    if ensemble is not None and len(runs) == len(results) and all(result.code == EXIT_DONE for result in results):
        render.say()
        return assemble(runs, ensemble)
    if ensemble is not None:
        known = " ".join(map(str, runs)) if len(runs) == len(results) else "RUN …"
        how = f"once they are, `emloop ensemble {known} -o {ensemble}` makes it"
        render.complain(f"{ensemble} is not made, since not all members are done; {how}")
    if any(result.code not in (EXIT_DONE, EXIT_STOPPED, None) for result in results):
        return EXIT_FAILED
    return EXIT_DONE if all(result.code == EXIT_DONE for result in results) else EXIT_STOPPED


def _compare(results: Sequence[_Result]) -> None:
    """List the runs of members with their parameters, the best one first, judged by the first one's metric."""
    runs = [(RunSummary(result.run), result) for result in results if result.run is not None]
    if not runs:
        return
    metric = next((name for run, _ in runs if (name := headline(run)) is not None), None)
    better: Extremum | None = None
    if metric is not None:
        # Where nothing tells, the last values stand in the order of the grid.
        with suppress(UsageError):
            better = direction(metric, [run for run, _ in runs])
    values = [None if metric is None else run.metric(metric, better) for run, _ in runs]
    ranked = list(zip(values, runs, strict=True))
    if better is not None:
        sign = 1 if better == "min" else -1
        ranked.sort(key=lambda pair: sign * pair[0] if isinstance(pair[0], int | float) else math.inf)
    named = "metric" if metric is None else metric if better is None else f"{better}:{metric}"
    rows = [[run.name, *result.values.values(), render.number(value)] for value, (run, result) in ranked]
    render.say()
    render.say(render.aligned([["run", *runs[0][1].values, named], *rows]))


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
    if Path(words[0]).suffix in (".yaml", ".yml"):
        words = ["emloop", "train", *words]
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

    def run(self, member: _Result, name: str) -> _Result:
        """Run a member to its end, unless the search was interrupted."""
        if self._interrupted:
            return member
        command = member.command
        logger.info("%s: %s", name, shlex.join(command))
        # This very emloop, whatever is on the path of executables.
        start = [sys.executable, "-P", "-m", *command] if command[0] == "emloop" else command
        started = monotonic()
        with tempfile.TemporaryDirectory(prefix="emloop-") as scratch:
            told = Path(scratch, "runs")
            try:
                self._member = subprocess.Popen(start, env={**os.environ, EL_RUNS_VARIABLE: str(told)})
            except OSError as error:
                logger.error("%s cannot be started: %s", command[0], error)  # noqa: TRY400 - no traceback would help
                result = member._replace(code=_CANNOT_START)
            else:
                code = self._member.wait()
                runs = told.read_text(errors="surrogateescape").splitlines() if told.exists() else []
                run = next((Path(run) for run in reversed(runs) if is_run_dir(run)), None)
                result = member._replace(code=code, seconds=monotonic() - started, run=run)
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
