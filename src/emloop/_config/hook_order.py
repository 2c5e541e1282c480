"""Whether every hook finds what it reads, and whether no two hooks write one thing.

Hooks see a batch and an epoch in the order of the list, so what computes a variable stands before what reads it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any, NamedTuple

from emloop._settings.flows import Flow, Flows, flows_of
from emloop._settings.naming import find_source
from emloop._source.library import ClassSource, Library
from emloop._support.suggest import did_you_mean
from emloop.errors import Problem

from .entries import Entry, hook_entries

__all__ = ["Observer", "Variables", "collisions", "order_problems", "without_variables"]

_PLACES = {"File": "the file {}", "SavedModel": "the saved model {!r}"}
_EPOCH = "{!r} of the epoch's data"


class Observer(NamedTuple):
    """A hook, and what it does; everything is possible where its class is not known."""

    entry: Entry
    flows: Flows = Flows()


class Variables(NamedTuple):
    """The variables of batches, where they are known.

    Args:
        outputs: Those of the model.
        others: Inputs of the model, and what else the dataset may provide.
        is_complete: Whether there are no other sources.
    """

    outputs: Sequence[str]
    others: frozenset[str]
    is_complete: bool


def order_problems(
    observers: Sequence[Observer], streams: Sequence[str], variables: Variables | None, more: str
) -> Iterator[Problem]:
    """What hooks read and will not find.

    Args:
        observers: The hooks, in order.
        streams: The streams that every epoch reads.
        variables: The variables of batches; ``None`` if they are unknown.
        more: Where a configuration names further streams.
    """
    written: list[Flow] = []
    there = set() if variables is None else {*variables.outputs, *variables.others}
    epochs, batches = True, variables is not None
    for index, (entry, flows) in enumerate(observers):
        epochs, batches = epochs and not flows.hides_epochs, batches and not flows.hides_batches
        for flow in flows.reads:
            problem = None
            if flow.word in ("Variable", "Statistics") and batches and variables is not None:
                problem = _unknown_variable(flow, variables, there)
            elif flow.word == "Scalar" and epochs:
                earlier = [*written, *_statistics(flows.writes)]
                problem = _missing(flow, earlier, streams, observers[index + 1 :], more)
            if problem is not None:
                yield problem.under(*entry.keys)
        written += [flow for flow in flows.writes if flow.word in ("Scalar", "Statistics")]
        there.update(flow.name for flow in flows.writes if flow.word == "Variable")


def collisions(observers: Sequence[Observer], variables: Variables | None) -> Iterator[Problem]:
    """Names that two hooks have, and things that two hooks write, or a hook and the model."""
    outputs = () if variables is None else variables.outputs
    named: list[str] = []
    for entry, _ in observers:
        if entry.given_name in named:
            message = f"two hooks are named {entry.given_name!r}"
            hints = ("give one of them another `name`",)
            yield Problem(message, entry.label, None, hints, "collision", (*entry.keys, "name"))
        named.append(entry.given_name or entry.name.rpartition(".")[2])
    earlier: dict[tuple[str, str], list[tuple[Entry, Flow]]] = {}
    for entry, flows in observers:
        for flow in flows.writes:
            what = _PLACES.get(flow.word, _EPOCH).format(flow.name)
            others = earlier.setdefault((what, flow.name), [])
            if flow.word == "Variable":
                continue
            if other := next((known for known, what in others if known is not entry and _collide(what, flow)), None):
                yield _collision(f"{other.label} writes {what} as well, and the later one wins", entry, flow)
            elif flow.word == "Scalar" and flow.name in outputs:
                yield _collision(
                    f"{flow.name!r} is an output of the model as well; in reports they look alike", entry, flow
                )
            others.append((entry, flow))


def without_variables(config: dict[str, Any], names: Collection[str], library: Library) -> list[str]:
    """Let the hooks do without variables, as far as their classes declare what they read.

    A name goes out of the arguments that list it; a hook that has nothing else to read steps aside.

    Args:
        config: The configuration, which is changed.
        names: The variables that nobody gives.
        library: Where the hooks' classes are read.

    Returns:
        What was changed, in words.
    """
    kept: list[Any] = []
    told: list[str] = []
    for item, entry in zip(config.get("hooks") or [], hook_entries(config), strict=True):
        found = find_source(library, entry.name, entry.kind)
        flows = flows_of(library, found, entry.arguments) if isinstance(found, ClassSource) else Flows()
        lost = [flow for flow in flows.reads if flow.name in names]
        if not lost:
            kept.append(item)
            continue
        arguments = deepcopy(entry.arguments)
        for flow in reversed(lost):
            _remove(arguments, flow.whole or flow.keys)
        listed = ", ".join(dict.fromkeys(repr(flow.name) for flow in lost))
        if all(flow.keys and arguments.get(flow.keys[0]) for flow in lost):
            named = {} if entry.given_name is None else {"name": entry.given_name}
            kept.append({entry.name: {**arguments, **named}})
            told.append(f"{entry.name} does without {listed}")
        else:
            told.append(f"{entry.name} is left out, since it reads {listed}")
    config["hooks"] = kept
    return told


def _collide(one: Flow, other: Flow) -> bool:
    if one.word == other.word == "Statistics":
        return False  # the same statistics of the same variable
    return one.streams is None or other.streams is None or bool(set(one.streams) & set(other.streams))


def _collision(message: str, entry: Entry, flow: Flow) -> Problem:
    hint = f"give one of them another {flow.keys[0]}" if flow.keys else "remove one of them, or tell them apart by name"
    keys = flow.keys if flow.keys and flow.keys[0] in entry.arguments else ()
    return Problem(message, entry.label, None, (hint,), "collision", (*entry.keys, *keys), on_key=not keys)


def _statistics(flows: Iterable[Flow]) -> list[Flow]:
    """Statistics are computed before a hook of this family looks at them."""
    return [flow for flow in flows if flow.word == "Statistics"]


def _unknown_variable(flow: Flow, variables: Variables, there: set[str]) -> Problem | None:
    if flow.name in there or not flow.keys:
        return None
    names = [*variables.outputs, *sorted(there.difference(variables.outputs))]
    similar = did_you_mean(flow.name, names)
    if not (similar or variables.is_complete):
        return None  # a source that only the data name
    hints = (*similar, f"outputs of the model: {', '.join(variables.outputs) or 'none'}")
    message = f"no output of the model and no source is called {flow.name!r}"
    return Problem(message, hints=hints, kind="unknown-variable", keys=flow.keys, accepted=tuple(names))


def _missing(
    needed: Flow, written: Sequence[Flow], streams: Sequence[str], later: Sequence[Observer], more: str
) -> Problem | None:
    """What to say about a value of ``epoch_data`` that is read; ``None`` if it will be there."""
    elsewhere = [stream for stream in needed.streams or () if stream not in streams]
    if elsewhere:
        listed = f"every epoch has the streams {', '.join(streams)}; name others in {more}"
        hints = (*did_you_mean(elsewhere[0], streams), listed)
        message = f"stream {elsewhere[0]!r} is not evaluated"
        return Problem(message, hints=hints, kind="unknown-stream", keys=needed.stream_keys, accepted=tuple(streams))
    wanted = streams if needed.streams is None else needed.streams
    lacking = [stream for stream in wanted if not any(_provides(item, needed, stream) for item in written)]
    if not lacking:
        return None
    what = f"{needed.name!r} of stream {', '.join(map(repr, lacking))}"
    problem = Problem("", kind="order", keys=needed.keys)
    after = next((o.entry for o in later if _any_provides(o.flows.writes, needed, lacking)), None)
    if after is not None:
        message = f"{what} is read here before {after.label} computes it"
        return problem._replace(message=message, hints=("change their order",))
    plain = [item for item in written if item.name == needed.name and _covers(item, lacking)]
    if plain:
        return _other_aggregation(needed, plain[-1])
    problem = problem._replace(message=f"no hook computes {what}")
    others = [name for item in written if item.name == needed.name for name in item.streams or ()]
    if others:
        return problem._replace(hints=(f"it is computed for {', '.join(map(repr, others))} only",))
    names = list(dict.fromkeys(item.name for item in written))
    listed = f"computed before: {', '.join(names)}" if names else "no hook before it computes anything"
    example = f"to compute it, write before: - ComputeStats: {{variables: [{needed.name}]}}"
    similar = did_you_mean(needed.name, names)
    return problem._replace(hints=(*similar, listed) if similar else (listed, example), accepted=tuple(names))


def _other_aggregation(needed: Flow, item: Flow) -> Problem:
    problem = Problem("", kind="order", keys=needed.keys, accepted=item.aggregations)
    if item.word == "Scalar":
        message = f"{needed.name!r} is a plain value without aggregations"
        return problem._replace(message=message, hints=("leave out aggregation",))
    wanted = "".join(needed.aggregations)
    hints = (*did_you_mean(wanted, item.aggregations), f"computed: {', '.join(item.aggregations)}")
    message = f"no hook before computes the {wanted!r} of {needed.name!r}"
    if not wanted:
        message = f"{needed.name!r} is no plain value but has aggregations"
    return problem._replace(message=message, hints=hints)


def _any_provides(provided: Iterable[Flow], needed: Flow, streams: Sequence[str]) -> bool:
    return any(_provides(item, needed, stream) for item in provided for stream in streams)


def _provides(item: Flow, needed: Flow, stream: str) -> bool:
    if item.word not in ("Scalar", "Statistics") or item.name != needed.name or not _covers(item, [stream]):
        return False
    if not needed.aggregations:
        return item.word == "Scalar" or "mean" in item.aggregations or needed.streams is None
    wanted = needed.aggregations[0]
    return wanted in ("", "mean") if item.word == "Scalar" else wanted in item.aggregations


def _covers(item: Flow, streams: Sequence[str]) -> bool:
    return item.streams is None or set(streams) <= set(item.streams)


def _remove(arguments: Any, keys: tuple[Any, ...]) -> None:
    """Take a part out of nested lists and mappings, and whatever is empty without it."""
    if not keys:
        return
    with suppress(KeyError, IndexError, TypeError):
        _remove(arguments[keys[0]], keys[1:])
        if len(keys) == 1 or not arguments[keys[0]]:
            del arguments[keys[0]]
