"""``emloop config show``: a configuration as it will be used, and where every value in it comes from."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from emloop._config import Config, load_config, written
from emloop._config.changes import parts
from emloop._config.defaults import Defaults
from emloop._support.printable import dotted
from emloop._support.suggest import did_you_mean
from emloop.constants import EXIT_DONE
from emloop.errors import Place, UsageError

from .. import render
from ..args import CONFIG_OR_RUN, add_json, is_override, overrides
from .named import named_config

__all__ = ["show"]

_Path: TypeAlias = tuple[Any, ...]

_WIDEST = 60
"""Columns that the configuration may take before the places follow; longer lines stand out."""

EXAMPLES = """
emloop config show config.yaml
emloop config show config.yaml model model.rate=0.3
emloop config show @ hooks.StopAfter --defaults
emloop config show config.yaml --resolved > whole.yaml
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("action", metavar="show", choices=["show"], help="what to do: show")
    parser.add_argument("config_file", metavar="CONFIG | RUN", help=CONFIG_OR_RUN)
    parser.add_argument(
        "words", metavar="SECTION | OVERRIDE", nargs="*", help="what to show, and changes of the config"
    )
    parser.add_argument("--resolved", action="store_true", help="plain YAML, to be used as a config")
    parser.add_argument("--defaults", action="store_true", help="also what the classes take by default")
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Run the command."""
    words = overrides(arguments.words, after=1)
    section = words.pop(0) if words and not is_override(words[0]) else None
    return show(
        arguments.config_file,
        section,
        words,
        arguments.output_root,
        resolved=arguments.resolved,
        defaults=arguments.defaults,
        as_json=arguments.json,
    )


class _Line(NamedTuple):
    """A line of the configuration.

    Args:
        text: The line.
        path: Where its value stands; empty for a line that only opens a mapping or a list.
        value: Its value.
        place: Where that is written; ``None`` for what stands nowhere.
        default_of: The class whose default it is, if it is one.
    """

    text: str
    path: _Path = ()
    value: Any = None
    place: Place | None = None
    default_of: str | None = None

    @property
    def origin(self) -> str:
        """Where the value comes from, for people."""
        if self.default_of is not None:
            return f"default of {self.default_of}"
        if self.place is None:
            return ""
        return f"{self.place.origin}:{self.place.line}" if self.place.line else self.place.origin


def show(
    config_path: str,
    section: str | None,
    cl_arguments: Sequence[str],
    output_root: str,
    *,
    resolved: bool = False,
    defaults: bool = False,
    as_json: bool = False,
) -> int:
    """Write a configuration to standard output.

    Args:
        config_path: A config, or a run.
        section: What to show of it, e.g. ``model`` or ``hooks.StopAfter``; ``None`` for everything.
        cl_arguments: Overrides.
        output_root: Where runs are looked for.
        resolved: Whether to write plain YAML, to be used as a config, instead of telling where values come from.
        defaults: Whether to add what the classes take by default.
        as_json: Whether to write JSON instead.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the configuration cannot be read.
        UsageError: If there is no such section.
    """
    config = load_config(named_config(config_path, output_root).file, cl_arguments)
    added = _defaults(config) if defaults else {}
    path = _path_of(config, section)
    if resolved:
        data = _inside(_with_defaults(config, added, ()), path)
        if as_json:
            render.say_json(data)
        else:
            render.say(written(data).rstrip("\n"))
        return EXIT_DONE
    lines = list(_Lines(config, added).of(path))
    if as_json:
        render.say_json([_described(line) for line in lines if line.path])
        return EXIT_DONE
    width = max((len(line.text) for line in lines if line.origin and len(line.text) <= _WIDEST), default=0)
    for line in lines:
        render.say(f"{line.text:{width}}  # {line.origin}" if line.origin else line.text)
    return EXIT_DONE


class _Lines:
    def __init__(self, config: Config, added: Mapping[_Path, tuple[str, Mapping[str, Any]]]) -> None:
        self._config = config
        self._added = added

    def of(self, path: _Path) -> Iterator[_Line]:
        """The lines of what stands at a path, without its key."""
        value = _inside(self._config, path)
        if isinstance(value, Mapping | list) and (value or path in self._added):
            yield from self._content(value, path, "")
        elif isinstance(value, str) and (*path, value) in self._added:
            yield from self._content({}, (*path, value), "")
        else:
            yield self._line(render.in_yaml(value), path, value)

    def _content(self, value: Any, path: _Path, indent: str) -> Iterator[_Line]:
        if isinstance(value, list):
            for index, item in enumerate(value):
                inner = list(self._item(item, (*path, index), f"{indent}  "))
                yield inner[0]._replace(text=f"{indent}- {inner[0].text[len(indent) + 2 :]}")
                yield from inner[1:]
            return
        for key, item in value.items():
            yield from self._entry(f"{indent}{render.in_yaml(key)}:", item, (*path, key), indent)
        owner, defaults = self._added.get(path, ("", {}))
        for name, default in defaults.items():
            yield _Line(f"{indent}{name}: {render.in_yaml(default)}", (*path, name), default, default_of=owner)

    def _item(self, item: Any, path: _Path, indent: str) -> Iterator[_Line]:
        if isinstance(item, str) and (*path, item) in self._added:
            # A hook that is a bare name has arguments, too, all by default.
            yield self._line(f"{indent}{render.in_yaml(item)}:", path, item)
            yield from self._content({}, (*path, item), f"{indent}  ")
        elif self._is_block(item, path):
            yield from self._content(item, path, indent)
        else:
            yield self._line(f"{indent}{render.in_yaml(item)}", path, item)

    def _entry(self, head: str, item: Any, path: _Path, indent: str) -> Iterator[_Line]:
        if self._is_block(item, path):
            yield _Line(head)
            yield from self._content({} if item is None else item, path, f"{indent}  ")
        else:
            yield self._line(f"{head} {render.in_yaml(item)}", path, item)

    def _is_block(self, item: Any, path: _Path) -> bool:
        """Whether a value takes lines of its own: a mapping, a list of such, or of items from several places."""
        if path in self._added and (item is None or isinstance(item, Mapping)):
            return True
        if isinstance(item, Mapping):
            return bool(item)
        if not isinstance(item, list) or not item:
            return False
        origins = {place.origin if (place := self._place((*path, index))) else "" for index in range(len(item))}
        return len(origins) > 1 or any(isinstance(inner, Mapping | list) for inner in item) or path == ("hooks",)

    def _line(self, text: str, path: _Path, value: Any) -> _Line:
        return _Line(text, path, value, self._place(path))

    def _place(self, path: _Path) -> Place | None:
        return self._config.place(path, value=True)


def _defaults(config: Config) -> dict[_Path, tuple[str, Mapping[str, Any]]]:
    """Path of an object's arguments → its class, and the defaults of the arguments that are not given."""
    found: dict[_Path, tuple[str, Mapping[str, Any]]] = {}
    defaults_of = Defaults()
    for part in parts(config):
        missing = {name: value for name, value in defaults_of(part).items() if name not in part.arguments}
        if missing:
            path = part.path if part.section != "hooks" or len(part.path) > 2 else (*part.path, part.cls)
            found[path] = part.cls or "emloop.MainLoop", missing
    return found


def _with_defaults(value: Any, added: Mapping[_Path, tuple[str, Mapping[str, Any]]], path: _Path) -> Any:
    if isinstance(value, str) and (*path, value) in added:
        return {value: dict(added[*path, value][1])}
    if isinstance(value, list):
        return [_with_defaults(item, added, (*path, index)) for index, item in enumerate(value)]
    defaults = added.get(path, ("", {}))[1]
    if isinstance(value, Mapping) or (value is None and defaults):
        inner = {key: _with_defaults(item, added, (*path, key)) for key, item in (value or {}).items()}
        return {**inner, **defaults}
    return value


def _path_of(config: Mapping[str, Any], section: str | None) -> _Path:
    """The path that a dotted name means, spelt as in an override."""
    if not section:
        return ()
    known: dict[str, _Path] = {}
    for part in parts(config):
        known.setdefault(part.name, part.path)
        known.setdefault(part.section, (part.section,))
    owner = max((name for name in known if f"{section}.".startswith(f"{name}.")), key=len, default=None)
    if owner is None:
        raise UsageError(_unknown(section, known))
    path = known[owner]
    found = _inside(config, path)
    rest = section[len(owner) :].lstrip(".")
    while rest:
        there = {str(key): key for key in (found if isinstance(found, Mapping) else range(len(_listed(found))))}
        key = max((name for name in there if f"{rest}.".startswith(f"{name}.")), key=len, default=None)
        if key is None:
            hooks = {name.removeprefix("hooks."): name for name in known if name.startswith("hooks.")}
            raise UsageError(_unknown(rest.partition(".")[0], hooks if path == ("hooks",) else there, dotted(path)))
        path, found, rest = (*path, there[key]), found[there[key]], rest[len(key) :].lstrip(".")
    return path


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _unknown(name: str, there: Mapping[str, Any], owner: str = "the configuration") -> str:
    hint = "".join(f"; {text}" for text in did_you_mean(name, there))
    listed = f"; it has: {', '.join(there)}" if there else ""
    return f"{owner} has no {name!r}{hint}{listed}"


def _inside(config: Any, path: _Path) -> Any:
    for key in path:
        config = config[key]
    return config


def _described(line: _Line) -> dict[str, Any]:
    place = line.place
    return {
        "key": dotted(line.path),
        "path": line.path,
        "value": line.value,
        "origin": line.origin if line.default_of or place is None else place.origin,
        "line": place.line or None if place else None,
        "column": place.column or None if place else None,
    }
