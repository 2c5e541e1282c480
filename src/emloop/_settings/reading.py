"""From a mapping to a data class that declares what it accepts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from emloop.errors import ConfigError

from .fitting import Resolver, argument_problems
from .hints import Accepted, as_key
from .live import fields_of

__all__ = ["made", "read_settings"]

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
    read: T = made(given, cls)
    return read


def made(value: Any, hint: Any) -> Any:
    """A value, or the objects that mappings describe where data classes are asked for."""
    for option in (hint, *get_args(hint)):
        if isinstance(value, Mapping) and dataclasses.is_dataclass(option) and isinstance(option, type):
            hints = {as_key(name): (name, inner) for name, inner in get_type_hints(option).items()}
            return option(**{hints[name][0]: made(item, hints[name][1]) for name, item in value.items()})
        if isinstance(value, list) and get_origin(option) is Sequence:
            return [made(item, get_args(option)[0]) for item in value]
    return value
