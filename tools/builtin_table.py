# ruff: noqa: INP001 -- a program by itself
"""Write what the built-in classes accept, so that checking a config need not read their source.

``python tools/builtin_table.py > src/emloop/_config/builtin.json``; a test compares the table with what this prints.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path

import emloop
from emloop import datasets, hooks, models
from emloop._config.summaries import ModuleSummary
from emloop._config.syntax import summarise
from emloop.main_loop import MainLoop

ROOMS = (emloop, datasets, hooks, models)
"""Packages that resolve their names lazily, so that their source alone does not tell where these come from."""

VOCABULARY = ("emloop.types", "emloop.constants")


def table() -> dict[str, object]:
    """Full name of a module → what its source says; and which of the modules are packages."""
    modules = {name: summary_of(name) for name in sorted(module_names())}
    rooms = {room.__name__: summary_of_room(room) for room in ROOMS}
    packages = sorted({*rooms, *(name for name in modules if is_package(name))})
    return {"modules": {**modules, **rooms}, "packages": packages}


def module_names() -> set[str]:
    """The modules that define the public classes, and their base classes."""
    classes = [MainLoop, *(item for room in ROOMS for item in public(room).values() if isinstance(item, type))]
    names = {base.__module__ for cls in classes for base in cls.__mro__ if base.__module__.startswith("emloop")}
    return {*names, *VOCABULARY}


def summary_of(name: str) -> ModuleSummary:
    """What a module's source says about public classes, and the names that these use."""
    source = inspect.getsourcefile(importlib.import_module(name))
    summary = summarise(Path(source or "").read_bytes())
    summary["functions"] = []
    summary["needs"] = []
    return summary


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


def is_package(name: str) -> bool:
    """Whether a module holds others."""
    return hasattr(importlib.import_module(name), "__path__")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(table(), separators=(",", ":"), sort_keys=True) + "\n")
