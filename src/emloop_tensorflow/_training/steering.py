"""The numbers of a model that hooks may change: the learning rate, and variables that hold one number."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from emloop.errors import MissingVariableError, VariableTypeError
from emloop.suggest import did_you_mean
from emloop_tensorflow._graphs.variables import plain

__all__ = ["read_variable", "write_variable"]

_RATE = "learning_rate"
_SHOWN = 8


def read_variable(name: str, parts: Any) -> float:
    """The value of a number.

    Raises:
        MissingVariableError: If there is none of that name.
    """
    # 0.01 as it was given, where 32 bits hold 0.009999999776.
    return float(str(_number(name, parts).numpy().reshape(())))


def write_variable(name: str, value: float, parts: Any) -> None:
    """Change what :func:`read_variable` tells; a schedule goes on from a rate that is changed.

    Raises:
        MissingVariableError: If there is none of that name.
        VariableTypeError: If it cannot hold the value.
    """
    variable = _number(name, parts)
    if name == _RATE and parts.initial_rate is not None:
        before = float(variable.numpy())
        if before:
            factor = parts.learning["factor"]
            factor.assign(float(factor.numpy()) * value / before)
    elif not variable.dtype.is_floating and value != int(value):
        raise VariableTypeError(f"{name!r} is a variable of {variable.dtype.name}, which cannot hold {value}")
    variable.assign(tf.cast(tf.fill(variable.shape, value), variable.dtype))


def _number(name: str, parts: Any) -> tf.Variable:
    if name == _RATE and parts.initial_rate is not None:
        found: tf.Variable = parts.learning[_RATE]
        return found
    numbers = {own: plain(each) for own, each in parts.variables.items() if plain(each).shape.num_elements() == 1}
    if name not in numbers:
        known = [*([_RATE] if parts.initial_rate is not None else []), *numbers]
        there = ", ".join(map(repr, known[:_SHOWN])) + (", …" if len(known) > _SHOWN else "")
        hints = "".join(f"; {hint}" for hint in did_you_mean(name, known))
        raise MissingVariableError(f"there is no variable {name!r}; there is {there or 'none'}{hints}")
    return numbers[name]
