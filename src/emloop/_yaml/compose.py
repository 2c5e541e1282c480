"""Events of a YAML parser → nodes, within limits and with a place for every mistake."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from emloop._support.printable import brief
from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError, Place, Problem

from .nodes import (
    MAX_DEPTH,
    MAX_NODES,
    AliasNode,
    Anchor,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    Text,
    merged_mappings,
    resolve,
)
from .scalars import CORE, Scalar, plain_value, tagged_value

_MAX_ALIASES = 1000
_MAX_PROBLEMS = 100
_LONGEST_GUESS = 100
_SCALAR_TAGS = {f"{CORE}{kind}": kind for kind in ("str", "int", "float", "bool", "null")}
_TAGS = "!!str, !!int, !!float, !!bool, !!null; !!seq, !!omap; !!map, !!set"
_MERGE = object()
"""The value of the scalar ``<<`` where a key is expected."""


class _Open:
    """A list or mapping that is still being read."""

    __slots__ = ("anchor", "is_omap", "key", "node")

    def __init__(self, node: MappingNode | SequenceNode, anchor: Anchor | None, *, is_omap: bool) -> None:
        self.node = node
        self.anchor = anchor
        self.is_omap = is_omap
        self.key: Node | None = None
        """A mapping's key, until its value is read."""


class Event(NamedTuple):
    """One event of a YAML parser, as plain data.

    Args:
        name: The class of PyYAML.
        start: Index of the first character.
        end: Index after the last character.
        anchor: What ``&`` or ``*`` names.
        tag: The tag, if one is written.
        value: The text of a scalar.
        style: Whether a scalar is quoted or a block; empty for a plain one.
    """

    name: str
    start: int
    end: int
    anchor: str | None
    tag: str | None
    value: str
    style: str


class Composer:
    """Builds nodes from the events of one document.

    ``root`` is the document's node once all events are taken.

    Args:
        text: The document.
        problems: Collects mistakes past which reading can continue; ``None`` raises an error for the first.
    """

    def __init__(self, text: Text, problems: list[Problem] | None = None) -> None:
        self._problems = problems
        self.root: Node = ScalarNode(text, 0, 0, None)
        self._text = text
        self._open: list[_Open] = []
        self._anchors: dict[str, Anchor] = {}
        self._nodes = 0
        self._aliases = 0
        self._documents = 0
        self._start = 0
        self._end = 0

    @property
    def has_aliases(self) -> bool:
        """Whether the document grows once its aliases are followed."""
        return self._aliases > 0

    def take(self, event: Event) -> None:
        """Take the next event.

        Raises:
            ConfigError: If it is not accepted; says where and why.
        """
        handler = self._HANDLERS.get(event.name)
        if handler is not None:
            self._start, self._end = event.start, event.end
            handler(self, event)

    def _start_document(self, _: Event) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _error(self._place(), "a second document starts here; a file holds one")

    def _alias(self, event: Event) -> None:
        self._aliases += 1
        if self._aliases > _MAX_ALIASES:
            raise _error(self._place(), f"too many aliases; at most {_MAX_ALIASES:,} are read")
        name = str(event.anchor)
        anchor = self._anchors.get(name)
        self._count()
        if anchor is None:
            similar = did_you_mean(name[:_LONGEST_GUESS], self._anchors)
            self._complain(_error(self._place(), f"there is no anchor {brief(name)}", *similar))
            self._attach(self._stand_in())
            return
        alias = AliasNode(self._text, self._start, self._end, anchor)
        if anchor.node is None:
            raise _error(alias.place, "an alias cannot refer to a part that contains it")
        self._attach(alias)

    def _scalar(self, event: Event) -> None:
        self._count()
        value: Any = _MERGE
        if not (event.value == "<<" and _is_plain(event) and event.anchor is None and self._expects_key()):
            value = self._value(event)
        node = ScalarNode(self._text, self._start, self._end, value)
        anchor = self._new_anchor(event.anchor)
        if anchor is not None:
            anchor.node, node.anchor = node, anchor
        self._attach(node)

    def _value(self, event: Event) -> Scalar:
        if event.tag in (None, "!") and not _is_plain(event):
            return event.value
        if event.tag is not None and event.tag not in _SCALAR_TAGS:
            self._complain(self._bad_tag(event))
            return event.value
        try:
            if event.tag is None:
                return plain_value(event.value)
            return tagged_value(event.value, _SCALAR_TAGS[event.tag])
        except ValueError as error:
            self._complain(_error(self._place(), str(error), "if it is meant as text, put it into quotes"), error)
            return event.value

    def _start_sequence(self, event: Event) -> None:
        if event.tag not in (None, "!", f"{CORE}seq", f"{CORE}omap"):
            self._complain(self._bad_tag(event))
        node = SequenceNode(self._text, self._start, self._end)
        self._open_container(event, node)

    def _start_mapping(self, event: Event) -> None:
        if event.tag not in (None, "!", f"{CORE}map", f"{CORE}set"):
            self._complain(self._bad_tag(event))
        node = MappingNode(self._text, self._start, self._end)
        node.is_set = event.tag == f"{CORE}set"
        self._open_container(event, node)

    def _open_container(self, event: Event, node: MappingNode | SequenceNode) -> None:
        self._count()
        if self._expects_key():
            raise _error(node.place, "a key must be a single value", "text that starts with '{' or '[' needs quotes")
        if len(self._open) >= MAX_DEPTH:
            raise _error(node.place, f"nested too deeply; at most {MAX_DEPTH} levels are read")
        self._open.append(_Open(node, self._new_anchor(event.anchor), is_omap=event.tag == f"{CORE}omap"))

    def _close_container(self, _: Event) -> None:
        ended = self._open.pop()
        node = ended.node
        node.end = self._end
        if ended.is_omap:
            node = self._ordered(node)
        if ended.anchor is not None:
            ended.anchor.node, node.anchor = node, ended.anchor
        self._attach(node)

    def _ordered(self, pairs: MappingNode | SequenceNode) -> MappingNode:
        """The mapping that an ``!!omap`` stands for; it is written as a list of mappings with one key each."""
        mapping = MappingNode(self._text, pairs.start, pairs.end)
        for item in pairs.items if isinstance(pairs, SequenceNode) else ():
            pair = resolve(item)
            if not isinstance(pair, MappingNode) or len(pair.own) != 1 or pair.merge or pair.is_set:
                raise _error(item.place, "'!!omap' is a list of mappings with one key each")
            for key_node, value in pair.own.values():
                self._enter(mapping, key_node, value)
        return mapping

    def _attach(self, node: Node) -> None:
        """Add a complete node to the list or mapping around it."""
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent.node, SequenceNode):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            self._enter(parent.node, parent.key, node)
            parent.key = None

    def _enter(self, mapping: MappingNode, key_node: Node, value: Node) -> None:
        named = resolve(key_node)
        if not isinstance(named, ScalarNode):
            raise _error(key_node.place, "a key must be a single value")
        earlier = mapping.merge is not None if named.value is _MERGE else named.value in mapping.own
        if earlier:
            self._complain(self._twice(mapping, key_node, named.value))
            return
        if mapping.is_set and not (isinstance(value, ScalarNode) and value.value is None):
            raise _error(key_node.place, "'!!set' holds keys without values")
        if named.value is _MERGE:
            mapping.merge = value
            merged_mappings(mapping)
        else:
            mapping.own[named.value] = key_node, value

    def _twice(self, mapping: MappingNode, key_node: Node, key: Any) -> ConfigError:
        if key is _MERGE:
            return _error(key_node.place, "'<<' is given twice", "several mappings are merged by '<<: [*a, *b]'")
        first = mapping.own[key][0].place.line
        return _error(
            key_node.place, f"the key {brief(key)} is given twice", *((f"first in line {first}",) if first else ())
        )

    def _complain(self, error: ConfigError, cause: Exception | None = None) -> None:
        """Collect a mistake past which reading can continue.

        Raises:
            ConfigError: If mistakes are not collected, or there are too many.
        """
        if self._problems is None or len(self._problems) >= _MAX_PROBLEMS:
            raise error from cause
        self._problems += error.problems

    def _stand_in(self) -> Node:
        """A stand-in for an alias that leads nowhere."""
        key = self._open[-1].key if self._open else None
        if isinstance(key, ScalarNode) and key.value is _MERGE:
            return MappingNode(self._text, self._start, self._end)
        word = self._text.text[self._start : self._end] if self._expects_key() else None
        return ScalarNode(self._text, self._start, self._end, word)

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].node, MappingNode) and self._open[-1].key is None

    def _new_anchor(self, name: str | None) -> Anchor | None:
        if name is None:
            return None
        anchor = self._anchors[name] = Anchor()
        return anchor

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _error(self._place(), f"too many nodes; at most {MAX_NODES:,} are read")

    def _bad_tag(self, event: Event) -> ConfigError:
        tag = str(event.tag)
        shown = f"!!{tag.removeprefix(CORE)}" if tag.startswith(CORE) else tag
        return _error(self._place(), f"the tag {brief(shown)} is not accepted here", f"accepted are {_TAGS}")

    def _place(self) -> Place:
        return self._text.place(self._start, self._end)

    _HANDLERS: ClassVar[dict[str, Callable[..., None]]] = {
        "DocumentStartEvent": _start_document,
        "AliasEvent": _alias,
        "ScalarEvent": _scalar,
        "SequenceStartEvent": _start_sequence,
        "MappingStartEvent": _start_mapping,
        "SequenceEndEvent": _close_container,
        "MappingEndEvent": _close_container,
    }


def _is_plain(event: Event) -> bool:
    return event.tag is None and not event.style


def _error(place: Place, message: str, *hints: str) -> ConfigError:
    return ConfigError(Problem(message, place=place, hints=hints))
