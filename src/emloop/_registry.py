"""From a name in a configuration to a class: dotted path, built-in short name, or a plugin's entry point.

Only what is asked for is imported. Built-in short names are the ``__all__`` of their room, looked up by string, so that
nothing here depends on a concrete hook, model or dataset.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from typing import Any

from emloop._config.kinds import Kind
from emloop._config.plugins import distribution, offered_twice, registered
from emloop._config.unknown import lacks_methods, no_attribute, no_class, no_module, no_short_name
from emloop.errors import UnknownClassError

__all__ = ["find_class", "full_name", "import_backends_in_use"]

logger = logging.getLogger(__name__)

_BACKENDS = "emloop.backends"


def find_class(name: str, kind: Kind) -> type[Any]:
    """The class that a name stands for.

    Args:
        name: ``package.module.Class``, the short name of a built-in, or a name that a plugin registers.
        kind: What the class must be.

    Raises:
        UnknownClassError: If the name leads nowhere, or to something else; says how far it leads and what is near.
    """
    found = _by_path(name) if "." in name else _by_short_name(name, kind)
    if not isinstance(found, type):
        raise UnknownClassError(no_class(name, type(found).__name__))
    missing = [method for method in kind.methods if not hasattr(found, method)]
    if missing:
        raise UnknownClassError(lacks_methods(name, kind, missing))
    return found


def full_name(cls: type) -> str:
    """``package.module.Class`` of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def import_backends_in_use() -> None:
    """Import the backend of every framework that is imported already, which has the name of the framework's module.

    A backend brings the framework's random numbers into the run, and they may be drawn without anything else of it.
    """
    for point in registered(_BACKENDS):
        if point.name in sys.modules:
            try:
                point.load()
            except (ImportError, AttributeError) as error:
                logger.warning(
                    "The backend %r of %s cannot be imported, so what %s draws at random is no part of the run: %s",
                    point.name,
                    distribution(point),
                    point.name,
                    error,
                )


def _by_path(name: str) -> object:
    module_name, _, attributes = name.rpartition(".")
    trail = [attributes]
    while True:
        try:
            found: object = importlib.import_module(module_name)
            break
        except ModuleNotFoundError as error:
            gone = error.name or module_name
            if not (module_name == gone or module_name.startswith(f"{gone}.")):
                raise UnknownClassError(f"importing {module_name} failed: {error}") from error
            if gone != module_name or "." not in module_name:
                raise UnknownClassError(no_module(name, gone)) from error
            # The path may go on inside a class: package.module.Outer.Inner.
            parent, _, last = module_name.rpartition(".")
            trail.insert(0, last)
            missing, module_name = module_name, parent
            if parent not in sys.modules and not _importable(parent):
                raise UnknownClassError(no_module(name, missing)) from error
        except ImportError as error:
            raise UnknownClassError(f"importing {module_name} failed: {error}") from error
    path = module_name
    for attribute in trail:
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            there = [known for known in dir(found) if not known.startswith("_")]
            classes = [known for known in there if _is_defined_in(found, known)]
            raise UnknownClassError(no_attribute(path, attribute, there, classes)) from error
        path = f"{path}.{attribute}"
    return found


def _importable(module_name: str) -> bool:
    try:
        importlib.import_module(module_name)
    except ImportError:
        return False
    return True


def _by_short_name(name: str, kind: Kind) -> object:
    room = importlib.import_module(kind.package)
    if name in room.__all__:
        return getattr(room, name)
    points = registered(kind.package)
    offered = [point for point in points if point.name == name]
    if len(offered) > 1:
        raise UnknownClassError(offered_twice(name, kind, offered))
    if offered:
        try:
            return offered[0].load()
        except Exception as error:
            raise UnknownClassError(
                f"{kind.word} {name!r} of the plugin {distribution(offered[0])} cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
    raise UnknownClassError(no_short_name(name, kind, [*room.__all__, *(point.name for point in points)]))


def _is_defined_in(found: object, name: str) -> bool:
    """Whether a name of a module is a class that the module itself defines."""
    attribute = inspect.getattr_static(found, name, None)
    return isinstance(attribute, type) and attribute.__module__ == getattr(found, "__name__", None)
