"""Classes in Python source → :class:`~emloop._source.summaries.ClassSummary`."""

from __future__ import annotations

import ast

from .bindings import bound_inside, targets
from .expressions import UNKNOWN, annotation, dotted, expression
from .functions import function_summary
from .summaries import ClassSummary, Expression

__all__ = ["class_summary"]


def class_summary(statement: ast.ClassDef, *, watched: bool) -> ClassSummary:
    """What a class has.

    Args:
        statement: The class.
        watched: Whether its methods may give objects attributes that matter, so that these have to be looked for.
    """
    summary = _Body(watched=watched).read(statement)
    if statement.decorator_list:
        summary["decorators"] = [expression(decorator) for decorator in statement.decorator_list]
    for keyword in statement.keywords:
        if keyword.arg in ("metaclass", None):
            summary["metaclass"] = expression(keyword.value) if keyword.arg else UNKNOWN
    if watched:
        _watch(statement, summary)
    return summary


class _Body:
    def __init__(self, *, watched: bool) -> None:
        self._watched = watched
        self._summary: ClassSummary = {"bases": [], "methods": {}}
        self._unsure: list[str] = []

    def read(self, statement: ast.ClassDef) -> ClassSummary:
        summary = self._summary
        summary["bases"] = [expression(base) for base in statement.bases]
        for node in statement.body:
            self._take(node)
        if self._unsure:
            summary["unsure"] = self._unsure
        return summary

    def _take(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not any((dotted(mark) or "").rpartition(".")[2] == "overload" for mark in node.decorator_list):
                self._summary["methods"][node.name] = function_summary(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = None if node.value is None else expression(node.value)
            self._summary.setdefault("fields", []).append((node.target.id, annotation(node.annotation), default))
            if default is not None:
                self._set(node.target.id, default)
        elif isinstance(node, ast.Assign):
            simple = {target.id for target in node.targets if isinstance(target, ast.Name)}
            for target in targets(node):
                self._set(target, expression(node.value) if target in simple else UNKNOWN)
        elif isinstance(node, ast.ClassDef):
            self._summary.setdefault("classes", {})[node.name] = class_summary(node, watched=self._watched)
        elif not isinstance(node, (ast.Expr, ast.Pass)):
            self._unsure += bound_inside(node)

    def _set(self, name: str, value: Expression) -> None:
        self._summary.setdefault("values", {})[name] = value


def _watch(statement: ast.ClassDef, summary: ClassSummary) -> None:
    """Note the attributes that methods assign, as far as they may be streams."""
    own: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and node.attr.endswith("_stream") and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
        elif (isinstance(node, ast.Name) and node.id == "setattr") or (
            isinstance(node, ast.Attribute) and node.attr in ("__dict__", "__setattr__")
        ):
            summary["dynamic"] = True
    if own:
        summary["own"] = sorted(own)
