# ruff: noqa: INP001 -- for `make generated`
"""Bring the tables of options in the reference of the command line up to date; the text around them is written by hand.

``make generated`` puts what this prints into ``docs/reference/command-line.md``; a test compares the two.
"""

from __future__ import annotations

import re
from argparse import Action, ArgumentParser
from pathlib import Path

from emloop.cli.args import COMMANDS, get_emloop_arg_parser

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
TABLE = re.compile(r"\| option \| meaning \|\n(?:\|.*\n)+")
OPTION = re.compile(r"(?<![\w`])--?[a-z][\w-]*(?:=[-A-Z]+)?")
BEFORE_TABLE = re.compile(r"\A## .*\n\n(?:.+\n)+\n?")
"""A heading and the paragraph that says what the command does."""


def page() -> str:
    """The whole page."""
    parser = get_emloop_arg_parser()
    parsers = next(action.choices for action in parser._actions if action.dest == "command")
    everywhere = {action.help for action in parser._actions}
    head, *sections = re.split(r"^(?=## )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    by_command = {section.split()[2]: section for section in sections}
    if list(by_command) != list(COMMANDS):
        raise SystemExit(f"tools/command_line.py: expected a section for each of {', '.join(COMMANDS)}, in this order")
    return head + "".join(with_table(section, parsers[name], everywhere) for name, section in by_command.items())


def with_table(section: str, parser: ArgumentParser, everywhere: set[str | None]) -> str:
    """A section with the table of its options in place of the old one, or behind the first paragraph."""
    rows = [row(action) for action in parser._actions if action.option_strings and action.help not in everywhere]
    if not rows:
        return section
    table = "\n".join(["| option | meaning |", "| --- | --- |", *rows, ""])
    if TABLE.search(section):
        return TABLE.sub(lambda _: table, section)
    return BEFORE_TABLE.sub(lambda before: f"{before[0]}{table}\n", section)


def row(action: Action) -> str:
    """The row of an option."""
    *short, last = action.option_strings
    names = [f"`{name}`" for name in short] + [f"`{last} {action.metavar}`" if action.metavar else f"`{last}`"]
    text = OPTION.sub(r"`\g<0>`", (action.help or "").replace("|", "&#124;"))
    return f"| {', '.join(names)} | {text} |"
