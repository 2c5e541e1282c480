"""YAML from people and from strangers: read safely, with the place of every key and one clear error for each mistake.

PyYAML's C parser delivers events, and the composer is ours for three reasons. PyYAML's recurses in C, so that a hundred
thousand brackets end the process; it lets a few hundred bytes of aliases grow without bounds; and it forgets places.
Ours limits size, depth, nodes and aliases while reading, before anything is constructed. Scalars follow
:mod:`~emloop._yaml.scalars`, and no tag can name a class.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from emloop.errors import ConfigError, ConfigFileError, Problem

from .compose import Composer, Event
from .nodes import (
    MAX_CHARACTERS,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    Text,
    check_expansion,
    entries,
    resolve,
)

__all__ = ["construct", "decoded", "dump", "events_of", "load", "load_file", "parse", "read_file"]

_MOST_EVENTS = 10_000
"""Documents with more are not kept: parsing them is not what takes the time."""

_MAX_DIRECTIVES = 100  # each is compared with all the others


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read a file, up to the size that is accepted.

    Raises:
        ConfigFileError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigFileError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from error


def load_file(path: str | os.PathLike[str]) -> Any:
    """Read a YAML file as plain dicts, lists, sets and scalars; ``None`` if it is empty.

    Raises:
        ConfigFileError: If the file cannot be read.
        ConfigError: If it is not YAML that we accept; says where.
    """
    return load(read_file(path), os.fspath(path))


def load(text: str | bytes, origin: str = "<text>") -> Any:
    """Read a YAML text; see :func:`load_file`."""
    return construct(parse(text, origin))


def parse(
    text: str | bytes,
    origin: str,
    argument: str | None = None,
    problems: list[Problem] | None = None,
    events: Iterable[Event] | None = None,
) -> Node:
    """Read a document into nodes.

    Args:
        text: The document, in UTF-8.
        origin: Its name in messages.
        argument: The command-line argument that the text is a part of; messages show all of it.
        problems: Collects mistakes past which reading can continue, such as a key given twice; by default, the first
            mistake is an error.
        events: What :func:`events_of` returned for the very same text.

    Returns:
        The root; an empty document is the scalar ``None``.

    Raises:
        ConfigError: If it is not YAML that we accept; says where.
    """
    source = _source(text, origin, argument)
    composer = Composer(source, problems)
    for event in _events(source) if events is None else events:
        composer.take(event)
    if composer.has_aliases:
        check_expansion(composer.root)
    return composer.root


def events_of(text: bytes, origin: str) -> list[Event] | None:
    """The parser's events for a document, to be kept; ``None`` if there are too many.

    Raises:
        ConfigError: If it is not YAML that we accept; says where.
    """
    found = list(islice(_events(_source(text, origin)), _MOST_EVENTS + 1))
    return found if len(found) <= _MOST_EVENTS else None


def _events(source: Text) -> Iterator[Event]:
    from .events import read_events  # noqa: PLC0415 - importing PyYAML costs as much as a whole check without it

    return read_events(source)


def _source(text: str | bytes, origin: str, argument: str | None = None) -> Text:
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(Problem(f"is too large; at most {MAX_CHARACTERS:,} bytes are read", path=origin))
    source = Text(origin, decoded(text, origin), argument)
    if source.text.count("\n%") > _MAX_DIRECTIVES:
        raise ConfigError(Problem("has too many lines that start with '%'", place=source.place(0, 1)))
    return source


def decoded(text: str | bytes, origin: str) -> str:
    """The characters of a document, without a byte order mark.

    Raises:
        ConfigError: If it is not UTF-8; says where.
    """
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = len(text[: error.start].decode("utf-8-sig"))
        place = Text(origin, text.decode("utf-8-sig", errors="replace")).place(at, at + 1)
        raise ConfigError(Problem("is not UTF-8", place=place, hints=("save the file as UTF-8",))) from error


def dump(data: Any) -> str:
    """Write data as YAML; see :func:`emloop._yaml.dump.dump`."""
    from .dump import dump as write  # noqa: PLC0415 - who only reads need not compile its expressions

    return write(data)


def construct(root: Node) -> Any:
    """Build the data that nodes stand for: aliases of one node are one object, merged entries follow a mapping's own.

    Raises:
        ConfigError: If ``<<`` merges anything but mappings.
    """
    built: dict[int, Any] = {}
    waiting: list[Node] = []

    def value_of(node: Node) -> Any:
        node = resolve(node)
        if isinstance(node, ScalarNode):
            return node.value
        if id(node) not in built:
            built[id(node)] = _empty(node)
            waiting.append(node)
        return built[id(node)]

    data = value_of(root)
    while waiting:
        node = waiting.pop()
        target = built[id(node)]
        if isinstance(node, SequenceNode):
            target.extend(map(value_of, node.items))
        elif isinstance(node, MappingNode):
            target.update(
                node.own if node.is_set else {key: value_of(value) for key, (_, value) in entries(node).items()}
            )
    return data


def _empty(node: Node) -> list[Any] | dict[Any, Any] | set[Any]:
    if isinstance(node, MappingNode):
        return set() if node.is_set else {}
    return []
