"""What to say about a name of a class that leads nowhere, or to something else."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from emloop._support.suggest import did_you_mean
from emloop.errors import Place, Problem

from .kinds import Kind

__all__ = ["lacks_methods", "no_attribute", "no_class", "no_module", "no_short_name", "no_stream"]

_SHOWN = 8


def no_module(name: str, module: str, there: Iterable[str] = ()) -> Problem:
    """A module on the way to a class is not there.

    Args:
        name: The whole name.
        module: The part of it that leads to the missing module.
        there: Modules that are in its place.
    """
    parent, _, last = module.rpartition(".")
    if parent:
        where = f"{parent} has no module or attribute {last!r}"
        return Problem(f"{name} leads nowhere: {where}", hints=did_you_mean(last, there))
    hint = "modules are looked for in the working directory and among the installed packages"
    return Problem(f"{name} leads nowhere: there is no module {module!r}", hints=(*did_you_mean(last, there), hint))


def no_attribute(path: str, attribute: str, there: Collection[str], classes: Collection[str] = ()) -> Problem:
    """A module or class lacks what a name goes on with.

    Args:
        path: How far the name leads.
        attribute: What comes next.
        there: All names that are there.
        classes: Those of classes, which are listed.
    """
    shown = sorted(classes)
    more = ", …" if len(shown) > _SHOWN else ""
    listed = (f"its classes: {', '.join(shown[:_SHOWN])}{more}",) if shown else ()
    return Problem(f"{path} has no {attribute!r}", hints=(*did_you_mean(attribute, there), *listed))


def no_class(name: str, found: str) -> Problem:
    """A name leads to something that is no class."""
    article = "an" if found[0] in "aeiou" else "a"
    return Problem(f"{name} is no class but {article} {found}")


def lacks_methods(name: str, kind: Kind, missing: Iterable[str]) -> Problem:
    """A class has not got what its kind needs."""
    return Problem(f"{name} is no {kind.word}: it has no method {', '.join(map(repr, missing))}")


def no_short_name(name: str, kind: Kind, known: Collection[str]) -> Problem:
    """A name without dots is neither built in nor registered by a plugin.

    Args:
        name: The name.
        kind: What it should be.
        known: All such names.
    """
    meant = sorted(set(known) - kind.not_meant)
    there = (f"built in or registered: {', '.join(meant)}",) if meant else ()
    there = there or ("write its full name: package.module.Class",)
    return Problem(f"unknown {kind.word} {name!r}", hints=(*did_you_mean(name, meant), *there))


def no_stream(owner: str, name: str, there: Collection[str], path: str = "", place: Place | None = None) -> Problem:
    """A dataset lacks a stream.

    Args:
        owner: Name of the dataset's class.
        name: The stream.
        there: The streams that it has.
        path: Where the configuration asks for it.
        place: The same in the text.
    """
    message = f"the dataset {owner} has no method {name + '_stream'!r}, so no stream {name!r}"
    hints = (*did_you_mean(name, there), f"its streams: {', '.join(there) or 'none'}")
    return Problem(message, path, place, hints)
