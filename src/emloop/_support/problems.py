"""The wording of every kind of mistake in a configuration, once for each kind."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from emloop.errors import Problem, dotted

from . import moved
from .printable import brief
from .suggest import did_you_mean

__all__ = [
    "broken_module",
    "displaced",
    "hidden_class",
    "in_run",
    "is_abstract",
    "lacks_methods",
    "missing_argument",
    "missing_class",
    "missing_package",
    "no_attribute",
    "no_class",
    "no_module",
    "no_short_name",
    "no_stream",
    "refused",
    "reserved",
    "unknown_argument",
    "unknown_key",
    "wrong_family",
    "wrong_value",
]

_SHOWN = 8


def unknown_argument(
    owner: str, name: Any, accepted: Iterable[str], keys: tuple[Any, ...] = (), places: Iterable[str] = ()
) -> Problem:
    """An argument that its receiver does not take.

    Args:
        owner: What takes the arguments.
        name: The argument.
        accepted: Those that it takes.
        keys: Where the arguments stand.
        places: Where it would mean something.
    """
    problem = _unknown("argument", owner, name, tuple(accepted), (*keys, name))
    return problem._replace(hints=(*(f"did you mean {place}?" for place in places), *problem.hints))


def unknown_key(owner: str, name: Any, accepted: Iterable[str], keys: tuple[Any, ...] = ()) -> Problem:
    """A key that means nothing where it stands; see :func:`unknown_argument`."""
    return _unknown("key", owner, name, tuple(accepted), (*keys, name))


def _unknown(word: str, owner: str, name: Any, accepted: tuple[str, ...], keys: tuple[Any, ...]) -> Problem:
    owners = {("model", 2): "model argument", ("hooks", 4): "hook argument"}
    known = moved.hints(owners.get((keys[0], len(keys)), ""), str(name), accepted) or did_you_mean(str(name), accepted)
    hints = (*known, f"{owner} takes: {', '.join(accepted) or f'no {word}s'}")
    message = f"unknown {word} {brief(name)}"
    return Problem(message, hints=hints, kind=f"unknown-{word}", keys=keys, on_key=True, accepted=accepted)


def missing_argument(owner: str, name: str, keys: tuple[Any, ...] = ()) -> Problem:
    """An argument without a default that is not given."""
    return Problem(f"{owner} needs the argument {name!r}", kind="missing-argument", keys=keys, accepted=(name,))


def reserved(name: str, receiver: str, keys: tuple[Any, ...] = ()) -> Problem:
    """An argument that emloop itself passes."""
    message = f"{name!r} is reserved; emloop itself gives it to the {receiver}"
    return Problem(message, hints=("remove it",), kind="reserved", keys=(*keys, name), on_key=True)


def refused(why: str, keys: tuple[Any, ...], *, on_key: bool) -> Problem:
    """A class or an argument that exists and cannot be used."""
    return Problem(why, kind="refused", keys=keys, on_key=on_key)


def wrong_value(
    expected: str, value: Any, choices: Iterable[Any] = (), keys: tuple[Any, ...] = (), *, is_key: bool = False
) -> Problem:
    """A value of another type, or none of those that are accepted.

    Args:
        expected: What is accepted, in words.
        value: What was found.
        choices: The values that are accepted, where they can be listed.
        keys: Where the value stands.
        is_key: Whether the value is a key of a mapping.
    """
    words = tuple(choice for choice in choices if isinstance(choice, str))
    similar = did_you_mean(value, words) if isinstance(value, str) else ()
    message = f"expected {expected}{' as key' if is_key else ''}, got {brief(value)}"
    return Problem(message, "", None, similar, "wrong-value", keys, is_key, words)


def missing_class(found: Iterable[Any], example: str, keys: tuple[Any, ...]) -> Problem:
    """A description of an object that names no class."""
    meant = next((key for key in found if isinstance(key, str) and did_you_mean(key, ["class"])), None)
    if meant is None:
        return Problem("there is no 'class'", "", None, (f"name one: {example}",), "missing-class", keys)
    hints = ("did you mean 'class'?",)
    message = f"there is no 'class', but {meant!r}"
    return Problem(message, dotted(keys), None, hints, "missing-class", (*keys, meant), on_key=True)


def no_module(name: str, module: str, there: Iterable[str] = ()) -> Problem:
    """A module on the way to a class that does not exist.

    Args:
        name: The whole name.
        module: The part of it that leads to the missing module.
        there: Modules beside it.
    """
    parent, _, last = module.rpartition(".")
    known = moved.hints("class", name) or did_you_mean(last, there)
    if parent:
        return _class(f"{name} leads nowhere: {parent} has no module or attribute {last!r}", *known)
    hint = "modules are looked for among the installed packages, beside the config and in the working directory"
    extra = None if known else _extra_of(module)
    known = known if extra is None else (f"pip install 'emloop[{extra}]'",)
    return _class(f"{name} leads nowhere: there is no module {module!r}", *known, hint)


def missing_package(owner: str, module: str, extra: str) -> Problem:
    """A package that a class needs and that is not installed."""
    return _class(f"{owner} needs the package {module!r}, which is not installed", f"pip install 'emloop[{extra}]'")


def _extra_of(module: str) -> str | None:
    """The extra of emloop that brings a module, and the least besides; ``None`` if none does."""
    from importlib.metadata import PackageNotFoundError, requires  # noqa: PLC0415 - only once something is missing

    brings: dict[str, set[str]] = {}
    with suppress(PackageNotFoundError):  # in a checkout that was never installed
        for need in requires("emloop") or ():
            if extra := re.search(r"extra == ['\"]([\w-]+)", need):
                brings.setdefault(extra[1], set()).update(re.findall(r"^[\w-]+", need))
    like = {module, f"{module}-cpu", re.sub("^sk", "scikit-", module)}
    found = [extra for extra, names in brings.items() if like & names and extra != "dev"]
    return min(found, key=lambda extra: (extra != module, len(brings[extra])), default=None)


def broken_module(module: str, reason: str, where: str = "") -> Problem:
    """A module that cannot be imported, with the file and line of the mistake if known."""
    gone = re.search(r"[Nn]o module named '([\w.]+)'", reason)
    known = moved.hints("python", gone[1]) if gone else ()
    if gone and not known and (extra := _extra_of(gone[1])):
        return missing_package(module, gone[1], extra)
    return _class(f"importing {module} failed: {reason}", *((f"in {where}",) if where else ()), *known)


def displaced(module: str) -> Problem | None:
    """A module of ours that an old distribution brings as well, if one is installed."""
    found = next(moved.old_distributions(module.partition(".")[0]), None)
    return None if found is None else _class(*found)


def in_run(module: str, place: str) -> Problem:
    """A module that lies in a run directory, or beside a saved model."""
    hint = "what came with a run is data and never imported; put the module beside the config, or install it"
    return _class(f"the module {module} lies in a run: {place}", hint)


def no_attribute(path: str, attribute: str, there: Collection[str], classes: Collection[str] = ()) -> Problem:
    """A module or class without the name that comes next.

    Args:
        path: How far the name leads.
        attribute: What comes next.
        there: All names that exist.
        classes: Those of classes, which are listed.
    """
    shown = sorted(classes)
    more = ", …" if len(shown) > _SHOWN else ""
    listed = (f"its classes: {', '.join(shown[:_SHOWN])}{more}",) if shown else ()
    known = moved.hints("class", f"{path}.{attribute}") or did_you_mean(attribute, there)
    return _class(f"{path} has no {attribute!r}", *known, *listed)


def no_class(name: str, found: str) -> Problem:
    """A name of something that is no class."""
    article = "an" if found[0] in "aeiou" else "a"
    return _class(f"{name} is no class but {article} {found}")


def lacks_methods(name: str, word: str, missing: Iterable[str]) -> Problem:
    """A class without a method that its kind needs."""
    return _class(f"{name} is no {word}: it has no method {', '.join(map(repr, missing))}")


def is_abstract(name: str, methods: Iterable[str]) -> Problem:
    """A class that is there to be extended."""
    return _class(f"{name} is abstract: it leaves {', '.join(map(repr, methods))} to classes that extend it")


def wrong_family(name: str, base: str) -> Problem:
    """A class that does not extend the one that its place asks for."""
    return _class(f"{name} is no {base.rpartition('.')[2].lstrip('_')}", f"expected a subclass of {base}")


def no_short_name(name: str, word: str, known: Collection[str], home: str = "") -> Problem:
    """A name without dots that nobody registers.

    Args:
        name: The name.
        word: What it should be.
        known: All such names.
        home: The module where such classes are defined; empty for our own kinds.
    """
    names = sorted(known)
    similar = moved.hints("class", name) or did_you_mean(name, names)
    if home:
        return _class(f"unknown {word} {name!r}", *similar, f"a class of {home}, or a full name: package.module.Class")
    listed = f"built in or registered: {', '.join(names)}" if names else "write its full name: package.module.Class"
    return _class(f"unknown {word} {name!r}", *similar, listed)._replace(accepted=tuple(names))


def hidden_class(word: str, name: str, offers: Iterable[str]) -> Problem:
    """A name that several plugins register."""
    return _class(f"{word} {name!r} is offered by several plugins: {', '.join(offers)}")


def no_stream(owner: str, name: str, there: Collection[str], keys: tuple[Any, ...] = ()) -> Problem:
    """A stream that a dataset does not have.

    Args:
        owner: Name of the dataset's class.
        name: The stream.
        there: Its streams.
        keys: Where the configuration asks for it.
    """
    message = f"the dataset {owner} has no method {name + '_stream'!r}, so no stream {name!r}"
    hints = (*did_you_mean(name, there), f"its streams: {', '.join(there) or 'none'}")
    return Problem(message, hints=hints, kind="unknown-stream", keys=keys, accepted=tuple(there))


def _class(message: str, *hints: str) -> Problem:
    return Problem(message, hints=hints, kind="unknown-class")
