"""Inputs and outputs of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from emloop.errors import SavedModelError
from emloop.saved_models import Described

__all__ = ["read_value"]

_DTYPES = {
    "float": "float32",
    "double": "float64",
    **{
        name: name
        for name in ("bool", "float16", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
    },
}


def read_value(argument: Any, file: str) -> Described:
    """Convert ONNX Runtime's description of an input or output.

    Raises:
        SavedModelError: If it is not a tensor of numbers.
    """
    dtype = _DTYPES.get(argument.type.removeprefix("tensor(").removesuffix(")"))
    if dtype is None:
        raise SavedModelError(f"{file}: {argument.name!r} is a {argument.type}; only tensors of numbers can be used")
    sizes = tuple(size if isinstance(size, int) else None for size in argument.shape)
    # A graph without a stated shape looks like one that takes a single number.
    return Described(np.dtype(dtype), sizes or None)
