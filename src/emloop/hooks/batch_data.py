"""Reading a variable of a batch, with an error that names what is there."""

from __future__ import annotations

from typing import Any

from emloop._support.suggest import did_you_mean
from emloop.errors import MissingVariableError
from emloop.types import Batch

__all__ = ["missing_from_batch", "read_variable"]


def read_variable(batch_data: Batch, stream_name: str, variable: str) -> Any:
    """The values of a variable in a batch.

    Raises:
        MissingVariableError: If the batch has no such variable; says which it has.
    """
    try:
        return batch_data[variable]
    except KeyError:
        raise missing_from_batch(batch_data, stream_name, variable) from None


def missing_from_batch(batch_data: Batch, stream_name: str, variable: str) -> MissingVariableError:
    """The error for a variable that is not in a batch."""
    there = ", ".join(map(repr, batch_data)) or "nothing"
    hint = "".join(f"; {text}" for text in did_you_mean(variable, map(str, batch_data)))
    return MissingVariableError(
        f"stream {stream_name!r}: no variable {variable!r} in the batch, which has {there}{hint}"
    )
