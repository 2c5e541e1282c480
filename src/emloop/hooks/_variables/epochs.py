"""The variables of ``epoch_data``, with errors that name what is there.

A value is a scalar, a mapping of aggregations (``mean``, ``max``, …) to scalars, or anything else that only its reader
understands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Number, Real
from typing import Any

import numpy as np

from emloop._support.suggest import did_you_mean
from emloop.errors import HookError, MissingVariableError, VariableTypeError
from emloop.types import EpochData


def as_scalar(value: Any) -> Any:
    """The number or text that a value is, or ``None``; an array without axes counts as its element."""
    if isinstance(value, (Number, str, bytes, np.generic)):
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return as_scalar(value.item())
    return None


def as_real(value: Any) -> Any:
    """The real number that a value is, NumPy's own included, or ``None``."""
    scalar = as_scalar(value)
    return scalar if isinstance(scalar, (Real, np.bool_)) else None


def read_value(epoch_data: EpochData, stream: str, variable: str) -> Any:
    """Return whatever a hook has left for a variable.

    Raises:
        MissingVariableError: If there is no such stream or variable; lists those there are.
    """
    if stream not in epoch_data:
        raise missing_from_epoch("stream", stream, epoch_data)
    variables = epoch_data[stream]
    if variable not in variables:
        raise missing_from_epoch(f"stream {stream!r}: variable", variable, variables)
    return variables[variable]


def read_scalar(epoch_data: EpochData, stream: str, variable: str) -> Any:
    """Return the number that stands for a variable: the value itself, or its ``mean``.

    Raises:
        MissingVariableError: If there is no such stream or variable.
        VariableTypeError: If the value is neither a number nor a mapping with a ``mean``.
    """
    value = read_value(epoch_data, stream, variable)
    if isinstance(value, Mapping) and "mean" in value:
        value = value["mean"]
    number = as_real(value)
    if number is None:
        raise VariableTypeError(
            f"stream {stream!r}: variable {variable!r}: expected a number or a mapping with 'mean', "
            f"got {type(value).__name__}: {value!r:.80}"
        )
    return number


def read_monitored(epoch_data: EpochData, stream: str, variable: str, aggregation: str | None) -> float:
    """Return the number by which epochs are compared, as one of Python's.

    Args:
        epoch_data: The epoch's data.
        stream: Name of the stream.
        variable: Name of the variable.
        aggregation: Which of its aggregations counts. A plain number counts as its ``mean``; empty: only that will do.

    Raises:
        MissingVariableError: If no hook has written the variable, or not this aggregation of it.
        VariableTypeError: If the variable has no aggregations.
        HookError: If the value is not a number.
    """
    value = read_value(epoch_data, stream, variable)
    where = f"stream {stream!r}: variable {variable!r}"
    # A plain value is as good as its mean.
    if aggregation and (aggregation != "mean" or as_real(value) is None):
        if not isinstance(value, Mapping):
            raise VariableTypeError(
                f"{where}: expected a mapping with {aggregation!r}, got {type(value).__name__}: {value!r:.80}"
            )
        if aggregation not in value:
            raise missing_from_epoch(f"{where}: aggregation", aggregation, value)
        value = value[aggregation]
    number = as_real(value)
    if number is None:
        raise HookError(f"{where}: expected a number, got {type(value).__name__}: {value!r:.80}")
    return number.item() if isinstance(number, np.generic) else number  # type: ignore[no-any-return]


def missing_from_epoch(what: str, name: str, there: Iterable[str]) -> MissingVariableError:
    """The error for something that no hook has written in this epoch."""
    names = list(map(str, there))
    hint = "".join(f"; {text}" for text in did_you_mean(name, names))
    return MissingVariableError(
        f"{what} {name!r} is not in the epoch's data, which has {', '.join(map(repr, names)) or 'nothing'}; "
        f"the hook that writes it must stand earlier in the list{hint}"
    )
