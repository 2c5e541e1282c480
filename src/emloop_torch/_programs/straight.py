"""Graphs as plain functions: no modules to call, nothing to unpack, every operator and tensor looked up in advance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

__all__ = ["straight", "without_copies"]


def straight(graph: GraphModule) -> Callable[..., Any]:
    """A function that computes what a graph does, from the graph's flat inputs.

    The function keeps the tensors that the graph holds now: where they are replaced, it has to be made again.
    """
    known: dict[str, Any] = {}
    names: dict[Node, str] = {}

    def told(value: Any) -> str:
        """An argument as Python; what holds no result of the graph is a constant."""
        if isinstance(value, Node):
            return names[value]
        if isinstance(value, (list, tuple)) and any(isinstance(part, (Node, list, tuple, slice)) for part in value):
            parts = "".join(f"{told(part)}, " for part in value)
            return f"[{parts}]" if isinstance(value, list) else f"({parts})"
        if isinstance(value, slice):
            return f"slice({told(value.start)}, {told(value.stop)}, {told(value.step)})"
        known[name := f"c{len(known)}"] = value
        return name

    lines, given = [], []
    last = _last_uses(graph.graph)
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            names[node] = told(_attribute(graph, node.target))
            continue
        names[node] = f"v{len(names)}"
        if node.op == "placeholder":
            given.append(names[node])
        elif node.op == "output":
            lines.append(f"return {told(node.args[0])}")
        else:
            function = graph.get_submodule(node.target) if node.op == "call_module" else node.target
            # What calling an operator does, and nothing else.
            called = told(function._op if isinstance(function, torch._ops.OpOverload) else function)
            arguments = [*map(told, node.args), *(f"{key}={told(value)}" for key, value in node.kwargs.items())]
            # Memory is free as soon as it is in the original.
            done = "".join(f"; {names[used]} = None" for used in last.get(node, ()))
            lines.append(f"{names[node]} = {called}({', '.join(arguments)}){done}")
    # Of the graph, which has been checked, only names of arguments get here; torch.fx does the same.
    exec("\n ".join([f"def run({', '.join(given)}):", *lines]), known)  # noqa: S102
    run: Callable[..., Any] = known["run"]
    return run


def without_copies(graph: GraphModule, buffers: range) -> None:
    """Let a traced graph that runs without gradients update its buffers in place, and detach nothing.

    Args:
        graph: The graph; its inputs of these numbers are the buffers.
        buffers: The numbers.
    """
    for number, node in enumerate(graph.graph.find_nodes(op="placeholder")):
        users = list(node.users)
        # A copy that nobody else could tell from the original.
        if number in buffers and len(users) == 1 and users[0].target is torch.ops.aten.clone.default:
            users[0].replace_all_uses_with(node)
            graph.graph.erase_node(users[0])
    for node in graph.graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default):
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)
    graph.recompile()


def _last_uses(graph: Graph) -> dict[Node, list[Node]]:
    """Node → the results that nobody needs after it."""
    last: dict[Node, Node] = {}
    for node in graph.nodes:
        last.update(dict.fromkeys(node.all_input_nodes, node))
    released: dict[Node, list[Node]] = {}
    for used, node in last.items():
        if used.op != "get_attr":
            released.setdefault(node, []).append(used)
    return released


def _attribute(graph: GraphModule, path: str) -> Any:
    value: Any = graph
    for part in path.split("."):
        value = getattr(value, part)
    return value
