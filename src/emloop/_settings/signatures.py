"""What a class accepts, read from its source: its constructor, and where its ``**kwargs`` go.

``self.m(**kwargs)`` means the method of the class that is built, ``super().m(**kwargs)`` that of the next class in its
method resolution order. Whatever cannot be told is ``None``, or ``open``.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from emloop._source.ancestry import HARMLESS, Ancestry, dataclass_fields, is_dataclass, is_remade
from emloop._source.library import ClassSource, FunctionSource, Library, Module
from emloop._source.summaries import Expression, Function, Pass

from .annotations import hint_in
from .hints import Accepted, Hint, as_key

__all__ = [
    "Parameter",
    "accepted_by_function",
    "accepted_by_method",
    "accepted_by_source",
    "parameters_of",
    "settings_of",
]

_HARMLESS_FOR_METHODS = frozenset({*HARMLESS, "abc.abstractmethod", "builtins.classmethod", "builtins.staticmethod"})

_PROMISES = frozenset({"forwards_config_to", "settings_class"})
"""Attributes that say where a configuration goes."""

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


def accepted_by_source(
    ancestry: Ancestry, *, constructor: bool = True, without: Collection[str] = ()
) -> Accepted | None:
    """The arguments of a class; ``None`` if they cannot be told.

    Args:
        ancestry: The class.
        constructor: Whether the configuration reaches the constructor at all; a dataset's only gets text.
        without: Arguments to leave out.
    """
    read = parameters_of(ancestry, constructor=constructor)
    if read is None:
        return None
    parameters, is_open = {name: found for name, found in read[0].items() if name not in without}, read[1]
    hints = _Hints(ancestry.library, parameters)
    required = frozenset(name for name, found in parameters.items() if found.required)
    return Accepted(ancestry.cls.name.rpartition(".")[2], hints, required, is_open, is_open)


def accepted_by_function(library: Library, found: FunctionSource) -> Accepted | None:
    """The arguments of a function or a class method; ``None`` if they cannot be told."""
    return _accepted(library, found.module, found.name, library.function(found))


def accepted_by_method(ancestry: Ancestry, name: str) -> Accepted | None:
    """The arguments of a method of a class; ``None`` if they cannot be told, or there is none."""
    found = ancestry.method(name)
    owner = ancestry.cls if found is None else ancestry.order[found[0]]
    own_name = f"{ancestry.cls.name.rpartition('.')[2]}.{name}"
    return _accepted(ancestry.library, owner.module, own_name, None if found is None else found[1])


def _accepted(library: Library, module: Module, name: str, function: Function | None) -> Accepted | None:
    if function is None or not _is_as_written(library, module, function):
        return None
    listed = {
        argument: Parameter(module, default, annotation, default is None)
        for argument, how, default, annotation in function["arguments"]
        if how == "named"
    }
    is_open = function.get("rest", False)
    required = frozenset(argument for argument, parameter in listed.items() if parameter.required)
    return Accepted(name, _Hints(library, listed), required, is_open, is_open)


def settings_of(ancestry: Ancestry) -> ClassSource | None:
    """The data class that a class names as its ``settings_class``, if there is one."""
    value = ancestry.value("settings_class")
    named = None if value is None or not isinstance(value.expression, str) else value
    found = None if named is None else ancestry.library.lookup(named.module, named.expression)
    return found if isinstance(found, ClassSource) else None


def parameters_of(ancestry: Ancestry, *, constructor: bool = True) -> tuple[dict[str, Parameter], bool] | None:
    """The arguments of a class by name, and whether there may be others; ``None`` if that is unclear."""
    key = "parameters", f"{ancestry.cls.full_name} {constructor}"
    if key not in ancestry.library.found:
        ancestry.library.found[key] = _read_parameters(ancestry, constructor=constructor)
    found: tuple[dict[str, Parameter], bool] | None = ancestry.library.found[key]
    return found


def _read_parameters(ancestry: Ancestry, *, constructor: bool) -> tuple[dict[str, Parameter], bool] | None:
    reader = _Reader(ancestry)
    if constructor and not reader.read_constructor():
        return None
    reader.read_settings()
    forwards = ancestry.value("forwards_config_to")
    if forwards is None:
        # A dataset that does not say where its configuration goes reads its text by itself.
        return (reader.parameters, reader.is_open) if constructor else None
    for item in forwards.expression[1:]:
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
        promising = (i for i, cls in enumerate(ancestry.order) if _PROMISES & set(cls.summary.get("values", ())))
        self._promising = next(promising, len(ancestry.order))

    def read_constructor(self) -> bool:
        """Take the arguments of the constructor; return whether they can be told."""
        for index, cls in enumerate(self._ancestry.order):
            unclear = "__init__" in (*cls.summary.get("values", ()), *cls.summary.get("unsure", ()))
            makers = [name for name in ("__init__", "__new__") if name in cls.summary["methods"]]
            if unclear or len(makers) > 1 or is_remade(self._library, cls):
                return False
            if makers:
                return self.follow(makers[0], index, frozenset(), required=True)
            if is_dataclass(self._library, cls):
                self._take_fields(self._ancestry)
                return self._ancestry.is_complete
        return self._ancestry.is_complete

    def read_settings(self) -> None:
        """Take the fields of the class's ``settings_class``."""
        found = settings_of(self._ancestry)
        if found is not None:
            self._take_fields(Ancestry(self._library, found))

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
        # Where somebody else is given the mapping itself, what has to be there may be put there.
        looks = required and not any(entry[0] == "open" and entry[3] for entry in passes)
        return all(
            self._pass(entry, index, given, looks if entry[0] == "takes" else required and handed_on == 1, depth)
            for entry in passes
        )

    def _pass(self, entry: Pass, index: int, bound: Collection[str], required: bool, depth: int) -> bool:
        what, target, name, positional, named = entry
        owner = self._ancestry.order[index]
        if what == "takes":
            if name not in bound:
                is_needed = required and bool(positional)
                found = Parameter(owner.module, None if is_needed else ["?"], None, required=is_needed)
                self.parameters.setdefault(name, found)
            return True
        if what == "open":
            refuses = owner.module.name.startswith("emloop") or index >= self._promising
            self.is_open = self.is_open or not refuses
            return True
        if what == "new":
            return self._make(owner.module, target, positional, {*bound, *named})
        start: int | None = {"super": index + 1, "self": 0}.get(what)
        if start is None:
            start = self._index_of(owner.module, target)
        if start is None:
            self.is_open = True
            return True
        return self.follow(name, start, {*bound, *named}, required=required, positional=positional, depth=depth + 1)

    def _make(self, module: Module, target: Expression, positional: int, bound: Collection[str]) -> bool:
        """Take what an object of another class is made of; it may be one of several, so nothing has to be there."""
        thing = self._library.lookup(module, target) if isinstance(target, str) else None
        read = parameters_of(Ancestry(self._library, thing)) if isinstance(thing, ClassSource) else None
        self.is_open = self.is_open or read is None or read[1]
        for name, parameter in list({} if read is None else read[0].items())[positional:]:
            if name not in bound:
                self.parameters.setdefault(name, parameter._replace(required=False))
        return True

    def _index_of(self, module: Module, target: Expression) -> int | None:
        """Where in the order a class stands that a method names."""
        thing = self._library.lookup(module, target) if isinstance(target, str) else None
        same = (
            i
            for i, cls in enumerate(self._ancestry.order)
            if isinstance(thing, ClassSource) and cls.full_name == thing.full_name
        )
        return next(same, None)

    def _take_fields(self, ancestry: Ancestry) -> None:
        for cls in reversed(ancestry.order):
            if is_dataclass(self._library, cls):
                for name, annotation, default in dataclass_fields(self._library, cls):
                    self.parameters[as_key(name)] = Parameter(cls.module, default, annotation, required=default is None)


def _is_as_written(library: Library, module: Module, function: Function) -> bool:
    """Whether no decorator may have replaced a method."""
    return all(_is_harmless(library, module, decorator) for decorator in function.get("decorators", []))


def _is_harmless(library: Library, module: Module, decorator: Expression) -> bool:
    if isinstance(decorator, str) and library.origin(module, decorator) in _HARMLESS_FOR_METHODS:
        return True
    name = decorator[1] if decorator[0] == "call" else decorator
    found = library.lookup(module, name) if isinstance(name, str) else None
    return isinstance(found, FunctionSource) and library.wraps(found)
