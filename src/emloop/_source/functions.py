"""Methods in Python source → :class:`~emloop._source.summaries.Function`: arguments, and where ``**kwargs`` go."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from .expressions import annotation, expression
from .summaries import Argument, Function, Pass

__all__ = ["FunctionNode", "function_summary"]

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_READERS = frozenset({"copy", "items", "keys", "values"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def function_summary(node: FunctionNode, *, is_method: bool = True) -> Function:
    """The arguments of a function, without a method's own object, and where its ``**kwargs`` go."""
    arguments = node.args
    decorators = [expression(decorator) for decorator in node.decorator_list]
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*defaults, *arguments.defaults], strict=True))
    if is_method and "staticmethod" not in decorators:
        pairs = pairs[1:]
    listed: list[Argument] = [
        _argument(argument, default, "positional" if argument in arguments.posonlyargs else "named")
        for argument, default in pairs
    ]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    function: Function = {"arguments": [*listed, *(_argument(name, default, "named") for name, default in keywords)]}
    if decorators:
        function["decorators"] = decorators
    if arguments.kwarg is not None:
        function["rest"] = True
        first = positional[0].arg if positional else ""
        star = arguments.vararg.arg if arguments.vararg else ""
        function["passes"] = list(_passes(node, arguments.kwarg.arg, first, star))
    return function


def _argument(argument: ast.arg, default: ast.expr | None, how: Any) -> Argument:
    return (
        argument.arg,
        how,
        None if default is None else expression(default),
        None if argument.annotation is None else annotation(argument.annotation),
    )


def _passes(function: FunctionNode, rest: str, own: str, star: str) -> Iterator[Pass]:
    """What a function does with the arguments that it does not name.

    Args:
        function: The function.
        rest: What it calls them.
        own: What it calls the object.
        star: What it calls further positional arguments; a configuration gives none.
    """
    only_read: set[int] = set()
    uses = []
    nodes = list(ast.walk(function))
    bound = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    loops = {
        loop.target.id: names
        for loop in nodes
        if isinstance(loop, (ast.For, ast.comprehension)) and isinstance(loop.target, ast.Name)
        if (names := _names_in_turn(loop)) and bound.count(loop.target.id) == 1
    }
    sure = {id(node) for node in _surely_run(function.body)}
    explained, added = _settled(nodes, rest, sure)
    for node in nodes:
        if isinstance(node, ast.Name) and node.id == rest:
            uses.append(node)
        elif isinstance(node, ast.Attribute) and node.attr in _READERS and _is(node.value, rest):
            only_read.add(id(node.value))
        elif isinstance(node, ast.Call):
            handed = [keyword.value for keyword in node.keywords if keyword.arg is None and _is(keyword.value, rest)]
            if handed:
                explained.update(map(id, handed))
                what, target, name, positional, named = _handed_on(node, own, star)
                yield what, target, name, positional, [*named, *added]
        taken = _taken(node, rest, loops)
        if taken is not None:
            explained.add(id(taken[0]))
            has_default = isinstance(node, ast.Call) and (len(node.args) > 1 or _is_get(node))
            for name in taken[1]:
                yield ("takes", None, name, int(id(node) in sure and not has_default), [])
    unexplained = {id(use) for use in uses} - explained
    if unexplained or not uses:
        yield ("open", None, "", int(bool(unexplained - only_read)), [])


def _settled(nodes: Iterable[ast.AST], rest: str, sure: set[int]) -> tuple[set[int], list[str]]:
    """Uses that hand nothing on, and the names that they add.

    They are ``if rest: …; raise …``, for which nothing may be left, and ``rest.update({"name": …})``.
    """
    uses: set[int] = set()
    added: list[str] = []
    for node in nodes:
        if isinstance(node, ast.If) and _is(node.test, rest) and isinstance(node.body[-1], ast.Raise):
            uses.update(map(id, ast.walk(node)))
        elif id(node) in sure and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keys = node.args[0].keys if len(node.args) == 1 and isinstance(node.args[0], ast.Dict) else []
            names = [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            is_update = node.func.attr == "update" and _is(node.func.value, rest) and not node.keywords
            if is_update and names and len(names) == len(keys):
                uses.add(id(node.func.value))
                added += names
    return uses, added


def _surely_run(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """What runs whenever a function is called, as far as no branch, loop or early end stands before it."""
    for statement in body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return, ast.With)):
            yield from _surely_evaluated([statement])
        elif isinstance(statement, ast.For) and _names_in_turn(statement):
            yield from _surely_run(statement.body)
            if any(isinstance(node, (ast.Return, ast.Raise, ast.Break, ast.Continue)) for node in ast.walk(statement)):
                return
        elif not isinstance(statement, (ast.Import, ast.ImportFrom, ast.Pass, ast.Assert, *_DEFINITIONS)):
            return


def _surely_evaluated(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.BoolOp):
            waiting.append(node.values[0])
        elif isinstance(node, ast.IfExp):
            waiting.append(node.test)
        elif isinstance(node, ast.With):
            waiting += node.items
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp)):
            if len(node.generators) == 1 and not node.generators[0].ifs and _names_in_turn(node.generators[0]):
                waiting += ast.iter_child_nodes(node)
        elif not isinstance(node, (ast.Lambda, ast.GeneratorExp)):
            waiting += ast.iter_child_nodes(node)


def _names_in_turn(node: ast.AST) -> list[str]:
    """What a loop over names that are written out visits; nothing for any other loop."""
    if not isinstance(node, (ast.For, ast.comprehension)) or not isinstance(node.iter, (ast.Tuple, ast.List)):
        return []
    values = [item.value if isinstance(item, ast.Constant) else None for item in node.iter.elts]
    return [value for value in values if isinstance(value, str)] if all(isinstance(v, str) for v in values) else []


def _is_get(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "get"


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _taken(node: ast.AST, rest: str, loops: Mapping[str, list[str]]) -> tuple[ast.expr, list[str]] | None:
    """The use of ``rest`` and the names, for ``rest.pop("name", …)``, ``rest.get("name")`` and ``rest["name"]``.

    There are several names where a loop goes through them, and none for ``"name" in rest``, which only looks.
    """
    found: ast.expr | None = None
    key: ast.expr | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("pop", "get"):
        found, key = node.func.value, node.args[0] if node.args else None
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        found, key = node.value, node.slice
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        found, key = node.comparators[0], node.left
    if found is None or not _is(found, rest):
        return None
    names = loops.get(key.id, []) if isinstance(key, ast.Name) else []
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        names = [key.value]
    if not names:
        return None
    return found, [] if isinstance(node, ast.Compare) else names


def _handed_on(call: ast.Call, own: str, star: str) -> Pass:
    positional = [node for node in call.args if not (isinstance(node, ast.Starred) and star and _is(node.value, star))]
    named = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
    others = [keyword for keyword in call.keywords if keyword.arg is None]
    function = call.func
    unclear = len(others) > 1 or any(isinstance(node, ast.Starred) for node in positional)
    if not unclear and isinstance(function, ast.Name):
        return ("new", function.id, "__init__", len(positional), named)
    if unclear or not isinstance(function, ast.Attribute):
        return ("open", None, "", 0, [])
    target = function.value
    if isinstance(target, ast.Call) and _is(target.func, "super"):
        return ("super", None, function.attr, len(positional), named)
    if _is(target, own):
        return ("self", None, function.attr, len(positional), named)
    if positional and _is(positional[0], own):
        return ("class", expression(target), function.attr, len(positional) - 1, named)
    return ("open", None, "", 0, [])
