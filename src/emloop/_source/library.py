"""The names of Python modules, followed through imports and re-exports without importing anything.

What cannot be told from the source alone, such as names that a module makes up when it is asked for them, is
``UNKNOWN``, and nobody may draw conclusions from it.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from .cache import FileCache
from .finder import ModuleFinder
from .summaries import ClassSummary, Expression, Function, Import, ModuleSummary

__all__ = ["MISSING", "UNKNOWN", "ClassSource", "FunctionSource", "Library", "Module", "Other", "Thing", "Value"]

_DEEPEST = 50
"""Longer chains of re-exports lead in a circle."""


class Module(NamedTuple):
    """A module whose source was read.

    Args:
        name: Its full name.
        is_package: Whether relative names start from it, not from what it is in.
        summary: What its source says; ``None`` if there is no source.
    """

    name: str
    is_package: bool
    summary: ModuleSummary | None


class ClassSource(NamedTuple):
    """A class.

    Args:
        module: Where it is defined.
        name: What it is called there; with dots, if it stands in another class.
        summary: What its source says.
    """

    module: Module
    name: str
    summary: ClassSummary

    @property
    def full_name(self) -> str:
        """``package.module.Class``."""
        return f"{self.module.name}.{self.name}"


class Value(NamedTuple):
    """Something that is assigned in a module.

    Args:
        module: Where.
        expression: What.
    """

    module: Module
    expression: Expression


class FunctionSource(NamedTuple):
    """A function of a module, or a method of a class.

    Args:
        module: Where it is defined.
        name: What it is called there, with its class.
        method: What its source says, if it is a method.
    """

    module: Module
    name: str
    method: Function | None = None


class Other(NamedTuple):
    """Something else.

    Args:
        word: ``unknown`` or ``missing``, see below.
    """

    word: str


UNKNOWN = Other("unknown")
"""It cannot be told what a name stands for."""

MISSING = Other("missing")
"""There is no such name."""

Thing: TypeAlias = Module | ClassSource | FunctionSource | Value | Other


class Library:
    """Reads modules and looks names up in them.

    Args:
        finder: Finds the modules' files.
        cache: Keeps what was read from them.
        known: Modules that need not be read: full name → summary.
        packages: Those of the known modules that are packages.
    """

    def __init__(
        self, finder: ModuleFinder, cache: FileCache, known: Mapping[str, ModuleSummary], packages: frozenset[str]
    ) -> None:
        self.finder = finder
        self._cache = cache
        self._known = known
        self._packages = packages
        self._modules: dict[str, Module | None] = {}
        self.orders: dict[str, list[ClassSource] | None] = {}
        """Method resolution orders that have been worked out, by the class's full name."""
        self.plain: dict[str, bool] = {}
        """Whether a class, by its full name, can have nothing that its source does not show."""
        self.found: dict[tuple[str, str], Any] = {}
        """What names in a configuration have led to, for whoever looks them up."""
        self.broken: dict[str, tuple[str, str]] = {}
        """Modules that cannot be compiled → what Python says, and the file and line."""

    def module(self, name: str) -> Module | None:
        """A module; ``None`` if it is not to be found."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def names(self, module: Module) -> tuple[set[str], set[str]]:
        """All public names of a module, and those of the classes that it defines."""
        names: set[str] = set()
        classes: set[str] = set()
        summary = module.summary
        if summary is not None:
            classes = {name for name in summary["classes"] if not name.startswith("_")}
            names = {*classes, *summary["functions"], *summary["imports"], *summary["values"]}
            for level, source, _ in summary["stars"]:
                inner = self.module(self._target(module, (level, source, None)))
                names |= self.names(inner)[0] if inner is not None and inner.name != module.name else set()
        names.update(self.submodules(module))
        return {name for name in names if not name.startswith("_")}, classes

    def function(self, found: FunctionSource) -> Function | None:
        """What the source of a function says; read anew, since few are ever asked for. ``None`` if that is unclear."""
        location = self.finder.find(found.module.name)
        if found.method is not None or location is None or location.file is None:
            return found.method
        from .modules import find_function  # noqa: PLC0415 - as below

        with open(location.file, "rb") as file:
            return find_function(file.read(), found.name)

    def wraps(self, decorator: FunctionSource) -> bool:
        """Whether what a decorator returns takes what it was given."""
        from .modules import hands_through  # noqa: PLC0415 - as below

        return self._says(hands_through, decorator.module.name, decorator.name)

    def gives_back(self, decorator: str) -> bool:
        """Whether a decorator that is a class, by its full name, leaves the classes as they are that it is given."""
        from .modules import gives_back  # noqa: PLC0415 - as below

        module, _, name = decorator.rpartition(".")
        return self._says(gives_back, module, name)

    def _says(self, read: Callable[[bytes, str], bool], module: str, name: str) -> bool:
        key = read.__name__, f"{module}.{name}"
        if key not in self.found:
            location = self.finder.find(module)
            self.found[key] = False
            if location is not None and location.file is not None:
                with open(location.file, "rb") as file:
                    self.found[key] = read(file.read(), name)
        return bool(self.found[key])

    def submodules(self, module: Module) -> list[str]:
        """Names of the modules in a package, sorted."""
        location = self.finder.find(module.name) if module.is_package else None
        return sorted(self.finder.modules_in(location.folders)) if location is not None and location.folders else []

    def lookup(self, module: Module, path: str, *, depth: int = 0) -> Thing:
        """What a name, maybe dotted, stands for in a module."""
        thing: Thing = module
        for part in path.split("."):
            if isinstance(thing, Value):
                thing = self._resolved(thing, depth + 1)
            if isinstance(thing, Module):
                thing = self._attribute(thing, part, depth)
            elif isinstance(thing, ClassSource):
                thing = _inner(thing, part)
            else:
                return UNKNOWN
        return self._resolved(thing, depth + 1) if isinstance(thing, Value) else thing

    def origin(self, module: Module, path: str) -> str:
        """The full name of what a name in a module stands for, as far as the module alone tells."""
        first, dot, rest = path.partition(".")
        summary = module.summary
        if summary is None:
            return path
        entry = summary["imports"].get(first) or summary["typing"].get(first)
        if entry is not None:
            return f"{self._target(module, entry)}{dot}{rest}"
        own = first in summary["classes"] or first in summary["values"] or first in summary["functions"]
        return f"{module.name if own else 'builtins'}.{path}"

    def _read(self, name: str) -> Module | None:
        if name in self._known:
            return Module(name, name in self._packages, self._known[name])
        parent = name.rpartition(".")[0]
        if parent and self.module(parent) is None:
            return None
        location = self.finder.find(name)
        if location is None:
            # It may have been made by a program that is running already.
            made = sys.modules.get(name)
            return None if made is None else Module(name, hasattr(made, "__path__"), None)
        summary = None
        if location.file is not None:
            try:
                summary = self._cache.get(location.file, _summarise)
            except SyntaxError as error:
                self.broken[name] = f"{type(error).__name__}: {error.msg}", f"{location.file}:{error.lineno}"
            except (OSError, ValueError, RecursionError):
                summary = None
        return Module(name, location.folders is not None, summary)

    def _attribute(self, module: Module, name: str, depth: int) -> Thing:
        """What a name without dots stands for in a module."""
        summary = module.summary
        if depth > _DEEPEST:
            return UNKNOWN
        found = MISSING if summary is None else self._defined(module, summary, name, depth)
        if found is not MISSING:
            return found
        if summary is not None and "__getattr__" in summary["functions"] and name in summary["typing"]:
            # What a package gives when it is asked for it, it tells type checkers.
            return self._imported(module, summary["typing"][name], depth)
        inner = self.module(f"{module.name}.{name}") if module.is_package else None
        if inner is not None:
            return inner
        is_namespace = summary is None and self._is_namespace(module)
        dynamic = summary["dynamic"] if summary is not None else not is_namespace
        return UNKNOWN if dynamic or (name.startswith("__") and name.endswith("__")) else MISSING

    def _is_namespace(self, module: Module) -> bool:
        location = self.finder.find(module.name)
        return location is not None and location.is_namespace

    def _defined(self, module: Module, summary: ModuleSummary, name: str, depth: int) -> Thing:
        found: Thing = MISSING
        if name in summary["unsure"]:
            found = UNKNOWN
        elif name in summary["classes"]:
            found = ClassSource(module, name, summary["classes"][name])
        elif name in summary["functions"]:
            found = FunctionSource(module, name)
        elif name in summary["values"]:
            found = Value(module, summary["values"][name])
        elif name in summary["imports"]:
            found = self._imported(module, summary["imports"][name], depth)
        elif not name.startswith("_"):
            for level, source, _ in reversed(summary["stars"]):
                if self._exports(module, (level, source, None), name):
                    found = self._imported(module, (level, source, name), depth)
                if found is not MISSING:
                    break
        return found

    def _imported(self, module: Module, entry: Import, depth: int) -> Thing:
        level, source, name = entry
        target = self.module(self._target(module, (level, source, None)))
        if target is None:
            return UNKNOWN
        # A package that imports its own submodule means the submodule, not the name it is about to give it.
        if name is None:
            return target
        if target.name == module.name:
            return self.module(f"{target.name}.{name}") or UNKNOWN
        return self._attribute(target, name, depth + 1)

    def _exports(self, module: Module, entry: Import, name: str) -> bool:
        """Whether a star import may bring a name, as far as an ``__all__`` tells."""
        target = self.module(self._target(module, entry))
        listed = target.summary["values"].get("__all__") if target is not None and target.summary else None
        if not isinstance(listed, list) or listed[0] not in ("list", "tuple"):
            return True
        return ["value", name] in listed or any(item[0] != "value" for item in listed[1:])

    def _target(self, module: Module, entry: Import) -> str:
        """The full name of what an import names."""
        level, source, name = entry
        parts = [source] if source else []
        if level:
            base = module.name.split(".")
            kept = len(base) - level + module.is_package
            parts = [*base[: max(kept, 0)], *parts]
        return ".".join([*parts, name] if name else parts)

    def _resolved(self, value: Value, depth: int) -> Thing:
        """What an assigned name is another name for; the value itself, if it is none."""
        if not isinstance(value.expression, str) or depth > _DEEPEST:
            return value
        summary = value.module.summary
        first = value.expression.partition(".")[0]
        if summary is None or self._attribute(value.module, first, depth) is MISSING:
            return value
        return self.lookup(value.module, value.expression, depth=depth)


def _inner(cls: ClassSource, name: str) -> Thing:
    inner = cls.summary.get("classes", {}).get(name)
    if inner is not None:
        return ClassSource(cls.module, f"{cls.name}.{name}", inner)
    known = name in cls.summary["methods"] or name in cls.summary.get("values", {}) or cls.summary["bases"]
    return UNKNOWN if known or cls.summary.get("dynamic") or name in cls.summary.get("unsure", ()) else MISSING


def _summarise(source: bytes) -> ModuleSummary:
    from .modules import summarise  # noqa: PLC0415 - only needed for files that have changed

    return summarise(source)
