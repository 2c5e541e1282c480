# ruff: noqa: INP001 -- a program by itself
"""Write the reference page of all hooks from their docstrings.

``python tools/hooks_reference.py > docs/reference/hooks.md``; a test compares the page with what this prints.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from functools import partial
from textwrap import dedent

from emloop import hooks

GROUPS = {
    "Looking into batches": ["AccumulateVariables", "ComputeStats", "ClassificationMetrics", "Flatten"],
    "Logs, tables and pictures": [
        "LogVariables",
        "LogDir",
        "LogProfile",
        "Benchmark",
        "ShowProgress",
        "WriteCSV",
        "WriteTensorBoard",
        "PredictionsToCsv",
        "LogitsToCsv",
        "SequenceToCsv",
        "PlotLines",
        "SaveConfusionMatrix",
        "SaveMasks",
        "SaveFile",
        "TrainingTrace",
    ],
    "Saving the model": ["SaveBest", "SaveEvery", "SaveLatest"],
    "Steering the learning rate": ["InitLR", "DecayLR", "DecayLROnPlateau", "LogLR"],
    "Stopping": ["StopAfter", "StopOnPlateau", "StopOnNaN", "Check"],
    "To build your own upon": ["EveryNEpoch", "OnPlateau"],
}
ELSEWHERE = {"AbstractHook", "TrainingTerminated", "TrainingTraceKeys"}
NEEDS = {"WriteTensorBoard": "tensorboard"}
"""Hook → package without which its configuration cannot be tried."""

NOT_FOR_CONFIGS = {"model", "dataset", "output_dir", "kwargs", "clock", "output"}

HEADER = """# Hooks

Hooks are listed in the section `hooks` of a configuration and see every event in that order, so one that computes a
value stands before those that use it. Names without a dot are those of this page; a hook of your own is named by its
full path, such as `my_package.MyHook`. How to write one is [a page of its own](../how-to/write-a-hook.md).

What is common to all:

* An entry is `Name`, or `Name: {argument: value}`. Every hook has a name by which overrides reach it, such as
  `hooks.StopAfter.epochs=20`: the name of its class, or what `name:` among its arguments says.
* `model`, `dataset` and `output_dir` are given to every hook that asks for them; they are left out below.
* An unknown argument is an error.
* Files are written into the run directory, unless their path is absolute.
* In an evaluation, hooks that save, steer or stop step aside, unless the section `eval` lists them.

This page is made from the docstrings by `tools/hooks_reference.py`.

<!--
```yaml title=config.yaml
dataset: {class: zoo.Zoo}
model: {class: zoo.Guesses}
main_loop: {extra_streams: [valid, test]}
```
```text title=model.py
```
```text title=vocabulary.txt
```
-->
"""


def page() -> str:
    """The whole page."""
    grouped = {name for names in GROUPS.values() for name in names}
    missing = set(hooks.__all__) - ELSEWHERE - grouped
    if missing:
        raise SystemExit(f"tools/hooks_reference.py: no group for {', '.join(sorted(missing))}")
    parts = [HEADER]
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        parts += [section(name, getattr(hooks, name)) for name in names]
    return "\n".join(parts)


def section(name: str, cls: type) -> str:
    """What the page says about one hook."""
    body, arguments = split(inspect.getdoc(cls) or "")
    rows = list(table(cls, arguments))
    head = (
        ["| argument | default | meaning |", "| --- | --- | --- |", *rows, ""] if rows else ["Takes no arguments.", ""]
    )
    return "\n".join([f"### {name}", "", markdown(body, NEEDS.get(name)), "", *head])


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
    """Docstring markup as Markdown; ``needed`` is the package without which its configurations cannot be tried."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    return re.sub(r"\.\. code-block:: (\w+)\n\n((?:    .*\n?|\n)+)", partial(fence, needed), text + "\n").rstrip()


def fence(needed: str | None, block: re.Match[str]) -> str:
    """A code block of a docstring as a fenced one; only configurations stand for themselves and can be run."""
    language = "text" if block[1] != "yaml" else "yaml" if needed is None else f"yaml needs={needed}"
    return f"```{language}\n{dedent(block[2]).strip()}\n```\n\n"


if __name__ == "__main__":
    sys.stdout.write(page())
