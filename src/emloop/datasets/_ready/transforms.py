"""A user's changes of examples and batches, with random numbers that depend on nothing but the place in the pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from emloop._registry import find_class
from emloop._settings.fitting import component_parts
from emloop._settings.live import kind_of
from emloop._settings.making import made
from emloop._support.suggest import did_you_mean
from emloop.declare import Family, Names
from emloop.errors import BatchError, ConfigError
from emloop.types import Batch

__all__ = ["Draws", "Step", "Transform", "stacked", "steps_of", "transformed"]


class Transform(Family):
    """A function of an example or a batch and a generator; or a class whose objects are called so."""

    functions: ClassVar[bool] = True
    given: ClassVar[Sequence[str]] = ("example", "batch", "rng")

    per: Literal["example", "batch"] = "example"
    """Whether it is called with one example at a time, or with a batch."""

    inputs: Names | None = None
    """What the object that is made, such as a tokenizer, is called with instead, in this order; its result is added."""

    call: Mapping[str, Any] | None = None
    """Arguments of that call, by name."""


class Step(NamedTuple):
    """A transform, ready to be called.

    Args:
        name: What the configuration calls it.
        call: Takes an example or a batch, and a generator; returns the new one.
        per_batch: Whether it takes a batch.
    """

    name: str
    call: Callable[[Any, np.random.Generator], Any]
    per_batch: bool


def steps_of(components: Sequence[Any], keys: tuple[Any, ...]) -> list[Step]:
    """The transforms that a configuration describes, each by its name or as a mapping.

    Args:
        components: The descriptions.
        keys: Where they stand.

    Raises:
        ConfigError: If what is to be called by names cannot be made, or called so.
    """
    kind = kind_of(Transform)
    found = []
    for number, component in enumerate(components):
        name, arguments, beside = component_parts(component, kind)
        cls = find_class(name, kind)
        if beside.get("inputs") or beside.get("call"):
            with made((*keys, number), cls, arguments):
                called = cls(**arguments)
            call = _by_names(name, called, beside, (*keys, number))
        else:
            call = cls(**arguments) if isinstance(cls, type) else partial(cls, **arguments)
        found.append(Step(name, call, beside.get("per") == "batch"))
    return found


def _by_names(name: str, called: Any, beside: Mapping[str, Any], keys: tuple[Any, ...]) -> Callable[[Any, Any], Any]:
    """The transform that adds what an object returns for some of the names."""
    inputs, named = beside.get("inputs") or (), beside.get("call") or {}
    if not inputs:
        raise ConfigError.about((*keys, "call"), "needs `inputs`, the names of what is handed over")
    if not callable(called):
        raise ConfigError.about(keys, f"{name} makes what cannot be called, {type(called).__name__}")
    try:
        inspect.signature(called).bind(*inputs, **named)
    except ValueError:
        pass  # what is written in C may have no signature
    except TypeError as error:
        takes = f"it takes: {', '.join(inspect.signature(called).parameters)}"
        raise ConfigError.about((*keys, "call"), f"{name}: {error}", takes) from error

    def call(values: Mapping[str, Any], rng: np.random.Generator) -> Any:
        del rng
        for one in inputs:
            if one not in values:
                hints = "".join(f"; {hint}" for hint in did_you_mean(one, values))
                raise BatchError(f"transform {name}: there is no {one!r} among {', '.join(values)}{hints}")
        added = called(*(values[one] for one in inputs), **named)
        return {**values, **added} if isinstance(added, Mapping) else added

    return call


class Draws:
    """Random numbers of the places of a pass.

    Args:
        rng: What those of the pass follow from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._bits = np.random.Philox(key=rng.integers(2**64, size=2, dtype=np.uint64))
        self._start: Any = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def at(self, step: int, place: int) -> np.random.Generator:
        """The generator for a transform and an example, or a batch, of the pass; the one before is of no use then."""
        self._start["state"]["counter"][2:] = step, place
        self._bits.state = self._start
        return self._generator


def transformed(
    batch: Batch, steps: Sequence[Step], draws: Draws, positions: npt.NDArray[np.int64], size: int
) -> Batch:
    """A batch after all transforms.

    Args:
        batch: The batch.
        steps: The transforms.
        draws: Random numbers of the pass.
        positions: ``int64 [B]``, places of the examples in the pass.
        size: Examples in a batch.

    Raises:
        BatchError: If one returns no mapping.
    """
    examples: list[Any] | None = None
    for number, step in enumerate(steps):
        if step.per_batch:
            batch = batch if examples is None else stacked(examples)
            examples = None
            batch = _returned(step, step.call(batch, draws.at(number, int(positions[0]) // size)))
        else:
            if examples is None:
                examples = [{name: values[n] for name, values in batch.items()} for n in range(len(positions))]
            examples = [
                _returned(step, step.call(example, draws.at(number, place)))
                for example, place in zip(examples, positions.tolist(), strict=True)
            ]
    return batch if examples is None else stacked(examples)


def stacked(examples: Sequence[Mapping[str, Any]]) -> Batch:
    """Examples as a batch: arrays of numbers and of arrays of one dtype and shape, lists of anything else.

    Raises:
        BatchError: If they do not have the same names.
    """
    names = examples[0].keys()
    odd = next((example for example in examples if example.keys() != names), None)
    if odd is not None:
        raise BatchError(f"one example holds {', '.join(map(str, odd))}, and another one {', '.join(map(str, names))}")
    return {name: _stacked([example[name] for example in examples]) for name in names}


def _stacked(values: list[Any]) -> Any:
    if not all(isinstance(value, bool | int | float | np.ndarray | np.generic) for value in values):
        return values
    arrays = [np.asarray(value) for value in values]
    first = arrays[0]
    is_one = all(array.dtype == first.dtype and array.shape == first.shape for array in arrays)
    return np.stack(arrays) if is_one and first.dtype != object else values


def _returned(step: Step, found: Any) -> Any:
    if not isinstance(found, Mapping):
        what = "batch" if step.per_batch else "example"
        raise BatchError(
            f"transform {step.name} returned a {type(found).__name__}; it must return the {what}, a mapping"
        )
    return found
