"""Look for what one compared batch does not show: code that acts rarely, and state that no state dict holds.

Nothing is guessed from source text. The module itself takes a step, with everything put back afterwards: what has
moved since, in places where Python keeps things, is replaced by a value that cannot be used, and the step is taken
again. If it still comes out the same, the old value is not read, as with results that a module keeps for others;
otherwise the next forward pass depends on this one in a way that no graph holds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules._functions import BackwardHookFunction
from torch.overrides import TorchFunctionMode

from emloop_torch._tensors.parameters import storages

from .places import line_naming, line_of_code, line_of_frame, told
from .surroundings import Place, Snapshot, Surroundings, is_library
from .verifying import Results, agree, distance, nodes_of

__all__ = ["LOST", "Alarms", "Step", "is_trusted", "look", "unexported"]

Step = Callable[[bool], Mapping[str, Results]]
"""Runs the live module for a batch, in training mode or not."""

LOST = (
    "no graph or state holds {!r}, which changes; register_buffer would make it part of the state, for hooks to steer"
)
_DRAWN = "{} is drawn from, by no graph; torch.rand would be part of it"
_CHANCE = (
    "a step comes out otherwise when it is repeated with the same random numbers, off by {:.0%}: something is drawn "
    "that no generator of PyTorch's gives; torch.rand would be part of a graph"
)
_MOST_NOISE = 0.05
"""What may be due to the order of sums, in numbers of 16 bits; more is chance of another kind."""
_SHARED = "{!r} shares the memory of parameters or buffers, as only the source arranges it"
_TRUST = "if it does not matter, saved_model: {{trust: [{}]}}"


@dataclass
class Alarms:
    """What was found: reasons, worded.

    Args:
        evaluating: Why evaluation needs the source.
        training: Why training does.
        fallen: Name of what the module reads and something else has changed, and why training needs the source since.
        noise: By how much a step differs from itself when it is repeated.
        results: Names of what is written anew by each step, and never read before.
    """

    evaluating: str | None = None
    training: str | None = None
    fallen: tuple[str, str] | None = None
    noise: float = 0.0
    results: set[str] = field(default_factory=set)


def look(snapshot: Snapshot, step: Step, moved: Collection[str], trusted: Sequence[str]) -> Alarms:
    """Take steps with the live module, and find out what they leave behind and depend on.

    Args:
        snapshot: Of the module; everything is put back.
        step: Takes one.
        moved: Names of what has changed since the last look, whoever changed it.
        trusted: Regular expressions: names of what may be ignored.
    """
    evaluation, training = _Trial(snapshot, step, False, trusted), _Trial(snapshot, step, True, trusted)
    if evaluation.error is not None:
        raise evaluation.error
    known = {name: place for name, place in snapshot.surroundings.places.items() if not is_trusted(name, trusted)}
    outside = {name: known[name] for name in moved if name in known}
    aliases = _aliases(snapshot, known)
    found = Alarms(noise=evaluation.noise if training.error else training.noise)
    found.evaluating = (
        evaluation.alarm or evaluation.reads(evaluation.changed, LOST) or evaluation.reads(aliases, _SHARED)
    )
    found.training = found.evaluating or (
        training.alarm
        or training.reads(training.changed, LOST)
        or evaluation.reads(training.changed, LOST)
        or training.reads(aliases, _SHARED)
    )
    changed = training.reading(outside) or evaluation.reading(outside)
    if changed is not None:
        found.fallen = changed[0], _worded(changed, LOST)
    if found.training is None:
        found.results = {*training.changed, *evaluation.changed}
    return found


class _Trial:
    """A step of the live module in one mode: what it leaves behind, and what it comes from."""

    def __init__(self, snapshot: Snapshot, step: Step, train: bool, trusted: Sequence[str]) -> None:
        self._snapshot = snapshot
        self._step = step
        self._train = train
        self._expected: Mapping[str, Results] = {}
        self.error: Exception | None = None
        self.alarm: str | None = None
        self.changed: dict[str, Place] = {}
        self.noise = 0.0
        try:
            self._expected = step(train)
            self._look_around(trusted)
            snapshot.put_back()
            self.noise = distance(self._expected, step(train))
            if self.noise > _MOST_NOISE and self.alarm is None and not is_trusted("chance", trusted):
                self.alarm = f"{_CHANCE.format(self.noise)}; {_TRUST.format('chance')}"
        except Exception as error:  # noqa: BLE001 - the module's own, and a reason for whoever asks
            self.error, self.alarm = error, told("training" if train else "evaluation", error)
        finally:
            snapshot.put_back()

    def _look_around(self, trusted: Sequence[str]) -> None:
        known, found = self._snapshot.surroundings, Surroundings(self._snapshot.module)
        names = {name for name, value in found.values.items() if known.values.get(name) != value}
        names |= known.values.keys() - found.values.keys()
        names = {name for name in names if not is_trusted(name, trusted)}
        holders = {id(holder) for holder in (*known.containers, *known.classes)}
        places = {name: place for name, place in found.places.items() if id(place.holder) in holders} | known.places
        self.changed = {name: places[name] for name in names if name in places}
        # What cannot be replaced is taken to be read: flags, and defaults of arguments.
        flags = [name for name in names if name in known.values and name not in places]
        drawn = [name for name in self._snapshot.drawn() if not is_trusted(name, trusted)]
        if drawn:
            where = line_naming(known.functions, drawn[0].split("."))
            self.alarm = f"{_at(where)}{_DRAWN.format(drawn[0])}; {_TRUST.format(drawn[0])}"
        elif flags:
            self.alarm = _worded((flags[0], None), LOST)

    def reads(self, places: Mapping[str, Place], what: str) -> str | None:
        """What is to be said if the step reads one of these before it writes it."""
        found = self.reading(places)
        return None if found is None else _worded(found, what)

    def reading(self, places: Mapping[str, Place]) -> tuple[str, str | None] | None:
        """Name and line of the first of these that the step reads before it writes it."""
        if not places or self.error is not None:
            return None
        values = {name: _Untouchable(name) for name in places}
        try:
            for name, place in places.items():
                place.put(values[name])
            agree(self._expected, self._step(self._train), self.noise)
        except (_Read, Exception):  # noqa: BLE001 - whatever a missing value leads to
            found = [object.__getattribute__(value, "_found") for value in values.values()]
            return next(((name, where[0]) for name, where in found if where), (next(iter(places)), None))
        finally:
            self._snapshot.put_back()
        return None


def unexported(module: nn.Module, loss: Callable[[], torch.Tensor], trusted: Sequence[str]) -> str | None:
    """Why an exported graph would not do, although it may seem to for most batches; ``None`` if it would.

    Args:
        module: The module.
        loss: Computes a loss, with a graph.
        trusted: As for :func:`look`.
    """
    acting = "acts on gradients, maybe on few, and only while they flow through the original"
    for name, part in module.named_modules():
        if (part._backward_hooks or part._backward_pre_hooks) and not is_trusted(name, trusted):
            return f"a backward hook of {name or 'the module'!r} {acting}; {_TRUST.format(name)}"
    with _Listening() as listening:
        graph = loss()
    for node in nodes_of(graph):
        function = getattr(type(node), "_forward_cls", None)
        if function is None or function is BackwardHookFunction or is_library(function.__module__):
            continue
        name = function.__qualname__
        if not is_trusted(name, trusted):
            where = line_of_code(function.backward.__code__)
            return f"{where}: the autograd function {name} {acting}; {_TRUST.format(name)}"
    if listening.hooked is not None and not is_trusted("register_hook", trusted):
        return f"{listening.hooked}: a hook {acting}; {_TRUST.format('register_hook')}"
    return None


def is_trusted(name: str, trusted: Iterable[str]) -> bool:
    """Whether the user says that something does not matter."""
    return any(re.fullmatch(pattern, name) for pattern in trusted)


class _Listening(TorchFunctionMode):
    """Notes hooks of tensors that are registered inside the block by the user's code."""

    hooked: str | None = None

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.register_hook and self.hooked is None:
            self.hooked = line_of_frame(sys._getframe(1))
        return function(*args, **(kwargs or {}))


class _Read(BaseException):
    """A value was read that must not be; not an ``Exception``, which the user's code may catch."""


class _Untouchable:
    """Stands in for a value, and stops whoever uses it."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_found", (name, []))


def _stop(value: Any, *_args: Any, **_kwargs: Any) -> Any:
    _, where = object.__getattribute__(value, "_found")
    where.append(line_of_frame(sys._getframe(1)))
    raise _Read


def _look_up(value: Any, name: str) -> Any:
    # What isinstance and the like ask of everything tells nothing.
    return object.__getattribute__(value, name) if name in ("__class__", "_found") else _stop(value)


def _compute_with(_cls: type, _function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
    given = [*args, *(kwargs or {}).values()]
    inner = [entry for value in given if isinstance(value, (list, tuple)) for entry in value]
    _stop(next(value for value in (*given, *inner) if type(value) is _Untouchable))


for _name in (
    *("bool", "len", "iter", "next", "call", "contains", "getitem", "setitem", "delitem", "hash", "index", "int"),
    *("float", "complex", "str", "repr", "format", "neg", "pos", "abs", "invert", "enter", "exit", "array"),
    *("eq", "ne", "lt", "le", "gt", "ge", "setattr", "round"),
    *(
        f"{side}{name}"
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
        for side in ("", "r", "i")
    ),
):  # fmt: skip
    setattr(_Untouchable, f"__{_name}__", _stop)
_Untouchable.__getattribute__ = _look_up  # type: ignore[method-assign]
_Untouchable.__torch_function__ = classmethod(_compute_with)  # type: ignore[attr-defined]


def _aliases(snapshot: Snapshot, places: Mapping[str, Place]) -> dict[str, Place]:
    """Tensors that are no part of the state, but of its memory."""
    module = snapshot.module
    own, state = storages(module), {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    values = ((name, place, place.get()) for name, place in places.items())
    return {name: place for name, place, value in values if id(value) not in state and _lies_in(value, own)}


def _lies_in(value: Any, memory: Collection[int]) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not value.is_meta
        and value.numel() > 0
        and value.untyped_storage().data_ptr() in memory
    )


def _worded(found: tuple[str, str | None], what: str) -> str:
    name, where = found
    return f"{_at(where)}{what.format(name)}; {_TRUST.format(re.escape(name))}"


def _at(where: str | None) -> str:
    return f"{where}: " if where else ""
