# ruff: noqa: INP001 -- for `make generated`
"""Bring the table of moved names in the page on migrating up to date; the text around it is written by hand."""

from __future__ import annotations

import re
from pathlib import Path

from emloop._support.moved import MOVED, Moved

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "migrate-from-0.2.md"
TABLE = re.compile(r"(\| was \| where \| now \|\n\|.*\n)(?:\|.*\n)+")
WHERE = {
    "class": "classes and hooks",
    "optimizer argument": "arguments of optimizers",
    "section": "sections",
    "command": "commands",
    "model argument": "keys of `model`",
    "hook argument": "arguments of hooks",
    "python": "your code",
}


def page() -> str:
    """The whole page."""
    rows = "".join(f"| {_old(row)} | {WHERE[row.kind]} | {_new(row)} |\n" for row in MOVED)
    return TABLE.sub(lambda found: found[1] + rows, PAGE.read_text(encoding="utf-8"), count=1)


def _old(row: Moved) -> str:
    return _names(row.old.replace(r"(?:hooks\.)?", r"hooks\."))


def _new(row: Moved) -> str:
    told = row.advice.replace("|", "\\|")
    if row.needs:
        return f"where the model takes `{row.needs}`: {told}"
    if row.new is None:
        return told
    if row.new == r"\1":
        return f"{_names(row.old, only_choices=True)}: {told}"
    new = row.new.replace(r"\1", "…")
    return f"`{new}`: {told}" if new else f"nothing: {told}"


def _names(pattern: str, *, only_choices: bool = False) -> str:
    """The names that a regular expression matches, without what may stand before them."""
    text = re.sub(r"\(\?:[^()]*(?:\([^()]*\)[^()]*)*\)[*?]", "", pattern)
    text = re.sub(r"\(\.\*\)|\(\\w\+\)", "…", text).replace("\\.", ".")
    choices = re.search(r"(?:\(\?:|\()([\w|]+)\)", text)
    if choices is None:
        names = text.split("|")
    else:
        names = [choice if only_choices else text.replace(choices[0], choice) for choice in choices[1].split("|")]
    return ", ".join(f"`{name}`" for name in names)
