"""From a mapping to a data class that declares what it accepts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from emloop.errors import ConfigError

from .fitting import Resolver, argument_problems
from .hints import Accepted
from .live import fields_of

__all__ = ["read_settings"]

T = TypeVar("T")


def read_settings(
    cls: type[T],
    given: Mapping[str, Any],
    *,
    owner: str = "",
    keys: tuple[Any, ...] = (),
    resolver: Resolver | None = None,
) -> T:
    """An object of a data class; its fields that are data classes themselves are made of mappings, too.

    Args:
        cls: The data class, whose annotations may use the words of :mod:`emloop.declare`.
        given: Its fields, as a configuration gives them.
        owner: What takes them, for messages.
        keys: Where they stand.
        resolver: Looks up the classes of components; by default these are left unchecked.

    Raises:
        ConfigError: With all mistakes, each with the keys that lead to it.
    """
    fields = {field.name: field.hint for field in fields_of(cls)}
    required = frozenset(field.name for field in fields_of(cls) if field.required)
    found = list(argument_problems(Accepted(owner or cls.__name__, fields, required), given, resolver, keys))
    if found:
        raise ConfigError(found)
    hints = get_type_hints(cls)
    return cls(**{name: _made(value, hints[name]) for name, value in given.items()})


def _made(value: Any, hint: Any) -> Any:
    """A value, or the object that a mapping describes where a data class is asked for."""
    if isinstance(value, Mapping):
        for option in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(option) and isinstance(option, type):
                hints = get_type_hints(option)
                return option(**{name: _made(item, hints[name]) for name, item in value.items()})
    return value
