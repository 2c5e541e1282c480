"""Text that cannot move a cursor, break a line or be refused by an encoding."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["brief", "dotted", "printable"]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""The text with control characters, overrides of its direction and lone surrogates spelt out, e.g. as ``\x1b``.

    Args:
        text: Any text, maybe from somebody else's file.
        keep: Characters to leave as they are, e.g. line ends.
    """
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else repr(match[0])[1:-1], text)


_LONGEST = 80
"""Characters of a value that a message shows."""


def dotted(path: Iterable[Any]) -> str:
    """Where something stands in data, as people write it: ``hooks[0].StopAfter``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def brief(value: object) -> str:
    """A value as Python writes it, for a message; the end of a long one is left out."""
    written = repr(value)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 3]}..."
