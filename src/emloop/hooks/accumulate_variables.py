"""Gather variables over an epoch, for hooks that need all of their values at its end."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, ClassVar, NamedTuple

from emloop._contracts import AbstractHook
from emloop._state.kinds import check_state
from emloop.declare import Names, Variable
from emloop.errors import StateError, VariableTypeError
from emloop.types import Batch, EpochData, StateTree

from ._checks.arguments import name_list, optional_name_list
from ._statistics.reductions import Values
from ._statistics.weights import as_weights
from ._variables.batches import as_numbers, located
from ._variables.examples import Examples
from ._variables.gathering import Gathering

__all__ = ["AccumulateVariables"]


class AccumulateVariables(AbstractHook):
    """Gather the listed variables of every batch; to be extended.

    ``self._accumulator[stream][variable]`` is the sequence of all examples' values since the last epoch's end. It
    behaves as a list; ``numpy.asarray`` makes one array of it at once. A subclass reads it in ``after_epoch`` and then
    calls ``super().after_epoch(...)``, which forgets everything. What weighs a variable, as the model's ``weights``
    say, is gathered as well, under its own name.

    Args:
        variables: Names of the variables.
        streams: Names of the streams; all others are ignored. By default every stream must have the variables.
    """

    reads: ClassVar[Sequence[NamedTuple]] = (Variable("{variables}", stream="{streams}"),)
    writes: ClassVar[Sequence[NamedTuple]] = ()

    def __init__(self, variables: Names, streams: Names | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._variables = name_list("variables", variables)
        self._streams = optional_name_list("streams", streams)
        self._examples = Gathering(self._variables, lambda _: Examples(), weights=self._weights)
        self._gatherings: list[Gathering[Any]] = [self._examples] if self._variables else []

    @property
    def _accumulator(self) -> Mapping[str, Mapping[str, Examples]]:
        return self._examples.gathered

    def _observes(self, stream_name: str) -> bool:
        return self._streams is None or stream_name in self._streams

    def _numbers(self, stream_name: str, name: str) -> Values:
        """A gathered variable as one array of numbers."""
        try:
            return as_numbers(self._accumulator[stream_name][name])
        except VariableTypeError as error:
            raise located(error, stream_name, name) from error

    def _weights(self) -> Mapping[str, str]:
        return {} if self._main_loop is None else self._main_loop.weights

    def _weight_of(self, stream_name: str, name: str, shape: tuple[int, ...]) -> Values | None:
        """The weight of a gathered variable, ``float64``, spread to the variable's shape; ``None`` without one."""
        weight = self._weights().get(name)
        if weight is None:
            return None
        try:
            return as_weights(self._accumulator[stream_name][weight], shape)
        except VariableTypeError as error:
            raise located(error, stream_name, weight) from error

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Take the batch's values.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            VariableTypeError: If a variable does not hold a value for every example.
        """
        if self._streams is None or stream_name in self._streams:
            for gathering in self._gatherings:
                gathering.add(stream_name, batch_data)

    def after_epoch(self, epoch_id: int = 0, epoch_data: EpochData | None = None) -> None:
        """Forget everything that was gathered."""
        for gathering in self._gatherings:
            gathering.forget()

    def after_evaluation(self, batches: int, epoch_data: EpochData) -> None:
        """Write what a subclass has to say of these streams, and forget what was gathered of them."""
        self._describe_streams(epoch_data)
        for gathering in self._gatherings:
            gathering.forget(epoch_data)

    def _describe_streams(self, epoch_data: EpochData) -> None:
        for stream_name, data in epoch_data.items():
            if self._observes(stream_name):
                self._describe_stream(stream_name, data)

    def _describe_stream(self, stream_name: str, data: MutableMapping[str, Any]) -> None:
        """Write into a stream's part of the epoch's data what there is to say of it; by default nothing."""

    def state_dict(self) -> StateTree:
        """What was gathered of the unfinished epoch."""
        return {"accumulated": self._examples.state()}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on gathering where an equal hook stopped.

        Raises:
            StateError: If the state has other streams or variables than the hook gathers.
        """
        accumulated = check_state(self, state, {"accumulated": {str: {str: object}}})["accumulated"]
        for stream, variables in accumulated.items():
            if not self._observes(stream) or set(variables) != set(self._accumulator[stream]):
                raise StateError(
                    f"{type(self).__name__}: the state has {', '.join(map(repr, variables))} of stream {stream!r}; "
                    f"the hook gathers {', '.join(map(repr, self._variables)) or 'nothing'}"
                    f" of {'every stream' if self._streams is None else ', '.join(map(repr, self._streams))}"
                )
        self._examples.load(accumulated)
