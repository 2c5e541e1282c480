"""Gathering variables over an epoch, each stream by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar

from emloop._state.kinds import check_state
from emloop.errors import MissingVariableError, VariableTypeError
from emloop.types import Batch, StateTree

from .batches import located, missing_from_batch


class Gatherer(Protocol):
    """Takes a variable's values, and their weights where it was made for these, batch by batch."""

    @property
    def add(self) -> Callable[..., None]: ...

    def state(self) -> StateTree: ...

    def load(self, state: StateTree) -> None: ...


G = TypeVar("G", bound=Gatherer)

_Taker: TypeAlias = tuple[str, str | None, Callable[..., None]]
"""Variable, the one that weighs it, and what takes both."""

Problem: TypeAlias = Callable[[str, str, MissingVariableError | VariableTypeError], None]


class Gathering(Generic[G]):
    """Gathers variables of an epoch's batches.

    Args:
        names: Names of the variables.
        make: Makes what gathers one variable, given its name, of one stream.
        problem: Called with stream, variable and error; by default errors are raised. If it does not raise, the
            variable is left out of this epoch, since a part of it would be worth nothing.
        required: Whether every batch must have the variables; otherwise one without them is passed over.
        weights: Variable → the one that weighs it; asked with a stream's first batch in an epoch.
        make_weighted: Makes what gathers a variable together with its weight. Without it, weights are gathered as
            variables of their own.
    """

    def __init__(
        self,
        names: Iterable[str],
        make: Callable[[str], G],
        problem: Problem | None = None,
        *,
        required: bool = True,
        weights: Callable[[], Mapping[str, str]] = dict,
        make_weighted: Callable[[str], G] | None = None,
    ) -> None:
        self._names = list(names)
        self._make = make
        self._problem = problem
        self._required = required
        self._weights = weights
        self._make_weighted = make_weighted
        self._weighed: Mapping[str, str] = {}
        self.forget()

    def forget(self, streams: Iterable[str] | None = None) -> None:
        """Begin a new epoch, of all streams or of some."""
        if streams is None:
            self.gathered: dict[str, dict[str, G]] = defaultdict(self._begin)
            self._takers: dict[str, list[_Taker]] = {}
        else:
            for stream_name in streams:
                self.gathered.pop(stream_name, None)
                self._takers.pop(stream_name, None)

    def _begin(self) -> dict[str, G]:
        weights = self._weights()
        weights = {name: weights[name] for name in self._names if name in weights}
        if self._make_weighted is None:
            return {name: self._make(name) for name in (*self._names, *weights.values())}
        self._weighed = weights
        return {name: (self._make_weighted if name in weights else self._make)(name) for name in self._names}

    def add(self, stream_name: str, batch_data: Batch) -> None:
        """Take a batch's values.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            VariableTypeError: If a variable's values cannot be gathered.
        """
        try:
            takers = self._takers[stream_name]
        except KeyError:
            takers = self._begin_stream(stream_name)
        for name, weight, take in takers:
            try:
                if weight is None:
                    take(batch_data[name])
                else:
                    take(batch_data[name], batch_data[weight])
            except KeyError:
                missing = next((one for one in (name, weight) if one is not None and one not in batch_data), None)
                if missing is None:  # the values themselves have raised it
                    raise
                if missing == weight or self._required:
                    error = missing_from_batch(batch_data, stream_name, missing)
                    error.__suppress_context__ = True
                    self._leave_out(stream_name, name, error)
            except VariableTypeError as wrong:
                self._leave_out(stream_name, name, located(wrong, stream_name, name))

    def _begin_stream(self, stream_name: str) -> list[_Taker]:
        """What takes the variables of a stream, as long as none is left out."""
        if not self._names:
            return []
        gatherers = self.gathered[stream_name].items()  # a stream's first batch asks for the weights
        takers = [(name, self._weighed.get(name), gatherer.add) for name, gatherer in gatherers]
        self._takers[stream_name] = takers
        return takers

    def _leave_out(self, stream_name: str, name: str, error: MissingVariableError | VariableTypeError) -> None:
        if self._problem is None:
            raise error
        # A new mapping, since the old one is being iterated over.
        others = self.gathered[stream_name].items()
        self.gathered[stream_name] = {other: gatherer for other, gatherer in others if other != name}
        self._takers.pop(stream_name, None)
        self._problem(stream_name, name, error)

    def of(self, stream_name: str) -> Mapping[str, G]:
        """What was gathered of a stream, by variable, less what is left out."""
        return self.gathered.get(stream_name, {})

    def state(self) -> StateTree:
        """What was gathered of the unfinished epoch."""
        states: dict[str, dict[str, StateTree]] = {}
        for stream_name, gathered in self.gathered.items():
            states[stream_name] = {}
            for name, gatherer in gathered.items():
                try:
                    states[stream_name][name] = gatherer.state()
                except VariableTypeError:
                    # An array on a device is looked at only now; where variables may be left out, this is not the
                    # moment to complain.
                    if self._problem is None:
                        raise
        return states

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` returned; a variable that is not in it, or no longer gathered, is left out."""
        self.forget()
        for stream_name, states in check_state("variables", state, {str: {str: object}}).items():
            known = {name: gatherer for name, gatherer in self.gathered[stream_name].items() if name in states}
            self.gathered[stream_name] = known
            for name, gatherer in known.items():
                gatherer.load(states[name])
