"""Whether a value from a configuration fits a type hint.

Only hints that say something about YAML values are judged; every other hint accepts everything.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, Union, get_args, get_origin

_SEQUENCES = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
_MAPPINGS = (dict, Mapping)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a hint asks for.

    ``int`` is accepted for ``float``; ``bool`` is not accepted for ``int``; text is accepted for paths and for the
    names or values of an enumeration.
    """
    origin = get_origin(hint)
    if hint is None:
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(hint))
    if origin is not None:
        return _fits_generic(value, origin, get_args(hint))
    return _fits_plain(value, hint)


def describe(hint: Any) -> str:
    """A hint in the words of a message."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(hint))
    if origin is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if hint is None or hint is type(None):
        return "null"
    if origin is not None:
        inner = (" to " if origin in _MAPPINGS else ", ").join(
            describe(part) for part in get_args(hint) if part is not ...
        )
        return f"{_WORDS.get(origin, getattr(origin, '__name__', str(origin)))} of {inner}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(repr(member.name) for member in hint)}"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


_WORDS: dict[Any, str] = {
    **dict.fromkeys(_SEQUENCES, "list"),
    **dict.fromkeys(_MAPPINGS, "mapping"),
    Path: "path",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}


def _fits_plain(value: Any, hint: Any) -> bool:
    if hint is type(None):
        return value is None
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if hint in _SEQUENCES:
        return isinstance(value, (list, tuple, set))
    if hint in (str, bool) or hint in _MAPPINGS:
        return isinstance(value, hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return any(value in (member.name, member.value) for member in hint)
    return isinstance(value, (str, hint)) if isinstance(hint, type) and issubclass(hint, PurePath) else True


def _fits_generic(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if origin in _MAPPINGS:
        if not isinstance(value, Mapping):
            return False
        key, item = arguments
        return all(fits(k, key) and fits(v, item) for k, v in value.items())
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):
        return isinstance(value, (list, tuple)) and len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin in _SEQUENCES:
        return isinstance(value, (list, tuple, set)) and all(fits(item, arguments[0]) for item in value)
    return True
