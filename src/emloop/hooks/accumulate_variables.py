"""Gather variables over an epoch, for hooks that need all of their values at its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from emloop._contracts import AbstractHook
from emloop.declare import Variable
from emloop.errors import StateError, VariableTypeError
from emloop.types import Batch, EpochData, StateTree

from ._checks.arguments import name_list, optional_name_list
from ._checks.states import check_keys
from ._statistics.reductions import Values
from ._variables.batches import as_numbers, located, missing_from_batch
from ._variables.examples import Examples

__all__ = ["AccumulateVariables"]


class AccumulateVariables(AbstractHook):
    """Gather the listed variables of every batch; to be extended.

    ``self._accumulator[stream][variable]`` is the sequence of all examples' values since the last epoch's end. It
    behaves as a list; ``numpy.asarray`` makes one array of it at once. A subclass reads it in ``after_epoch`` and then
    calls ``super().after_epoch(...)``, which forgets everything.

    Args:
        variables: Names of the variables.
        streams: Names of the streams; all others are ignored. By default every stream must have the variables.
    """

    reads: ClassVar[Sequence[NamedTuple]] = (Variable("{variables}", stream="{streams}"),)
    writes: ClassVar[Sequence[NamedTuple]] = ()

    def __init__(self, variables: Iterable[str], streams: Iterable[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._variables = name_list("variables", variables)
        self._streams = optional_name_list("streams", streams)
        self._forget()

    def _forget(self) -> None:
        self._accumulator: dict[str, dict[str, Examples]] = defaultdict(lambda: defaultdict(Examples))
        self._takers: dict[str, Sequence[tuple[str, Callable[[Any], None]]]] = {}

    def _observes(self, stream_name: str) -> bool:
        return self._streams is None or stream_name in self._streams

    def _takers_of(self, stream_name: str) -> Sequence[tuple[str, Callable[[Any], None]]]:
        """What takes a stream's batches: pairs of a variable and a function that takes its values."""
        examples = self._accumulator[stream_name]
        return [(name, examples[name].add) for name in self._variables]

    def _numbers(self, stream_name: str, name: str) -> Values:
        """A gathered variable as one array of numbers."""
        try:
            return as_numbers(self._accumulator[stream_name][name])
        except VariableTypeError as error:
            raise located(error, stream_name, name) from error

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Take the batch's values.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            VariableTypeError: If a variable does not hold a value for every example.
        """
        takers = self._takers.get(stream_name)
        if takers is None:
            takers = self._takers[stream_name] = self._takers_of(stream_name) if self._observes(stream_name) else ()
        name = ""
        try:
            for name, take in takers:
                take(batch_data[name])
        except KeyError:
            if name in batch_data:
                raise
            raise missing_from_batch(batch_data, stream_name, name) from None
        except VariableTypeError as error:
            raise located(error, stream_name, name) from error

    def after_epoch(self, epoch_id: int = 0, epoch_data: EpochData | None = None) -> None:
        """Forget everything that was gathered."""
        self._forget()

    def state_dict(self) -> StateTree:
        """What was gathered of the unfinished epoch."""
        return {
            "accumulated": {
                stream: {name: examples.state() for name, examples in variables.items()}
                for stream, variables in self._accumulator.items()
                if any(map(len, variables.values()))
            }
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on gathering where an equal hook stopped.

        Raises:
            StateError: If the state has other streams or variables than the hook gathers.
        """
        accumulated = check_keys(self, state, ["accumulated"])["accumulated"]
        self._forget()
        for stream, variables in accumulated.items():
            if not self._observes(stream) or set(variables) != set(self._variables):
                raise StateError(
                    f"{type(self).__name__}: the state has {', '.join(map(repr, variables))} of stream {stream!r}; "
                    f"the hook gathers {', '.join(map(repr, self._variables)) or 'nothing'}"
                    f" of {'every stream' if self._streams is None else ', '.join(map(repr, self._streams))}"
                )
            for name, parts in variables.items():
                self._accumulator[stream][name].load(parts)
