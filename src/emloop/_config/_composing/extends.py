"""``extends: base.yaml``: configurations that a file builds upon.

One path or a list of them, relative to the file. They are read from top to bottom, each maybe with bases of its own;
later ones win, the file itself wins over all: mappings merge, everything else replaces; see
``merging`` for anchors. A file in a run directory extends nothing, so that a run which came from
somewhere else opens no file outside of it.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from emloop._yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, check_expansion, resolve
from emloop.errors import ConfigError, Problem

from .foreign import is_foreign
from .merging import lay_over
from .source import read_config

__all__ = ["EXTENDS", "Composed", "read_composed"]

EXTENDS = "extends"

MAX_LEVELS = 10
"""How far a base may be away from the file that is read."""

MAX_FILES = 50
"""How many bases may be read; two files that each extend two others, and so on, soon are many."""

_FORM = "write a path, or a list of paths, relative to this file: extends: base.yaml"


class Composed(NamedTuple):
    """A config file with its bases.

    Args:
        root: Its nodes, those of the bases below.
        origin: Its path.
        source: Its text.
        bases: Path and text of every base, in the order of reading.
    """

    root: MappingNode
    origin: str
    source: bytes
    bases: tuple[tuple[str, bytes], ...]


def read_composed(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> Composed:
    """Read a config file and all that it extends.

    Args:
        path: The file, or its directory.
        problems: Where mistakes are noted that it can be gone on after; by default, the first mistake is an error.

    Raises:
        ConfigFileError: If a file cannot be read; of a base, says where it is named.
        ConfigError: If a file is no YAML, extends itself, or names bases where it must not.
    """
    root, origin, source = read_config(path, problems)
    reader = _Reader(problems)
    reader.add_bases(root, (origin,))
    return Composed(root, origin, source, tuple(reader.read))


class _Reader:
    """Reads bases; ``read`` holds path and text of those read so far."""

    def __init__(self, problems: list[Problem] | None) -> None:
        self._problems = problems
        self.read: list[tuple[str, bytes]] = []

    def add_bases(self, root: MappingNode, chain: tuple[str, ...]) -> None:
        """Lay a file over what it extends.

        Args:
            root: The file's nodes.
            chain: The files that led here, the file itself last.
        """
        if EXTENDS not in root.own:
            return
        key, value = root.own.pop(EXTENDS)
        if is_foreign(chain[-1]):
            hint = "the run's config.yaml holds all that it was made from"
            raise _error(key, "a configuration in a run directory cannot extend another one", hint)
        below: MappingNode | None = None
        for name, node in _names(value):
            base = self._base(name, node, chain)
            if below is not None:
                _lay(below, base)
            below = base
        if below is not None:
            _lay(below, root)

    def _base(self, name: str, node: Node, chain: tuple[str, ...]) -> MappingNode:
        """The nodes of a base, its own bases included."""
        path = os.path.join(os.path.dirname(chain[-1]), name)
        if len(chain) > MAX_LEVELS:
            raise _error(node, f"too many files extend one another; at most {MAX_LEVELS} levels are read")
        if len(self.read) >= MAX_FILES:
            raise _error(node, f"too many files are extended; at most {MAX_FILES} are read")
        try:
            root, origin, source = read_config(path, self._problems)
        except ConfigError as error:
            hints = ("'${…}' is not replaced here",) if "${" in name else ()
            problems = [p._replace(place=p.place or node.place, hints=(*p.hints, *hints)) for p in error.problems]
            raise type(error)(problems) from error.__cause__
        if any(os.path.samefile(file, origin) for file in chain):
            raise _error(node, f"{origin} extends itself", *_way(chain, origin))
        self.read.append((origin, source))
        self.add_bases(root, (*chain, origin))
        return root


def _lay(base: MappingNode, over: MappingNode) -> None:
    lay_over(base, over)
    check_expansion(over)


def _names(value: Node) -> Iterator[tuple[str, Node]]:
    """The paths that are written behind ``extends``, and their nodes."""
    listed = resolve(value)
    items = listed.items if isinstance(listed, SequenceNode) else [value]
    if not items:
        raise _error(value, "expected the path of a config", _FORM)
    for item in items:
        node = resolve(item)
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            raise _error(item, "expected the path of a config", _FORM)
        yield node.value, item


def _way(chain: tuple[str, ...], origin: str) -> tuple[str, ...]:
    return (f"by way of {' → '.join((*chain[1:], origin))}",) if len(chain) > 1 else ()


def _error(node: Node, message: str, *hints: str) -> ConfigError:
    return ConfigError(Problem(message, EXTENDS, node.place, hints))
