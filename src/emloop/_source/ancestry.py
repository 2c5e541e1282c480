"""The method resolution order of a class, worked out from source.

Whatever the source does not settle is ``None``, and ``is_plain`` says whether anything may be hidden.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from .library import ClassSource, Library, Module, Value
from .summaries import Expression, Function

__all__ = ["HARMLESS", "Ancestry", "dataclass_fields", "is_dataclass", "is_remade", "origin"]

_BLANK = frozenset({"builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol", "typing_extensions.Protocol"})
"""Base classes without a constructor."""

HARMLESS = frozenset({"typing.final", "typing.override", "typing.no_type_check", "typing.runtime_checkable"})
"""Decorators of classes that leave the constructor as it is."""

_MAGIC = frozenset({"__getattr__", "__getattribute__", "__init_subclass__"})
"""Methods that can give objects, or classes, names that cannot be seen."""

_DEEPEST = 50


class Ancestry:
    """The method resolution order of a class, as far as it can be told.

    Args:
        library: Where base classes are looked up.
        cls: The class.
    """

    def __init__(self, library: Library, cls: ClassSource) -> None:
        self.library = library
        self.cls = cls
        order = _linearised(library, cls, 0)
        self.order = [cls] if order is None else order
        self.is_complete = order is not None

    def method(self, name: str, start: int = 0) -> tuple[int, Function] | None:
        """The index of the first class, from ``start`` on, that has a method; and the method."""
        for index in range(start, len(self.order)):
            function = self.order[index].summary["methods"].get(name)
            if function is not None:
                return index, function
        return None

    def value(self, name: str) -> Value | None:
        """What is assigned to an attribute in the first class that has it; ``None`` if that is unclear."""
        for cls in self.order:
            if name in cls.summary["methods"] or name in cls.summary.get("unsure", ()):
                return None
            if name in cls.summary.get("values", {}):
                return Value(cls.module, cls.summary["values"][name])
        return None

    def owner(self, name: str) -> ClassSource | None:
        """The first class of the order that binds a name, or whose methods give it to objects."""
        return next((cls for cls in self.order if name in _names(cls)), None)

    def has(self, name: str) -> bool:
        """Whether a class of the order binds a name, or a method of one gives it to objects."""
        return self.owner(name) is not None

    def names(self) -> set[str]:
        """All names that the classes bind, or that methods give to objects."""
        return {name for cls in self.order for name in _names(cls)}

    @cached_property
    def is_plain(self) -> bool:
        """Whether objects have nothing but what can be seen here."""
        return self.is_complete and all(_is_plain(self.library, cls) for cls in self.order)


def is_dataclass(library: Library, cls: ClassSource) -> bool:
    """Whether a class is decorated as a data class."""
    return any(
        origin(library, cls.module, decorator) == "dataclasses.dataclass"
        for decorator in cls.summary.get("decorators", ())
    )


def dataclass_fields(library: Library, cls: ClassSource) -> list[tuple[str, Expression, Expression | None]]:
    """The fields that a data class itself adds to its constructor: name, annotation, and default if there is one."""
    read = (_field(library, cls.module, *field) for field in cls.summary.get("fields", ()))
    return [field for field in read if field is not None]


def is_remade(library: Library, cls: ClassSource) -> bool:
    """Whether a class may be built in another way than by its ``__init__`` or ``__new__``."""
    summary = cls.summary
    metaclass = summary.get("metaclass", "abc.ABCMeta")
    if not isinstance(metaclass, str) or metaclass.rpartition(".")[2] != "ABCMeta":
        return True
    return not is_dataclass(library, cls) and not all(
        name in HARMLESS if isinstance(decorator, str) else library.gives_back(name)
        for decorator in summary.get("decorators", ())
        for name in [origin(library, cls.module, decorator)]
    )


def _field(
    library: Library, module: Module, name: str, annotation: Expression, default: Expression | None
) -> tuple[str, Expression, Expression | None] | None:
    """A field as the constructor takes it; ``None`` if it does not."""
    is_generic = isinstance(annotation, list) and annotation[0] == "of"
    kind = origin(library, module, annotation[1] if is_generic else annotation).rpartition(".")[2]
    if kind in ("ClassVar", "KW_ONLY"):
        return None
    is_described = isinstance(default, list) and default[0] == "call"
    if is_described and origin(library, module, default) == "dataclasses.field":
        keywords: dict[str, Expression] = default[2] if default else {}
        if keywords.get("init") == ["value", False]:
            return None
        default = keywords.get("default", ["?"] if "default_factory" in keywords else None)
    return name, annotation[2] if is_generic and kind == "InitVar" else annotation, default


def origin(library: Library, module: Module, expression: Expression) -> str:
    if isinstance(expression, list) and expression[0] == "call":
        expression = expression[1]
    return library.origin(module, expression) if isinstance(expression, str) else ""


def _is_plain(library: Library, cls: ClassSource) -> bool:
    if cls.full_name not in library.plain:
        module = cls.module.summary
        library.plain[cls.full_name] = not (
            cls.summary.get("dynamic")
            or (module is not None and module["dynamic"])
            or (_MAGIC | {"__new__"}) & set(cls.summary["methods"])
            or is_remade(library, cls)
        )
    return library.plain[cls.full_name]


def _names(cls: ClassSource) -> set[str]:
    summary = cls.summary
    parts: list[Collection[str]] = [summary["methods"], summary.get("values", {}), summary.get("classes", {})]
    return set().union(*parts, summary.get("own", ()), summary.get("unsure", ()))


def _same(one: ClassSource, other: ClassSource) -> bool:
    return one.full_name == other.full_name


def _linearised(library: Library, cls: ClassSource, depth: int) -> list[ClassSource] | None:
    """The method resolution order without ``object``; ``None`` if it cannot be told."""
    if cls.full_name not in library.orders:
        library.orders[cls.full_name] = _worked_out(library, cls, depth) if depth < _DEEPEST else None
    return library.orders[cls.full_name]


def _worked_out(library: Library, cls: ClassSource, depth: int) -> list[ClassSource] | None:
    bases: list[ClassSource] = []
    for base in cls.summary["bases"]:
        name = base[1] if isinstance(base, list) and base[0] == "of" else base
        if not isinstance(name, str):
            return None
        if library.origin(cls.module, name) in _BLANK:
            continue
        thing = library.lookup(cls.module, name)
        if not isinstance(thing, ClassSource):
            return None
        bases.append(thing)
    orders = [_linearised(library, base, depth + 1) for base in bases]
    known = [order for order in orders if order is not None]
    return _merged(cls, [*known, bases]) if len(known) == len(orders) else None


def _merged(cls: ClassSource, orders: list[list[ClassSource]]) -> list[ClassSource] | None:
    """Python's own rule (C3): a class comes before its bases, and these in the order in which they are written."""
    order = [cls]
    waiting = [list(part) for part in orders if part]
    while waiting:
        later = {item.full_name for part in waiting for item in part[1:]}
        head = next((part[0] for part in waiting if part[0].full_name not in later), None)
        if head is None:
            return None
        order.append(head)
        rest = ([item for item in part if not _same(item, head)] for part in waiting)
        waiting = [part for part in rest if part]
    return order
