"""Which names a statement of Python source binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .summaries import Import

__all__ = ["assigned", "bound_inside", "imported", "targets"]


def imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """The names that an import binds, and what each stands for."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            yield alias.asname or alias.name, (statement.level, statement.module or "", alias.name)
        elif alias.asname:
            yield alias.asname, (0, alias.name, None)
        else:
            package = alias.name.partition(".")[0]
            yield package, (0, package, None)


def assigned(statement: ast.stmt) -> list[ast.expr]:
    """What stands on the left of an assignment, or is bound by another statement."""
    if isinstance(statement, ast.Assign):
        return statement.targets
    if isinstance(statement, (ast.AnnAssign, ast.AugAssign, ast.For)):
        return [statement.target]
    if isinstance(statement, ast.With):
        return [item.optional_vars for item in statement.items if item.optional_vars is not None]
    return statement.targets if isinstance(statement, ast.Delete) else []


def targets(statement: ast.stmt) -> list[str]:
    """The names that a statement binds, or unbinds."""
    return [
        node.id
        for target in assigned(statement)
        for node in ast.walk(target)
        if isinstance(node, ast.Name)
        if not isinstance(node.ctx, ast.Load)
    ]


def bound_inside(statement: ast.stmt) -> list[str]:
    """All names that a compound statement in a class may bind."""
    names = []
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.append(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names += [name for name, _ in imported(node)]
    return names
