# ruff: noqa: INP001 -- for `make generated`
"""Write the reference page of all hooks from their docstrings.

``make generated`` puts what this prints into ``docs/reference/hooks.md``; a test compares the two. The page itself says
what stands where: its introduction and headings are kept, what is below a hook's heading is replaced. A new hook needs
the line ``### ItsName`` in the group that it belongs to; ``yaml needs=tensorboard`` at an example stays, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from textwrap import dedent

from emloop import hooks

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "hooks.md"

NOT_FOR_CONFIGS = {"model", "dataset", "output_dir", "kwargs", "clock", "output"}


def page() -> str:
    """The whole page."""
    introduction, *groups = re.split(r"^(?=## )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    parts = [introduction]
    names: set[str] = set()
    for group in groups:
        title, *sections = re.split(r"^### (\w+)$", group, flags=re.MULTILINE)
        parts.append(title)
        for name, old in zip(sections[::2], sections[1::2], strict=True):
            needs = re.search(r"^```yaml needs=(\w+)$", old, flags=re.MULTILINE)
            parts.append(section(name, getattr(hooks, name), needs and needs[1]))
            names.add(name)
    missing = public_hooks() - names
    if missing:
        raise SystemExit(f"write ### {', ### '.join(sorted(missing))} into {PAGE}, each in its group")
    return "".join(parts).rstrip() + "\n"


def public_hooks() -> set[str]:
    """Names of all hooks; the base class has a page of its own."""
    offered = {name: getattr(hooks, name) for name in hooks.__all__}
    return {name for name, cls in offered.items() if issubclass(cls, hooks.AbstractHook)} - {"AbstractHook"}


def section(name: str, cls: type, needed: str | None) -> str:
    """What the page says about one hook; ``needed`` is the package without which its example cannot be tried."""
    body, arguments = split(inspect.getdoc(cls) or "")
    rows = list(table(cls, arguments))
    head = ["| argument | default | meaning |", "| --- | --- | --- |", *rows] if rows else ["Takes no arguments."]
    return "\n".join([f"### {name}", "", markdown(body, needed), "", *head, "", ""])


def split(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, and the arguments with their meanings."""
    parts = re.split(r"^(Args|Raises|Returns|Attributes):\n", docstring, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    entries = re.split(r"^(\w+): ", dedent(sections.get("Args", "")), flags=re.MULTILINE)
    return parts[0].strip(), {
        name: " ".join(text.split()) for name, text in zip(entries[1::2], entries[2::2], strict=True)
    }


def table(cls: type, arguments: dict[str, str]) -> Iterator[str]:
    """A row for every argument, in the order of the constructor."""
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in NOT_FOR_CONFIGS:
            continue
        if name not in arguments:
            raise SystemExit(f"tools/hooks_reference.py: {cls.__name__} does not describe its argument {name!r}")
        default = "required" if parameter.default is parameter.empty else f"`{as_yaml(parameter.default)}`"
        yield f"| `{name}` | {default} | {markdown(arguments[name]).replace('|', '&#124;')} |"


def as_yaml(value: object) -> str:
    """A default as one would write it in a configuration."""
    words = {"None": "null", "True": "true", "False": "false", "": "''", "()": "[]"}
    return words.get(str(value), str(value))


def markdown(text: str, needed: str | None = None) -> str:
    """Docstring markup as Markdown; ``needed`` as in :func:`section`."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    return re.sub(r"\.\. code-block:: (\w+)\n\n((?:    .*\n?|\n)+)", partial(fence, needed), text + "\n").rstrip()


def fence(needed: str | None, block: re.Match[str]) -> str:
    """A code block of a docstring as a fenced one; only configurations stand for themselves and can be run."""
    language = "text" if block[1] != "yaml" else "yaml" if needed is None else f"yaml needs={needed}"
    return f"```{language}\n{dedent(block[2]).strip()}\n```\n\n"
