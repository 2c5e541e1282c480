"""A run's configuration: written with a JSON copy, read as a flat table spelt as overrides are: ``model.lr`` → 0.1.

Lists of plain values are values. Items of other lists are numbered, except that hooks go by their names: the same hook
has the same key in runs that differ in other hooks, such as ``hooks.StopAfter.epochs``.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from emloop import _yaml
from emloop.constants import EL_CONFIG_COPY_FILE
from emloop.errors import ConfigError

from .info import read_yaml, write_yaml
from .layout import current_config

FlatConfig: TypeAlias = dict[str, Any]


def write_config(path: Path, text: str) -> None:
    """Write a configuration of a run, in YAML, and its JSON copy.

    Raises:
        OSError: If it cannot be written.
    """
    write_yaml(path, text, EL_CONFIG_COPY_FILE, _yaml.load(text))


def read_flat_config(directory: Path) -> FlatConfig:
    """The newest configuration of a run, in the order of the file; empty if it cannot be read."""
    try:
        config = read_yaml(current_config(directory), EL_CONFIG_COPY_FILE)
    except (OSError, ConfigError):
        return {}
    return dict(_entries(config, ())) if isinstance(config, Mapping) else {}


def _entries(value: Any, where: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    is_hooks = where == ("hooks",) or (len(where) == 3 and where[0] == "eval" and where[2] == "hooks")
    if value and isinstance(value, Mapping):
        inner = {str(key): item for key, item in value.items()}
    elif value and isinstance(value, list) and is_hooks:
        inner = _by_name(value)
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        inner = {str(index): item for index, item in enumerate(value)}
    else:
        yield ".".join(where), value
        return
    for key, item in inner.items():
        yield from _entries(item, (*where, key))


def _by_name(hooks: list[Any]) -> dict[str, Any]:
    """The arguments of hooks by the name of the hook, or by its number where several share one."""
    named = []
    for hook in hooks:
        path, arguments = next(iter(hook.items())) if isinstance(hook, Mapping) and len(hook) == 1 else (hook, None)
        own_name = arguments.get("name") if isinstance(arguments, Mapping) else None
        named.append((str(path).rpartition(".")[2] if own_name is None else str(own_name), arguments))
    often = Counter(name for name, _ in named)
    return {
        str(index) if often[name] > 1 else name: {} if arguments is None else arguments
        for index, (name, arguments) in enumerate(named)
    }
