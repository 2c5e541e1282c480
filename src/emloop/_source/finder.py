"""Where modules would be imported from, found without importing their packages.

The rules are those of Python's own path finder: the first directory of the path that has a package, an extension or a
source file of the name wins; directories without any of them are parts of a namespace package.
"""

import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from typing import NamedTuple

__all__ = ["Location", "ModuleFinder"]


class Location(NamedTuple):
    """Where a module is.

    Args:
        file: Its source; ``None`` if there is none to be read.
        folders: Where its submodules are, if it is a package.
        is_namespace: Whether it is nothing but folders.
    """

    file: str | None
    folders: tuple[str, ...] | None
    is_namespace: bool = False


class ModuleFinder:
    """Finds modules along a path.

    Args:
        path: Directories; by default ``sys.path``.
    """

    def __init__(self, path: Sequence[str] | None = None) -> None:
        self._path = tuple(sys.path if path is None else path)
        self._listings: dict[str, frozenset[str]] = {}
        self._found: dict[str, Location | None] = {}

    def find(self, name: str) -> Location | None:
        """Where a module is; ``None`` if it is not there."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def is_missing(self, package: str) -> bool:
        """Whether a package or module at the top can be imported in no way at all, be it out of an archive."""
        if self.find(package) is not None or package in sys.modules:
            return False
        with suppress(Exception):  # whatever somebody has installed there
            return all(finder.find_spec(package, None) is None for finder in sys.meta_path)
        return False

    def modules_in(self, folders: Sequence[str] | None) -> set[str]:
        """Names of the modules that some folders hold; of the path's, if none are given."""
        names: set[str] = set()
        for folder in self._path if folders is None else folders:
            for entry in self._listing(folder):
                stem, dot, suffix = entry.partition(".")
                if stem.isidentifier() and (suffix == "py" or (not dot and stem != "__pycache__")):
                    names.add(stem)
        return names - {"__init__"}

    def _find(self, name: str) -> Location | None:
        parent, _, last = name.rpartition(".")
        if not parent:
            if name in sys.builtin_module_names:
                return Location(None, None)
            return self._search(self._path, last)
        package = self.find(parent)
        return self._search(package.folders, last) if package and package.folders else None

    def _search(self, folders: Sequence[str], name: str) -> Location | None:
        portions = []
        for folder in folders:
            listing = self._listing(folder)
            inner = os.path.join(folder, name)
            if name in listing:
                inside = self._listing(inner)
                if "__init__.py" in inside:
                    return Location(os.path.join(inner, "__init__.py"), (inner,))
                if _compiled("__init__", inside):
                    return Location(None, (inner,))
            if _compiled(name, listing):
                return Location(None, None)
            if f"{name}.py" in listing:
                return Location(os.path.join(folder, f"{name}.py"), None)
            if f"{name}.pyc" in listing:
                return Location(None, None)
            if name in listing and os.path.isdir(inner):
                portions.append(inner)
        return Location(None, tuple(portions), is_namespace=True) if portions else None

    def _listing(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(os.listdir(folder or "."))
            except OSError:
                self._listings[folder] = frozenset()
        return self._listings[folder]


def _compiled(name: str, listing: Collection[str]) -> bool:
    return any(f"{name}{suffix}" in listing for suffix in EXTENSION_SUFFIXES)
