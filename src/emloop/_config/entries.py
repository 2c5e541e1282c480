"""The objects that a configuration describes: each with its class, its arguments, and where they stand."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from emloop._settings.hints import Kind
from emloop._settings.kinds import DATASET, HOOK, MAIN_LOOP, MODEL
from emloop.errors import ConfigError, Problem, dotted

from ._composing.source import Config

__all__ = [
    "Entry",
    "by_position",
    "dataset_entry",
    "hook_entries",
    "hook_entry",
    "main_loop_entry",
    "model_entry",
    "placed",
    "policy",
]


class Entry(NamedTuple):
    """One object that a configuration describes.

    Args:
        kind: What it is.
        name: Its class as written.
        arguments: What the configuration gives to the constructor.
        keys: Where the arguments stand, from the top.
        given_name: What the configuration calls it, if it does.
    """

    kind: Kind
    name: str
    arguments: dict[str, Any]
    keys: tuple[str | int, ...]
    given_name: str | None = None

    @property
    def label(self) -> str:
        """What to call it in a message, e.g. ``hooks[0].StopAfter``."""
        return dotted(self.keys)

    @property
    def given(self) -> dict[str, Any]:
        """The arguments without those that only emloop may give."""
        return {name: value for name, value in self.arguments.items() if name not in self.kind.injected}

    def misnamed(self, problem: Problem) -> Problem:
        """What is wrong with the class's name, as a problem of the configuration."""
        is_hook = self.kind is HOOK
        keys = self.keys if is_hook else (*self.keys, "class")
        return problem._replace(path=self.label, keys=keys, on_key=is_hook)


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
    return Entry(MAIN_LOOP, "main_loop", dict(config.get("main_loop") or {}), ("main_loop",))


def hook_entries(config: Mapping[str, Any]) -> list[Entry]:
    """The entries of the section ``hooks``.

    Raises:
        ConfigError: If the section, or an entry, has an impossible form.
    """
    section = config.get("hooks") or []
    if not isinstance(section, list):
        raise ConfigError(Problem(f"expected a list of hooks, got a {type(section).__name__}", keys=("hooks",)))
    return [hook_entry(item, index) for index, item in enumerate(section)]


def hook_entry(item: Any, index: int) -> Entry:
    """One entry of the section ``hooks``.

    Raises:
        ConfigError: If it has an impossible form.
    """
    if isinstance(item, str):
        return Entry(HOOK, item, {}, ("hooks", index, item))
    if not isinstance(item, Mapping) or len(item) != 1:
        message = f"expected a hook's name, or one name with its arguments, got {item!r}"
        hints = ("indent a hook's arguments below its name",)
        raise ConfigError(Problem(message, hints=hints, keys=("hooks", index)))
    ((name, arguments),) = item.items()
    if not isinstance(arguments or {}, Mapping):
        message = f"expected the arguments of {name} as a mapping, got {arguments!r}"
        raise ConfigError(Problem(message, keys=("hooks", index)))
    given = dict(arguments or {})
    given_name = given.pop("name", None)
    return Entry(HOOK, name, given, ("hooks", index, name), given_name)


def policy(config: Mapping[str, Any]) -> str:
    """What is to be done about unknown arguments: ``error``, ``warn`` or ``ignore``."""
    section = config.get("main_loop")
    return str(section.get("on_incorrect_config", "error") if isinstance(section, Mapping) else "error")


def placed(config: Mapping[str, Any], problem: Problem) -> Problem:
    """A problem with its place in the text: that of its keys, or of the innermost part around them."""
    if problem.place is not None or not problem.keys or not isinstance(config, Config):
        return problem
    keys, on_key = problem.keys, problem.on_key
    if problem.kind == "missing-argument":
        keys, on_key = (*keys, "class"), False
    place = config.place(keys, value=not on_key)
    while place is None and keys:
        keys = keys[:-1]
        place = config.place(keys) if keys else None
    return problem._replace(place=place)


def by_position(problem: Problem) -> tuple[bool, str, int, int]:
    """A key that sorts problems as they stand in the text, those of arguments of the command line last."""
    place = problem.place
    if place is None:
        return (False, "", 0, 0)
    if place.line:
        return (False, place.origin, place.line, place.column)
    number = place.origin.rpartition(" ")[2]
    return (True, "", int(number) if number.isdigit() else 0, 0)


def _section_entry(config: Mapping[str, Any], section: str, kind: Kind) -> Entry:
    content = config.get(section)
    if not isinstance(content, Mapping) or not isinstance(content.get("class"), str):
        raise ConfigError(Problem(f"the section {section!r} needs a `class`, such as my_package.MyClass", section))
    arguments = {key: value for key, value in content.items() if key not in kind.reserved}
    return Entry(kind, content["class"], arguments, (section,))
