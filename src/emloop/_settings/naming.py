"""From a name in a configuration to the source of a class, or to what is wrong with the name."""

from __future__ import annotations

from emloop._source.ancestry import Ancestry
from emloop._source.library import MISSING, UNKNOWN, ClassSource, FunctionSource, Library, Module, Other, Thing, Value
from emloop._support.problems import (
    broken_module,
    displaced,
    is_abstract,
    lacks_methods,
    no_attribute,
    no_class,
    no_module,
    no_short_name,
    wrong_family,
)
from emloop.errors import Problem

from .hints import Accepted, Kind
from .plugins import offered_twice, registered
from .signatures import accepted_by_function, accepted_by_method, accepted_by_source

__all__ = ["SourceResolver", "find_source", "known_names"]


class SourceResolver:
    """Looks up what classes accept, by reading their source.

    Args:
        library: Where modules are read.
    """

    def __init__(self, library: Library) -> None:
        self._library = library

    def accepted(self, name: str, kind: Kind) -> Accepted | Problem | None:
        """What a class accepts, what is wrong with its name, or ``None`` if that is unclear."""
        found = find_source(self._library, name, kind)
        if isinstance(found, FunctionSource):
            known = accepted_by_function(self._library, found)
            if known is None or not kind.called:
                return known
            # It gets what stands beside the arguments when it is called.
            return known._replace(required=frozenset(), called=dict.fromkeys(kind.called, known))
        if not isinstance(found, ClassSource):
            return found
        ancestry = Ancestry(self._library, found)
        known = accepted_by_source(ancestry)
        methods = {key: accepted_by_method(ancestry, name) for key, name in kind.called.items()}
        called = {key: method for key, method in methods.items() if method is not None}
        return None if known is None else known._replace(called=called)


def find_source(library: Library, name: str, kind: Kind) -> ClassSource | FunctionSource | Problem | None:
    """The class that a name stands for, what is wrong with the name, or ``None`` if it cannot be told.

    Where the kind takes functions, it may be one of them.

    Args:
        library: Where modules are read.
        name: ``package.module.Class``, the short name of a built-in, or a name that a plugin registers.
        kind: What the class must be.
    """
    # Families of two backends may use one word.
    key = name, f"{kind.word} {kind.package} {kind.base}"
    if key not in library.found:
        library.found[key] = _find(library, name, kind)
    found: ClassSource | FunctionSource | Problem | None = library.found[key]
    return found


def _find(library: Library, name: str, kind: Kind) -> ClassSource | FunctionSource | Problem | None:
    found = _by_path(library, name) if "." in name else _by_short_name(library, name, kind)
    if isinstance(found, Module) or (isinstance(found, FunctionSource) and not kind.functions):
        return no_class(name, "module" if isinstance(found, Module) else "function")
    if not isinstance(found, ClassSource):
        return _no_class(name, found) if isinstance(found, Value) else found
    ancestry = Ancestry(library, found)
    if ancestry.is_plain:
        missing = [method for method in kind.methods if not ancestry.has(method)]
        if not (missing or kind.methods or _has_ending(ancestry, kind.ending)):
            missing = [f"<name>{kind.ending}"]
        if missing:
            return lacks_methods(name, kind.word, missing)
        if abstract := _abstract_methods(ancestry):
            return is_abstract(name, abstract)
    return found if _extends(library, ancestry, kind.base) else wrong_family(name, kind.base)


def known_names(library: Library, kind: Kind) -> list[str]:
    """The short names of a kind of class, as far as source and entry points tell."""
    room = library.module(kind.package) if kind.package else None
    there = library.names(room)[0] if room is not None else set()
    known = [name for name in there if room is not None and _is_of(library, room, name, kind)]
    return sorted({*known, *(point.name for point in registered(kind.package))} if kind.is_ours else known)


def _is_of(library: Library, room: Module, name: str, kind: Kind) -> bool:
    found = library.lookup(room, name)
    if not isinstance(found, ClassSource):
        return _is_maker(library, found, kind)
    ancestry = Ancestry(library, found)
    base = _by_path(library, kind.base) if kind.base else None
    is_base = name.startswith("Abstract") or (isinstance(base, ClassSource) and base.full_name == found.full_name)
    is_whole = all(map(ancestry.has, kind.methods)) and any(one.endswith(kind.ending) for one in ancestry.names())
    return is_whole and not is_base and not _abstract_methods(ancestry) and _extends(library, ancestry, kind.base)


def _is_maker(library: Library, found: object, kind: Kind) -> bool:
    """Whether something is a function that makes what the kind is: one of those that are given what it is given."""
    if not (kind.functions and isinstance(found, FunctionSource)):
        return False
    known = accepted_by_function(library, found)
    return known is not None and any(name in known.hints for name in kind.injected)


def _has_ending(ancestry: Ancestry, ending: str) -> bool:
    """Whether a class has a name that ends so, or extends one of ours, which says by itself what it is."""
    is_ours = any(cls.module.name.partition(".")[0] == "emloop" for cls in ancestry.order)
    return is_ours or any(name.endswith(ending) for name in ancestry.names())


def _abstract_methods(ancestry: Ancestry) -> list[str]:
    """The methods that a class leaves to subclasses."""
    order = ancestry.order
    if not any(cls.summary.get("metaclass") or "ABC" in str(cls.summary["bases"]) for cls in order):
        return []  # without its metaclass the decorator means nothing
    names = {name for cls in order for name in cls.summary["methods"]}
    owners = {name: owner for name in names if (owner := ancestry.owner(name)) is not None}
    bound = {name: owner.summary["methods"].get(name) for name, owner in owners.items()}
    return sorted(
        name for name, method in bound.items() if method and "abstractmethod" in str(method.get("decorators"))
    )


def _extends(library: Library, ancestry: Ancestry, base: str) -> bool:
    """Whether a class extends another one, or may do so."""
    wanted = _by_path(library, base) if base and ancestry.is_complete else None
    return not isinstance(wanted, ClassSource) or any(cls.full_name == wanted.full_name for cls in ancestry.order)


def _by_path(library: Library, name: str) -> Module | ClassSource | FunctionSource | Value | Problem | None:
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
        return None
    bases = Ancestry(library, thing).order if isinstance(thing, ClassSource) else ()
    return next(filter(None, (_failing_import(library, base.module) for base in bases)), thing)


def _member(library: Library, container: Module | ClassSource, name: str) -> Thing:
    if isinstance(container, Module):
        return library.lookup(container, name)
    found = library.lookup(container.module, f"{container.name}.{name}")
    ancestry = Ancestry(library, container)
    method = ancestry.method(name, 0)
    if method is not None and any(word in str(method[1].get("decorators")) for word in ("classmethod", "staticmethod")):
        return FunctionSource(ancestry.order[method[0]].module, f"{container.name}.{name}", method[1])
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


def _by_short_name(library: Library, name: str, kind: Kind) -> ClassSource | FunctionSource | Problem | None:
    room = library.module(kind.package) if kind.package else None
    found = library.lookup(room, name) if room is not None else MISSING
    if found is MISSING and room is not None and kind.functions:
        found = library.lookup(room, name.lower())
    if isinstance(found, ClassSource) or _is_maker(library, found, kind):
        return found  # type: ignore[return-value]
    if not kind.is_ours:
        unclear = kind.package and (
            room is None or (found is not MISSING and not isinstance(found, Other | FunctionSource))
        )
        return (
            None
            if unclear or found is UNKNOWN
            else no_short_name(name, kind.word, known_names(library, kind), kind.package)
        )
    offered = [point for point in registered(kind.package) if point.name == name]
    if len(offered) > 1:
        return offered_twice(name, kind, offered)
    if offered:
        source = _by_path(library, offered[0].value.replace(":", "."))
        return source if isinstance(source, ClassSource) else None
    return no_short_name(name, kind.word, known_names(library, kind))


def _failing_import(library: Library, module: Thing) -> Problem | None:
    """What to say if a module imports, always, a package that is not there."""
    if not isinstance(module, Module):
        return None
    if module.summary is None:
        broken = library.broken.get(module.name)
        return None if broken is None else broken_module(module.name, *broken)
    for package in (module.name, *module.summary["needs"]):
        if problem := displaced(package):
            return problem
    gone = next((package for package in module.summary["needs"] if library.finder.is_missing(package)), None)
    return None if gone is None else broken_module(module.name, f"No module named {gone!r}")


def _no_class(name: str, found: Value) -> Problem | None:
    expression = found.expression
    is_constant = isinstance(expression, list) and expression[0] == "value"
    return no_class(name, type(expression[1]).__name__) if is_constant else None
