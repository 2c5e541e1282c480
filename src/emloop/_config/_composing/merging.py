"""Two mappings of nodes as one, deeply: mappings merge, everything else replaces.

An evaluation's section is merged by copying, since the text itself stays as it is. What a file says over its base is
laid over it instead, as if both had been written as one text: who refers to something anchored in either then means
what became of it.
"""

from __future__ import annotations

from typing import TypeGuard

from emloop._yaml.nodes import AliasNode, Entry, Key, MappingNode, Node, SequenceNode, entries, resolve
from emloop.errors import ConfigError, Problem

__all__ = ["lay_over", "merged", "referred"]


def merged(base: MappingNode, over: MappingNode) -> MappingNode:
    """A mapping like ``base``, with everything from ``over`` merged in deeply; neither is changed.

    Raises:
        ConfigError: If both contain themselves.
    """
    return _merged(base, over, frozenset())


def _merged(base: MappingNode, over: MappingNode, around: frozenset[tuple[int, int]]) -> MappingNode:
    """``around`` are the pairs of mappings that these two are parts of."""
    pair = id(base), id(over)
    if pair in around:
        raise ConfigError(Problem("refers to a part that contains it", place=over.place))
    result = MappingNode(base.text, base.start, base.end)
    result.own, result.merge, result.dropped = dict(base.own), base.merge, base.dropped
    below = entries(base)
    for key, (written, value) in entries(over).items():
        old = resolve(below[key][1]) if key in below else None
        new = resolve(value)
        if _is_mapping(old) and _is_mapping(new):
            result.own[key] = written, _merged(old, new, around | {pair})
        else:
            result.own[key] = written, referred(value)
        result.dropped -= {key}
    return result


def referred(node: Node) -> Node:
    """The node for another place, where changing it must not look like changing what is anchored."""
    return AliasNode(node.text, node.start, node.end, node.anchor) if node.anchor else node


def lay_over(base: MappingNode, over: MappingNode) -> None:
    """Add to ``over`` what only ``base`` has, deeply; the aliases of ``base`` lead into ``over`` from then on.

    What ``over`` says about something that ``base`` only refers to, by an alias or a merge key, changes nothing where
    that is defined.

    Args:
        base: A mapping of another text, which is of no more use afterwards.
        over: The mapping whose entries win.
    """
    _lay_over(base, over, defines=True)


def _lay_over(base: MappingNode, over: MappingNode, *, defines: bool) -> None:
    """With ``defines``, ``base`` is where its entries are defined; else others may still refer to them there."""
    given = dict(entries(over))
    own: dict[Key, Entry] = {}
    for key, (written, value) in entries(base).items():
        is_defined = defines and key in base.own
        if key not in given:
            if key in base.own:
                own[key] = written, value if is_defined else referred(value)
            continue
        entry = given[key]
        old, new = resolve(value), resolve(entry[1])
        if _is_mapping(old) and _is_mapping(new):
            if key in over.own and new is entry[1]:
                _lay_over(old, new, defines=is_defined and old is value)
            else:
                entry = entry[0], merged(old, new)
                over.own[key] = entry
        if is_defined:
            _redirect(value, entry[1])
        if key in over.own:
            own[key] = entry
    over.own = own | {key: entry for key, entry in over.own.items() if key not in own}
    over.merge = _both(over, base)


def _redirect(old: Node, new: Node) -> None:
    """Let the aliases of a node mean another one."""
    if old.anchor is None:
        return
    if new.anchor is None:
        old.anchor.node, new.anchor = new, old.anchor
    else:
        old.anchor.node = AliasNode(new.text, new.start, new.end, new.anchor)


def _both(over: MappingNode, base: MappingNode) -> Node | None:
    """What is merged into either, the former's first."""
    if over.merge is None or base.merge is None:
        return over.merge or base.merge
    both = SequenceNode(over.merge.text, over.merge.start, over.merge.end)
    for merge in (over.merge, base.merge):
        listed = resolve(merge)
        both.items += listed.items if isinstance(listed, SequenceNode) else [merge]
    return both


def _is_mapping(node: Node | None) -> TypeGuard[MappingNode]:
    return isinstance(node, MappingNode) and not node.is_set
