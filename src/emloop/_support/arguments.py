"""Check what a configuration gives as arguments: lists of names, keys of a mapping, full names of classes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from emloop.errors import ConfigError, Problem, UnknownClassError

from .suggest import did_you_mean

__all__ = ["argument_problems", "arguments_of", "distinct_names", "import_object"]


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


def argument_problems(
    taker: str, given: Collection[str], accepted: Mapping[str, bool], *, others: Collection[str] = (), prefix: str = ""
) -> list[Problem]:
    """Unknown and missing arguments.

    Args:
        taker: What takes the arguments, for the message.
        given: Names of the arguments given.
        accepted: Name of each argument → whether it is required.
        others: Further names that are accepted, and have been dealt with already.
        prefix: Beginning of each message.
    """
    names = [*others, *accepted]
    takes = f"{taker} takes: {', '.join(names) or 'no arguments'}"
    unknown = [
        Problem(f"{prefix}unknown argument {name!r}", hints=(*did_you_mean(name, names), takes))
        for name in given
        if name not in accepted
    ]
    missing = [
        Problem(f"{prefix}{taker} needs the argument {name!r}")
        for name, is_required in accepted.items()
        if is_required and name not in given
    ]
    return unknown + missing


def import_object(name: Any, *, prefix: str = "") -> Any:
    """Import what a full name, ``package.module.Class``, stands for.

    Args:
        name: The name.
        prefix: Beginning of the message.

    Raises:
        UnknownClassError: If it is not a full name, or leads nowhere.
    """
    module_name, _, attribute = str(name).rpartition(".")
    if not all(str(name).split(".")) or not module_name:
        raise UnknownClassError(f"{prefix}expected package.module.Class, got {name!r}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UnknownClassError(f"{prefix}{name} cannot be imported: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        hints = did_you_mean(attribute, vars(module))
        raise UnknownClassError(Problem(f"{prefix}{module_name} has no {attribute!r}", hints=hints)) from None
