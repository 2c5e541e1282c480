"""Make text safe to show: nothing that moves a cursor, breaks a line or cannot be encoded."""

from __future__ import annotations

import re

__all__ = ["brief", "printable", "short_lines"]

_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"


def printable(text: str, keep: str = "") -> str:
    r"""The text with control characters, direction overrides and lone surrogates escaped, e.g. as ``\x1b``.

    Args:
        text: Any text, perhaps from a stranger's file.
        keep: Characters to leave alone, e.g. line ends.
    """
    if text.isprintable():
        return text
    return re.sub(_CONTROL, lambda match: match[0] if match[0] in keep else repr(match[0])[1:-1], text)


_LONGEST_LINE = 1000
"""Characters of a line of a message, whatever it quotes."""


def short_lines(text: str) -> str:
    """A message whose lines are cut off after 1000 characters, since it may quote a name from a stranger's file."""
    lines = (line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..." for line in text.split("\n"))
    return "\n".join(lines)


def brief(value: object) -> str:
    """The ``repr`` of a value for a message, cut off after 80 characters."""
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."
