"""From a name in a configuration to the source of a class, or to what is wrong with the name."""

from __future__ import annotations

from emloop._source.library import MISSING, ClassSource, Library, Module, Other, Thing, Value
from emloop._source.signatures import Ancestry
from emloop.errors import Problem

from .kinds import Kind
from .plugins import offered_twice, registered
from .unknown import lacks_methods, no_attribute, no_class, no_module, no_short_name

__all__ = ["find_source"]


def find_source(library: Library, name: str, kind: Kind) -> ClassSource | Problem | None:
    """The class that a name stands for, what is wrong with the name, or ``None`` if it cannot be told.

    Args:
        library: Where modules are read.
        name: ``package.module.Class``, the short name of a built-in, or a name that a plugin registers.
        kind: What the class must be.
    """
    found = _by_path(library, name) if "." in name else _by_short_name(library, name, kind)
    if isinstance(found, Module):
        return no_class(name, "module")
    if isinstance(found, Value):
        return _no_class(name, found)
    if not isinstance(found, ClassSource):
        return found
    ancestry = Ancestry(library, found)
    if ancestry.is_plain:
        missing = [method for method in kind.methods if not ancestry.has(method)]
        if missing:
            return lacks_methods(name, kind, missing)
    return found


def _by_path(library: Library, name: str) -> Module | ClassSource | Value | Problem | None:
    first, *rest = name.split(".")
    module = library.module(first)
    if module is None:
        there = sorted(library.finder.modules_in(None))
        return no_module(name, first, there) if library.finder.is_missing(first) else None
    thing: Thing | Problem = module
    for number, part in enumerate(rest, start=1):
        container = thing
        if not isinstance(container, (Module, ClassSource)):
            return None
        thing = _failing_import(library, container) or _member(library, container, part)
        if isinstance(thing, Problem):
            return thing
        if thing is MISSING:
            path = ".".join([first, *rest[: number - 1]])
            return _missing(library, container, name, path, part, is_last=number == len(rest))
    if isinstance(thing, Other):
        return no_class(name, thing.word) if thing.word == "function" else None
    return (_failing_import(library, thing.module) if isinstance(thing, ClassSource) else None) or thing


def _member(library: Library, container: Module | ClassSource, name: str) -> Thing:
    if isinstance(container, Module):
        return library.lookup(container, name)
    found = library.lookup(container.module, f"{container.name}.{name}")
    ancestry = Ancestry(library, container)
    return MISSING if ancestry.is_plain and not ancestry.has(name) else found


def _missing(
    library: Library, container: Module | ClassSource, name: str, path: str, part: str, *, is_last: bool
) -> Problem:
    if isinstance(container, ClassSource):
        inner = container.summary.get("classes", {})
        return no_attribute(path, part, list(inner), list(inner))
    if not is_last:
        return no_module(name, f"{path}.{part}", library.submodules(container))
    names, classes = library.names(container)
    return no_attribute(path, part, sorted(names), classes)


def _by_short_name(library: Library, name: str, kind: Kind) -> ClassSource | Problem | None:
    room = library.module(kind.package)
    names = set() if room is None else set(library.names(room)[0])
    found = library.lookup(room, name) if room is not None else MISSING
    if isinstance(found, ClassSource):
        return found
    points = registered(kind.package)
    offered = [point for point in points if point.name == name]
    if len(offered) > 1:
        return offered_twice(name, kind, offered)
    if offered:
        source = _by_path(library, offered[0].value.replace(":", "."))
        return source if isinstance(source, ClassSource) else None
    classes = {word for word in names if room is not None and isinstance(library.lookup(room, word), ClassSource)}
    return no_short_name(name, kind, [*classes, *(point.name for point in points)])


def _failing_import(library: Library, module: Thing) -> Problem | None:
    """What to say if a module imports, always, a package that is not there."""
    if not isinstance(module, Module) or module.summary is None:
        return None
    gone = next((package for package in module.summary["needs"] if library.finder.is_missing(package)), None)
    return None if gone is None else Problem(f"importing {module.name} failed: No module named {gone!r}")


def _no_class(name: str, found: Value) -> Problem | None:
    expression = found.expression
    is_constant = isinstance(expression, list) and expression[0] == "value"
    return no_class(name, type(expression[1]).__name__) if is_constant else None
