"""JSON without dialects: no NaN, plain ASCII, limited depth."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["MAX_DEPTH", "dump", "parse"]

MAX_DEPTH = 65
"""Maximum depth of nested lists and objects: a state tree, an array in it, and the mapping of components around it."""


def dump(value: Any, *, indent: int | None = None) -> bytes:
    """Render a JSON value as text that :func:`parse` accepts.

    Equal values with equal key order give equal bytes.

    Raises:
        ValueError: If it contains a NaN, an infinity or itself, or is nested too deep.
        TypeError: If it contains anything that JSON cannot express.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent, separators=separators)
    _check_depth(value)
    return f"{text}\n".encode()


def parse(data: bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: If it is not UTF-8, not JSON, contains ``NaN`` or ``Infinity``, or is nested too deep.
    """
    try:
        value = json.loads(data.decode(), parse_constant=_refuse)
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer := [item for item in layer if isinstance(item, (dict, list, tuple))]:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        layer = [child for item in layer for child in (item.values() if isinstance(item, dict) else item)]


def _too_deep() -> ValueError:
    return ValueError(f"nested more than {MAX_DEPTH} deep")
