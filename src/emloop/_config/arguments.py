"""What a class accepts, and what a configuration gets wrong about it.

The same judgement serves the reading of live classes (:mod:`~emloop._config.live`) and that of their source
(:mod:`~emloop._source.signatures`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from emloop._source.hints import Accepted
from emloop._support.printable import brief, dotted
from emloop._support.suggest import did_you_mean, nearest
from emloop.errors import Place, Problem

from .fitting import misfits

__all__ = ["Placer", "problems"]

Placer: TypeAlias = Callable[[tuple[Any, ...], bool], Place | None]
"""From the path of an argument, or of a part of it, and whether its value is meant, to its place in the text; the empty
path asks for what takes the arguments."""


def problems(
    owner: str,
    accepted: Accepted,
    given: Mapping[str, Any],
    *,
    injected: Collection[str],
    path: str,
    place: Placer,
) -> list[Problem]:
    """All that is wrong with the arguments a configuration gives.

    Args:
        owner: Name of the class, for the message.
        accepted: What it takes.
        given: What the configuration gives.
        injected: Arguments that are not the configuration's to give.
        path: Where the arguments stand, e.g. ``hooks[0].StopAfter``.
        place: Where things stand in the text.
    """
    names = [name for name in accepted.hints if name not in injected]
    found = []
    meant = set()
    for name, value in given.items():
        if name in accepted.hints:
            for misfit in misfits(value, accepted.hints[name]):
                inner = (name, *misfit.path)
                where = place(inner, not misfit.is_key)
                found.append(Problem(misfit.message, f"{path}.{dotted(inner)}", where, misfit.hints))
        elif not accepted.open:
            meant.add(nearest(str(name), names))
            hints = (*did_you_mean(str(name), names), f"{owner} takes: {', '.join(names) or 'no arguments'}")
            found.append(Problem(f"unknown argument {brief(name)}", path, place((name,), False), hints))
    # A misspelt argument is one mistake, not two.
    missing = sorted(accepted.required - set(given) - set(injected) - meant)
    return found + [Problem(f"{owner} needs the argument {name!r}", path, place((), False)) for name in missing]
