"""From a name in a configuration to a class: dotted path, built-in short name, or a plugin's entry point.

Only what is asked for is imported. Built-in short names are the ``__all__`` of their room, looked up by string, so that
nothing here depends on a concrete hook, model or dataset.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emloop._support.suggest import did_you_mean
from emloop.errors import Problem, UnknownClassError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class Kind:
    """A kind of thing that a configuration names.

    Args:
        word: What to call it in a message.
        package: Where the built-in ones live, which is also the group of entry points that adds to them.
        methods: What every class of this kind must have.
        not_meant: Names of the package that nobody would write into a configuration.
    """

    word: str
    package: str
    methods: tuple[str, ...] = ()
    not_meant: frozenset[str] = frozenset()


DATASET = Kind("dataset", "emloop.datasets", not_meant=frozenset({"AbstractDataset", "BaseDataset", "StreamWrapper"}))
MODEL = Kind("model", "emloop.models", ("run", "save"), frozenset({"AbstractModel"}))
HOOK = Kind(
    "hook",
    "emloop.hooks",
    ("register_mainloop", "before_training", "after_batch", "after_epoch", "after_epoch_profile", "after_training"),
    frozenset({"AbstractHook", "EveryNEpoch", "OnPlateau", "TrainingTerminated", "TrainingTraceKeys"}),
)


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
        raise _unknown(f"{name} is no class but a {type(found).__name__}")
    missing = [method for method in kind.methods if not hasattr(found, method)]
    if missing:
        raise _unknown(f"{name} is no {kind.word}: it has no method {', '.join(map(repr, missing))}")
    return found


def full_name(cls: type) -> str:
    """``package.module.Class`` of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


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
                raise _unknown(f"importing {module_name} failed: {error}") from error
            if gone != module_name or "." not in module_name:
                raise _unknown_module(gone, name) from error
            # The path may go on inside a class: package.module.Outer.Inner.
            parent, _, last = module_name.rpartition(".")
            trail.insert(0, last)
            missing, module_name = module_name, parent
            if parent not in sys.modules and not _importable(parent):
                raise _unknown_module(missing, name) from error
        except ImportError as error:
            raise _unknown(f"importing {module_name} failed: {error}") from error
    path = module_name
    for attribute in trail:
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            there = [known for known in dir(found) if not known.startswith("_")]
            raise _unknown(f"{path} has no {attribute!r}", did_you_mean(attribute, there)) from error
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
    points = _entry_points(kind.package)
    offered = [point for point in points if point.name == name]
    if len(offered) > 1:
        offers = ", ".join(f"{point.value} of {_distribution(point)}" for point in offered)
        raise _unknown(f"{kind.word} {name!r} is offered by several plugins: {offers}")
    if offered:
        try:
            return offered[0].load()
        except Exception as error:
            raise _unknown(
                f"{kind.word} {name!r} of the plugin {_distribution(offered[0])} cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
    known = sorted({*room.__all__, *(point.name for point in points)} - kind.not_meant)
    there = (
        (f"built in or registered: {', '.join(known)}",) if known else ("write its full name: package.module.Class",)
    )
    raise _unknown(f"unknown {kind.word} {name!r}", (*did_you_mean(name, known), *there))


def _entry_points(group: str) -> list[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - dear, and only needed for names not built in

    return list(entry_points(group=group))


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


def _unknown_module(gone: str, name: str) -> UnknownClassError:
    parent, _, last = gone.rpartition(".")
    hints: tuple[str, ...] = ()
    if not parent:
        hints = ("modules are looked for in the working directory, beside the config and among the installed packages",)
    where = f"{parent} has no module or attribute {last!r}" if parent else f"there is no module {gone!r}"
    return _unknown(f"{name} leads nowhere: {where}", hints)


def _unknown(message: str, hints: Iterable[str] = ()) -> UnknownClassError:
    return UnknownClassError(Problem(message, hints=tuple(hints)))
