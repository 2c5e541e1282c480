"""Classes of PyTorch that a configuration names, and making objects of them.

``{class: AdamW, weight_decay: 0.01}`` stands for an object; the rest are arguments of the constructor. A short name is
looked up in the package that offers such classes; any other is a full name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from emloop.arguments import argument_problems, arguments_of, import_object
from emloop.errors import ConfigError, Problem, UnknownClassError
from emloop.suggest import did_you_mean

__all__ = ["construct", "find_class", "read_keys", "require_mapping", "split_class"]


def require_mapping(argument: str, value: Any, example: str) -> dict[str, Any]:
    """A copy of a mapping with text keys.

    Raises:
        ConfigError: If the value is something else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{argument}: expected a mapping such as {example}, got {value!r}")
    return dict(value)


def read_keys(argument: str, value: Any, accepted: Mapping[str, bool], example: str) -> dict[str, Any]:
    """A copy of a mapping with known keys.

    Args:
        argument: Key of the configuration that holds it, for messages.
        value: The mapping.
        accepted: The keys that there are → whether they must be there.
        example: Such a mapping, for messages.

    Raises:
        ConfigError: If the value is something else; names all keys that are unknown or missing.
    """
    values = require_mapping(argument, value, example)
    problems = argument_problems(argument, values, accepted, prefix=f"{argument}: ")
    if problems:
        raise ConfigError(problems)
    return values


def split_class(argument: str, description: Any, home: ModuleType, base: type) -> tuple[type[Any], dict[str, Any]]:
    """The class that a description names, and the arguments beside it.

    Raises:
        ConfigError: If it names none, or one that is not of the kind.
    """
    example = f"{{class: {next(iter(_offered(home, base)))}}}"
    if isinstance(description, str):
        description = {"class": description}
    arguments = require_mapping(argument, description, example)
    if "class" not in arguments:
        raise ConfigError(f"{argument}: 'class' is missing, e.g. {example}")
    return find_class(argument, arguments.pop("class"), home, base), arguments


def find_class(argument: str, name: Any, home: ModuleType, base: type) -> type[Any]:
    """The class of a short name in a package, or of a full name.

    Raises:
        UnknownClassError: If the name leads nowhere, or to something of another kind.
    """
    offered = _offered(home, base)
    if "." not in str(name):
        if name in offered:
            return offered[name]
        hints = (*did_you_mean(str(name), offered), f"a class of {home.__name__}, or a full name: package.module.Class")
        raise UnknownClassError(Problem(f"{argument}: unknown class {name!r}", hints=hints))
    found = import_object(name, prefix=f"{argument}: ")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UnknownClassError(f"{argument}: {name} is no {base.__name__}")
    return found


def construct(
    argument: str,
    cls: type[Any],
    arguments: Mapping[str, Any],
    *first: Any,
    called: Mapping[str, str] | None = None,
) -> Any:
    """An object of a class, made of the first arguments, which are ours, and those of a configuration.

    Args:
        argument: Key of the configuration, for messages.
        cls: The class.
        arguments: What the configuration gives.
        first: What comes before that.
        called: Argument of the class → what the configuration calls it.

    Raises:
        ConfigError: If arguments are unknown, missing or impossible.
    """
    called = called or {}
    own = dict(list(arguments_of(cls, arguments).items())[len(first) :])
    accepted = {called.get(name, name): is_required for name, is_required in own.items()}
    problems = argument_problems(cls.__name__, arguments, accepted, prefix=f"{argument}: ")
    if problems:
        raise ConfigError(problems)
    names = {name: own_name for own_name, name in called.items()}
    try:
        return cls(*first, **{names.get(name, name): value for name, value in arguments.items()})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{argument}: {cls.__name__}: {error}") from error


def _offered(home: ModuleType, base: type) -> dict[str, type[Any]]:
    return {
        name: cls
        for name, cls in vars(home).items()
        if isinstance(cls, type) and issubclass(cls, base) and cls is not base and not name.startswith("_")
    }
