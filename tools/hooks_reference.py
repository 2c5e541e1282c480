# ruff: noqa: INP001 -- for `make generated`
"""Write the reference pages of all hooks and of the ready datasets from their docstrings.

``make generated`` puts what this prints into ``docs/reference``; a test compares the two. A page itself says what
stands where: its introduction and headings are kept, what is below a class's heading is replaced. A new class needs
the line ``### ItsName`` in the group that it belongs to; ``yaml needs=tensorboard`` at an example stays, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from textwrap import dedent
from types import ModuleType

from emloop import datasets, hooks
from emloop.datasets._ready import dataset as ready

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"

NOT_FOR_CONFIGS = {"model", "dataset", "output_dir", "kwargs", "self", "clock", "output"}


def page() -> str:
    """The whole page of hooks."""
    return _page(REFERENCE / "hooks.md", hooks, public_hooks())


def ready_datasets() -> str:
    """The whole page of ready datasets."""
    offered = {name: getattr(datasets, name) for name in datasets.__all__}
    return _page(
        REFERENCE / "datasets.md", datasets, {name for name, cls in offered.items() if hasattr(cls, "streams_from")}
    )


def _page(file: Path, room: ModuleType, wanted: set[str]) -> str:
    introduction, *groups = re.split(r"^(?=## )", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    parts = [introduction]
    names: set[str] = set()
    for group in groups:
        title, *sections = re.split(r"^### (\w+)$", group, flags=re.MULTILINE)
        common = re.search(r"^<!-- arguments of (\w+) -->\n", title, flags=re.MULTILINE)
        if common:
            cls = getattr(ready, common[1])
            title = title[: common.end()] + "\n".join(arguments_of(cls, split(inspect.getdoc(cls) or "")[1])) + "\n\n"
        parts.append(title)
        for name, old in zip(sections[::2], sections[1::2], strict=True):
            needs = re.search(r"^```yaml needs=(\w+)$", old, flags=re.MULTILINE)
            parts.append(section(name, getattr(room, name), needs and needs[1]))
            names.add(name)
    if missing := wanted - names:
        raise SystemExit(f"write ### {', ### '.join(sorted(missing))} into {file}, each in its group")
    return "".join(parts).rstrip() + "\n"


def public_hooks() -> set[str]:
    """Names of all hooks; the base class has a page of its own."""
    offered = {name: getattr(hooks, name) for name in hooks.__all__}
    return {name for name, cls in offered.items() if issubclass(cls, hooks.AbstractHook)} - {"AbstractHook"}


def section(name: str, cls: type, needed: str | None) -> str:
    """What the page says about one class; ``needed`` is the package without which its example cannot be tried."""
    body, arguments = split(inspect.getdoc(cls) or "")
    head = arguments_of(cls, arguments)
    return "\n".join([f"### {name}", "", markdown(body, needed), "", *head, "", ""])


def arguments_of(cls: type, meanings: dict[str, str]) -> list[str]:
    """The table of its arguments."""
    rows = list(table(cls, meanings))
    return ["| argument | default | meaning |", "| --- | --- | --- |", *rows] if rows else ["Takes no arguments."]


def split(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, and the arguments with their meanings."""
    parts = re.split(r"^(Args|Raises|Returns|Attributes):\n", docstring, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    entries = re.split(r"^(?:\*\*)?(\w+): ", dedent(sections.get("Args", "")), flags=re.MULTILINE)
    return parts[0].strip(), {
        name: " ".join(text.split()) for name, text in zip(entries[1::2], entries[2::2], strict=True)
    }


def table(cls: type, arguments: dict[str, str]) -> Iterator[str]:
    """A row for every argument, in the order of the constructor."""
    takes = getattr(cls, "_configure_dataset", cls)
    for name, parameter in inspect.signature(takes).parameters.items():
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
