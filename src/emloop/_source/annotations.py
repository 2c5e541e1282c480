"""The text of an annotation → the :class:`~emloop._source.hints.Hint` that it means."""

from __future__ import annotations

from typing import Any

from .hints import ANYTHING, CONTAINERS, NOTHING, PLAIN, Field, Hint
from .library import ClassSource, Library, Module, Value
from .summaries import ClassSummary, Expression

__all__ = ["dataclass_fields", "hint_in", "is_dataclass"]

_DEEPEST = 20
_TYPING = ("typing.", "typing_extensions.")
_ENUMS = ("enum.Enum", "enum.IntEnum", "enum.StrEnum")


def hint_in(library: Library, module: Module, expression: Expression | None, depth: int = 0) -> Hint:
    """What an annotation that stands in a module says.

    Args:
        library: Where names are looked up.
        module: The module.
        expression: The annotation; ``None`` if there is none.
        depth: How many names it was behind.
    """
    if depth > _DEEPEST or expression is None:
        return ANYTHING
    if isinstance(expression, str):
        return _named(library, module, expression, depth)
    if expression == ["value", None]:
        return NOTHING
    if expression[0] == "or":
        return Hint("union", tuple(hint_in(library, module, part, depth + 1) for part in expression[1:]))
    if expression[0] == "of" and isinstance(expression[1], str):
        return _generic(library, module, expression[1], expression[2:], depth)
    return ANYTHING


def is_dataclass(library: Library, cls: ClassSource) -> bool:
    """Whether a class is decorated as a data class."""
    return any(
        _origin(library, cls.module, decorator) == "dataclasses.dataclass"
        for decorator in cls.summary.get("decorators", ())
    )


def dataclass_fields(library: Library, cls: ClassSource) -> list[tuple[str, Expression, Expression | None]]:
    """The fields that a data class itself adds to its constructor: name, annotation, and default if there is one."""
    read = (_field(library, cls.module, *field) for field in cls.summary.get("fields", ()))
    return [field for field in read if field is not None]


def _field(
    library: Library, module: Module, name: str, annotation: Expression, default: Expression | None
) -> tuple[str, Expression, Expression | None] | None:
    """A field as the constructor takes it; ``None`` if it does not."""
    is_generic = isinstance(annotation, list) and annotation[0] == "of"
    kind = _origin(library, module, annotation[1] if is_generic else annotation).rpartition(".")[2]
    if kind in ("ClassVar", "KW_ONLY"):
        return None
    is_described = isinstance(default, list) and default[0] == "call"
    if is_described and _origin(library, module, default) == "dataclasses.field":
        keywords: dict[str, Expression] = default[2] if default else {}
        if keywords.get("init") == ["value", False]:
            return None
        default = keywords.get("default", ["?"] if "default_factory" in keywords else None)
    return name, annotation[2] if is_generic and kind == "InitVar" else annotation, default


def _origin(library: Library, module: Module, expression: Expression) -> str:
    if isinstance(expression, list) and expression[0] == "call":
        expression = expression[1]
    return library.origin(module, expression) if isinstance(expression, str) else ""


def _named(library: Library, module: Module, path: str, depth: int) -> Hint:
    name = library.origin(module, path)
    if name in PLAIN or name in CONTAINERS:
        return PLAIN.get(name) or CONTAINERS[name]
    if name.startswith((*_TYPING, "builtins.", "collections.", "numpy.")):
        return ANYTHING._replace(name=name.rpartition(".")[2])
    thing = library.lookup(module, path)
    if isinstance(thing, Value):
        # A type with another name; NewType and type variables are calls, and say nothing that helps.
        return hint_in(library, thing.module, thing.expression, depth + 1)
    return _of_class(library, thing, depth) if isinstance(thing, ClassSource) else ANYTHING


def _of_class(library: Library, cls: ClassSource, depth: int) -> Hint:
    if is_dataclass(library, cls) and len(cls.summary["bases"]) == 0:
        fields = tuple(
            Field(name, hint_in(library, cls.module, annotation, depth + 1), default is None)
            for name, annotation, default in dataclass_fields(library, cls)
        )
        return Hint("fields", fields=fields, name=cls.name)
    bases = [_origin(library, cls.module, base) for base in cls.summary["bases"]]
    if bases and bases[-1] in _ENUMS and not cls.summary.get("unsure"):
        members = _members(cls.summary)
        if members is not None:
            return Hint("enum", values=(*members, *members.values()), name=cls.name)
    return ANYTHING._replace(name=cls.name)


def _members(summary: ClassSummary) -> dict[str, Any] | None:
    """The members of an enumeration; ``None`` if the value of one cannot be told."""
    values = {name: value for name, value in summary.get("values", {}).items() if not name.startswith("_")}
    if not values or any(value[0] != "value" or isinstance(value, str) for value in values.values()):
        return None
    return {name: value[1] for name, value in values.items()}


def _generic(library: Library, module: Module, base: str, arguments: list[Expression], depth: int) -> Hint:
    name = library.origin(module, base)
    word = name.rpartition(".")[2] if name.startswith(_TYPING) else ""
    if word == "Literal":
        values = tuple(argument[1] for argument in arguments if argument[0] == "value")
        return Hint("literal", values=values) if len(values) == len(arguments) else ANYTHING
    if word in ("Annotated", "Final", "Required", "NotRequired"):
        return hint_in(library, module, arguments[0], depth + 1)
    if word in ("Union", "Optional"):
        parts = [hint_in(library, module, argument, depth + 1) for argument in arguments]
        return Hint("union", (*parts, NOTHING) if word == "Optional" else tuple(parts))
    return _container(library, module, name, arguments, depth)


def _container(library: Library, module: Module, name: str, arguments: list[Expression], depth: int) -> Hint:
    known = CONTAINERS.get(name, ANYTHING)
    is_tuple = name in ("builtins.tuple", "typing.Tuple")
    if is_tuple and arguments[-1] != ["..."]:
        return Hint("tuple", tuple(hint_in(library, module, argument, depth + 1) for argument in arguments))
    if len(known.parts) == len(arguments) - is_tuple:
        parts = tuple(hint_in(library, module, argument, depth + 1) for argument in arguments[: len(known.parts)])
        return known._replace(parts=parts)
    return known
