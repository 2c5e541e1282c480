"""Make text fit to show: no character moves a cursor or breaks a line, no terminal breaks a word."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

__all__ = ["brief", "columns", "folded", "printable", "short_lines"]

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


def columns(stream: TextIO | None = None) -> int:
    """Width of the terminal behind a stream, by default standard output; 80 where nothing tells."""
    try:
        # `shutil` would take longer to import than a short command to run. A terminal that does not know says 0.
        of = sys.__stdout__ if stream is None else stream
        return max(int(os.environ.get("COLUMNS") or os.get_terminal_size(of.fileno()).columns), 0) or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80


def folded(text: str, stream: TextIO) -> str:
    """A text for a stream; on a terminal, lines that are too long go on in indented ones, each broken between words.

    A word that is longer than a line, such as a path, stays whole, so that it can still be copied.
    """
    if not stream.isatty():
        return text
    width = columns(stream)
    return "\n".join(line if len(line) <= width else _fold(line, width) for line in text.split("\n"))


def _fold(line: str, width: int) -> str:
    from textwrap import fill  # noqa: PLC0415 - most lines are short

    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return fill(
        line,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )


def brief(value: object) -> str:
    """The ``repr`` of a value for a message, cut off after 80 characters."""
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."
