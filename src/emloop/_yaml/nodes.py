"""A YAML document as nodes that remember where they stand, before aliases and merge keys are resolved.

Reading and resolving are two steps, so that a change in between (an override on the command line) reaches everything
that refers to the changed node::

    text ──parse──► nodes ──construct──► plain dicts and lists

An anchored node is reached through an :class:`Anchor`, a cell that all of its aliases share: they mean what the cell
holds. Nothing here recurses, so depth costs no stack.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TypeAlias

from emloop._support.printable import printable
from emloop.errors import ConfigError, Place, Problem

MAX_DEPTH = 50
MAX_NODES = 20_000
MAX_CHARACTERS = 1_000_000
_EXCERPT = 200
_MARK = 80


class Text:
    """The text that nodes come from.

    Args:
        origin: Its name in messages: a file's path, or ``argument 3``.
        text: The text itself.
        argument: The whole command-line argument of which the text is a part; then a place is the whole argument.
    """

    __slots__ = ("argument", "origin", "text")

    def __init__(self, origin: str, text: str, argument: str | None = None) -> None:
        self.origin = origin
        self.text = text
        self.argument = argument

    def place(self, start: int, end: int) -> Place:
        """Where the characters from ``start`` to ``end`` stand; of several lines, the first is shown."""
        if self.argument is not None:
            # The text is the end of the argument.
            offset = len(self.argument) - len(self.text)
            shown = printable(self.argument[: offset + start])
            width = len(printable(self.argument[offset + start : offset + end]))
            return Place(
                self.origin, 0, len(shown) + 1 if end > start else 0, printable(self.argument[:_EXCERPT]), width
            )
        before = self.text[:start]
        line_start = max(before.rfind("\n"), before.rfind("\r")) + 1
        line = 1 + before.count("\n") + before.count("\r") - before.count("\r\n")
        stops = [at for at in (self.text.find("\n", start), self.text.find("\r", start)) if at >= 0]
        line_end = min(stops, default=len(self.text))
        column = start - line_start
        # One character for each, so that the mark below the line stays where it belongs.
        shown = "".join(
            char if char.isprintable() else " " for char in self.text[line_start : min(line_end, start + _EXCERPT)]
        )
        width = max(1, min(end, line_end, start + _MARK) - start)
        return Place(self.origin, line, column + 1, shown.rstrip(), width)


class Node:
    """A span of a text, and its meaning.

    Args:
        text: The text.
        start: Index of the first character.
        end: Index after the last character.
    """

    __slots__ = ("anchor", "end", "start", "text")

    def __init__(self, text: Text, start: int, end: int) -> None:
        self.text = text
        self.start = start
        self.end = end
        self.anchor: Anchor | None = None

    @property
    def place(self) -> Place:
        """Where the node stands."""
        return self.text.place(self.start, self.end)


class Anchor:
    """The target of ``&name``; ``node`` is ``None`` until the whole node is read."""

    __slots__ = ("node",)

    def __init__(self) -> None:
        self.node: Node | None = None


class ScalarNode(Node):
    """A single value."""

    __slots__ = ("value",)

    def __init__(self, text: Text, start: int, end: int, value: Hashable) -> None:
        super().__init__(text, start, end)
        self.value = value


class AliasNode(Node):
    """``*name``."""

    __slots__ = ("target",)

    def __init__(self, text: Text, start: int, end: int, target: Anchor) -> None:
        super().__init__(text, start, end)
        self.target = target


class SequenceNode(Node):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, text: Text, start: int, end: int) -> None:
        super().__init__(text, start, end)
        self.items: list[Node] = []


class MappingNode(Node):
    """A mapping, or a ``!!set``.

    ``own`` holds the entries written in it: key → its node and the value's. ``merge`` is the value of ``<<``;
    ``dropped`` holds deleted keys, which also hides those that would come from there.
    """

    __slots__ = ("dropped", "is_set", "merge", "own")

    def __init__(self, text: Text, start: int, end: int) -> None:
        super().__init__(text, start, end)
        self.own: dict[Key, Entry] = {}
        self.merge: Node | None = None
        self.dropped: frozenset[Key] = frozenset()
        self.is_set = False


Key: TypeAlias = Hashable
Entry: TypeAlias = tuple[Node, Node]


def resolve(node: Node) -> Node:
    """Follow an alias to its node; any other node is returned as it is."""
    while isinstance(node, AliasNode):
        target = node.target.node
        if target is None:
            raise ConfigError(Problem("an alias cannot refer to a part that contains it", place=node.place))
        node = target
    return node


def merged_mappings(mapping: MappingNode) -> list[MappingNode]:
    """The mappings that ``<<`` merges into one, highest precedence first.

    Raises:
        ConfigError: If that is anything but mappings.
    """
    if mapping.merge is None:
        return []
    merge = resolve(mapping.merge)
    found = [resolve(item) for item in merge.items] if isinstance(merge, SequenceNode) else [merge]
    mappings = [node for node in found if isinstance(node, MappingNode) and not node.is_set]
    if len(mappings) < len(found):
        raise ConfigError(Problem("'<<' takes a mapping or a list of mappings", place=mapping.merge.place))
    return mappings


def entries(mapping: MappingNode) -> dict[Key, Entry]:
    """All entries of a mapping: its own, then those merged into it. Not to be modified."""
    if mapping.merge is None:
        return mapping.own
    found: dict[Key, Entry] = {}
    nothing: frozenset[Key] = frozenset()
    seen: set[tuple[int, frozenset[Key]]] = set()
    waiting = [(mapping, nothing)]
    while waiting:
        current, hidden = waiting.pop()
        if (id(current), hidden) in seen:
            continue
        seen.add((id(current), hidden))
        for key, entry in current.own.items():
            if key not in hidden:
                found.setdefault(key, entry)
        hidden |= current.dropped
        waiting += [(merged, hidden) for merged in reversed(merged_mappings(current))]
    return found


def check_expansion(root: Node) -> None:
    """Refuse a document that grows beyond the limits once its aliases and merge keys are followed.

    Raises:
        ConfigError: If it would be deeper than 50 levels, or hold more than 20,000 nodes or a million characters, or if
            a part of it contains itself.
    """
    grown: dict[int, tuple[int, int, int]] = {}
    around: set[int] = set()
    """The nodes around the one being visited."""
    waiting = [(root, False)]
    while waiting:
        node, children_done = waiting.pop()
        if id(node) in grown:
            continue
        if not children_done:
            around.add(id(node))
            waiting.append((node, True))
            for child, _ in _children(node):
                if id(child) in around:
                    raise ConfigError(Problem("refers to a part that contains it", place=node.place))
                waiting.append((child, False))
            continue
        around.remove(id(node))
        depth, nodes = 0, 0 if isinstance(node, AliasNode) else 1
        characters = _characters(node)
        for child, levels in _children(node):
            child_depth, child_nodes, child_characters = grown[id(child)]
            depth = max(depth, child_depth + levels)
            nodes += child_nodes
            characters += child_characters
        for what, size, limit in (
            ("levels", depth, MAX_DEPTH),
            ("nodes", nodes, MAX_NODES),
            ("characters", characters, MAX_CHARACTERS),
        ):
            if size > limit:
                found = f"grows to {size:,} {what} once its aliases are followed; at most {limit:,} are read"
                raise ConfigError(Problem(found, place=node.place))
        grown[id(node)] = depth, nodes, characters


def _characters(node: Node) -> int:
    """The length of a single value, as written or as changed."""
    if not isinstance(node, ScalarNode):
        return 0
    return max(node.end - node.start, len(node.value) if isinstance(node.value, str) else 0)


def _children(node: Node) -> Iterator[tuple[Node, int]]:
    """The nodes that a node expands to, each with the number of levels that it is deeper."""
    if isinstance(node, AliasNode):
        yield resolve(node), 0
    elif isinstance(node, SequenceNode):
        yield from ((item, 1) for item in node.items)
    elif isinstance(node, MappingNode):
        for key, value in node.own.values():
            yield key, 1
            yield value, 1
        yield from ((merged, 0) for merged in merged_mappings(node))
