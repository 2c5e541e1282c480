"""A run's configuration: written with a JSON copy, read as a flat table spelt as overrides are: ``model.lr`` → 0.1.

Lists of plain values are values. Items of other lists are numbered, except that hooks go by their names: the same hook
has the same key in runs that differ in other hooks, such as ``hooks.StopAfter.epochs``.
"""

from collections import Counter
from collections.abc import Mapping, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from emloop import _yaml
from emloop.constants import EL_CONFIG_COPY_FILE
from emloop.errors import ConfigError

from .info import parse_yaml, read_both, write_yaml
from .layout import current_config_name

FlatConfig: TypeAlias = dict[str, Any]


def write_config(path: Path, text: str) -> None:
    """Write a configuration of a run, in YAML, and its JSON copy.

    Raises:
        OSError: If it cannot be written.
    """
    write_yaml(path, text, EL_CONFIG_COPY_FILE, _yaml.load(text))


class RunConfig:
    """The configuration of one or several runs, which is not to be changed.

    Args:
        settings: What the file says.
    """

    def __init__(self, settings: Any) -> None:
        self.settings: Mapping[str, Any] = settings if isinstance(settings, Mapping) else {}

    @cached_property
    def flat(self) -> FlatConfig:
        """The same as a table, in the order of the file."""
        table: FlatConfig = {}
        for section, value in self.settings.items():
            _add(value, str(section), 1, table)
        return table


KnownConfigs: TypeAlias = MutableMapping[tuple[bytes, bytes], RunConfig]
"""Configurations by their texts in YAML and JSON; many runs differ in nothing but their seeds."""


def read_config(directory: Path | str, name: str | None = None, known: KnownConfigs | None = None) -> RunConfig:
    """The newest configuration of a run, or that in a file of a given name; empty if it cannot be read.

    Args:
        directory: The run directory.
        name: Name of the file.
        known: Configurations read before; this one is added.
    """
    known = {} if known is None else known
    try:
        name = name or current_config_name(directory)
        # Both, since a stranger's copy may lie about a text that a run of ours has, too.
        texts = read_both(directory, name, EL_CONFIG_COPY_FILE)
        if texts not in known:
            known[texts] = RunConfig(parse_yaml(*texts, f"{directory}/{name}"))
    except (OSError, ConfigError):
        return RunConfig({})
    return known[texts]


def _add(value: Any, where: str, depth: int, table: FlatConfig) -> None:
    if value and isinstance(value, dict):
        inner = value
    elif not isinstance(value, list) or not value:
        table[where] = value
        return
    elif where == "hooks" or (depth == 3 and where.startswith("eval.") and where.endswith(".hooks")):
        inner = _by_name(value)
    elif any(isinstance(item, dict | list) for item in value):
        inner = dict(enumerate(value))
    else:
        table[where] = value
        return
    for key, item in inner.items():
        _add(item, f"{where}.{key}", depth + 1, table)


def _by_name(hooks: list[Any]) -> dict[str, Any]:
    """The arguments of hooks by the name of the hook, or by its number where several share one."""
    named = []
    for hook in hooks:
        path, arguments = next(iter(hook.items())) if isinstance(hook, dict) and len(hook) == 1 else (hook, None)
        own_name = arguments.get("name") if isinstance(arguments, Mapping) else None
        named.append((str(path).rpartition(".")[2] if own_name is None else str(own_name), arguments))
    often = Counter(name for name, _ in named)
    return {
        str(index) if often[name] > 1 else name: {} if arguments is None else arguments
        for index, (name, arguments) in enumerate(named)
    }
