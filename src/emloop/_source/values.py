"""Expressions of literals → the values that they stand for."""

from __future__ import annotations

from typing import Any

from .library import Library, Module, Value
from .summaries import Expression

__all__ = ["value_of"]

_DEEPEST = 20


def value_of(library: Library, module: Module, expression: Expression, depth: int = 0) -> tuple[Any] | None:
    """The value of an expression in a module, as the only item of a tuple; ``None`` if it is no literal."""
    if depth > _DEEPEST:
        return None
    if isinstance(expression, str):
        found = library.lookup(module, expression)
        return value_of(library, found.module, found.expression, depth + 1) if isinstance(found, Value) else None
    word, *rest = expression
    if word == "value":
        return (rest[0],)
    if word in ("list", "tuple", "set"):
        items = [value_of(library, module, item, depth + 1) for item in rest]
        return None if None in items else ([item[0] for item in items if item],)
    if word == "dict":
        pairs = [(value_of(library, module, k, depth + 1), value_of(library, module, v, depth + 1)) for k, v in rest]
        return None if any(None in pair for pair in pairs) else ({k[0]: v[0] for k, v in pairs if k and v},)
    return None
