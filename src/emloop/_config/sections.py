"""The sections of a configuration: which there are, and what form they must have.

Whether classes exist and take the arguments they are given is checked elsewhere; here a configuration is looked at
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from emloop._settings.kinds import DATASET, HOOK, MAIN_LOOP, MODEL
from emloop._support.printable import brief
from emloop._support.problems import reserved, unknown_key
from emloop._support.suggest import nearest
from emloop.errors import ConfigError, Problem, dotted

from ._composing.compose import EVALUATION_KEYS
from .entries import by_position, placed

__all__ = ["SECTIONS", "is_near_miss", "section_problems", "validate_config"]

_Path: TypeAlias = tuple[Any, ...]

SECTIONS = ("dataset", "model", "hooks", "main_loop", "eval")
# Who is given what by emloop itself.
_RESERVED = {
    "dataset": DATASET.injected,
    "model": MODEL.injected,
    "main loop": MAIN_LOOP.injected,
    "hook": HOOK.injected,
}
_OWN_SECTION = "a section of your own, e.g. for anchors, needs a name less like it"


def validate_config(config: Mapping[str, Any]) -> None:
    """Check the form of a configuration's sections; ``dataset`` and ``model`` have to be there, and may be null.

    Args:
        config: The configuration; mistakes have a place in the text if it is a :class:`Config`.

    Raises:
        ConfigError: With every mistake that was found.
    """
    empty = [(name,) for name in ("dataset", "model") if config.get(name, name) is None]
    problems = [problem for problem in section_problems(config) if problem.keys not in empty]
    if problems:
        raise ConfigError(sorted((placed(config, problem) for problem in problems), key=by_position))
    if "hooks" not in config:
        import logging  # noqa: PLC0415 - costs a check more than it needs

        logging.getLogger(__name__).warning("There is no section `hooks` in the config")


def section_problems(config: Mapping[str, Any]) -> list[Problem]:
    """Every mistake in the form of a configuration's sections."""
    checker = _Checker(config)
    checker.check()
    return checker.problems


def is_near_miss(config: Mapping[str, Any], key: Any) -> str | None:
    """The missing section that an unknown one was probably meant to be."""
    if not isinstance(key, str) or key in SECTIONS:
        return None
    absent = [section for section in SECTIONS if section not in config]
    return nearest(key, absent)


class _Checker:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._config = config

    def check(self) -> None:
        config = self._config
        misspelt = {key: section for key in config if (section := is_near_miss(config, key))}
        for key, section in misspelt.items():
            self._add((key,), f"unknown section {key!r}", f"did you mean {section!r}?", _OWN_SECTION)
        for name in ("dataset", "model"):
            if name in config:
                self._built((name,), config[name])
            elif name not in misspelt.values():
                self._add((), f"the section {name!r} is missing", f"it needs at least a class: {name}: {{class: a.B}}")
        self._hooks(("hooks",), config.get("hooks"))
        self._keywords(("main_loop",), config.get("main_loop"), "main loop")
        self._evaluations(config.get("eval"))

    def _built(self, path: _Path, section: Any, *, is_whole: bool = True) -> None:
        """The section ``dataset`` or ``model``, or what an evaluation changes about it."""
        if section is None and not is_whole:
            return
        name = path[-1]
        if not self._keywords(path, section, name):
            return
        section = section or {}
        if "class" in section:
            self._text((*path, "class"), section["class"], "name a class: my_package.MyClass")
        elif is_whole and (misspelt := nearest("class", [key for key in section if isinstance(key, str)])):
            self._add((*path, misspelt), f"there is no 'class', but {misspelt!r}", "did you mean 'class'?")
        elif is_whole:
            self._add(path, "there is no 'class'", f"name the {name}'s class: my_package.MyClass")
        if name == "model" and section.get("name") is not None:
            self._text((*path, "name"), section["name"], "put it into quotes")

    def _keywords(self, path: _Path, section: Any, receiver: str = "") -> bool:
        """Whether something is a mapping, or nothing; keys that its receiver may not be given are reported."""
        if section is None:
            return True
        if not isinstance(section, Mapping):
            self._add(path, f"expected a mapping, got {_described(section)}", value=True)
            return False
        for key in _RESERVED.get(receiver, ()):
            if key in section:
                self.problems.append(reserved(key, receiver, path))
        return True

    def _hooks(self, path: _Path, section: Any) -> None:
        if section is None:
            return
        if not isinstance(section, list):
            hint = (
                "start each hook with '- '" if isinstance(section, Mapping) else "a hook is '- Name' or '- Name: {...}'"
            )
            self._add(path, f"expected a list of hooks, got {_described(section)}", hint, value=True)
            return
        for index, entry in enumerate(section):
            self._hook((*path, index), entry)

    def _hook(self, path: _Path, entry: Any) -> None:
        if isinstance(entry, str):
            return
        if not isinstance(entry, Mapping):
            self._add(path, f"expected a hook, got {_described(entry)}", "a hook is 'Name' or 'Name: {...}'")
        elif len(entry) != 1:
            keys = ", ".join(brief(key) for key in entry)
            self._add(
                path,
                f"expected one hook, got the keys {keys}" if entry else "expected a hook, got an empty mapping",
                "indent a hook's arguments deeper than its name; start the next hook with '- '",
            )
        else:
            ((name, arguments),) = entry.items()
            path = (*path, name)
            if not isinstance(name, str):
                self._add(path, f"expected a hook's name, got {_described(name)}")
            elif self._keywords(path, arguments, "hook") and arguments and arguments.get("name") is not None:
                self._text((*path, "name"), arguments["name"], "put it into quotes")

    def _evaluations(self, section: Any) -> None:
        if section is None or not self._keywords(("eval",), section):
            return
        for target, evaluation in section.items():
            path = ("eval", target)
            if not self._keywords(path, evaluation):
                continue
            for key, content in (evaluation or {}).items():
                self._evaluated((*path, key), content)

    def _evaluated(self, path: _Path, content: Any) -> None:
        key = path[-1]
        if key in ("dataset", "model"):
            self._built(path, content, is_whole=False)
        elif key == "main_loop":
            self._keywords(path, content, "main loop")
        elif key == "hooks":
            self._hooks(path, content)
        elif key != "stream_names":
            self.problems.append(unknown_key(dotted(path[:-1]), key, EVALUATION_KEYS, path[:-1]))
        elif content is not None and not (isinstance(content, list) and all(isinstance(name, str) for name in content)):
            self._add(path, f"expected a list of streams' names, got {_described(content)}", value=True)

    def _text(self, path: _Path, value: Any, hint: str) -> None:
        if not isinstance(value, str):
            self._add(path, f"expected text, got {_described(value)}", hint, value=True)

    def _add(self, path: _Path, message: str, *hints: str, value: bool = False) -> None:
        self.problems.append(Problem(message, dotted(path), None, hints, "form", path, not value))


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return brief(value)
