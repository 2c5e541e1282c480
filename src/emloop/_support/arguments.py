"""Check what a configuration gives as arguments: lists of names, keys of a mapping, full names of classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from emloop.errors import ConfigError

__all__ = ["arguments_of", "distinct_names"]


def distinct_names(argument: str, names: Any) -> tuple[str, ...]:
    """The names that an argument lists.

    Raises:
        ConfigError: If it is not a list of different names; a single string would count as the list of its letters.
    """
    if isinstance(names, str):
        raise ConfigError.about(argument, f"expected a list of names, got {names!r}; write [{names}]")
    listed = tuple(names) if isinstance(names, Iterable) else (names,)
    if not all(isinstance(name, str) for name in listed) or len(set(listed)) < len(listed):
        raise ConfigError.about(argument, f"expected a list of different names, got {names!r}")
    return listed


def arguments_of(function: Callable[..., Any], given: Iterable[str] = ()) -> dict[str, bool]:
    """The arguments of a function or class, in order → whether they must be given.

    Args:
        function: The function or class.
        given: Further names that count as arguments if it takes ``**kwargs``.
    """
    parameters = inspect.signature(function).parameters.values()
    named = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    others = [name for name in given if name not in named] if takes_any else []
    return {**named, **dict.fromkeys(others, False)}
