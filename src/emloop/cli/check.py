"""``emloop check``: say all that is wrong with a config, without running any of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from emloop._config.check import check_config
from emloop._config.source import find_config
from emloop.constants import EXIT_DONE, EXIT_USAGE
from emloop.errors import ConfigError, Problem

__all__ = ["check"]


def check(config_path: str, cl_arguments: Sequence[str], *, as_json: bool = False) -> int:
    """Say what is wrong with a configuration.

    Args:
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides.
        as_json: Whether to print a list of objects, one for each mistake.

    Returns:
        The exit code: 0 if nothing is wrong.
    """
    try:
        found: Sequence[Problem] = check_config(find_config(config_path), cl_arguments)[1]
    except ConfigError as error:
        found = error.problems
    if as_json:
        print(json.dumps([_as_data(problem) for problem in found], indent=2, default=str))
    elif found:
        print(*found, _count(found), sep="\n", file=sys.stderr)
    else:
        print(f"{config_path}: no mistakes found")
    return EXIT_USAGE if found else EXIT_DONE


def _count(found: Sequence[Problem]) -> str:
    return "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"


def _as_data(problem: Problem) -> dict[str, object]:
    place = problem.place
    return {
        "file": None if place is None else place.origin,
        "line": None if place is None else place.line or None,
        "column": None if place is None else place.column or None,
        "width": None if place is None else place.width,
        "excerpt": None if place is None else place.excerpt,
        "path": problem.path,
        "message": problem.message,
        "hints": list(problem.hints),
    }
