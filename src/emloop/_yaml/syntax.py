"""Complaints of the YAML parser as located problems, in words that help."""

from __future__ import annotations

import re

import yaml

from emloop.errors import Problem

from .nodes import Text

_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Part of the parser's message (the C parser's first) → a hint. The first match counts.
_HINTS = (
    ("mapping values are not allowed", "text with ': ' in it needs quotes; nested keys go to lines of their own"),
    ("could not find expected ':'", "a key needs ': ' after it"),
    ("cannot start any token", "text that starts with this character needs quotes"),
    ("end of stream", "the quote is never closed"),
    ("',' or", "an item, a ',' or the closing bracket is missing"),
    ("did not find expected key", "check the indentation of this line, and the brackets and quotes before it"),
    ("<block end>", "check the indentation of this line, and the brackets and quotes before it"),
    ("'-' indicator", "every item of a list starts with '- ', below the one before"),
)
# The parser notices these far from where they were made.
_MADE_EARLIER = ("could not find expected ':'", "end of stream")


def syntax_error(text: Text, error: yaml.YAMLError | UnicodeEncodeError) -> Problem:
    """Turn an exception of PyYAML's parser into a problem."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return _unreadable(text)
    message = error.problem or "is not YAML"
    mark = error.problem_mark
    if error.context_mark is not None and (mark is None or any(part in message for part in _MADE_EARLIER)):
        mark = error.context_mark
    at = mark.index if mark else 0
    if at >= len(text.text):
        at = len(text.text.rstrip())
    if text.text[max(at - 1, 0) : at + 1] == "${":
        return Problem("'${…}' inside '[ ]' or '{ }' needs quotes", place=text.place(at - 1, at + 1))
    tab = _tab_of_indentation(text.text, at)
    if tab is not None and ("any token" in message or "tab" in message):
        return Problem("a tab cannot indent", place=text.place(tab, tab + 1), hints=("use spaces",))
    hints = [next((hint for part, hint in _HINTS if part in message), "")]
    place = text.place(at, at + 1)
    if error.context_mark is not None and error.context:
        began = text.place(error.context_mark.index, 0).line
        if began < place.line:
            hints.append(f"{error.context} that starts in line {began}")
    return Problem(message, place=place, hints=tuple(filter(None, hints)))


def _tab_of_indentation(text: str, at: int) -> int | None:
    line_start = text.rfind("\n", 0, at) + 1
    tab = text.find("\t", line_start, at + 1)
    return tab if tab >= 0 and not text[line_start:tab].strip() else None


def _unreadable(text: Text) -> Problem:
    found = _UNREADABLE.search(text.text)
    at = found.start() if found else 0
    name = f"U+{ord(text.text[at]):04X}" if found else "a character"
    hints = (f'"\\x{ord(text.text[at]):02x}" in double quotes stands for it',) if found and ord(found[0]) < 256 else ()
    return Problem(f"{name} is not allowed in YAML", place=text.place(at, at + 1), hints=hints)
