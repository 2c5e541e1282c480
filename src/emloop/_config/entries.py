"""The objects that a configuration describes: each with its class, its arguments, and where they stand."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from emloop.errors import ConfigError, Place, Problem

from .arguments import Placer
from .kinds import DATASET, HOOK, MAIN_LOOP, MODEL, Kind
from .source import Config

__all__ = ["Entry", "dataset_entry", "hook_entries", "main_loop_entry", "model_entry", "placer", "policy"]


class Entry(NamedTuple):
    """One object that a configuration describes.

    Args:
        kind: What it is.
        name: Its class as written.
        arguments: What the configuration gives to the constructor.
        path: Where the arguments stand, as keys from the top.
        label: The same for people, e.g. ``hooks[0].StopAfter``.
        given_name: What the configuration calls it, if it does.
    """

    kind: Kind
    name: str
    arguments: dict[str, Any]
    path: tuple[str | int, ...]
    label: str
    given_name: str | None = None


def dataset_entry(config: Mapping[str, Any]) -> Entry:
    """The entry of the section ``dataset``.

    Raises:
        ConfigError: If there is no class.
    """
    return _section_entry(config, "dataset", DATASET)


def model_entry(config: Mapping[str, Any]) -> Entry:
    """The entry of the section ``model``.

    Raises:
        ConfigError: If there is no class.
    """
    return _section_entry(config, "model", MODEL)


def main_loop_entry(config: Mapping[str, Any]) -> Entry:
    """The entry of the section ``main_loop``."""
    return Entry(MAIN_LOOP, "main_loop", dict(config.get("main_loop") or {}), ("main_loop",), "main_loop")


def hook_entries(config: Mapping[str, Any]) -> list[Entry]:
    """The entries of the section ``hooks``.

    Raises:
        ConfigError: If the section, or an entry, has an impossible form.
    """
    section = config.get("hooks") or []
    if not isinstance(section, list):
        raise ConfigError(Problem(f"expected a list of hooks, got a {type(section).__name__}", "hooks"))
    return [hook_entry(item, index) for index, item in enumerate(section)]


def hook_entry(item: Any, index: int) -> Entry:
    """One entry of the section ``hooks``.

    Raises:
        ConfigError: If it has an impossible form.
    """
    if isinstance(item, str):
        return Entry(HOOK, item, {}, ("hooks", index), f"hooks[{index}].{item}")
    if not isinstance(item, Mapping) or len(item) != 1:
        raise ConfigError(
            Problem(
                f"expected a hook's name, or one name with its arguments, got {item!r}",
                f"hooks[{index}]",
                hints=("indent a hook's arguments below its name",),
            )
        )
    (name, arguments), path = next(iter(item.items())), ("hooks", index)
    if not isinstance(arguments or {}, Mapping):
        raise ConfigError(
            Problem(f"expected the arguments of {name} as a mapping, got {arguments!r}", f"hooks[{index}]")
        )
    given = copy.deepcopy(dict(arguments or {}))
    return Entry(HOOK, name, given, (*path, name), f"hooks[{index}].{name}", given.pop("name", None))


def policy(config: Mapping[str, Any]) -> str:
    """What is to be done about unknown arguments: ``error``, ``warn`` or ``ignore``."""
    section = config.get("main_loop")
    return str(section.get("on_incorrect_config", "error") if isinstance(section, Mapping) else "error")


def placer(config: Mapping[str, Any], entry: Entry) -> Placer:
    """Where the arguments of an entry stand; the empty path asks for the entry itself."""

    def find(path: tuple[Any, ...], value: bool) -> Place | None:
        if not isinstance(config, Config):
            return None
        if not path and entry.kind in (DATASET, MODEL):
            return config.place((*entry.path, "class"), value=True)
        return config.place((*entry.path, *path), value=value and bool(path))

    return find


def _section_entry(config: Mapping[str, Any], section: str, kind: Kind) -> Entry:
    content = config.get(section)
    if not isinstance(content, Mapping) or not isinstance(content.get("class"), str):
        raise ConfigError(Problem(f"the section {section!r} needs a `class`, such as my_package.MyClass", section))
    arguments = {key: value for key, value in content.items() if key not in kind.reserved}
    return Entry(kind, content["class"], copy.deepcopy(arguments), (section,), section)
