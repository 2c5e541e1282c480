# ruff: noqa: INP001 -- for `make generated`
"""Write what the built-in classes accept, so that checking a config need not read their source.

``make generated`` puts what this prints into ``src/emloop/_config/builtin.json``; a test compares the two.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import emloop
from emloop import datasets, hooks, models
from emloop._source.modules import summarise
from emloop._source.summaries import ClassSummary, ModuleSummary
from emloop.main_loop import MainLoop

ROOMS = (emloop, datasets, hooks, models)
"""Packages that resolve their names lazily, so that their source alone does not tell where these come from."""

VOCABULARY = (
    "emloop.types",
    "emloop.constants",
    "emloop.declare",
    "emloop.main_loop.checks",
    "emloop.main_loop.commit_policy",
)


def table() -> dict[str, Any]:
    """Full name of a module → what its source says; and which of the modules are packages."""
    classes: dict[str, set[str]] = {}
    for cls in public_classes():
        for base in cls.__mro__:
            if base.__module__.startswith("emloop"):
                classes.setdefault(base.__module__, set()).add(base.__qualname__)
    modules = {name: trimmed(summary_of(name), classes[name]) for name in sorted(classes)}
    modules |= {name: vocabulary(summary_of(name)) for name in VOCABULARY}
    rooms = {room.__name__: summary_of_room(room) for room in ROOMS}
    packages = sorted({*rooms, *(name for name in modules if is_package(name))})
    return {"modules": {**modules, **rooms}, "packages": packages}


def public_classes() -> list[type]:
    """The main loop, and all classes that users may name or extend."""
    return [MainLoop, *(item for room in ROOMS for item in public(room).values() if isinstance(item, type))]


def summary_of(name: str) -> ModuleSummary:
    """What a module's source says."""
    source = inspect.getsourcefile(importlib.import_module(name))
    return summarise(Path(source or "").read_bytes())


def trimmed(summary: ModuleSummary, wanted: set[str]) -> ModuleSummary:
    """What remains of a summary for users: some classes, their public methods, and the names and types these use."""
    kept = summarise(b"")
    kept["classes"] = {name: trimmed_class(cls) for name, cls in summary["classes"].items() if name in wanted}
    used = set(names_in(list(kept["classes"].values())))
    declared = {name: cls for name, cls in summary["classes"].items() if name in used and name not in wanted}
    kept["classes"] |= {name: cls | {"methods": {}} for name, cls in declared.items()}
    used |= set(names_in(list(declared.values())))
    values = {name: value for name, value in summary["values"].items() if name in used}
    used |= set(names_in(list(values.values())))
    kept["values"] = values
    kept["imports"] = {name: entry for name, entry in summary["imports"].items() if name in used}
    kept["typing"] = {name: entry for name, entry in summary["typing"].items() if name in used}
    return kept


def trimmed_class(cls: ClassSummary) -> ClassSummary:
    """A class with its public methods and those to be overridden; only constants keep their values."""
    kept: ClassSummary = {"bases": cls["bases"], "methods": {}}
    for name, method in cls["methods"].items():
        if name == "__init__" or not name.startswith("_") or name in to_be_overridden():
            kept["methods"][name] = method
    values = cls.get("values", {}).items()
    kept["values"] = {name: value if value[0] in ("value", "tuple") else ["?"] for name, value in values}
    return kept


@cache
def to_be_overridden() -> set[str]:
    """Names of the methods that a public class leaves to its subclasses."""
    return {name for cls in public_classes() for name in getattr(cls, "__abstractmethods__", ())}


def vocabulary(summary: ModuleSummary) -> ModuleSummary:
    """The public names of a module that stand for constants and types, and what data classes have."""
    kept = summarise(b"")
    for name, cls in summary["classes"].items():
        if not name.startswith("_"):
            kept["classes"][name] = {"bases": cls["bases"], "methods": {}}
            if "decorators" in cls:
                kept["classes"][name] |= {"decorators": cls["decorators"], "fields": cls.get("fields", [])}
    kept["values"] = {name: value for name, value in summary["values"].items() if not name.startswith("_")}
    used = set(names_in([*kept["values"].values(), *kept["classes"].values()]))
    kept["imports"] = {name: entry for name, entry in summary["imports"].items() if name in used}
    return kept


def names_in(data: object) -> Iterator[str]:
    """The first parts of all names in expressions, and whatever else is text."""
    if isinstance(data, str):
        yield data.partition(".")[0]
    elif isinstance(data, (list, tuple)):
        for item in data:
            yield from names_in(item)
    elif isinstance(data, dict):
        yield from names_in(list(data.values()))


def summary_of_room(room: object) -> ModuleSummary:
    """What a package's names stand for, as if it imported them."""
    summary = summarise(b"")
    for name, item in sorted(public(room).items()):
        if isinstance(item, type):
            summary["imports"][name] = (0, item.__module__, item.__qualname__)
        elif not inspect.ismodule(item):
            summary["unsure"].append(name)
    return summary


def public(room: object) -> dict[str, object]:
    """The names that a package offers."""
    return {name: getattr(room, name) for name in room.__all__}  # type: ignore[attr-defined]


def page() -> str:
    """The table as JSON, a line for each module."""
    made = table()
    lines = ",\n".join(f"{compact(name)}:{compact(summary)}" for name, summary in sorted(made["modules"].items()))
    return f'{{"packages":{compact(made["packages"])},\n"modules":{{\n{lines}\n}}}}\n'


def compact(data: object) -> str:
    """Data as JSON without spaces."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True)


def is_package(name: str) -> bool:
    """Whether a module holds others."""
    return hasattr(importlib.import_module(name), "__path__")
