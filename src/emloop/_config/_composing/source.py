"""A configuration, and the text that it came from."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from emloop._source.cache import FileCache, cache_directory
from emloop._support.suggest import did_you_mean
from emloop._yaml.compose import Event
from emloop._yaml.documents import construct, events_of, parse, read_file
from emloop._yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, entries, resolve
from emloop.constants import EL_CONFIG_FILE
from emloop.errors import ConfigError, ConfigFileError, Place, Problem

from .foreign import is_foreign, is_shipped, read_foreign

__all__ = ["Config", "find_config", "read_config"]


class Config(dict[str, Any]):
    """A resolved configuration: plain dicts, lists and scalars, and where each of them was written.

    Copies, deep ones too, know the same places.

    Args:
        root: The configuration as nodes, which nobody changes any more.
        origin: What its text is called in messages: the file's path.
        source: The text, byte for byte.
        evaluates: The part of the section ``eval`` that it was composed for; ``None`` for a training.
        bases: Path and text of the files that it extends, in the order of reading.
        referenced: Sections that others refer to, by an alias or ``${}``.
    """

    def __init__(
        self,
        root: MappingNode,
        origin: str,
        source: bytes,
        evaluates: str | None = None,
        bases: Sequence[tuple[str, bytes]] = (),
        referenced: frozenset[Any] = frozenset(),
    ) -> None:
        super().__init__(construct(root))
        self.origin = origin
        self.source = source
        self.evaluates = evaluates
        self.bases = tuple(bases)
        self.referenced = referenced
        self._root = root

    def place(self, path: Sequence[str | int], *, value: bool = False) -> Place | None:
        """Where a key stands, be it in the file or in an argument of the command line.

        Args:
            path: Keys and list indices that lead to it, e.g. ``("hooks", 0, "StopAfter", "epochs")``. A hook that is
                written as a bare name may be addressed like one that has arguments.
            value: Whether to find the key's value instead.

        Returns:
            The place; of a merged or aliased part, the one where it is written. ``None`` if there is no such key.
        """
        key: Node = self._root
        node: Node = self._root
        for part in path:
            if isinstance(node, MappingNode) and part in (found := entries(node)):
                key, node = found[part]
            elif isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.items):
                key = node = node.items[part]
            elif not (isinstance(node, ScalarNode) and node.value == part):
                return None
            node = resolve(node)
        return (node if value else key).place

    def copy(self) -> Config:
        """A shallow copy that knows the same places."""
        copied = Config.__new__(Config)
        copied.update(self)
        copied.__dict__.update(self.__dict__)
        return copied

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        from copy import deepcopy  # noqa: PLC0415 - no check copies

        copied = self.copy()
        memo[id(self)] = copied
        copied.update(deepcopy(dict(self), memo))
        return copied


def find_config(config_path: str | os.PathLike[str]) -> str:
    """The config file that a path means: the file itself, or ``config.yaml`` in a directory.

    Raises:
        ConfigFileError: If there is none.
    """
    given = file = os.fspath(config_path)
    try:
        is_directory = stat.S_ISDIR(os.stat(file).st_mode)
        if is_directory:
            file = os.path.join(file, EL_CONFIG_FILE)
            os.stat(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if file != given:
            raise ConfigFileError(Problem(f"there is no {EL_CONFIG_FILE} in this directory", path=given)) from None
        raise ConfigFileError(Problem("there is no such file", path=given, hints=_similar_files(file))) from None
    except OSError as error:
        raise ConfigFileError(Problem(f"cannot be read: {error.strerror}", path=given)) from error
    return file


def _similar_files(missing: str) -> tuple[str, ...]:
    """Hints at the config file that was probably meant."""
    directory, name = os.path.split(missing)
    try:
        names = sorted(file for file in os.listdir(directory or ".") if file.endswith((".yaml", ".yml", ".json")))
    except OSError:
        return ()
    return did_you_mean(name, names)


def read_config(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> tuple[MappingNode, str, bytes]:
    """A config file's nodes, its path and its text.

    Args:
        path: The file, or its directory.
        problems: Where mistakes are noted that it can be gone on after; by default, the first mistake is an error.

    Raises:
        ConfigFileError: If the file cannot be read.
        ConfigError: If it is no YAML, or not a mapping of sections.
    """
    file = find_config(path)
    came_with_run = is_foreign(file) or is_shipped(file)
    source = read_foreign(file) if came_with_run else read_file(file)
    events = None if came_with_run else _kept_events(file, source)
    root = parse(source, file, problems=problems, events=events)
    if isinstance(root, MappingNode) and not root.is_set:
        return root, file, source
    if isinstance(root, ScalarNode) and root.value is None:
        raise ConfigError(Problem("the file is empty", path=file, hints=(_SECTIONS_HINT,)))
    raise ConfigError(Problem("expected sections at the top of the file", place=root.place, hints=(_SECTIONS_HINT,)))


def _kept_events(file: str, source: bytes) -> list[Event] | None:
    """The events of a file that has been read before, so that an unchanged config is not parsed anew.

    Raises:
        ConfigError: If it is no YAML.
    """
    if not os.path.isfile(file):
        return None  # a pipe can be read only once
    cache = FileCache(cache_directory(), "yaml")
    try:
        checksum, events = cache.get(file, lambda content: (crc32(content), events_of(content, file)))
    except OSError:
        return None
    # The file may have changed since it was read.
    return [Event(*event) for event in events] if events is not None and checksum == crc32(source) else None


_SECTIONS_HINT = "a configuration has the sections 'dataset:' and 'model:', maybe 'hooks:', 'main_loop:' and 'eval:'"
