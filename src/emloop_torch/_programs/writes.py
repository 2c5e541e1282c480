"""Which values a graph writes to: a teacher that follows its student, a weight that is clamped before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

__all__ = ["written"]

_Names = frozenset[str]


def written(graph: GraphModule | Graph, given: Mapping[Node, str]) -> dict[str, list[Node]]:
    """The names of values that a graph may change in place, also through views of them, and the nodes that do.

    Args:
        graph: The graph.
        given: Node → the name of the value that it stands for.
    """
    return _followed(graph, {node: frozenset({name}) for node, name in given.items()})[0]


def _followed(graph: GraphModule | Graph, names: dict[Node, _Names]) -> tuple[dict[str, list[Node]], _Names]:
    """What is written to, and what the results may share memory with."""
    changed: dict[str, list[Node]] = {}

    def of(value: Any) -> _Names:
        values = value if isinstance(value, (list, tuple)) else (value,)
        return frozenset().union(*(names.get(entry, frozenset()) for entry in values if isinstance(entry, Node)))

    for node in (graph if isinstance(graph, Graph) else graph.graph).nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            arguments = node.target._schema.arguments
            passed = {**dict(zip((one.name for one in arguments), node.args, strict=False)), **node.kwargs}
            shared = [(one.alias_info.is_write, of(passed.get(one.name))) for one in arguments if one.alias_info]
            for name in (name for is_write, roots in shared if is_write for name in roots):
                changed.setdefault(name, []).append(node)
            names[node] = frozenset().union(*(roots for _, roots in shared))
        elif node.op == "output":
            return changed, of(node.args[0])
        elif node.op in ("call_function", "call_module"):
            passed_on = [
                entry for value in node.args for entry in (value if isinstance(value, (list, tuple)) else [value])
            ]
            blocks = [_block(graph, entry.target) if isinstance(entry, Node) else None for entry in passed_on]
            last = max((index for index, block in enumerate(blocks) if block is not None), default=-1)
            names[node] = of(node.all_input_nodes)
            for block in (*blocks, _block(graph, node.target)):
                if block is not None:
                    places = block.graph.find_nodes(op="placeholder")
                    inner, names[node] = _followed(
                        block, dict(zip(places, map(of, passed_on[last + 1 :]), strict=False))
                    )
                    for name in inner:
                        changed.setdefault(name, []).append(node)
    return changed, frozenset()


def _block(graph: GraphModule | Graph, target: Any) -> GraphModule | None:
    """A part of a graph, if this is the name of one."""
    found: Any = graph.owning_module if isinstance(graph, Graph) else graph
    for part in str(target).split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, GraphModule) else None
