"""``emloop config show``: show a config as it will be used, and where every value comes from.

Examples:
    emloop config show config.yaml
    emloop config show config.yaml model model.rate=0.3
    emloop config show @ hooks.StopAfter --defaults
    emloop config show config.yaml --resolved > whole.yaml
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from emloop._config import Config, load_config, written
from emloop._config.changes import parts
from emloop._config.defaults import Defaults
from emloop._support.printable import printable
from emloop._support.suggest import did_you_mean
from emloop.constants import EXIT_DONE
from emloop.errors import Place, UsageError, dotted

from .. import render
from ..args import CONFIG_OR_RUN, add_json, is_override, overrides
from .named import named_config

_Path: TypeAlias = tuple[Any, ...]
_Defaults: TypeAlias = Mapping[_Path, tuple[str, Mapping[str, Any]]]
"""Path of an object's arguments → its class, and the defaults of those that are not written."""

_WIDEST = 60
"""Widest line that the column of origins makes room for; longer ones stand out."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("action", metavar="show", choices=["show"], help="what to do: show")
    parser.add_argument("config_file", metavar="CONFIG | RUN", help=CONFIG_OR_RUN)
    parser.add_argument("words", metavar="SECTION | OVERRIDE", nargs="*", help="what to show; changes of the config")
    parser.add_argument("--resolved", action="store_true", help="plain YAML, to be used as a config")
    parser.add_argument(
        "--defaults", action="store_true", help="add the defaults of classes, as read from their source"
    )
    add_json(parser, "a list of values with their places; with --resolved, the config itself")


def run(arguments: Namespace) -> int:
    """Run the command."""
    words = overrides(arguments.words, after=1)
    section = words.pop(0) if words and not is_override(words[0]) else None
    options = {"resolved": arguments.resolved, "defaults": arguments.defaults, "as_json": arguments.json}
    return show(arguments.config_file, section, words, arguments.output_root, **options)


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
    """Write a config to standard output.

    Args:
        config_path: A config, or a run.
        section: The part to show, e.g. ``model`` or ``hooks.StopAfter``; ``None`` for everything.
        cl_arguments: Overrides.
        output_root: Where runs are looked for.
        resolved: Whether to write plain YAML, to be used as a config, instead of telling where values come from.
        defaults: Whether to add the defaults of the classes.
        as_json: Whether to write JSON instead.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the config cannot be read.
        UsageError: If there is no such section.
    """
    config = load_config(named_config(config_path, output_root).file, cl_arguments)
    added = _defaults(config) if defaults else {}
    path = _path_of(config, section or "")
    whole = _with_defaults(config, added, ())
    if resolved:
        data = _inside(whole, path)
        if as_json:
            render.say_json(data)
        else:
            print(printable(written(data).rstrip("\n"), keep="\n\t"))  # which may be copied into a config
        return EXIT_DONE
    lines = list(_Lines(config, added).of(whole, path))
    if as_json:
        render.say_json([line.as_data() for line in lines if line.path])
        return EXIT_DONE
    width = max((len(line.text) for line in lines if line.origin and len(line.text) <= _WIDEST), default=0)
    for line in lines:
        render.say(f"{line.text:{width}}  # {line.origin}" if line.origin else line.text)
    return EXIT_DONE


class _Line(NamedTuple):
    """A line of the config.

    Args:
        text: The line.
        path: Path of its value; empty for a line that only opens a mapping or a list.
        value: The value.
        place: Where the value is written, if anywhere.
        default_of: The class whose default the value is, if it is one.
    """

    text: str
    path: _Path = ()
    value: Any = None
    place: Place | None = None
    default_of: str = ""

    @property
    def origin(self) -> str:
        """Where the value comes from, for people."""
        if self.default_of:
            return f"default of {self.default_of}"
        if self.place is None:
            return ""
        return f"{self.place.origin}:{self.place.line}" if self.place.line else self.place.origin

    def as_data(self) -> dict[str, Any]:
        """The line for JSON."""
        return {
            "key": dotted(self.path),
            "path": self.path,
            "value": self.value,
            "origin": self.place.origin if self.place else self.origin,
            "line": (self.place and self.place.line) or None,
            "column": (self.place and self.place.column) or None,
        }


class _Lines:
    def __init__(self, config: Config, added: _Defaults) -> None:
        self._config = config
        self._added = added
        # Hooks written as bare names, which have arguments now.
        self._bare = {path[:-1] for path in added if isinstance(_inside(config, path[:-1]), str)}

    def of(self, whole: Mapping[str, Any], path: _Path) -> Iterator[_Line]:
        """Yield the lines of the value at a path, without its key."""
        value = _inside(whole, path)
        if path in self._bare:
            ((name, value),) = value.items()
            path = (*path, name)
        if value and isinstance(value, Mapping | list):
            yield from self._block(value, path, "")
        else:
            yield self._line("", value, path)

    def _block(self, value: Any, path: _Path, indent: str) -> Iterator[_Line]:
        if isinstance(value, list):
            for index, item in enumerate(value):
                if self._is_block(item, (*path, index)):
                    first, *others = self._block(item, (*path, index), f"{indent}  ")
                    yield first._replace(text=f"{indent}- {first.text[len(indent) + 2 :]}")
                    yield from others
                else:
                    yield self._line(f"{indent}- ", item, (*path, index))
            return
        for key, item in value.items():
            head = f"{indent}{render.in_yaml(key)}:"
            if self._is_block(item, (*path, key)):
                yield _Line(head, path, key, self._place(path)) if path in self._bare else _Line(head)
                yield from self._block(item, (*path, key), f"{indent}  ")
            else:
                yield self._line(f"{head} ", item, (*path, key))

    def _is_block(self, item: Any, path: _Path) -> bool:
        """Tell whether a value takes lines of its own: mappings, and lists of mappings or from several places."""
        if not item or not isinstance(item, list):
            return bool(item) and isinstance(item, Mapping)
        origins = {place.origin if (place := self._place((*path, index))) else "" for index in range(len(item))}
        return len(origins) > 1 or any(isinstance(inner, Mapping | list) for inner in item) or path == ("hooks",)

    def _line(self, head: str, value: Any, path: _Path) -> _Line:
        cls, defaults = self._added.get(path[:-1], ("", {}))
        text = head + render.in_yaml(value)
        if path and path[-1] in defaults and self._place(path) is None:
            return _Line(text, path, value, default_of=cls)
        return _Line(text, path, value, self._place(path))

    def _place(self, path: _Path) -> Place | None:
        return self._config.place(path, value=True)


def _defaults(config: Config) -> _Defaults:
    found: dict[_Path, tuple[str, Mapping[str, Any]]] = {}
    defaults_of = Defaults()
    for part in parts(config):
        path = part.path if part.section != "hooks" or len(part.path) > 2 else (*part.path, part.cls)
        found[path] = part.cls or "emloop.MainLoop", defaults_of(part)
        found.update({where: (cls, defaults) for where, cls, defaults in defaults_of.inside(part)})
    return found


def _with_defaults(value: Any, added: _Defaults, path: _Path) -> Any:
    if isinstance(value, str) and (*path, value) in added:
        return {value: dict(added[*path, value][1])} if added[*path, value][1] else value
    if isinstance(value, str) and path in added:
        return {"class": value, **added[path][1]}
    if isinstance(value, list):
        return [_with_defaults(item, added, (*path, index)) for index, item in enumerate(value)]
    defaults = added.get(path, ("", {}))[1]
    if isinstance(value, Mapping) or (value is None and defaults):
        inner = {key: _with_defaults(item, added, (*path, key)) for key, item in (value or {}).items()}
        return {**inner, **{key: default for key, default in defaults.items() if key not in inner}}
    return value


def _path_of(config: Mapping[str, Any], section: str) -> _Path:
    """Find the path of a name that is spelt as in an override."""
    hooks = {part.name.removeprefix("hooks."): part.path for part in parts(config) if part.section == "hooks"}
    path: _Path = ()
    while section:
        found = _inside(config, path)
        keys = found if isinstance(found, Mapping) else range(len(found)) if isinstance(found, list) else ()
        there = {**(hooks if path == ("hooks",) else {}), **{str(key): (*path, key) for key in keys}}
        name = max((name for name in there if f"{section}.".startswith(f"{name}.")), key=len, default=None)
        if name is None:
            wrong = section.partition(".")[0]
            hint = "".join(f"; {text}" for text in did_you_mean(wrong, there))
            listed = f"; it has: {', '.join(there)}" if there else ""
            raise UsageError(f"{dotted(path) or 'the configuration'} has no {wrong!r}{hint}{listed}")
        path, section = there[name], section[len(name) :].removeprefix(".")
    return path


def _inside(config: Any, path: _Path) -> Any:
    for key in path:
        config = config[key]
    return config
