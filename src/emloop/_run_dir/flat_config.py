"""A run's configuration as a flat table, spelt as overrides are: ``model.lr`` → 0.1.

Lists of plain values are values; the parts of other lists are numbered, and hooks go by their names, so that the same
hook has the same key in runs that differ in other hooks: ``hooks.StopAfter.epochs``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from emloop._yaml import quick as yaml_quick
from emloop.errors import ConfigError

from .layout import current_config
from .reading import read_small

__all__ = ["FlatConfig", "read_flat_config"]

FlatConfig: TypeAlias = dict[str, Any]


def read_flat_config(directory: Path) -> FlatConfig:
    """The newest configuration of a run, in the order of the file; empty if it cannot be read."""
    try:
        config = yaml_quick.load(read_small(current_config(directory)), os.fspath(directory))
    except (OSError, ConfigError):
        return {}
    return dict(_entries(config, ())) if isinstance(config, Mapping) else {}


def _entries(value: Any, where: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if value and isinstance(value, Mapping):
        inner = {str(key): item for key, item in value.items()}
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        inner = _by_name(value) if _is_hook_list(where) else {str(index): item for index, item in enumerate(value)}
    elif value and isinstance(value, list) and _is_hook_list(where):
        inner = _by_name(value)
    else:
        yield ".".join(where), value
        return
    for key, item in inner.items():
        yield from _entries(item, (*where, key))


def _is_hook_list(where: tuple[str, ...]) -> bool:
    return where == ("hooks",) or (len(where) == 3 and where[0] == "eval" and where[2] == "hooks")


def _by_name(hooks: list[Any]) -> dict[str, Any]:
    """The arguments of hooks by the name of the hook, or by its number where several share one."""
    named = [_name_and_arguments(hook) for hook in hooks]
    often = Counter(name for name, _ in named)
    return {
        str(index) if often[name] > 1 else name: {} if arguments is None else arguments
        for index, (name, arguments) in enumerate(named)
    }


def _name_and_arguments(hook: Any) -> tuple[str, Any]:
    path, arguments = next(iter(hook.items())) if isinstance(hook, Mapping) and len(hook) == 1 else (hook, None)
    own_name = arguments.get("name") if isinstance(arguments, Mapping) else None
    return str(path).rpartition(".")[2] if own_name is None else str(own_name), arguments
