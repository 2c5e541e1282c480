"""Python source → :class:`~emloop._source.summaries.ModuleSummary`, from its syntax tree; nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from .bindings import assigned, imported, targets
from .classes import class_summary
from .expressions import UNKNOWN, annotation, dotted, expression
from .functions import FunctionNode, function_summary
from .summaries import Function, ModuleSummary

__all__ = ["find_function", "gives_back", "hands_through", "summarise"]

_ADDS_NAMES = ("globals(", "vars(", "setattr(", "exec(", "eval(")
"""What a module may do to get names that cannot be seen in it."""


def summarise(source: bytes) -> ModuleSummary:
    """Read a file's content.

    Raises:
        SyntaxError: If it is no Python.
        ValueError: If it is not even text.
    """
    module = _Module(watched=b"_stream" in source or b"setattr" in source)
    module.read(ast.parse(source).body)
    if b"sys.path" in source or b"meta_path" in source:
        module.summary["needs"] = []  # who knows what can be imported then
    return module.summary


@lru_cache(maxsize=32)
def _parsed(source: bytes) -> ast.Module:
    return ast.parse(source)  # of which many functions are asked for, one after the other


def find_function(source: bytes, name: str) -> Function | None:
    """What a file's content says of one of its functions."""
    found = [node for node in _parsed(source).body if isinstance(node, FunctionNode) and node.name == name]
    return function_summary(found[-1], is_method=False) if found else None


def hands_through(source: bytes, name: str) -> bool:
    """Whether a decorator, or what makes it, leaves the arguments of a function as they are.

    It does where it returns a function of ``*args`` and ``**kwargs``, with ``functools.wraps``, that takes none itself.
    """
    nodes = [node for node in _parsed(source).body if isinstance(node, FunctionNode) and node.name == name]
    inner = [node for node in ast.walk(nodes[-1]) if isinstance(node, FunctionNode)] if nodes else []
    wrappers = [node for node in inner if any(_is_wraps(decorator) for decorator in node.decorator_list)]
    read = [function_summary(node, is_method=False) for node in wrappers]
    passes = [entry for function in read for entry in function.get("passes", [])]
    is_through = all(function.get("rest") and not function["arguments"] for function in read)
    return bool(read) and is_through and all(entry[0] != "takes" for entry in passes)


def gives_back(source: bytes, name: str) -> bool:
    """Whether what a class makes, as a decorator, returns what it is given: it may note it, and replaces nothing."""
    classes = [node for node in ast.walk(_parsed(source)) if isinstance(node, ast.ClassDef) and node.name == name]
    calls = [[node for node in cls.body if _is_call(node)] for cls in classes]
    return bool(calls) and all(found and _returns_its_own(found[-1]) for found in calls)


def _is_call(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__call__" and len(node.args.args) == 2


def _returns_its_own(function: Any) -> bool:
    given = function.args.args[1].arg
    returned = [ast.unparse(node.value) for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
    return bool(returned) and {*returned} <= {given, f"super().__call__({given})"}


def _is_wraps(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and (dotted(decorator.func) or "").rpartition(".")[2] == "wraps"


class _Module:
    def __init__(self, *, watched: bool) -> None:
        self.summary: ModuleSummary = {
            "classes": {},
            "functions": [],
            "imports": {},
            "stars": [],
            "values": {},
            "typing": {},
            "unsure": [],
            "needs": [],
            "dynamic": False,
        }
        self._watched = watched
        self._bound: dict[str, bool] = {}

    def read(self, statements: Iterable[ast.stmt], *, sure: bool = True, guarded: bool = False) -> None:
        """Take the names that statements bind.

        Args:
            statements: The statements.
            sure: Whether they are always executed.
            guarded: Whether somebody catches what they raise.
        """
        for statement in statements:
            if isinstance(statement, ast.ClassDef):
                self._bind(statement.name, sure=sure)
                self.summary["classes"][statement.name] = class_summary(statement, watched=self._watched)
            elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._bind(statement.name, sure=sure)
                self.summary["functions"].append(statement.name)
                self.summary["dynamic"] |= statement.name == "__getattr__"
            elif isinstance(statement, (ast.Import, ast.ImportFrom)):
                self._import(statement, sure=sure, guarded=guarded)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                self._assign(statement, sure=sure)
            elif isinstance(statement, ast.If) and _is_for_type_checkers(statement.test):
                self._for_type_checkers(statement.body)
                self.read(statement.orelse, sure=sure, guarded=guarded)
            else:
                self._read_inside(statement, guarded=guarded)

    def _read_inside(self, statement: ast.stmt, *, guarded: bool) -> None:
        guarded = guarded or isinstance(statement, (ast.Try, ast.If))
        for name in ("body", "orelse", "finalbody"):
            self.read(getattr(statement, name, ()), sure=False, guarded=guarded)
        for handler in getattr(statement, "handlers", ()):
            self.read(handler.body, sure=False, guarded=True)
        for target in targets(statement):
            self._bind(target, sure=False)
            self.summary["unsure"].append(target)
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            self.summary["dynamic"] |= ast.unparse(statement.value).startswith(_ADDS_NAMES)

    def _bind(self, name: str, *, sure: bool) -> None:
        """Let a name mean something new; if that may not be executed, nobody knows what it means."""
        if name in self._bound:
            summary = self.summary
            for kind in (summary["classes"], summary["imports"], summary["values"]):
                kind.pop(name, None)
            if name in summary["functions"]:
                summary["functions"].remove(name)
            if not (sure and self._bound[name]) and name not in summary["unsure"]:
                summary["unsure"].append(name)
        self._bound[name] = sure

    def _import(self, statement: ast.Import | ast.ImportFrom, *, sure: bool, guarded: bool) -> None:
        for name, entry in imported(statement):
            if name == "*":
                self.summary["stars"].append(entry)
            else:
                self._bind(name, sure=sure)
                self.summary["imports"][name] = entry
            package = entry[1].partition(".")[0]
            if sure and not guarded and not entry[0] and package not in self.summary["needs"]:
                self.summary["needs"].append(package)

    def _for_type_checkers(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                self.summary["typing"].update(imported(statement))

    def _assign(self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign, *, sure: bool) -> None:
        if isinstance(statement, ast.AnnAssign) and statement.value is None:
            return
        is_alias = isinstance(statement, ast.AnnAssign) and ast.unparse(statement.annotation).endswith("TypeAlias")
        value = statement.value
        for target in targets(statement):
            self._bind(target, sure=sure)
            plain = not isinstance(statement, ast.AugAssign) and any(
                isinstance(node, ast.Name) and node.id == target for node in assigned(statement)
            )
            read = annotation if is_alias else expression
            self.summary["values"][target] = read(value) if plain and value is not None else UNKNOWN
        for node in assigned(statement):
            if isinstance(node, ast.Subscript) and dotted(node.value) == "sys.modules":
                self.summary["dynamic"] = True  # what is put in its place gives names when it is asked for them
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found = self.summary["classes"].get(node.value.id)
                if found is not None:
                    found["dynamic"] = True  # somebody changes the class afterwards


def _is_for_type_checkers(test: ast.expr) -> bool:
    return (dotted(test) or "").rpartition(".")[2] == "TYPE_CHECKING"
