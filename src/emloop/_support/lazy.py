"""Import the names of a package on first use."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False  # importing typing would be the slowest part of importing emloop
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package that resolves its names lazily (PEP 562).

    Args:
        package: The package's ``__name__``.
        homes: Public name → module that holds it, relative (``.stop_after``) or absolute. A name equal to the last
            part of its module means the module itself, unless that has such an attribute.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - the name that PEP 562 asks for
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(home, package)
        value = module if home.rpartition(".")[2] == name and not hasattr(module, name) else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__


def keep_names(package: str, names: Collection[str]) -> None:
    """Protect names of a package from being replaced by submodules of the same name when those are imported.

    The submodules can still be imported from.

    Args:
        package: The package's ``__name__``.
        names: Names of functions or classes.
    """

    class Package(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            if name not in names or not isinstance(value, ModuleType):
                super().__setattr__(name, value)

    sys.modules[package].__class__ = Package
