"""Finding one's way through the nodes of a configuration by dotted paths.

A path's parts are keys, in lists the items' numbers, and in the section ``hooks`` the hooks' names. A key that contains
dots takes as many parts as it needs, unless it is quoted.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from emloop._support.printable import brief
from emloop._support.suggest import did_you_mean
from emloop._yaml.nodes import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    Text,
    entries,
    resolve,
)
from emloop._yaml.scalars import plain_value
from emloop.errors import ConfigError, Problem, dotted

__all__ = ["Quoted", "Spot", "is_hook_list", "locate", "look_up", "missing"]

Where: TypeAlias = tuple[Any, ...]
"""Keys and indices, from the top of the configuration."""


class Quoted(str):
    """A part of a path that was put into quotes: a whole key, and text."""

    __slots__ = ()


class Spot(NamedTuple):
    """Something that holds a node, or could.

    Args:
        holder: The mapping or list.
        key: The key or index in it.
        where: The path of the node.
        whole: The spot of a whole hook, where this one holds only its arguments.
    """

    holder: MappingNode | SequenceNode
    key: Any
    where: Where
    whole: "Spot | None" = None

    @property
    def node(self) -> Node | None:
        """The node, if there is one."""
        if isinstance(self.holder, SequenceNode):
            item: Node = self.holder.items[self.key]
            return item
        entry = entries(self.holder).get(self.key)
        return entry[1] if entry else None

    def put(self, value: Node, key: Node | None = None) -> None:
        """Write another node; whoever referred to one that was written here before refers to the new one.

        Args:
            value: The node.
            key: The node that the key shall have from now on, which a new key needs.
        """
        if isinstance(self.holder, SequenceNode):
            old: Node | None = self.holder.items[self.key]
            self.holder.items[self.key] = value
        else:
            key = key or entries(self.holder)[self.key][0]
            old = self.holder.own.get(self.key, (None, None))[1]
            self.holder.own[self.key] = key, value
            self.holder.dropped -= {self.key}
        if old is not None and old.anchor is not None:
            old.anchor.node, value.anchor = value, old.anchor

    def remove(self) -> None:
        """Take the node away; a merged key is only taken from the mapping that merges it."""
        if isinstance(self.holder, SequenceNode):
            del self.holder.items[self.key]
        else:
            self.holder.own.pop(self.key, None)
            self.holder.dropped |= {self.key}


def locate(root: MappingNode, path: Sequence[str], text: Text) -> "Spot":
    """The spot that a path leads to; it may be a new key of an existing mapping.

    Mappings that are written as null, and those of the section ``main_loop``, are created on the way: what may stand
    there is known, so a misspelt one is found later.

    Args:
        root: The configuration.
        path: The path's parts.
        text: Where the path comes from, which is then where created nodes come from.

    Raises:
        ConfigError: If the path leads nowhere.
    """
    container: MappingNode | SequenceNode = root
    where: Where = ()
    rest = list(path)
    while True:
        spot, taken = _step(container, where, rest)
        rest = rest[taken:]
        if not rest:
            return spot
        where = spot.where
        container = _opened(spot, text)


def look_up(root: MappingNode, path: Sequence[str], follow: Callable[[Node], Node]) -> Node:
    """The node that a path leads to.

    Args:
        root: The configuration.
        path: The path's parts.
        follow: What is to be done with every node on the way, and with the one in the end.

    Raises:
        ConfigError: If the path leads nowhere.
    """
    node: Node = root
    where: Where = ()
    rest = list(path)
    while rest:
        if isinstance(node, ScalarNode) or (isinstance(node, MappingNode) and node.is_set):
            raise _no_keys(node, where)
        spot, taken = _step(node, where, rest)  # type: ignore[arg-type]  # nothing else is left
        if spot.node is None:
            raise missing(spot)
        node, where, rest = follow(resolve(spot.node)), spot.where, rest[taken:]
    return node


def missing(spot: Spot) -> ConfigError:
    """The complaint that nothing is at a spot of a mapping."""
    keys = [str(key) for key in entries(spot.holder)] if isinstance(spot.holder, MappingNode) else []
    owner = repr(dotted(spot.where[:-1])) if len(spot.where) > 1 else "the configuration"
    listed = (f"it has: {', '.join(keys[:20])}",) if keys else ()
    return _error(f"{owner} has no {brief(str(spot.key))}", *did_you_mean(str(spot.key), keys), *listed)


def is_hook_list(where: Where) -> bool:
    """Whether a path leads to the section ``hooks``, be it that of an evaluation."""
    return where == ("hooks",) or (len(where) == 3 and where[0] == "eval" and where[2] == "hooks")


def _step(container: MappingNode | SequenceNode, where: Where, rest: list[str]) -> tuple[Spot, int]:
    """One step down, and how many parts of the path it took."""
    if isinstance(container, MappingNode):
        return _step_into_mapping(container, where, rest)
    if is_hook_list(where):
        return _step_into_hooks(container, where, rest)
    return _item(container, where, rest[0]), 1


def _step_into_mapping(mapping: MappingNode, where: Where, rest: list[str]) -> tuple[Spot, int]:
    found = entries(mapping)
    quoted = isinstance(rest[0], Quoted)
    for taken in range(1, 2 if quoted else len(rest) + 1):
        for key in _readings(".".join(rest[:taken]))[: 1 if quoted else None]:
            if key in found:
                return Spot(mapping, key, (*where, key)), taken
    # A new key is of the kind of those that are there.
    is_text = quoted or not found or any(isinstance(key, str) for key in found)
    key = str(rest[0]) if is_text else _readings(rest[0])[-1]
    spot = Spot(mapping, key, (*where, key))
    if len(rest) > 1 and spot.where[0] != "main_loop":
        raise missing(spot)
    return spot, 1


def _readings(word: str) -> list[Any]:
    """What a word in a path may mean as a key: itself, or say a number."""
    try:
        return [word, plain_value(word)]
    except ValueError:
        return [word]


def _item(items: SequenceNode, where: Where, part: str) -> "Spot":
    count = len(items.items)
    index = next((index for index in range(count) if part == str(index)), None)
    if index is None:
        raise _error(f"{dotted(where)!r} is a list of {count} items, counted from 0; it has no {brief(part)}")
    return Spot(items, index, (*where, index))


def _step_into_hooks(hooks: SequenceNode, where: Where, rest: list[str]) -> tuple[Spot, int]:
    if rest[0].isdigit():
        whole = _item(hooks, where, rest[0])
        if len(rest) == 1:
            return whole, 1
        arguments = _arguments(whole)
        # The hook's name may stand behind its number, as it does in the file.
        ends = range(2, len(rest) + 1)
        return arguments, next((end for end in ends if ".".join(rest[1:end]) == arguments.key), 1)
    known = [_names(item) for item in hooks.items]
    for taken in range(1, len(rest) + 1):
        name = ".".join(rest[:taken])
        # What a hook is called: its own name, or else that of its class. Failing that, the class of hooks with names.
        for names in ([candidates[:1] for candidates in known], known):
            found = [index for index, candidates in enumerate(names) if name in candidates]
            if len(found) > 1:
                numbers = " or ".join(f"{dotted(where)}.{index}" for index in found)
                raise _error(f"{name!r} may be several hooks", f"write {numbers}, or give each a 'name:'")
            if found:
                return _arguments(Spot(hooks, found[0], (*where, found[0]))), taken
    similar = did_you_mean(rest[0], [candidates[0] for candidates in known if candidates])
    raise _error(f"there is no hook {brief(rest[0])}", *similar, f"to add a hook, write {dotted(where)}+={rest[0]}")


def _names(item: Node) -> tuple[str, ...]:
    """The names that a hook goes by, its own first; none if the item is no hook."""
    hook = resolve(item)
    if isinstance(hook, ScalarNode) and isinstance(hook.value, str):
        return hook.value.rpartition(".")[2], hook.value
    if not isinstance(hook, MappingNode) or len(entries(hook)) != 1:
        return ()
    ((path, (_, arguments)),) = entries(hook).items()
    if not isinstance(path, str):
        return ()
    names = path.rpartition(".")[2], path
    given = resolve(arguments)
    own = entries(given).get("name") if isinstance(given, MappingNode) else None
    name = resolve(own[1]) if own else None
    return (str(name.value), *names) if isinstance(name, ScalarNode) else names


def _arguments(whole: Spot) -> "Spot":
    """The spot of a hook's arguments; a hook that is a bare name gets room for some."""
    hook = resolve(whole.node) if whole.node else None
    if isinstance(hook, ScalarNode) and isinstance(hook.value, str):
        bare, hook = hook, MappingNode(hook.text, hook.start, hook.end)
        hook.own[bare.value] = bare, ScalarNode(bare.text, bare.start, bare.end, None)
        whole.put(hook)
    if not isinstance(hook, MappingNode) or len(entries(hook)) != 1:
        raise _error(f"{dotted(whole.where)!r} is no hook with arguments")
    (name,) = entries(hook)
    return Spot(hook, name, (*whole.where, name), whole)


def _opened(spot: Spot, text: Text) -> MappingNode | SequenceNode:
    """The mapping or list at a spot, made where there is nothing yet."""
    node = resolve(spot.node) if spot.node else None
    if node is None or (isinstance(node, ScalarNode) and node.value is None):
        created = SequenceNode(text, 0, 0) if is_hook_list(spot.where) else MappingNode(text, 0, 0)
        spot.put(created, None if node else ScalarNode(text, 0, 0, spot.key))
        return created
    if isinstance(node, SequenceNode) or (isinstance(node, MappingNode) and not node.is_set):
        return node
    raise _no_keys(node, spot.where)


def _no_keys(node: Node, where: Where) -> ConfigError:
    value = node.value if isinstance(node, ScalarNode) else None
    hints = ("change what it refers to",) if isinstance(value, str) and value.startswith("${") else ()
    found = brief(value) if isinstance(node, ScalarNode) else "a set"
    return _error(f"{dotted(where)!r} is {found}, which has no keys", *hints)


def _error(message: str, *hints: str) -> ConfigError:
    return ConfigError(Problem(message, hints=hints))
