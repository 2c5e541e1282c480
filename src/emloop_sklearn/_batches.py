"""Converts the sources of a batch to arrays and checks its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, MissingVariableError
from emloop.types import Batch

__all__ = ["array_of", "checked_output"]


def array_of(batch: Batch, name: str) -> npt.NDArray[Any]:
    """Convert one source of a batch to an array, first axis ``B``.

    Raises:
        BatchError: If its examples differ in shape.
    """
    try:
        return np.asarray(batch[name])
    except ValueError as error:
        raise BatchError(f"{name}: the examples of a batch must have one shape: {error}") from error


def checked_output(outputs: Mapping[str, Any], name: str, examples: int) -> Any:
    """Return an output if it has a value for every example.

    Raises:
        MissingVariableError: If there is no such output.
        BatchError: If its first axis is not ``B``.
    """
    if name not in outputs:
        raise MissingVariableError(f"compute_outputs gives no {name!r}; it gives {', '.join(map(repr, outputs))}")
    shape = np.shape(outputs[name])
    if shape[:1] != (examples,):
        raise BatchError(f"output {name!r}: expected {examples} values, one for every example, got shape {shape}")
    return outputs[name]
