"""What the classes of a configuration take where nothing is written, read from their source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emloop._settings.fitting import component_parts, components_in
from emloop._settings.hints import Field, Hint, Kind
from emloop._settings.kinds import DATASET, HOOK, MAIN_LOOP, MODEL
from emloop._settings.naming import find_source
from emloop._settings.signatures import Parameter, accepted_by_source, parameters_of
from emloop._source.ancestry import Ancestry
from emloop._source.library import ClassSource, Library
from emloop._source.values import value_of

from .changes import Part, Path
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
        return {} if kind is None or cls is None else self._of_class(cls, kind)

    def inside(self, part: Part) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
        """The defaults of components and sections within an object's arguments: where, of what, and which."""
        kind = _KINDS.get(part.section)
        cls = None if kind is None else class_of(self._library, part.cls, kind)
        if cls is not None:
            accepted = accepted_by_source(Ancestry(self._library, cls), constructor=kind is not DATASET)
            yield from self._within(part.arguments, {} if accepted is None else accepted.hints, part.path)

    def _of_class(self, cls: ClassSource, kind: Kind) -> Mapping[str, Any]:
        read = parameters_of(Ancestry(self._library, cls), constructor=kind is not DATASET)
        known = {name: default_of(self._library, parameter) for name, parameter in (read[0] if read else {}).items()}
        hidden = (*kind.injected, *kind.reserved, *kind.refused)
        return {name: value[0] for name, value in known.items() if value is not None and name not in hidden}

    def _within(
        self, values: Mapping[Any, Any], hints: Mapping[str, Hint], path: Path
    ) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
        for name, value in values.items():
            if name in hints:
                yield from self._of_value(value, hints[name], (*path, name))

    def _of_value(self, value: Any, hint: Hint, path: Path) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
        for option in hint.parts if hint.kind == "union" else (hint,):
            if option.component is not None and isinstance(value, (str, Mapping)):
                yield from self._of_component(value, option.component, path)
            elif option.kind == "fields" and isinstance(value, Mapping):
                yield path, option.name, _of_fields(option.fields)
                yield from self._within(value, {field.name: field.hint for field in option.fields}, path)
            elif option.kind == "list" and isinstance(value, list):
                for index, item in enumerate(value):
                    yield from self._of_value(item, option.parts[0], (*path, index))

    def _of_component(self, value: Any, kind: Kind, path: Path) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
        name, arguments, beside = component_parts(value, kind)
        cls = class_of(self._library, name, kind) if isinstance(name, str) else None
        if cls is not None:
            called = {own: name for name, own in kind.names.items()}
            found = {called.get(name, name): default for name, default in self._of_class(cls, kind).items()}
            yield path, cls.name, {**_of_fields(kind.beside), **found}
            accepted = accepted_by_source(Ancestry(self._library, cls))
            yield from self._within(arguments, {} if accepted is None else kind.hints(accepted), path)
            for at, inner in components_in(arguments, path) if kind.nested else ():
                yield from self._of_component(inner, kind._replace(fields=(), needs_class=True), at)
        elif name is None and not kind.needs_class:
            yield path, kind.word, _of_fields(kind.fields)
        yield from self._within(beside, {field.name: field.hint for field in kind.beside}, path)


def _of_fields(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {field.name: field.default[0] for field in fields if field.default is not None}


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
