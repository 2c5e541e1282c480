"""What a commit holds.

A commit is one state tree per component: ``loop``, ``random``, ``model``, ``streams/<name>`` for every training stream,
``evaluated`` for the stream whose evaluation is in progress, ``hooks/<name>`` for every hook. :func:`collect` gathers
them after **all** hooks have seen the batch or the epoch; :func:`restore` gives them back to a freshly built loop.
Streams and random state come last, once the iterators exist.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from emloop._contracts import Stateful
from emloop._contracts.ranks import Shared
from emloop._ranks import Leader
from emloop._ranks.leading import OTHER_RANKS
from emloop._state.commit import Commit
from emloop._state.kinds import check_state
from emloop._state.random import random_state, restore_random_state
from emloop._streams import StreamWrapper
from emloop.errors import CannotResumeError, EmloopError, StateError
from emloop.saved_models import borrowing
from emloop.types import StateTree

from .loop import MainLoop
from .model_files import save_by_model
from .stage import Stage

__all__ = ["collect", "restore", "restore_streams"]

logger = logging.getLogger(__name__)

_RANKS = "ranks"
"""The component of what belongs to each of several processes."""
_EVALUATED = "evaluated"
"""The component of the stream that is being evaluated."""


def collect(loop: MainLoop, directory: Path, seq: int, slot: int) -> dict[str, StateTree]:
    """Gather the state trees of all components of a loop, by name; their arrays may be those that training changes.

    Args:
        loop: A loop between two batches or two epochs.
        directory: The run directory.
        seq: Number of the coming commit.
        slot: Number in the name under which a model without ``state_dict`` saves itself.
    """
    model = loop.model
    with borrowing():
        of_model = own_state(model) if isinstance(model, Stateful) else save_by_model(model, seq, directory, slot)
    components: dict[str, StateTree] = {
        "loop": {
            "training_epochs_done": loop.training_epochs_done,
            "zeroth_epoch_done": loop.zeroth_epoch_done,
            "batches_ended": loop.batches_ended,
            "evaluated": None if loop.rhythm is None else dict(loop.rhythm.state()),
            "stage": loop.stage_state(),
        },
        "random": random_state(),
        "model": of_model,
    }
    if isinstance(model, Leader):
        components[_RANKS] = model.rank_states()
    for name, stream in loop.streams.training().items():
        components[f"streams/{name}"] = stream.state_dict()
    evaluated = loop.evaluated_stream()
    if evaluated is not None:
        components[_EVALUATED] = evaluated.state_dict()
    for name, hook in loop.events.by_name.items():
        state: StateTree = hook.state_dict() if hasattr(hook, "state_dict") else None
        if state:
            components[f"hooks/{name}"] = state
    return components


def own_state(model: Any) -> StateTree:
    """The state of a model; of what is cut among several processes, this one's rows."""
    return model.own_state() if isinstance(model, Leader) else model.state_dict()


def restore(loop: MainLoop, commit: Commit) -> dict[str, StateTree]:
    """Give the contents of a commit back to a loop, its model and its hooks.

    Returns:
        The other states, for :func:`restore_streams`; thus no file of the commit is read twice.

    Raises:
        CannotResumeError: If the commit is no such one; or an object does not take its state, or has lost it, and
            ``on_inexact_resume`` is ``error``.
    """
    states = commit.states()
    if missing := {"loop", "random", "model"} - states.keys():
        raise CannotResumeError(f"{commit.path}: no state of {', '.join(sorted(missing))}")
    state: Any = states.pop("loop")
    if "holds" not in commit.info and isinstance(
        state, Mapping
    ):  # older commits were made between epochs, or did not count
        state = {"stage": None, "batches_ended": 0, "evaluated": None, **state}
    kind = {
        "training_epochs_done": int,
        "batches_ended": int,
        "zeroth_epoch_done": bool,
        "evaluated": ({str: int}, None),
        "stage": object,
    }
    try:
        check_state("main loop", state, kind)
        loop.training_epochs_done, loop.zeroth_epoch_done = state["training_epochs_done"], state["zeroth_epoch_done"]
        loop.batches_ended = state["batches_ended"]
        if loop.rhythm is not None:
            loop.rhythm.load(state["evaluated"] or {})
        loop.stage = None if state["stage"] is None else Stage.restored(state["stage"])
    except StateError as error:
        raise CannotResumeError(f"{commit.path}: {error}") from error
    # What is new in the configuration begins anew; what has lost its state would do so, too, and nobody would notice.
    if commit.joined:
        _give(loop, f"{commit.path}", partial(_require_all, set(commit.components)), commit.info.get("holds"))
    model = states.pop("model")
    if isinstance(loop.model, Stateful):
        _give(loop, f"model {type(loop.model).__name__}", loop.model.load_state_dict, model)
    _restore_ranks(loop, states.pop(_RANKS, None))
    for name, hook in loop.events.by_name.items():
        if f"hooks/{name}" in states:
            _give(loop, f"hook {name}", hook.load_state_dict, states.pop(f"hooks/{name}"))
    for component in sorted(name for name in states if name.startswith("hooks/")):
        logger.warning("hook %s has left the configuration; what it remembered is dropped", component[6:])
    return states


def _restore_ranks(loop: MainLoop, state: StateTree) -> None:
    kind = [{"model": object, "random": object}, ...]
    found = [] if state is None else check_state("processes", state, kind)
    if isinstance(loop.model, Leader):
        _give(loop, "the processes", loop.model.load_rank_states, found)
    elif found:
        logger.warning(OTHER_RANKS, len(found), 1)
        if isinstance(loop.model, Shared):
            merged = loop.model.merged_rank_states([each["model"] for each in found])
            _give(loop, "the processes", loop.model.load_rank_state, merged)


def restore_streams(
    loop: MainLoop,
    states: Mapping[str, StateTree],
    streams: Mapping[str, StreamWrapper],
    *,
    other_data: bool = False,
) -> None:
    """Put every training stream where the commit saw it, then restore the random state: the last step before the
    first batch.

    Args:
        loop: The loop.
        states: What :func:`restore` has left.
        streams: The training streams.
        other_data: Whether they may give other batches than they did.

    Raises:
        CannotResumeError: If a stream cannot be put there and ``on_inexact_resume`` is ``error``.
    """
    for name, stream in streams.items():
        component = f"streams/{name}"
        if component in states:
            _give(loop, f"stream {name!r}", partial(_seek, loop, stream), states[component], tolerant=other_data)
        stream.open()
    evaluated = loop.evaluated_stream()
    if evaluated is not None:
        what = f"the evaluation of stream {evaluated.name!r}"
        _give(loop, what, partial(_seek, loop, evaluated), states.get(_EVALUATED), tolerant=other_data)
    _give(loop, "the random state", restore_random_state, states["random"])


def _require_all(found: set[str], state: StateTree) -> None:
    recorded = set(check_state("what it holds", state, [str, ...]))
    if recorded != found:
        listed = [f"lacks {name}" for name in sorted(recorded - found)]
        listed += [f"never had {name}" for name in sorted(found - recorded)]
        raise StateError(f"it {', '.join(listed)}")


def _seek(loop: MainLoop, stream: StreamWrapper, state: StateTree) -> None:
    stream.load_state_dict(state)
    if isinstance(loop.model, Leader):
        loop.model.seek(str(stream.name), state, training=stream.training)
    stream.open()  # if the stream has to be read again, a difference shows only now


def _give(
    loop: MainLoop, what: str, load: Callable[[StateTree], None], state: StateTree, *, tolerant: bool = False
) -> None:
    try:
        load(state)
    except (EmloopError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        told = str(error) if isinstance(error, EmloopError) else f"{type(error).__name__}: {error}"
        message = f"{what} does not take its state back: {told}"
        if loop.on_inexact_resume == "error" and not tolerant:
            raise CannotResumeError(f"{message}\n  to go on without it: main_loop.on_inexact_resume=warn") from error
        logger.warning("%s; going on, no longer exactly", message)
