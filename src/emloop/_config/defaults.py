"""What the classes of a configuration take where nothing is written, read from their source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emloop._settings.hints import Kind
from emloop._settings.kinds import DATASET, HOOK, MAIN_LOOP, MODEL
from emloop._settings.naming import find_source
from emloop._settings.signatures import Parameter, parameters_of
from emloop._source.ancestry import Ancestry
from emloop._source.library import ClassSource, Library
from emloop._source.values import value_of

from .changes import Part
from .check import MAIN_LOOP_CLASS, new_library

__all__ = ["Defaults", "class_of", "default_of"]

_KINDS = {"dataset": DATASET, "model": MODEL, "hooks": HOOK, "main_loop": MAIN_LOOP}


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
        known = {name: default_of(self._library, parameter) for name, parameter in (read[0] if read else {}).items()}
        hidden = (*kind.injected, *kind.reserved)
        return {name: value[0] for name, value in known.items() if value is not None and name not in hidden}


def default_of(library: Library, parameter: Parameter | None) -> tuple[Any] | None:
    """The default of an argument, as the only item of a tuple; ``None`` if there is none, or it is no literal."""
    if parameter is None or parameter.default is None:
        return None
    return value_of(library, parameter.module, parameter.default)


def class_of(library: Library, name: str, kind: Kind) -> ClassSource | None:
    """The source of a class; ``None`` if it is not to be found."""
    source = (
        find_source(library, MAIN_LOOP_CLASS if kind is MAIN_LOOP else name, kind)
        if name or kind is MAIN_LOOP
        else None
    )
    return source if isinstance(source, ClassSource) else None
