"""What a class's constructor accepts, read from the live class, and what a configuration gets wrong about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from emloop._support.suggest import did_you_mean
from emloop.errors import Place, Problem

from .hints import describe, fits

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Accepted:
    """The arguments that a constructor takes.

    Args:
        hints: Argument → type hint, for all that are known by name, in order.
        required: Those without a default.
        open: Whether there may be others, because ``**kwargs`` goes where only the constructor knows.
        takes_any: Whether there is a ``**kwargs`` at all.
    """

    hints: Mapping[str, Any]
    required: frozenset[str]
    open: bool
    takes_any: bool

    def takes(self, name: str) -> bool:
        """Whether the constructor can be called with an argument of this name."""
        return name in self.hints or self.takes_any


def accepted_by(cls: type, *, constructor: bool = True) -> Accepted:
    """The arguments of a class, including those of base classes that ``**kwargs`` is passed on to, and of the methods
    named in the class's ``forwards_config_to``.

    Args:
        cls: The class.
        constructor: Whether the configuration reaches the constructor at all; a dataset's only gets text.
    """
    functions = _constructors(cls) if constructor else []
    first = functions[:1]
    hints: dict[str, Any] = {}
    required: set[str] = set()
    is_open = False
    for function in functions:
        _collect(function, hints, required if function in first else set())
        if not _is_variable(function):
            break
        is_open = is_open or not _ours(function)
    for name in getattr(cls, "forwards_config_to", ()):
        method = getattr(cls, name)
        _collect(method, hints, required)
        is_open = is_open or (_is_variable(method) and not _ours(method))
    return Accepted(hints, frozenset(required), is_open, any(map(_is_variable, first)))


def problems(
    owner: str,
    accepted: Accepted,
    given: Mapping[str, Any],
    *,
    injected: Collection[str],
    path: str,
    place: Callable[[str | None, bool], Place | None],
) -> list[Problem]:
    """All that is wrong with the arguments a configuration gives.

    Args:
        owner: Name of the class, for the message.
        accepted: What it takes.
        given: What the configuration gives.
        injected: Arguments that are not the configuration's to give.
        path: Where the arguments stand, e.g. ``hooks[0].StopAfter``.
        place: From an argument (``None``: the class itself) and whether its value is meant to its place in the text.
    """
    names = [name for name in accepted.hints if name not in injected]
    found = []
    for name, value in given.items():
        if name not in accepted.hints:
            if not accepted.open:
                hints = (*did_you_mean(name, names), f"{owner} takes: {', '.join(names) or 'no arguments'}")
                found.append(Problem(f"unknown argument {name!r}", path, place(name, False), hints))
        elif not fits(value, accepted.hints[name]):
            expected = describe(accepted.hints[name])
            found.append(Problem(f"expected {expected}, got {value!r}", f"{path}.{name}", place(name, True)))
    missing = sorted(accepted.required - set(given) - set(injected))
    return found + [Problem(f"{owner} needs the argument {name!r}", path, place(None, False)) for name in missing]


def _constructors(cls: type) -> list[Callable[..., Any]]:
    return [vars(base)["__init__"] for base in cls.__mro__ if base is not object and "__init__" in vars(base)]


def _collect(function: Callable[..., Any], hints: dict[str, Any], required: set[str]) -> None:
    """Add a function's arguments to ``hints`` and ``required``; what is known already stays."""
    try:
        known = get_type_hints(function)
    except Exception:  # noqa: BLE001 - a hint that cannot be evaluated is one that accepts everything
        known = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind in _NAMED:
            hints.setdefault(parameter.name, known.get(parameter.name, Any))
            if parameter.default is parameter.empty:
                required.add(parameter.name)


def _is_variable(function: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _ours(function: Callable[..., Any]) -> bool:
    """Whether a function is known to refuse, by name, what it does not know."""
    return str(getattr(function, "__module__", "")).partition(".")[0].startswith("emloop")
