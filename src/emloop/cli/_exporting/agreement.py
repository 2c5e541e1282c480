"""Comparison of a model's outputs with those of its export, for the same batches.

Two runtimes add up in different orders, so numbers may differ by rounding: in proportion to the largest value of the
output and, a hundredth of that, to the largest of all outputs. Decisions based on such numbers, classes for example,
may tip where two candidates were as good as equal: once in a thousand values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop.errors import SaveError
from emloop.types import Batch

_TOLERANCE = {"float64": 1e-8, "float32": 1e-4, "float16": 1e-2}
_OTHERWISE = 1000

Arrays = list[npt.NDArray[Any]]


def compared(model: Sequence[Batch], exported: Sequence[Batch]) -> dict[str, str]:
    """Compare, and describe the greatest differences.

    Args:
        model: The model's outputs, batch by batch.
        exported: The outputs of the exported model for the same batches.

    Returns:
        Output → how much it is off, in words.

    Raises:
        SaveError: If an output is missing, of another shape or type, or differs by more than rounding.
    """
    pairs = {
        name: ([np.asarray(outputs[name]) for outputs in model], _found(name, exported))
        for outputs in model[:1]
        for name in outputs
    }
    largest = max((_largest(expected) for expected, _ in pairs.values()), default=0.0)
    return {name: _compare(name, expected, found, largest) for name, (expected, found) in pairs.items()}


def _found(name: str, exported: Sequence[Batch]) -> Arrays:
    if any(name not in outputs for outputs in exported):
        raise _different(name, f"is missing; there is {', '.join(exported[0])}")
    return [np.asarray(outputs[name]) for outputs in exported]


def _compare(name: str, expected: Arrays, found: Arrays, largest_of_all: float) -> str:
    for one, other in zip(expected, found, strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise _different(name, f"is {other.dtype} {list(other.shape)}, not {one.dtype} {list(one.shape)}")
    if expected[0].dtype.kind != "f":
        return _count(name, expected, found)
    off = max(_off(one, other) for one, other in zip(expected, found, strict=True))
    largest = _largest(expected)
    if not off <= _TOLERANCE.get(str(expected[0].dtype), 0.0) * (largest + largest_of_all / 100):
        raise _different(name, f"is off by {off:.2g}, where it is at most {largest:.2g}")
    return f"off by at most {off:.1e}" if off else "equal"


def _count(name: str, expected: Arrays, found: Arrays) -> str:
    wrong = sum(int((one != other).sum()) for one, other in zip(expected, found, strict=True))
    values = sum(one.size for one in expected)
    if wrong > values // _OTHERWISE:
        raise _different(name, f"has {wrong} other values of {values}")
    return f"{wrong} of {values} values are others" if wrong else "equal"


def _off(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The largest difference; what is not finite must be the same on both sides."""
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(one.astype(np.float64) - other.astype(np.float64)))
    return float(off.max(initial=0.0))


def _largest(arrays: Arrays) -> float:
    finite = [array[np.isfinite(array)] for array in arrays if array.dtype.kind == "f"]
    return max((float(np.abs(array).max(initial=0.0)) for array in finite), default=0.0)


def _different(name: str, how: str) -> SaveError:
    return SaveError(f"the output {name!r} {how}")
