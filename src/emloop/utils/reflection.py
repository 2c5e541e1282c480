"""Find and create objects by the names of their modules and classes."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from emloop.errors import UsageError

__all__ = [
    "create_object",
    "find_class_module",
    "get_attribute",
    "get_class_module",
    "list_submodules",
    "parse_fully_qualified_name",
]

_LOGGER = logging.getLogger(__name__)
_EMPTY_DICT: Mapping[str, Any] = MappingProxyType({})


def parse_fully_qualified_name(fq_name: str) -> tuple[str | None, str]:
    """``a.b.C`` → ``("a.b", "C")``; without a dot the module is ``None``."""
    module, _, attribute = fq_name.rpartition(".")
    return module or None, attribute


def get_attribute(module_name: str, attribute_name: str) -> Any:
    """An attribute of a module.

    Raises:
        TypeError: If a name is not a string.
        ImportError: If the module cannot be imported.
        AttributeError: If the module has no such attribute.
    """
    for argument, value in (("module_name", module_name), ("attribute_name", attribute_name)):
        if not isinstance(value, str):
            raise TypeError(f"{argument}: expected a string, got {value!r}")
    return getattr(importlib.import_module(module_name), attribute_name)


def create_object(
    module_name: str, class_name: str, args: Iterable[Any] = (), kwargs: Mapping[str, Any] = _EMPTY_DICT
) -> Any:
    """Call an attribute of a module; raises what :func:`get_attribute` and the call raise."""
    return get_attribute(module_name, class_name)(*args, **kwargs)


def list_submodules(module_name: str) -> list[str]:
    """Full names of the modules directly inside a package; empty for a plain module."""
    package = importlib.import_module(module_name)
    return [f"{module_name}.{module.name}" for module in pkgutil.iter_modules(getattr(package, "__path__", ()))]


def find_class_module(module_name: str, class_name: str) -> tuple[list[str], list[tuple[str, Exception]]]:
    """Import the modules directly inside a package and search them for a name.

    Returns:
        The modules that have the name, and those that cannot be imported, each with its error.
    """
    found: list[str] = []
    broken: list[tuple[str, Exception]] = []
    for submodule in list_submodules(module_name):
        try:
            module = importlib.import_module(submodule)
        except Exception as error:  # noqa: BLE001 -- a foreign module may fail in any way; the caller is told how
            broken.append((submodule, error))
        else:
            if hasattr(module, class_name):
                found.append(submodule)
    return found, broken


def get_class_module(module_name: str, class_name: str) -> str | None:
    """The module directly inside a package that has a name, or ``None``; warns of modules that cannot be imported.

    Of several modules that share a class, the one that defines it is returned.

    Raises:
        UsageError: If several modules have different objects of that name.
    """
    found, broken = find_class_module(module_name, class_name)
    for submodule, error in broken:
        _LOGGER.warning("%s cannot be imported and was not searched for %s: %s", submodule, class_name, error)
    if not found:
        return None
    candidates = [get_attribute(submodule, class_name) for submodule in found]
    if any(candidate is not candidates[0] for candidate in candidates):
        raise UsageError(f"{class_name} is ambiguous: {', '.join(found)} hold different objects of that name")
    home = getattr(candidates[0], "__module__", None)
    return home if home in found else found[0]
