"""Metrics by the names that scikit-learn, torchmetrics, or code of one's own give them.

Exact over the epoch: a function sees all examples at once, an object is updated batch by batch and computes in the end.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from emloop._registry import read_component
from emloop._state.kinds import check_state
from emloop.declare import Component, Family, Names, Scalar, Variable
from emloop.errors import BatchError, HookError, StateError, VariableTypeError
from emloop.types import Batch, EpochData, StateTree

from ._statistics.confusion import asked
from ._statistics.measures import (
    Measure,
    Notes,
    Part,
    Updated,
    add_metric_adapter,
    arrays_in,
    as_entry,
    measure_of,
    why_nan,
)
from ._variables.batches import read_variable
from ._variables.gathering import Gathering
from .accumulate_variables import AccumulateVariables

__all__ = ["Metrics", "add_metric_adapter"]

_LOGGER = logging.getLogger(__name__)


class Metric(Family):
    """A function of all examples, or a class whose objects have ``update`` and ``compute``."""

    functions = True
    nested = True
    called: ClassVar = {"inputs": "update"}

    inputs: Mapping[str, str]
    """Argument of the function, or of ``update``: the variable that it is given."""


class Metrics(AccumulateVariables):
    """Compute metrics of scikit-learn, of torchmetrics, or of your own, over all examples of an epoch.

    .. code-block:: yaml

        hooks:
          - Metrics:
              metrics:
                top2:
                  class: sklearn.metrics.top_k_accuracy_score
                  k: 2
                  labels: [0, 1, 2]
                  inputs: {y_true: labels, y_score: probabilities}
                f1:
                  class: torchmetrics.F1Score
                  task: multiclass
                  num_classes: 3
                  inputs: {preds: predictions, target: labels}

    Leaves a value under each name in ``epoch_data[stream]``. Several values (a figure for every class, a confusion
    matrix) become a mapping, by ``classes_names`` where they fit; arrays of more than 1000 numbers stay as they are,
    for the hooks behind.

    A stream without examples gives NaN, and so does a NaN among the inputs. What else is undefined, such as the
    precision of a class that was never predicted, is what the library makes of it; its warnings are logged, once each.
    Where the model says what weighs an input, what weighs 0 is left out, and other weights are handed on as
    ``sample_weight``; a metric that does not take it is named.

    Args:
        metrics: Name → class or function with its arguments, and ``inputs``: argument of the function, or of
            ``update``, → variable. A function is given all examples of an epoch, which are kept until then; an object
            is given the batches, and keeps what it needs.
        streams: Names of the streams; all others are ignored. By default every stream must have the variables.
        classes_names: Names of the classes; by default the dataset's ``classes_names``.
        dataset: The dataset.
    """

    reads = (Variable("{metrics:inputs}", stream="{streams}"),)
    writes = (Scalar("{metrics}", stream="{streams}"),)

    def __init__(
        self,
        metrics: Mapping[str, Component[Metric]],
        streams: Names | None = None,
        *,
        classes_names: Sequence[str] | None = None,
        dataset: object = None,
    ) -> None:
        described = {name: ("metrics", name) for name in metrics}
        self._measures = {
            name: measure_of(_described(read_component(Metric, metrics[name], keys), keys), keys)
            for name, keys in described.items()
        }
        updated = {name: measure for name, measure in self._measures.items() if not measure.is_function}
        called = [measure for name, measure in self._measures.items() if name not in updated]
        super().__init__(list(dict.fromkeys(v for measure in called for v in measure.inputs.values())), streams)
        self._updates = _Updates(updated, self._weights)
        if updated:
            self._gatherings.append(self._updates)
        self._classes_names = asked(dataset, "classes_names") if classes_names is None else classes_names
        self._told: set[tuple[str, ...]] = set()

    # The main loop calls events with keywords; who calls this one directly has always given the data first.
    def after_epoch(self, epoch_data: EpochData, epoch_id: int = 0) -> None:  # type: ignore[override]
        """Write the metrics of every stream of the epoch.

        Raises:
            HookError: If a name is taken already, or a metric refuses its inputs.
        """
        self._describe_streams(epoch_data)
        super().after_epoch(epoch_id, epoch_data)

    # Named again, since hooks that change only `after_epoch` take no part in evaluations inside an epoch.
    after_evaluation = AccumulateVariables.after_evaluation

    def _describe_stream(self, stream_name: str, data: MutableMapping[str, Any]) -> None:
        for name, measure in self._measures.items():
            if name in data:
                raise HookError(f"stream {stream_name!r}: there is a variable {name!r} in the epoch's data already")
            notes: Notes = {}
            with _located(stream_name, name):
                found = self._value(stream_name, name, measure, notes)
            data[name] = as_entry(found, list(map(str, self._classes_names or ())))
            if any(True for _ in arrays_in(data[name])):
                notes["it is of more numbers than files take, so it is for the hooks behind only"] = None
            for note in notes:
                alike = re.sub(r"\d[\d, ]*", "", note)  # other classes may be missing in every epoch
                if (stream_name, name, alike) not in self._told:
                    self._told.add((stream_name, name, alike))
                    _LOGGER.warning("stream %r: %s: %s", stream_name, name, note)

    def _value(self, stream_name: str, name: str, measure: Measure, notes: Notes) -> Any:
        if not measure.is_function:
            return self._updates.gathered[stream_name][name].result(notes)
        gathered = self._accumulator[stream_name]
        weight = measure.weight(self._weights())
        values = [gathered[variable] for variable in measure.inputs.values()]
        given = measure.arrays(values, None if weight is None else gathered[weight], notes)
        if undefined := why_nan(given is not None, measure.nan_in(given or {})):
            notes[undefined] = None
            return np.nan
        return measure.value(given or {}, notes)

    def state_dict(self) -> StateTree:
        """What the metrics have seen of the unfinished epoch."""
        return {**super().state_dict(), "updated": self._updates.state()}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on where an equal hook stopped.

        Raises:
            StateError: If the state has other streams or metrics than the hook.
        """
        rest = dict(check_state(self, state, {"accumulated": object, "updated": {str: {str: object}}}))
        updated = rest.pop("updated")
        super().load_state_dict(rest)
        for stream, states in updated.items():
            if not self._observes(stream):
                raise StateError(f"{type(self).__name__}: the state has stream {stream!r}, which the hook ignores")
            check_state(self, states, dict.fromkeys(self._updates.gathered[stream], object))
        self._updates.load(updated)


class _Updates(Gathering[Updated]):
    """The metrics that see every batch, each with all its inputs."""

    def __init__(self, measures: Mapping[str, Measure], weights: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(measures, lambda name: Updated(measures[name]))
        self._measures = measures
        self._weighing = weights

    def add(self, stream_name: str, batch_data: Batch) -> None:
        weights, gathered = self._weighing(), self.gathered[stream_name]
        for name, measure in self._measures.items():
            variables = [*measure.inputs.values(), measure.weight(weights)]
            values = (None if one is None else read_variable(batch_data, stream_name, one) for one in variables)
            with _located(stream_name, name):
                gathered[name].add(tuple(values))


@contextmanager
def _located(stream_name: str, name: str) -> Iterator[None]:
    try:
        yield
    except (BatchError, HookError, VariableTypeError) as error:
        raise type(error)(f"stream {stream_name!r}: {name}: {error}") from error.__cause__


def _described(chosen: Any, keys: tuple[Any, ...]) -> Any:
    """A component whose arguments may describe objects, which every object of it has for itself."""
    arguments = dict(chosen.arguments)
    for name, value in arguments.items():
        if isinstance(value, Mapping) and "class" in value:
            inner = _described(read_component(_Part, value, (*keys, name)), (*keys, name))
            arguments[name] = Part(inner.cls, inner.arguments)
    return chosen._replace(arguments=arguments)


class _Part(Family):
    """What an argument of a metric is made of."""

    word = "part of a metric"
    functions = True
    nested = True
