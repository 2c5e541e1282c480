"""Metrics of other libraries: what they are given, how they see an epoch, and what becomes of their values.

A *function* is called once, with all examples of the epoch. An *object* is shown every batch by ``update``, and asked
by ``compute`` in the end; it is made anew for every stream and epoch. Both are given NumPy's arrays, and what a backend
knows to want arrays of its own is adapted, see :func:`add_metric_adapter`.

``B`` is the number of examples; where weights have further axes, each of their positions is an example.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from emloop._registry import Chosen, import_backends_in_use
from emloop._state.kinds import check_state
from emloop.errors import BatchError, ConfigError, HookError, VariableTypeError
from emloop.types import StateTree

from .._variables.batches import MOST_WAITING, fetched, lives_on_device, no_examples, with_known_floats
from .._variables.epochs import as_scalar
from .weights import as_weights

__all__ = ["Measure", "Part", "Updated", "add_metric_adapter", "arrays_in", "as_entry", "measure_of", "why_nan"]

Adapter: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any] | None]
Notes: TypeAlias = dict[str, None]
"""What there is to say of a value, in order, once each."""

_FAILURES = (ArithmeticError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)
_METHODS = ("update", "compute", "state_dict", "load_state_dict")
_WEIGHT = "sample_weight"
_MOST_NAMED = 1000

_adapters: list[Adapter] = []


def add_metric_adapter(adapter: Adapter) -> None:
    """Ask a function about the metrics that configurations name: a backend registers one for its framework's arrays.

    Args:
        adapter: Returns a class, or a function, that takes and gives NumPy's arrays in place of the one it is given, or
            ``None`` for what it does not know.
    """
    if adapter not in _adapters:
        _adapters.append(adapter)


class Part(NamedTuple):
    """What makes an object anew whenever it is called, with new parts, so that no two of them share what they count.

    Args:
        make: A class, or a function.
        arguments: Its arguments, some of which may be parts.
    """

    make: Callable[..., Any]
    arguments: Mapping[str, Any]

    def __call__(self, **others: Any) -> Any:
        given = {name: value() if isinstance(value, Part) else value for name, value in self.arguments.items()}
        return self.make(**others, **given)


class Measure(NamedTuple):
    """A metric of a configuration.

    Args:
        name: What the library calls it.
        call: The function, or what makes the object, without further arguments.
        inputs: Argument → variable.
        is_function: Whether it is called once.
        takes_weight: Whether it takes weights of examples that the configuration does not give.
        takes_nan: Whether it is told itself what to do about NaN.
    """

    name: str
    call: Part
    inputs: Mapping[str, str]
    is_function: bool
    takes_weight: bool
    takes_nan: bool

    def weight(self, weights: Mapping[str, str]) -> str | None:
        """The variable that weighs the examples: that of the first input that has one.

        Args:
            weights: Variable → the one that weighs it.
        """
        return next((weights[name] for name in self.inputs.values() if name in weights), None)

    def arrays(self, values: Sequence[Any], weight: Any, notes: Notes) -> dict[str, Any] | None:
        """What to call it with; ``None`` if there are no examples.

        Args:
            values: Those of the inputs, ``B`` each.
            weight: Their weight; ``None`` if all weigh the same.
            notes: Where to add what there is to say.

        Raises:
            BatchError: If the inputs differ in ``B``.
            VariableTypeError: If they are neither numbers nor texts, or what weighs them is no weight.
        """
        arrays = {name: _as_array(value) for name, value in zip(self.inputs, values, strict=True)}
        first = next(iter(arrays.values()))
        if any(len(array) != len(first) for array in arrays.values()):
            counts = ", ".join(f"{len(array)} for {name!r}" for name, array in arrays.items())
            raise BatchError(f"{self.name}: the inputs have not the same number of examples: {counts}")
        if weight is None:
            return arrays if len(first) else None
        given = np.asarray(weight)
        weights = as_weights(given, first.shape[: max(1, given.ndim)])
        arrays = {name: _of_positions(name, array, weights) for name, array in arrays.items()}
        weights = weights[weights > 0]
        if not (weights == 1).all():
            if self.takes_weight:
                return {**arrays, _WEIGHT: weights}
            notes[f"{self.name} takes no {_WEIGHT}, so that all examples of a weight above 0 count the same"] = None
        return arrays if weights.size else None

    def nan_in(self, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
        """The first variable that holds NaN; empty if there is none, or the metric is told what to do about it."""
        holding = (name for name, array in arrays.items() if array.dtype.kind == "f" and np.isnan(array).any())
        return "" if self.takes_nan else next((self.inputs[name] for name in holding), "")

    def value(self, given: Mapping[str, Any], notes: Notes) -> Any:
        """What the function says of all examples.

        Raises:
            HookError: If it fails.
        """
        with _heard(self.name, notes):
            return self.call(**given)


class Updated:
    """A metric that sees a stream's batches one by one.

    Args:
        measure: The metric.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._waiting: list[tuple[Any, ...]] = []
        self._has_rows = False
        self._nan_in = ""
        self._notes: Notes = {}
        with _heard(measure.name, {}):
            self._metric = measure.call()

    def add(self, values: tuple[Any, ...]) -> None:
        """Take a batch: the values of the inputs, then their weight, or ``None``.

        They are copied, since a model may reuse its buffers, or kept for a while if they live on a device.
        """
        kept = tuple(value.copy() if isinstance(value, np.ndarray) else value for value in values)
        if any(map(lives_on_device, kept)):
            self._waiting.append(kept)
            if len(self._waiting) == MOST_WAITING:
                self._fetch()
        else:
            self._fetch()
            self._update(kept)

    def _fetch(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            for values in zip(*map(fetched, zip(*waiting, strict=True)), strict=True):
                self._update(values)

    def _update(self, values: tuple[Any, ...]) -> None:
        given = None if self._nan_in else self._measure.arrays(values[:-1], values[-1], self._notes)
        if given is None:
            return
        self._has_rows = True
        self._nan_in = self._measure.nan_in(given)
        if not self._nan_in:
            with _heard(self._measure.name, self._notes):
                self._metric.update(**given)

    def result(self, notes: Notes) -> Any:
        """What the metric says of all batches; NaN where it saw nothing, or a NaN.

        Raises:
            HookError: If it fails.
        """
        self._fetch()
        notes |= self._notes
        if undefined := why_nan(self._has_rows, self._nan_in):
            notes[undefined] = None
            return np.nan
        with _heard(self._measure.name, notes):
            return self._metric.compute()

    def state(self) -> StateTree:
        """What the metric remembers."""
        self._fetch()
        return {"metric": self._metric.state_dict(), "has_rows": self._has_rows, "nan_in": self._nan_in}

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` of an equal metric returned.

        Raises:
            StateError: If it is that of another metric.
        """
        check_state(self._measure.name, state, {"metric": object, "has_rows": bool, "nan_in": str})
        self._metric.load_state_dict(state["metric"])
        self._has_rows, self._nan_in = state["has_rows"], state["nan_in"]


def why_nan(has_rows: bool, nan_in: str) -> str:
    """What to say of a metric that is not computed; empty if it is."""
    if not has_rows:
        return "no example counts, so it is NaN"
    return f"{nan_in!r} holds NaN, so it is NaN" if nan_in else ""


def measure_of(chosen: Chosen, keys: tuple[Any, ...]) -> Measure:
    """The metric that a configuration names.

    Args:
        chosen: Its class or function, with its arguments.
        keys: Where it stands.

    Raises:
        ConfigError: If it cannot be made, or does not take its inputs.
    """
    import_backends_in_use()  # that of a framework which the metric has just brought may know it
    adapted = (adapter(chosen.cls) for adapter in _adapters)
    found = next((one for one in adapted if one is not None), chosen.cls)
    inputs: Mapping[str, str] = chosen.beside["inputs"]
    name, is_function = chosen.cls.__name__, not isinstance(chosen.cls, type)
    call, taker, bound = Part(found, chosen.arguments), found, chosen.arguments
    if not is_function:
        try:
            with _heard(name, {}):
                made = call()
        except (HookError, ImportError) as error:
            raise ConfigError.about(keys, str(error)) from error
        missing = [method for method in _METHODS if not hasattr(made, method)]
        if missing:
            message = (
                f"{name} has no {', no '.join(missing)}: a metric is shown batches, computes, and is resumed by these"
            )
            raise ConfigError.about((*keys, "class"), message)
        taker, bound = made.update, {}
    if both := next((one for one in inputs if one in bound), None):
        raise ConfigError.about((*keys, both), "is an input as well; leave out one of the two")
    signature = inspect.signature(taker)
    try:
        signature.bind(**inputs, **bound)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise ConfigError.about((*keys, "inputs"), f"{name}: {error}", f"it takes: {takes}") from error
    takes_weight = _WEIGHT in signature.parameters and _WEIGHT not in {**inputs, **bound}
    takes_nan = "nan_strategy" in inspect.signature(chosen.cls).parameters
    return Measure(name, call, inputs, is_function, takes_weight, takes_nan)


def as_entry(value: Any, classes: Sequence[str]) -> Any:
    """A metric's value for ``epoch_data``: a number, a text, or a mapping to such.

    Arrays become mappings from the names of classes, where they have one for each, else from indices; larger ones stay.

    Args:
        value: What the metric returned.
        classes: Names of the classes, if they are known.
    """
    if (scalar := as_scalar(value)) is not None:
        return scalar.item() if isinstance(scalar, np.generic) else scalar
    if isinstance(value, Mapping):
        return {str(key): as_entry(item, classes) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: as_entry(item, classes) for name, item in zip(value._fields, value, strict=True)}
    if not isinstance(value, (list, tuple, np.ndarray)) or getattr(value, "size", 0) > _MOST_NAMED:
        return value
    names = classes if len(classes) == len(value) and isinstance(value, np.ndarray) else map(str, range(len(value)))
    return {name: as_entry(item, classes) for name, item in zip(names, value, strict=True)}


def arrays_in(entry: Any) -> Iterator[npt.NDArray[Any]]:
    """The arrays that an entry holds, which no file takes."""
    if isinstance(entry, np.ndarray):
        yield entry
    elif isinstance(entry, Mapping):
        for item in entry.values():
            yield from arrays_in(item)


def _as_array(value: Any) -> npt.NDArray[Any]:
    try:
        array = with_known_floats(np.asarray(value))
    except ValueError as error:
        raise VariableTypeError(f"expected values that form an array: {error}") from error
    if not array.ndim:
        raise no_examples(value)
    if array.dtype.kind not in "biufUS":
        raise VariableTypeError(f"expected numbers or texts, got {array.dtype} values such as {array.flat[0]!r:.80}")
    return array


def _of_positions(name: str, array: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """What counts, one example for each position of the weights."""
    axes = weights.ndim
    if array.shape[:axes] != weights.shape:
        message = f"{name!r} has the shape {list(array.shape)}, which does not fit {list(weights.shape)} of the weights"
        raise VariableTypeError(message)
    found: npt.NDArray[Any] = array[weights > 0]
    return found


@contextmanager
def _heard(name: str, notes: Notes) -> Iterator[None]:
    """Around the library's code: its warnings become notes, its complaints errors of one line.

    Raises:
        HookError: For what it raises.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except _FAILURES as error:
        raise HookError(f"{name}: {' '.join(str(error).split()) or type(error).__name__}") from error
    notes |= {" ".join(str(warning.message).split()): None for warning in caught}
