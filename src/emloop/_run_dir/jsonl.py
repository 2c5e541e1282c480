"""Records as lines of strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["to_line"]


def to_line(record: Mapping[str, Any]) -> str:
    """The record as one line of JSON, with its line end.

    What JSON has no number for is written as text that ``float`` reads: ``"nan"``, ``"inf"``, ``"-inf"``.

    Args:
        record: Nested mappings and lists of ``None``, ``bool``, ``int``, ``float``, ``str`` and NumPy's scalars.

    Raises:
        TypeError: If the record holds anything else.
    """
    return json.dumps(_plain(record), ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case None | bool() | int() | str():
            return value
    scalar = getattr(value, "item", None)
    if scalar is None:
        raise TypeError(f"a line of JSON cannot hold {value!r}")
    return _plain(scalar())
