"""Checks of constructor arguments."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from emloop._support.files import leads_out
from emloop.errors import ConfigError, MissingExtraError

N = TypeVar("N", int, float)


def name_list(argument: str, names: Iterable[str], *, may_be_empty: bool = True) -> list[str]:
    """Return the names that an argument lists.

    Raises:
        ConfigError: If it is not a list of names; a single name would count as the list of its letters.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        hint = f"; write [{names}]" if isinstance(names, str) else ""
        raise ConfigError.about(argument, f"expected a list of names, got {names!r}{hint}")
    listed = list(names)
    for name in listed:
        if not isinstance(name, str):
            raise ConfigError.about(argument, f"expected a list of names, got {name!r} in it")
    if not (listed or may_be_empty):
        raise ConfigError.about(argument, "expected at least one name, got none")
    return listed


def optional_name_list(argument: str, names: Iterable[str] | None) -> list[str] | None:
    """Like :func:`name_list`; ``None`` stands for no restriction."""
    return None if names is None else name_list(argument, names)


def at_least(argument: str, smallest: N, number: N) -> N:
    """Return a number that must not be smaller; it must be whole if ``smallest`` is an ``int``.

    Raises:
        ConfigError: If it is smaller, or no such number.
    """
    whole = isinstance(smallest, int)
    fits = isinstance(number, int if whole else Real) and not isinstance(number, bool)
    if not fits or not number >= smallest:
        kind = "a whole number" if whole else "a number"
        bound = "" if smallest == float("-inf") else f", {smallest:g} or more"
        raise ConfigError.about(argument, f"expected {kind}{bound}, got {number!r}")
    return number


def output_path(argument: str, name: str, output_dir: str | os.PathLike[str] | None) -> Path:
    """Where a hook writes: an absolute path, or one in the run directory; without one, in the working directory.

    Raises:
        ConfigError: If a relative path leads out of the run directory, be it by a link.
    """
    if output_dir is not None and not Path(name).is_absolute() and leads_out(output_dir, name):
        hint = "a relative path stays in the run directory; to write elsewhere, give an absolute one"
        raise ConfigError.about(argument, f"leads out of the run directory: {name!r}", hint)
    return Path(output_dir or "", name)


def extra_module(module: str, *, extra: str, who: str) -> Any:
    """Import a module of an optional package.

    Raises:
        MissingExtraError: If it is not installed; names ``who`` needs it, and the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(who, extra) from error
