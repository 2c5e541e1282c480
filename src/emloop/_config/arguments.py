"""What a class accepts, and what a configuration gets wrong about it.

The same judgement serves the reading of live classes (:mod:`~emloop._config.live`) and that of their source
(:mod:`~emloop._config.signatures`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

from emloop._support.suggest import did_you_mean, nearest
from emloop._support.yaml_nodes import brief, dotted
from emloop.errors import Place, Problem

from .hints import Hint, misfits

__all__ = ["Accepted", "Placer", "problems"]

Placer: TypeAlias = Callable[[tuple[Any, ...], bool], Place | None]
"""From the path of an argument, or of a part of it, and whether its value is meant, to its place in the text; the empty
path asks for what takes the arguments."""


class Accepted(NamedTuple):
    """The arguments that a class takes.

    Args:
        hints: Argument → what it must be, for all that are known by name, in order.
        required: Those without a default.
        open: Whether there may be others, because ``**kwargs`` goes where only the constructor knows.
        takes_any: Whether there is a ``**kwargs`` at all.
    """

    hints: Mapping[str, Hint]
    required: frozenset[str]
    open: bool
    takes_any: bool

    def takes(self, name: str) -> bool:
        """Whether the constructor can be called with an argument of this name."""
        return name in self.hints or self.takes_any


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
