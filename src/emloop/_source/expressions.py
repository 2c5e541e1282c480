"""Expressions of Python source → :data:`~emloop._source.summaries.Expression`."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from .summaries import Expression

__all__ = ["UNKNOWN", "annotation", "dotted", "expression"]

UNKNOWN: Expression = ["?"]

_LARGEST = 20
"""Longer displays, such as tables of data, are not kept."""


def expression(node: ast.expr) -> Expression:
    """What an expression says, as far as that can be told without running it."""
    if isinstance(node, (ast.Name, ast.Attribute)):
        return dotted(node) or UNKNOWN
    if isinstance(node, (ast.Constant, ast.UnaryOp)):
        return _constant(node)
    if isinstance(node, ast.Subscript):
        return ["of", expression(node.value), *map(expression, _arguments(node))]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return ["or", expression(node.left), expression(node.right)]
    if isinstance(node, ast.Call) and len(node.keywords) <= _LARGEST:
        given = {str(index): expression(value) for index, value in enumerate(node.args)}
        given |= {keyword.arg or "**": expression(keyword.value) for keyword in node.keywords}
        return ["call", expression(node.func), given]
    return _display(node)


def annotation(node: ast.expr) -> Expression:
    """An annotation; what stands in quotes is read like what does not."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return annotation(ast.parse(node.value, mode="eval").body)
        except (SyntaxError, ValueError):
            return UNKNOWN
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return ["or", annotation(node.left), annotation(node.right)]
    if isinstance(node, ast.Subscript):
        base = annotation(node.value)
        is_literal = isinstance(base, str) and base.rpartition(".")[2] == "Literal"
        return ["of", base, *map(expression if is_literal else annotation, _arguments(node))]
    return expression(node)


def dotted(node: ast.expr) -> str | None:
    """``a.b.c``, if that is what an expression is."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _arguments(node: ast.Subscript) -> Sequence[ast.expr]:
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _constant(node: ast.Constant | ast.UnaryOp) -> Expression:
    if isinstance(node, ast.Constant):
        plain = node.value is None or isinstance(node.value, (bool, int, float, str))
        return ["value", node.value] if plain else ["..."] if node.value is ... else UNKNOWN
    operand = node.operand.value if isinstance(node.operand, ast.Constant) else None
    return ["value", -operand] if isinstance(node.op, ast.USub) and isinstance(operand, (int, float)) else UNKNOWN


def _display(node: ast.expr) -> Expression:
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)) and len(node.elts) <= _LARGEST:
        return [type(node).__name__.lower(), *map(expression, node.elts)]
    if isinstance(node, ast.Dict) and len(node.keys) <= _LARGEST and None not in node.keys:
        pairs = zip(node.keys, node.values, strict=True)
        return ["dict", *([UNKNOWN if key is None else expression(key), expression(value)] for key, value in pairs)]
    return UNKNOWN
