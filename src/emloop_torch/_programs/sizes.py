"""What a graph takes for granted about the sizes of its inputs, as data: ``points.shape[0] != 2``.

A module that branches on a size is recorded along one branch only. PyTorch notes on which condition; kept with the
graph, the conditions are checked before it runs, by a small evaluator that knows arithmetic and nothing else.
"""

from __future__ import annotations

import ast
import importlib
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from emloop.errors import SavedModelError

__all__ = ["conditions_of_export", "conditions_of_some", "conditions_of_trace", "require_condition", "violated"]

_SIZE = re.compile(r"L\['(?:tensors|flat_args)'\]\[(\d+)\]\.size\(\)\[(\d+)\]")
_NAMED = re.compile(r"(\w+)\.shape\[(\d+)\]")
_SYMBOL = re.compile(r"\b[a-z]+\d+\b")
_LONGEST = 2000
_TORCH = str(Path(torch.__file__).parent)
_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "torch.sym_float": float,
}


def conditions_of_export(guards: Iterable[str], names: Sequence[str]) -> list[str]:
    """The conditions on the inputs of an exported graph.

    Args:
        guards: What PyTorch noted, as Python.
        names: Names of the inputs, in their order.

    Raises:
        SavedModelError: If one is about anything but sizes.
    """
    conditions = [_SIZE.sub(lambda found: f"{names[int(found[1])]}.shape[{found[2]}]", guard) for guard in guards]
    for condition in conditions:
        require_condition(condition, names)
    return conditions


def conditions_of_trace(graph: Any, names: Sequence[str]) -> list[str]:
    """The conditions on the inputs of a traced graph that the module's own code has asked for.

    Args:
        graph: The graph; its last inputs are those of the module, the others have the size that they have.
        names: Names of the inputs, in their order.
    """
    placeholders = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    own = placeholders[len(placeholders) - len(names) :]
    meant = {
        str(size): f"{name}.shape[{axis}]"
        for name, tensor in zip(names, own, strict=True)
        for axis, size in reversed(list(enumerate(tensor.shape)))
    }
    # It imports SymPy, which no training waits for.
    printers = importlib.import_module("torch.utils._sympy.printers")
    conditions = []
    for guard in graph.shape_env.guards:
        asked_at = guard.sloc.framework_loc if guard.sloc else None
        # PyTorch itself asks whether sizes are equal to choose a kernel's loops, which the graph does not hold.
        if asked_at is not None and not asked_at.filename.startswith(_TORCH):
            text = printers.PythonPrinter().doprint(guard.expr)
            conditions.append(_SYMBOL.sub(lambda found: meant.get(found[0], found[0]), text))
    for condition in conditions:
        require_condition(condition, names)
    return list(dict.fromkeys(conditions))


def conditions_of_some(
    conditions: Iterable[str], equal: Mapping[tuple[str, int], tuple[str, int]], names: Collection[str]
) -> list[str]:
    """The conditions that are about some of the inputs.

    Args:
        conditions: Conditions on all inputs.
        equal: Input and axis → one of these inputs, and an axis that always has the same size.
        names: Names of these inputs.

    Raises:
        ValueError: If one is about the sizes of others as well.
    """
    found: dict[str, None] = {}
    for condition in conditions:
        told = _NAMED.sub(lambda at: "{}.shape[{}]".format(*equal.get((at[1], int(at[2])), at.groups())), condition)
        about = {at[1] for at in _NAMED.finditer(told)}
        if about <= set(names):
            found[told] = None
        elif not about.isdisjoint(names):
            raise ValueError(f"other inputs matter to {condition}")
    return list(found)


def require_condition(text: Any, names: Iterable[str]) -> ast.expr:
    """Parse a condition.

    Raises:
        SavedModelError: If it is anything but arithmetic on sizes.
    """
    try:
        if isinstance(text, str) and len(text) <= _LONGEST:
            parsed = ast.parse(text, mode="eval").body
            _value(parsed, dict.fromkeys(names, _Shape()))
            return parsed
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, ZeroDivisionError):
        pass
    raise SavedModelError(f"sizes: expected conditions such as points.shape[0] != 2, got {str(text)[:80]!r}")


def violated(conditions: Iterable[str], shapes: Mapping[str, Sequence[int]]) -> str | None:
    """The first condition that does not hold for inputs of these shapes."""
    return next((text for text in conditions if not _holds(require_condition(text, shapes), shapes)), None)


def _holds(condition: ast.expr, shapes: Mapping[str, Any]) -> bool:
    try:
        return bool(_value(condition, shapes))
    except ZeroDivisionError:
        return False


class _Shape:
    """Any shape."""

    def __getitem__(self, axis: int) -> int:
        return 1


def _value(node: ast.expr, shapes: Mapping[str, Any]) -> Any:
    found: list[Any]
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.Subscript(
            value=ast.Attribute(value=ast.Name(id=name), attr="shape"), slice=ast.Constant(value=int() as axis)
        ):
            return shapes[name][axis]
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=arguments, keywords=[]):
            return (min if name == "min" else max)(_value(argument, shapes) for argument in arguments)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name), args=[argument]) if (
            f"{module}.{name}" in _FUNCTIONS
        ):
            return _FUNCTIONS[f"{module}.{name}"](_value(argument, shapes))
        case ast.BoolOp(op=operation, values=values):
            found = [_value(value, shapes) for value in values]
            return all(found) if isinstance(operation, ast.And) else any(found)
        case (
            ast.BinOp(left=left, op=operation, right=right)
            | ast.Compare(left=left, ops=[operation], comparators=[right])
        ):
            found = [_value(left, shapes), _value(right, shapes)]
        case ast.UnaryOp(op=operation, operand=operand):
            found = [_value(operand, shapes)]
        case _:
            raise ValueError(type(node).__name__)
    return _OPERATIONS[type(operation)](*found)
