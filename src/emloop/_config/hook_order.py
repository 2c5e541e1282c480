"""Whether every hook finds in an epoch's data what it reads there.

Hooks see an epoch in the order of the list, so what computes a variable stands before what reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from emloop._source.library import ClassSource, Library
from emloop._source.signatures import Ancestry, parameters_of
from emloop._support.suggest import did_you_mean
from emloop.errors import Problem

from .arguments import Placer
from .entries import Entry
from .hook_facts import OBSERVES_EPOCHS, Facts, Needed, Provided, facts_of

__all__ = ["Observer", "observer", "order_problems", "steps_aside"]


class Observer(NamedTuple):
    """A hook, and what it does with an epoch's data.

    Args:
        entry: The hook.
        facts: What it writes and reads; ``None`` if that cannot be told.
        is_built_in: Whether it is one of emloop's own.
    """

    entry: Entry
    facts: Facts | None
    is_built_in: bool = False


def observer(library: Library, entry: Entry, cls: ClassSource | None) -> Observer:
    """What a hook does, as far as its class tells (``None``: nothing is known of it)."""
    if cls is None:
        return Observer(entry, None)
    ancestry = Ancestry(library, cls)
    if cls.full_name.startswith("emloop."):
        return Observer(entry, facts_of(cls.full_name, {**_defaults(ancestry), **entry.arguments}), is_built_in=True)
    # The last class is the base of all hooks, whose methods do nothing.
    is_blind = ancestry.is_plain and not any(OBSERVES_EPOCHS & set(c.summary["methods"]) for c in ancestry.order[:-1])
    return Observer(entry, Facts() if is_blind else None)


def steps_aside(library: Library, cls: ClassSource | None) -> bool:
    """Whether a hook is left out of an evaluation that does not ask for it."""
    return cls is not None and Ancestry(library, cls).value("steers_training") == ["value", True]


def order_problems(
    observers: Sequence[Observer], streams: Sequence[str], place: Callable[[Entry], Placer], more: str
) -> list[Problem]:
    """What hooks read and will not find.

    Args:
        observers: The hooks, in order.
        streams: The streams that every epoch reads.
        place: Where the arguments of a hook stand.
        more: Where a configuration names further streams.
    """
    found: list[Problem] = []
    written: list[Provided] = []
    for index, (entry, facts, _) in enumerate(observers):
        if facts is None:
            break  # it may write anything, so nothing is certain from here on
        written += facts.provided
        for needed in facts.needed:
            problem = _missing(needed, written, streams, observers[index + 1 :], more)
            if problem is not None:
                path = needed.stream_path if problem.path == "stream" else needed.path
                where = place(entry)(path, True) or place(entry)((), False)
                found.append(problem._replace(path=f"{entry.label}.{path[0]}", place=where))
    return found


def _missing(
    needed: Needed, written: Sequence[Provided], streams: Sequence[str], later: Sequence[Observer], more: str
) -> Problem | None:
    """What to say about something that is read; ``None`` if it will be there."""
    if needed.stream is not None and needed.stream not in streams:
        listed = f"every epoch has the streams {', '.join(streams)}; name others in {more}"
        hints = (*did_you_mean(needed.stream, streams), listed)
        return Problem(f"stream {needed.stream!r} is not evaluated", "stream", hints=hints)
    lacking = [
        stream
        for stream in ([needed.stream] if needed.stream is not None else streams)
        if not any(_provides(item, needed, stream) for item in written)
    ]
    if not lacking:
        return None
    after = next((o.entry for o in later if o.facts and _any_provides(o.facts.provided, needed, lacking)), None)
    what = f"{needed.variable!r} of stream {', '.join(map(repr, lacking))}"
    if after is not None:
        return Problem(f"{what} is read here before {after.label} computes it", hints=("change their order",))
    plain = [item for item in written if item.variable == needed.variable and _covers(item, lacking)]
    if plain:
        return _other_aggregation(needed, plain[-1])
    elsewhere = [name for item in written if item.variable == needed.variable for name in item.streams or ()]
    if elsewhere:
        hint = f"it is computed for {', '.join(map(repr, elsewhere))} only"
        return Problem(f"no hook computes {what}", hints=(hint,))
    names = list(dict.fromkeys(item.variable for item in written))
    there = f"computed before: {', '.join(names)}" if names else "no hook before it computes anything"
    example = f"to compute it, write before: - ComputeStats: {{variables: [{needed.variable}]}}"
    similar = did_you_mean(needed.variable, names)
    return Problem(f"no hook computes {what}", hints=(*similar, there) if similar else (there, example))


def _other_aggregation(needed: Needed, item: Provided) -> Problem:
    if item.aggregations is None:
        return Problem(f"{needed.variable!r} is a plain value without aggregations", hints=("write aggregation: ''",))
    hints = (*did_you_mean(needed.aggregation or "", item.aggregations), f"computed: {', '.join(item.aggregations)}")
    if not needed.aggregation:
        return Problem(f"{needed.variable!r} is no plain value but has aggregations", hints=hints)
    return Problem(f"no hook before computes the {needed.aggregation!r} of {needed.variable!r}", hints=hints)


def _any_provides(provided: Iterable[Provided], needed: Needed, streams: Sequence[str]) -> bool:
    return any(_provides(item, needed, stream) for item in provided for stream in streams)


def _provides(item: Provided, needed: Needed, stream: str) -> bool:
    if item.variable != needed.variable or not _covers(item, [stream]):
        return False
    if needed.aggregation is None:
        return item.aggregations is None or "mean" in item.aggregations or needed.stream is None
    return needed.aggregation in item.aggregations if item.aggregations is not None else not needed.aggregation


def _covers(item: Provided, streams: Sequence[str]) -> bool:
    return item.streams is None or set(streams) <= set(item.streams)


def _defaults(ancestry: Ancestry) -> dict[str, Any]:
    read = parameters_of(ancestry)
    parameters = {} if read is None else read[0]
    constants = ((name, parameter.default) for name, parameter in parameters.items())
    return {name: default[1] for name, default in constants if isinstance(default, list) and default[0] == "value"}
