"""What a commit holds.

A commit is one state tree per component: ``loop``, ``random``, ``model``, ``streams/<name>`` for every training stream,
``evaluated`` for the stream whose evaluation is in progress, ``hooks/<name>`` for every hook. :func:`collect` gathers
them after **all** hooks have seen the batch or the epoch; :func:`restore` gives them back to a freshly built loop.
Streams and random state come last, once the iterators exist.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from emloop._contracts import Stateful
from emloop._state.commit import Commit
from emloop._state.random import random_state, restore_random_state
from emloop._streams import StreamWrapper
from emloop.errors import CannotResumeError, CheckpointError, EmloopError
from emloop.types import StateTree

from .loop import MainLoop
from .model_files import save_by_model
from .stage import Stage

__all__ = ["collect", "restore", "restore_streams"]

logger = logging.getLogger(__name__)

_EVALUATED = "evaluated"
"""The component of the stream that is being evaluated."""


def collect(loop: MainLoop, directory: Path, seq: int, slot: int) -> dict[str, StateTree]:
    """Gather the state trees of all components of a loop, by name.

    Args:
        loop: A loop between two batches or two epochs.
        directory: The run directory.
        seq: Number of the coming commit.
        slot: Number in the name under which a model without ``state_dict`` saves itself.
    """
    model = loop.model
    components: dict[str, StateTree] = {
        "loop": {
            "training_epochs_done": loop.training_epochs_done,
            "zeroth_epoch_done": loop.zeroth_epoch_done,
            "batches_ended": loop.batches_ended,
            "stage": loop.stage_state(),
        },
        "random": random_state(),
        "model": model.state_dict() if isinstance(model, Stateful) else save_by_model(model, seq, directory, slot),
    }
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


def restore(loop: MainLoop, commit: Commit) -> dict[str, StateTree]:
    """Give the contents of a commit back to a loop, its model and its hooks.

    Returns:
        The other states, for :func:`restore_streams`; thus no file of the commit is read twice.

    Raises:
        CheckpointError: If the commit is no such one.
        CannotResumeError: If an object does not take its state and ``on_inexact_resume`` is ``error``.
    """
    states = commit.states()
    if missing := {"loop", "random", "model"} - states.keys():
        raise CheckpointError(f"{commit.path}: no state of {', '.join(sorted(missing))}")
    try:
        state: Any = states.pop("loop")
        loop.training_epochs_done = operator.index(state["training_epochs_done"])
        loop.zeroth_epoch_done = state["zeroth_epoch_done"]
        loop.batches_ended = operator.index(state.get("batches_ended", 0))  # older commits did not count
        stage = state["stage"] if commit.joined else state.get("stage")  # an older commit was made between epochs
        loop.stage = None if stage is None else Stage.restored(stage)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{commit.path}: not the state of a main loop: {error!r}") from error
    model = states.pop("model")
    if isinstance(loop.model, Stateful):
        _give(loop, f"model {type(loop.model).__name__}", loop.model.load_state_dict, model)
    for name, hook in loop.events.by_name.items():
        if f"hooks/{name}" in states:
            _give(loop, f"hook {name}", hook.load_state_dict, states.pop(f"hooks/{name}"))
    for component in sorted(name for name in states if name.startswith("hooks/")):
        logger.warning("hook %s has left the configuration; what it remembered is dropped", component[6:])
    return states


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
            _give(loop, f"stream {name!r}", partial(_seek, stream), states[component], tolerant=other_data)
        stream.open()
    evaluated = loop.evaluated_stream()
    if evaluated is not None:
        what = f"the evaluation of stream {evaluated.name!r}"
        _give(loop, what, partial(_seek, evaluated), states.get(_EVALUATED), tolerant=other_data)
    _give(loop, "the random state", restore_random_state, states["random"])


def _seek(stream: StreamWrapper, state: StateTree) -> None:
    stream.load_state_dict(state)
    stream.open()  # if the stream has to be read again, a difference shows only now


def _give(
    loop: MainLoop, what: str, load: Callable[[StateTree], None], state: StateTree, *, tolerant: bool = False
) -> None:
    try:
        load(state)
    except (EmloopError, KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{what} does not take its state back: {error}"
        if loop.on_inexact_resume == "error" and not tolerant:
            raise CannotResumeError(f"{message}\n  to go on without it: main_loop.on_inexact_resume=warn") from error
        logger.warning("%s; going on, no longer exactly", message)
