"""What the classes of a configuration take where nothing is written, read from their source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emloop._source.library import ClassSource, Library, Module, Value
from emloop._source.signatures import Ancestry, Parameter, parameters_of
from emloop._source.summaries import Expression

from .changes import Part
from .check import new_library
from .class_names import find_source
from .kinds import DATASET, HOOK, MAIN_LOOP, MODEL, Kind

__all__ = ["Defaults", "class_of", "value_of"]

_KINDS = {"dataset": DATASET, "model": MODEL, "hooks": HOOK, "main_loop": MAIN_LOOP}
_MAIN_LOOP = "emloop.main_loop.loop", "MainLoop"
_DEEPEST = 20


class Defaults:
    """The defaults of classes, by argument; those that only running the code could tell are left out.

    .. code-block:: python

        Defaults()(part)  # {"epochs": None, …}
    """

    def __init__(self) -> None:
        self._library = new_library()

    def __call__(self, part: Part) -> Mapping[str, Any]:
        """The defaults of the class of an object that a configuration describes."""
        kind = _KINDS.get(part.section)
        cls = None if kind is None else class_of(self._library, part.cls, kind)
        if kind is None or cls is None:
            return {}
        read = parameters_of(Ancestry(self._library, cls), constructor=kind is not DATASET)
        found = {}
        for name, parameter in (read[0] if read else {}).items():
            value = self._default(parameter)
            if value is not None and name not in (*kind.injected, *kind.reserved):
                found[name] = value[0]
        return found

    def _default(self, parameter: Parameter) -> tuple[Any] | None:
        if parameter.default is None:
            return None
        return value_of(self._library, parameter.module, parameter.default)


def class_of(library: Library, name: str, kind: Kind) -> ClassSource | None:
    """The source of a class; ``None`` if it is not to be found."""
    if kind is MAIN_LOOP:
        module = library.module(_MAIN_LOOP[0])
        found = library.lookup(module, _MAIN_LOOP[1]) if module else None
        return found if isinstance(found, ClassSource) else None
    source = find_source(library, name, kind) if name else None
    return source if isinstance(source, ClassSource) else None


def value_of(library: Library, module: Module, expression: Expression, depth: int = 0) -> tuple[Any] | None:
    """What an expression in a module is, as the only item of a tuple; ``None`` if that cannot be told."""
    if depth > _DEEPEST:
        return None
    if isinstance(expression, str):
        found = library.lookup(module, expression)
        return value_of(library, found.module, found.expression, depth + 1) if isinstance(found, Value) else None
    word, *rest = expression
    if word == "value":
        return (rest[0],)
    if word in ("list", "tuple", "set"):
        items = [value_of(library, module, item, depth + 1) for item in rest]
        return None if None in items else ([item[0] for item in items if item],)
    if word == "dict":
        pairs = [(value_of(library, module, k, depth + 1), value_of(library, module, v, depth + 1)) for k, v in rest]
        return None if any(None in pair for pair in pairs) else ({k[0]: v[0] for k, v in pairs if k and v},)
    return None
