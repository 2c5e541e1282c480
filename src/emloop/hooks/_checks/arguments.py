"""Checks of constructor arguments that many hooks share."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import TypeVar

from emloop.errors import ConfigError

__all__ = ["at_least", "name_list", "optional_name_list"]

N = TypeVar("N", int, float)


def name_list(argument: str, names: Iterable[str]) -> list[str]:
    """The names that an argument lists.

    Raises:
        ConfigError: If it is not a list of names; a single name would otherwise count as the list of its letters.
    """
    if isinstance(names, str):
        raise ConfigError(f"{argument}: expected a list of names, got {names!r}; write [{names}]")
    if not isinstance(names, Iterable):
        raise ConfigError(f"{argument}: expected a list of names, got {names!r}")
    listed = list(names)
    for name in listed:
        if not isinstance(name, str):
            raise ConfigError(f"{argument}: expected a list of names, got {name!r} in it")
    return listed


def optional_name_list(argument: str, names: Iterable[str] | None) -> list[str] | None:
    """As :func:`name_list`, where ``None`` stands for no restriction."""
    return None if names is None else name_list(argument, names)


def at_least(argument: str, smallest: N, number: N) -> N:
    """The number, if it is not too small; whole, if the smallest is an ``int``.

    Raises:
        ConfigError: If it is too small, or no such number.
    """
    whole = isinstance(smallest, int)
    fits = isinstance(number, int if whole else Real) and not isinstance(number, bool)
    if not fits or not number >= smallest:
        kind = "a whole number" if whole else "a number"
        bound = "" if smallest == float("-inf") else f", {smallest:g} or more"
        raise ConfigError(f"{argument}: expected {kind}{bound}, got {number!r}")
    return number
