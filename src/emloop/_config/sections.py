"""The sections of a configuration: which there are, and what form they must have.

Whether classes exist and take the arguments they are given is checked elsewhere; here a configuration is looked at
alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias

from emloop._support.printable import brief, dotted
from emloop._support.suggest import did_you_mean, nearest
from emloop.errors import ConfigError, Place, Problem

from .source import Config

__all__ = ["EVALUATION_KEYS", "section_problems", "unknown_key", "validate_config"]

logger = logging.getLogger(__name__)

_Path: TypeAlias = tuple[Any, ...]

_SECTIONS = ("dataset", "model", "hooks", "main_loop", "eval")
EVALUATION_KEYS = ("dataset", "model", "main_loop", "hooks", "stream_names")
# Who is given what by emloop itself.
_RESERVED = {
    "the dataset": ("output_dir",),
    "the model": ("dataset", "log_dir", "restore_from"),
    "the main loop": ("model", "dataset", "hooks"),
    "a hook": ("model", "dataset", "output_dir"),
}
# Names less similar to a section's are the user's own, e.g. for anchors.
_NEAR_MISS = 0.8
_OWN_SECTION = "a section of your own, e.g. for anchors, needs a name less like it"


def validate_config(config: Mapping[str, Any]) -> None:
    """Check the form of a configuration's sections.

    Args:
        config: The configuration; mistakes have a place in the text if it is a :class:`Config`.

    Raises:
        ConfigError: With every mistake that was found.
    """
    problems = section_problems(config)
    if problems:
        raise ConfigError(problems)
    if "hooks" not in config:
        logger.warning("There is no section `hooks` in the config")


def section_problems(config: Mapping[str, Any]) -> list[Problem]:
    """Every mistake in the form of a configuration's sections, from the top of the text to its end."""
    checker = _Checker(config)
    checker.check()
    return sorted(checker.problems, key=_position)


def unknown_key(key: Any, accepted: Collection[str], path: str, place: Place | None) -> Problem:
    """The complaint about a key that means nothing where it stands."""
    hints = (*did_you_mean(str(key), accepted), f"{path} takes: {', '.join(accepted)}")
    return Problem(f"unknown key {brief(key)}", path, place, hints)


def _position(problem: Problem) -> tuple[int, int]:
    return (problem.place.line, problem.place.column) if problem.place else (0, 0)


class _Checker:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._config = config

    def check(self) -> None:
        config = self._config
        misspelt = {key: section for key in config if (section := self._meant(key))}
        for key, section in misspelt.items():
            self._add((key,), f"unknown section {key!r}", f"did you mean {section!r}?", _OWN_SECTION)
        for name in ("dataset", "model"):
            if name in config:
                self._built((name,), config[name])
            elif name not in misspelt.values():
                self._add((), f"the section {name!r} is missing", f"it needs at least a class: {name}: {{class: a.B}}")
        self._hooks(("hooks",), config.get("hooks"))
        self._keywords(("main_loop",), config.get("main_loop"), "the main loop")
        self._evaluations(config.get("eval"))

    def _meant(self, key: Any) -> str | None:
        """The section that an unknown one was probably meant to be."""
        if not isinstance(key, str) or key in _SECTIONS:
            return None
        absent = [section for section in _SECTIONS if section not in self._config]
        return next(iter(get_close_matches(key.lower(), absent, n=1, cutoff=_NEAR_MISS)), None)

    def _built(self, path: _Path, section: Any, *, is_whole: bool = True) -> None:
        """The section ``dataset`` or ``model``, or what an evaluation changes about it."""
        if section is None and not is_whole:
            return
        name = path[-1]
        if not self._keywords(path, section, f"the {name}"):
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
                self._add((*path, key), f"{key!r} is reserved; emloop itself gives it to {receiver}", "remove it")
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
            elif self._keywords(path, arguments, "a hook") and arguments and arguments.get("name") is not None:
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
            self._keywords(path, content, "the main loop")
        elif key == "hooks":
            self._hooks(path, content)
        elif key != "stream_names":
            self.problems.append(unknown_key(key, EVALUATION_KEYS, dotted(path[:-1]), self._place(path)))
        elif content is not None and not (isinstance(content, list) and all(isinstance(name, str) for name in content)):
            self._add(path, f"expected a list of streams' names, got {_described(content)}", value=True)

    def _text(self, path: _Path, value: Any, hint: str) -> None:
        if not isinstance(value, str):
            self._add(path, f"expected text, got {_described(value)}", hint, value=True)

    def _add(self, path: _Path, message: str, *hints: str, value: bool = False) -> None:
        self.problems.append(Problem(message, dotted(path), self._place(path, value=value), hints))

    def _place(self, path: _Path, *, value: bool = False) -> Place | None:
        return self._config.place(path, value=value) if path and isinstance(self._config, Config) else None


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return brief(value)
