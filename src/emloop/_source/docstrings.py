"""What the docstrings of a class say about it and its arguments, read from its source."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from .ancestry import Ancestry
from .library import ClassSource, Library

__all__ = ["Described", "described"]

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes):\s*$")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_MARKUP = re.compile(r"``([^`]*)``|:\w+:`~?(?:[\w.]*\.)?([\w]+)`")


class Described(NamedTuple):
    """A class in words.

    Args:
        summary: Its first paragraph; empty if it has none.
        arguments: Argument → what it is for, as far as that is written.
    """

    summary: str
    arguments: dict[str, str]


def described(library: Library, cls: ClassSource) -> Described:
    """What is said about a class, and about the arguments of it and of its base classes."""
    summary = ""
    arguments: dict[str, str] = {}
    for base in Ancestry(library, cls).order:
        for text in _docstrings(library, base):
            paragraphs, entries = _parsed(text)
            if base == cls:
                summary = summary or paragraphs
            for name, what in entries.items():
                arguments.setdefault(name, what)
    return Described(summary, arguments)


def _docstrings(library: Library, cls: ClassSource) -> list[str]:
    """The docstrings of a class and of its methods, that of the class first."""
    location = library.finder.find(cls.module.name)
    if location is None or location.file is None:
        return []
    try:
        with open(location.file, "rb") as file:
            body: list[ast.stmt] = ast.parse(file.read()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    found: ast.ClassDef | None = None
    for name in cls.name.split("."):
        found = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)
        body = found.body if found else []
    if found is None:
        return []
    owners: list[ast.ClassDef | ast.FunctionDef] = [
        found,
        *(node for node in found.body if isinstance(node, ast.FunctionDef)),
    ]
    return [text for owner in owners if (text := ast.get_docstring(owner))]


def _parsed(docstring: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and the entries of the section ``Args:``."""
    first = docstring.split("\n\n", 1)[0]
    summary = "" if _SECTION.match(first.partition("\n")[0]) else " ".join(_plain(first).split())
    entries: dict[str, str] = {}
    current, inside, margin = "", False, None
    for line in docstring.splitlines():
        section = _SECTION.match(line)
        if section or (line and not line.startswith(" ")):
            inside, margin = bool(section and section[1] in ("Args", "Arguments", "Parameters")), None
            continue
        if not inside or not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        margin = indent if margin is None else margin
        entry = _ENTRY.match(line.strip()) if indent == margin else None
        if entry:
            current = entry[1]
            entries[current] = entry[2]
        elif current:
            entries[current] += f" {line.strip()}"
    return summary, {name: _plain(what) for name, what in entries.items()}


def _plain(text: str) -> str:
    return _MARKUP.sub(lambda match: match[1] or match[2], text)
