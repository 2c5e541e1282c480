"""``emloop check``: report every mistake in a config, without running any of it.

Examples:
    emloop check config.yaml
    emloop check config.yaml model.hidden=64 hooks.StopAfter.epochs=20
    emloop check config.yaml --eval test
    emloop check config.yaml --json
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from emloop._config._composing.source import find_config
from emloop._config.check import check_config
from emloop._support.printable import folded, printable
from emloop.constants import EL_CONFIG_FILE, EL_RUN_FILE, EXIT_DONE, EXIT_USAGE
from emloop.errors import ConfigError, Problem, RunDirError

from ..args import CONFIG_OR_RUN, add_home, add_json, add_overrides, overrides


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("config_file", metavar="CONFIG", help=CONFIG_OR_RUN)
    parser.set_defaults(logs=False)  # logging would be a tenth of the cost of a check
    add_overrides(parser)
    parser.add_argument(
        "--eval", metavar="NAME", help="check only what this evaluation uses, e.g. of a config that trains nothing"
    )
    add_home(parser)
    add_json(parser, "a list with one object for each mistake")


def run(arguments: Namespace) -> int:
    """Run the command."""
    file = _config_file(arguments.config_file, arguments.output_root)
    return check(file, overrides(arguments.words), arguments.eval, as_json=arguments.json)


def _config_file(spec: str, output_root: str) -> str:
    if os.path.isfile(spec) or (_holds(spec, EL_CONFIG_FILE) and not _holds(spec, EL_RUN_FILE)):  # noqa: PTH113
        return spec
    from emloop._run_dir.finding import is_selector  # looking for runs takes as long as a check

    from .named import named_config

    try:
        return named_config(spec, output_root).file
    except (ConfigError, RunDirError):
        if is_selector(spec):
            raise
        return spec  # the check says that there is no such file


def _holds(directory: str, name: str) -> bool:
    return os.path.isfile(os.path.join(directory, name))  # noqa: PTH113, PTH118 - pathlib costs more than it needs


def check(config_path: str, cl_arguments: Sequence[str], target: str | None = None, *, as_json: bool = False) -> int:
    """Report every mistake in a config.

    Args:
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides.
        target: The only evaluation to check; by default the training and all evaluations.
        as_json: Whether to print a list of objects, one for each mistake.

    Returns:
        The exit code: 0 if nothing is wrong.
    """
    try:
        found: Sequence[Problem] = check_config(find_config(config_path), cl_arguments, target)[1]
    except ConfigError as error:
        found = error.problems
    if as_json:
        from .. import render

        render.say_json([_as_data(problem) for problem in found])
    elif found:
        count = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
        print(folded(printable("\n".join((*map(str, found), count)), keep="\n\t"), sys.stderr), file=sys.stderr)
    else:
        print(f"{printable(config_path)}: no mistakes found")
    return EXIT_USAGE if found else EXIT_DONE


def _as_data(problem: Problem) -> dict[str, object]:
    origin, line, column, excerpt, width = problem.place or (None,) * 5
    return {
        "file": origin,
        "line": line or None,
        "column": column or None,
        "width": width,
        "excerpt": excerpt,
        "path": problem.label,
        "keys": problem.keys,
        "kind": problem.kind,
        "message": problem.message,
        "accepted": problem.accepted,
        "hints": problem.hints,
    }
