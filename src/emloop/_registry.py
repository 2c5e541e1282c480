"""From a name in a configuration to a class: dotted path, built-in short name, or a plugin's entry point.

Only what is asked for is imported. Built-in short names are the ``__all__`` of their room, looked up by string, so that
nothing here depends on a concrete hook, model or dataset.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, NamedTuple, get_type_hints

from emloop._config.home import came_with_run
from emloop._config.untrusted import foreign_class
from emloop._contracts import AbstractDataset
from emloop._settings.fitting import component_parts, value_problems
from emloop._settings.hints import Accepted, Hint, Kind
from emloop._settings.live import accepted_by, kind_of
from emloop._settings.plugins import distribution, offered_twice, registered
from emloop._settings.reading import made
from emloop._support.problems import (
    broken_module,
    displaced,
    in_run,
    is_abstract,
    lacks_methods,
    no_attribute,
    no_class,
    no_module,
    no_short_name,
    wrong_family,
)
from emloop._support.trust import is_untrusted, is_vouched
from emloop.declare import Family
from emloop.errors import ConfigError, MissingExtraError, Problem, UnknownClassError, UntrustedError, dotted

__all__ = ["Chosen", "LiveResolver", "find_class", "full_name", "import_backends_in_use", "read_component"]

logger = logging.getLogger(__name__)

_BACKENDS = "emloop.backends"


def find_class(name: str, kind: Kind) -> Any:
    """The class that a name stands for, or the function, where the kind takes one.

    Args:
        name: ``package.module.Class``, the short name of a built-in, or a name that a plugin registers.
        kind: What the class must be.

    Raises:
        UnknownClassError: If the name leads nowhere, or to something else; says how far it leads and what is near.
        UntrustedError: If only a stranger's run asks for it.
    """
    if why := foreign_class(name, kind):
        raise UntrustedError(why)
    if kind.functions and not kind.base and is_untrusted() and not is_vouched(name):
        raise UntrustedError(f"{name} may be any function or class, which no {kind.word} is in an untrusted run")
    _require_own([name])
    found = _by_path(name) if "." in name else _by_short_name(name, kind)
    if not is_vouched(name) and (why := _why_untrusted(found, name, kind)):
        raise UntrustedError(why)
    if kind.functions and callable(found) and not isinstance(found, type):
        return found
    if not isinstance(found, type):
        raise UnknownClassError(no_class(name, type(found).__name__))
    _require_own(base.__module__ for base in found.__mro__)
    missing = [method for method in kind.methods if not hasattr(found, method)]
    if not (missing or kind.methods or _has_ending(found, kind.ending)):
        missing = [f"<name>{kind.ending}"]
    if missing:
        raise UnknownClassError(lacks_methods(name, kind.word, missing))
    if inspect.isabstract(found):
        raise UnknownClassError(is_abstract(name, sorted(vars(found)["__abstractmethods__"])))
    if kind.base and not issubclass(found, _by_path(kind.base)):  # type: ignore[arg-type]
        raise UnknownClassError(wrong_family(name, kind.base))
    return found


def _require_own(names: Iterable[str]) -> None:
    """Refuse modules of ours that something else that is installed brings as well, whoever wrote last."""
    for name in names:
        if problem := displaced(name):
            raise UnknownClassError(problem)


def _why_untrusted(found: object, name: str, kind: Kind) -> str | None:
    """Why something is not for a stranger's run, now that it is known what it is."""
    if not isinstance(found, type):
        return f"{name} is a function, and is not called for an untrusted run" if kind.functions else None
    # Names may lead on, through what a module has imported.
    return foreign_class(full_name(found), kind)


class LiveResolver:
    """Looks up what classes accept, by importing them."""

    def accepted(self, name: str, kind: Kind) -> Accepted | Problem | None:
        """What a class accepts, or what is wrong with its name."""
        try:
            found = find_class(name, kind)
            accepted = accepted_by(found)
            # A function gets what stands beside the arguments when it is called.
            is_later = bool(kind.called) and not isinstance(found, type)
            return accepted._replace(required=frozenset()) if is_later else accepted
        except UnknownClassError as error:
            return error.problems[0]
        except UntrustedError:
            return None  # a program may do without; whoever makes one refuses it


class Chosen(NamedTuple):
    """What a component of a configuration stands for.

    Args:
        cls: The class, or a function where the family takes one; ``None`` where it may be left out.
        arguments: The arguments of its constructor, by the names that the class uses.
        beside: The keys of the family, as far as they are given.
    """

    cls: Any
    arguments: dict[str, Any]
    beside: dict[str, Any]


def read_component(family: type[Family], value: Any, keys: tuple[Any, ...]) -> Chosen:
    """The class that a component names, and its arguments.

    Args:
        family: What may stand there.
        value: A name, or a mapping with ``class`` and arguments.
        keys: Where it stands.

    Raises:
        ConfigError: With all mistakes.
    """
    kind = kind_of(family)
    found = list(value_problems(value, Hint("component", component=kind), LiveResolver(), keys))
    if found:
        raise ConfigError(found)
    name, arguments, beside = component_parts(value, kind)
    if name != (old := value if isinstance(value, str) else value.get("class")):
        logger.warning("%s: %s is %s now; `emloop migrate CONFIG` writes it so", dotted(keys), old, name)
    own = {kind.names.get(key, key): item for key, item in arguments.items()}
    hints = get_type_hints(family)
    beside = {key: made(item, hints.get(key)) for key, item in beside.items()}
    return Chosen(None if name is None else find_class(name, kind), own, beside)


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
            except MissingExtraError as error:
                # TensorFlow imports JAX, for one, and nobody who uses that has to have the backend's other packages.
                logger.info("The backend %r is not in use: %s", point.name, error)
            except (ImportError, AttributeError) as error:
                logger.warning(
                    "The backend %r of %s cannot be imported, so what %s draws at random is no part of the run: %s",
                    point.name,
                    distribution(point),
                    point.name,
                    error,
                )


def _import_backends_of(module_name: str) -> None:
    """Import the backends that a module imports, before it imports a framework: some settings count only from then on.

    What is wrong with either, importing the module itself will say.
    """
    if module_name in sys.modules:
        return
    with suppress(ImportError, AttributeError, ValueError, OSError, SyntaxError):
        loader: Any = getattr(find_spec(module_name), "loader", None)
        source = loader.get_source(module_name) or ""
        for point in registered(_BACKENDS):
            package = re.escape(point.module.partition(".")[0])
            if re.search(rf"^[ \t]*(?:from|import)\b.*\b{package}\b", source, re.MULTILINE):
                point.load()


def _by_path(name: str) -> object:
    module_name, _, attributes = name.rpartition(".")
    trail = [attributes]
    if module_name not in sys.modules and (place := came_with_run(module_name)):
        raise UnknownClassError(in_run(module_name, place))
    _import_backends_of(module_name)
    while True:
        try:
            found: object = importlib.import_module(module_name)
            break
        except ModuleNotFoundError as error:
            gone = error.name or module_name
            if not (module_name == gone or module_name.startswith(f"{gone}.")):
                raise UnknownClassError(broken_module(module_name, str(error))) from error
            if gone != module_name or "." not in module_name:
                raise UnknownClassError(no_module(name, gone)) from error
            # The path may go on inside a class: package.module.Outer.Inner.
            parent, _, last = module_name.rpartition(".")
            trail.insert(0, last)
            missing, module_name = module_name, parent
            if parent not in sys.modules and not _importable(parent):
                raise UnknownClassError(no_module(name, missing)) from error
        except ImportError as error:
            raise UnknownClassError(broken_module(module_name, str(error))) from error
    path = module_name
    for attribute in trail:
        try:
            found = getattr(found, attribute)
        except (AttributeError, ImportError) as error:
            raise UnknownClassError(_why_not_there(found, path, attribute, error)) from error
        path = f"{path}.{attribute}"
    return found


def _why_not_there(found: object, path: str, attribute: str, error: Exception) -> Problem:
    if isinstance(error, ImportError):  # of what a package imports only when it is asked for it
        return broken_module(f"{path}.{attribute}", str(error))
    there = [known for known in dir(found) if not known.startswith("_")]
    return no_attribute(path, attribute, there, [known for known in there if _is_defined_in(found, known)])


def _importable(module_name: str) -> bool:
    try:
        importlib.import_module(module_name)
    except ImportError:
        return False
    return True


def _by_short_name(name: str, kind: Kind) -> object:
    if not kind.package:
        raise UnknownClassError(no_short_name(name, kind.word, ()))
    room = importlib.import_module(kind.package)
    if not kind.is_ours:
        base = _by_path(kind.base) if kind.base else object
        classes = {key: cls for key, cls in vars(room).items() if isinstance(cls, type) and cls is not base}
        known = {key for key, cls in classes.items() if issubclass(cls, base) and not key.startswith("_")}  # type: ignore[arg-type]
        if kind.functions and kind.injected:
            classes |= {key: made for key, made in vars(room).items() if _is_maker(made, kind)}
            known = {key for key, made in classes.items() if key in known or not isinstance(made, type)}
            name = name if name in known else name.lower()
        if name not in known:
            raise UnknownClassError(no_short_name(name, kind.word, known, kind.package))
        return classes[name]
    if name in room.__all__:
        return getattr(room, name)
    points = registered(kind.package)
    offered = [point for point in points if point.name == name]
    if len(offered) > 1:
        raise UnknownClassError(offered_twice(name, kind, offered))
    if offered:
        if why := foreign_class(offered[0].value.replace(":", ".")):
            raise UntrustedError(why)
        try:
            return offered[0].load()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            message = f"{kind.word} {name!r} of the plugin {distribution(offered[0])} cannot be loaded: {reason}"
            raise UnknownClassError(Problem(message, kind="unknown-class")) from error
    known = {name for name in room.__all__ if _is_meant(getattr(room, name), kind)} | {point.name for point in points}
    raise UnknownClassError(no_short_name(name, kind.word, known))


def _is_maker(found: object, kind: Kind) -> bool:
    """Whether something is a function that makes what the kind is: one of those that are given what it is given."""
    return inspect.isfunction(found) and any(name in inspect.signature(found).parameters for name in kind.injected)


def _is_meant(found: object, kind: Kind) -> bool:
    """Whether a configuration could name a built-in class: one of the kind that leaves nothing to subclasses."""
    if not isinstance(found, type) or inspect.isabstract(found) or found.__name__.startswith("Abstract"):
        return False
    return all(hasattr(found, name) for name in kind.methods) and any(name.endswith(kind.ending) for name in dir(found))


def _has_ending(cls: type, ending: str) -> bool:
    """Whether objects of a class have, or may have, a method whose name ends so.

    They may where the class is one of ours by declaration, where a method of it speaks of such a name, and where names
    are made up when they are asked for; not by a class of the standard library, which knows nothing of ours.
    """
    if issubclass(cls, AbstractDataset) or any(name.endswith(ending) for name in dir(cls)):
        return True
    bases = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in sys.stdlib_module_names]
    if any({"__getattr__", "__getattribute__"} & set(vars(base)) for base in bases):
        return True
    codes = [code for base in bases for part in vars(base).values() if (code := getattr(part, "__code__", None))]
    words = (word for code in codes for word in (*code.co_names, *code.co_consts))
    return any(isinstance(word, str) and word.endswith(ending) for word in words)


def _is_defined_in(found: object, name: str) -> bool:
    """Whether a name of a module is a class that the module itself defines."""
    attribute = inspect.getattr_static(found, name, None)
    return isinstance(attribute, type) and attribute.__module__ == getattr(found, "__name__", None)
