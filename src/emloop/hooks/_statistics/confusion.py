"""The classes of a classification, and its confusion matrix."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, VariableTypeError


def asked(dataset: object, helper: str) -> Any:
    """What a dataset's method or attribute says, such as ``num_classes``; ``None`` if it has none."""
    value = getattr(dataset, helper, None)
    return value() if callable(value) else value


def confusion_matrix(
    expected: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]], num_classes: int
) -> npt.NDArray[np.int32]:
    """Count how often every class was taken for every other.

    Args:
        expected: Indices of the true classes, any integer dtype, any shape.
        predicted: Indices of the predicted classes, same shape.
        num_classes: Number of classes; every index must be in ``0 … num_classes - 1``.

    Returns:
        ``int32 [num_classes, num_classes]``, rows expected, columns predicted.

    Raises:
        BatchError: If the shapes differ or an index names no class.
        VariableTypeError: If the indices are no integers.
    """
    count = operator.index(num_classes)
    for name, indices in (("expected", expected), ("predicted", predicted)):
        if not np.issubdtype(indices.dtype, np.integer):
            raise VariableTypeError(f"{name}: class indices must be integers, got dtype {indices.dtype}")
        if indices.size and not 0 <= indices.min() <= indices.max() < count:
            raise BatchError(
                f"{name}: class indices must be between 0 and {count - 1}, got {indices.min()} to {indices.max()}"
            )
    if expected.shape != predicted.shape:
        raise BatchError(f"expected and predicted must have the same shape, got {expected.shape} and {predicted.shape}")

    cells = expected.ravel().astype(np.intp) * count + predicted.ravel().astype(np.intp)
    return np.bincount(cells, minlength=count * count).astype(np.int32).reshape(count, count)
