"""Gathering variables over an epoch where a part of one would be worth nothing, and is left out instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from emloop.errors import MissingVariableError, VariableTypeError
from emloop.types import Batch, StateTree

from .batches import located, missing_from_batch

_ABSENT = object()


class _Gatherer(Protocol):
    """Takes a variable's values, batch by batch."""

    def add(self, value: Any) -> None: ...

    def state(self) -> StateTree: ...

    def load(self, state: StateTree) -> None: ...


G = TypeVar("G", bound=_Gatherer)


class Gathering(Generic[G]):
    """Gathers variables of an epoch's batches, each stream by itself.

    Args:
        names: Names of the variables.
        make: Makes what gathers one variable of one stream.
        required: Whether every batch must have the variables; otherwise one without them is passed over.
        problem: Called with stream, variable and error. If it does not raise, the variable is left out of this epoch.
    """

    def __init__(
        self,
        names: Iterable[str],
        make: Callable[[], G],
        *,
        required: bool,
        problem: Callable[[str, str, MissingVariableError | VariableTypeError], None],
    ) -> None:
        self._names = list(names)
        self._make = make
        self._required = required
        self._problem = problem
        self.forget()

    def forget(self) -> None:
        """Begin a new epoch."""
        self._gathered: dict[str, dict[str, G | None]] = {}

    def add(self, stream_name: str, batch_data: Batch) -> None:
        """Take a batch's values."""
        gathered = self._gathered.get(stream_name) or self._begin(stream_name)
        for name, gatherer in gathered.items():
            if gatherer is None:
                continue
            value = batch_data.get(name, _ABSENT)
            try:
                if value is not _ABSENT:
                    gatherer.add(value)
                elif self._required:
                    raise missing_from_batch(batch_data, stream_name, name)
            except MissingVariableError as error:
                gathered[name] = None
                self._problem(stream_name, name, error)
            except VariableTypeError as error:
                gathered[name] = None
                self._problem(stream_name, name, located(error, stream_name, name))

    def _begin(self, stream_name: str) -> dict[str, G | None]:
        return self._gathered.setdefault(stream_name, {name: self._make() for name in self._names})

    def of(self, stream_name: str) -> Mapping[str, G | None]:
        """What was gathered of a stream, by variable; ``None`` for those left out."""
        return self._gathered.get(stream_name, {})

    def state(self) -> StateTree:
        """What was gathered of the unfinished epoch."""
        return {
            stream_name: {name: _state_of(gatherer) for name, gatherer in gathered.items()}
            for stream_name, gathered in self._gathered.items()
        }

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` returned; variables that are no longer gathered are dropped."""
        self.forget()
        for stream_name, states in state.items():
            for name, gatherer in self._begin(stream_name).items():
                if states.get(name) is None:
                    self._gathered[stream_name][name] = None  # only the rest of it could be gathered
                elif gatherer is not None:
                    gatherer.load(states[name])


def _state_of(gatherer: _Gatherer | None) -> StateTree:
    try:
        return None if gatherer is None else gatherer.state()
    except VariableTypeError:
        # An array on a device is looked at only now. A hook's state is not the place to complain.
        return None
