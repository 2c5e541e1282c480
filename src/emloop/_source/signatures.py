"""What a class accepts, read from its source: its constructor, and where its ``**kwargs`` go.

``self.m(**kwargs)`` means the method of the class that is built, ``super().m(**kwargs)`` that of the next class in its
method resolution order. Whatever cannot be told is ``None``, or ``open``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from .annotations import dataclass_fields, hint_in, is_dataclass
from .hints import Accepted, Hint
from .library import ClassSource, Library, Module
from .summaries import Expression, Function, Pass

__all__ = ["Ancestry", "Parameter", "accepted_by_source", "parameters_of"]

_BLANK = frozenset({"builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol", "typing_extensions.Protocol"})
"""Base classes without a constructor."""

_HARMLESS = frozenset({"typing.final", "typing.override", "typing.no_type_check", "typing.runtime_checkable"})
"""Decorators of classes that leave the constructor as it is."""

_HARMLESS_FOR_METHODS = frozenset({*_HARMLESS, "abc.abstractmethod", "builtins.classmethod", "builtins.staticmethod"})

_MAGIC = frozenset({"__getattr__", "__getattribute__", "__init_subclass__"})
"""Methods that can give objects, or classes, names that cannot be seen."""

_DEEPEST = 50


class Parameter(NamedTuple):
    """An argument that a class takes.

    Args:
        module: Where it stands.
        default: Its default; ``None`` if it has none.
        annotation: Its annotation; ``None`` if it has none.
        required: Whether it must be given.
    """

    module: Module
    default: Expression | None
    annotation: Expression | None
    required: bool


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

    def value(self, name: str) -> Expression | None:
        """What is assigned to an attribute in the first class that has it; ``None`` if that cannot be told."""
        for cls in self.order:
            if name in cls.summary["methods"] or name in cls.summary.get("unsure", ()):
                return None
            if name in cls.summary.get("values", {}):
                return cls.summary["values"][name]
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

    @property
    def is_plain(self) -> bool:
        """Whether objects have nothing but what can be seen here."""
        return self.is_complete and not any(
            cls.summary.get("dynamic")
            or (cls.module.summary is not None and cls.module.summary["dynamic"])
            or _MAGIC & set(cls.summary["methods"])
            or _is_remade(self.library, cls)
            for cls in self.order
        )


def accepted_by_source(ancestry: Ancestry, *, constructor: bool = True) -> Accepted | None:
    """The arguments of a class; ``None`` if they cannot be told.

    Args:
        ancestry: The class.
        constructor: Whether the configuration reaches the constructor at all; a dataset's only gets text.
    """
    read = parameters_of(ancestry, constructor=constructor)
    if read is None:
        return None
    parameters, is_open = read
    hints = _Hints(ancestry.library, parameters)
    return Accepted(hints, frozenset(name for name, found in parameters.items() if found.required), is_open, is_open)


def parameters_of(ancestry: Ancestry, *, constructor: bool = True) -> tuple[dict[str, Parameter], bool] | None:
    """The arguments of a class by name, and whether there may be others; ``None`` if that cannot be told."""
    reader = _Reader(ancestry)
    if constructor and not reader.read_constructor():
        return None
    forwards = ancestry.value("forwards_config_to")
    if forwards is None:
        # A dataset that does not say where its configuration goes reads its text by itself.
        return (reader.parameters, reader.is_open) if constructor else None
    for item in forwards[1:]:
        if item[0] != "value" or not reader.follow(str(item[1]), 0, frozenset(), required=True):
            return None
    return reader.parameters, reader.is_open


class _Hints(Mapping[str, Hint]):
    """Hints that are looked up when they are asked for."""

    def __init__(self, library: Library, parameters: Mapping[str, Parameter]) -> None:
        self._library = library
        self._parameters = parameters

    def __getitem__(self, name: str) -> Hint:
        found = self._parameters[name]
        return hint_in(self._library, found.module, found.annotation)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


class _Reader:
    def __init__(self, ancestry: Ancestry) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.is_open = False
        self._ancestry = ancestry
        self._library = ancestry.library
        # A class that says where its configuration goes promises that nothing of it goes elsewhere.
        promising = (i for i, cls in enumerate(ancestry.order) if "forwards_config_to" in cls.summary.get("values", {}))
        self._promising = next(promising, len(ancestry.order))

    def read_constructor(self) -> bool:
        """Take the arguments of the constructor; return whether they can be told."""
        for index, cls in enumerate(self._ancestry.order):
            unclear = "__init__" in (*cls.summary.get("values", ()), *cls.summary.get("unsure", ()))
            if unclear or _is_remade(self._library, cls):
                return False
            if "__init__" in cls.summary["methods"]:
                return self.follow("__init__", index, frozenset(), required=True)
            if is_dataclass(self._library, cls):
                return self._read_fields()
        return self._ancestry.is_complete

    def follow(
        self, name: str, start: int, bound: Collection[str], *, required: bool, positional: int = 0, depth: int = 0
    ) -> bool:
        """Take the arguments of the next method of a name.

        Args:
            name: The method.
            start: The first class to look into.
            bound: Arguments that the caller gives itself, or does not let through.
            required: Whether those without a default must be given by the configuration.
            positional: Number of arguments that the caller gives without their names.
            depth: How many methods have handed the arguments on.

        Returns:
            Whether it can be told what the method accepts.
        """
        found = self._ancestry.method(name, start)
        if found is None:
            self.is_open = self.is_open or not self._ancestry.is_complete
            return True
        index, function = found
        module = self._ancestry.order[index].module
        if depth > _DEEPEST or not _is_as_written(self._library, module, function):
            return False
        given = {*bound, *(argument[0] for argument in function["arguments"][:positional])}
        for argument, how, default, annotation in function["arguments"]:
            if how == "named" and argument not in given:
                parameter = Parameter(module, default, annotation, required and default is None)
                self.parameters.setdefault(argument, parameter)
        given.update(argument for argument, *_ in function["arguments"])
        passes = function.get("passes", [])
        handed_on = sum(entry[0] != "takes" for entry in passes)
        return all(self._pass(entry, index, given, required and handed_on == 1, depth) for entry in passes)

    def _pass(self, entry: Pass, index: int, bound: Collection[str], required: bool, depth: int) -> bool:
        what, target, name, positional, named = entry
        owner = self._ancestry.order[index]
        if what == "takes":
            if name not in bound:
                self.parameters.setdefault(name, Parameter(owner.module, ["?"], None, required=False))
            return True
        if what == "open":
            refuses = owner.module.name.startswith("emloop") or index >= self._promising
            self.is_open = self.is_open or not refuses
            return True
        start: int | None = {"super": index + 1, "self": 0}.get(what)
        if start is None:
            start = self._index_of(owner.module, target)
        if start is None:
            self.is_open = True
            return True
        return self.follow(name, start, {*bound, *named}, required=required, positional=positional, depth=depth + 1)

    def _index_of(self, module: Module, target: Expression) -> int | None:
        """Where in the order a class stands that a method names."""
        thing = self._library.lookup(module, target) if isinstance(target, str) else None
        same = (i for i, cls in enumerate(self._ancestry.order) if isinstance(thing, ClassSource) and _same(cls, thing))
        return next(same, None)

    def _read_fields(self) -> bool:
        for cls in reversed(self._ancestry.order):
            if is_dataclass(self._library, cls):
                for name, annotation, default in dataclass_fields(self._library, cls):
                    self.parameters[name] = Parameter(cls.module, default, annotation, required=default is None)
        return self._ancestry.is_complete


def _is_as_written(library: Library, module: Module, function: Function) -> bool:
    """Whether no decorator may have replaced a method."""
    decorators = function.get("decorators", [])
    return all(isinstance(d, str) and library.origin(module, d) in _HARMLESS_FOR_METHODS for d in decorators)


def _is_remade(library: Library, cls: ClassSource) -> bool:
    """Whether a class may be built in another way than by its ``__init__``."""
    summary = cls.summary
    metaclass = summary.get("metaclass", "abc.ABCMeta")
    if not isinstance(metaclass, str) or metaclass.rpartition(".")[2] != "ABCMeta" or "__new__" in summary["methods"]:
        return True
    decorators = [decorator for decorator in summary.get("decorators", ()) if isinstance(decorator, str)]
    harmless = all(library.origin(cls.module, decorator) in _HARMLESS for decorator in decorators)
    others = len(summary.get("decorators", ())) - len(decorators)
    return not is_dataclass(library, cls) and (not harmless or others > 0)


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
