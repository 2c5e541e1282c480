"""The confusion matrix of a classification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emloop.errors import BatchError, VariableTypeError
from emloop.hooks._statistics.confusion import confusion_matrix


def test_rows_are_the_expected_and_columns_the_predicted_classes():
    """``matrix[e, p]`` counts the examples of class ``e`` that were taken for ``p``, as ``int32``."""
    matrix = confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2]), 4)

    np.testing.assert_array_equal([[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]], matrix)
    assert np.int32 == matrix.dtype


@given(
    st.integers(1, 6).flatmap(
        lambda count: st.tuples(
            st.just(count),
            hnp.arrays(np.int64, (2, 7), elements=st.integers(0, count - 1)),
            st.sampled_from([np.int8, np.uint8, np.int32, np.uint64]),
        )
    )
)
def test_every_pair_is_counted_where_it_belongs(case):
    """The matrix is what counting one by one gives, for every integer dtype."""
    count, (expected, predicted), dtype = case
    counted = np.zeros((count, count))
    for row, column in zip(expected, predicted, strict=True):
        counted[row, column] += 1

    np.testing.assert_array_equal(counted, confusion_matrix(expected.astype(dtype), predicted.astype(dtype), count))


def test_indices_may_have_any_shape():
    """A matrix of labels, e.g. of pixels, counts as all its elements."""
    np.testing.assert_array_equal(
        [[2, 0], [1, 1]], confusion_matrix(np.array([[0, 0], [1, 1]]), np.array([[0, 0], [0, 1]]), 2)
    )


def test_no_examples_make_a_matrix_of_zeros():
    """An empty stream has a matrix, too."""
    empty = np.array([], dtype=np.int64)

    np.testing.assert_array_equal(np.zeros((3, 3)), confusion_matrix(empty, empty, 3))


@pytest.mark.parametrize(
    ("expected", "predicted", "count", "error", "message"),
    [
        pytest.param(
            np.array([0.0, 1.0]),
            np.array([0, 1]),
            2,
            VariableTypeError,
            "expected: class indices must be integers, got dtype float64",
            id="floats",
        ),
        pytest.param(
            np.array([0, 1]),
            np.array([True, False]),
            2,
            VariableTypeError,
            "predicted: class indices must be integers, got dtype bool",
            id="booleans",
        ),
        pytest.param(
            np.array([0, 1]),
            np.array([0]),
            2,
            BatchError,
            r"expected and predicted must have the same shape, got \(2,\) and \(1,\)",
            id="shapes",
        ),
        pytest.param(
            np.array([0, 2]),
            np.array([0, 1]),
            2,
            BatchError,
            "expected: class indices must be between 0 and 1, got 0 to 2",
            id="too-large",
        ),
        pytest.param(
            np.array([0, 1]),
            np.array([-1, 1]),
            2,
            BatchError,
            "predicted: class indices must be between 0 and 1, got -1 to 1",
            id="negative",
        ),
        pytest.param([0, 1], np.array([0, 1]), 2, AttributeError, "dtype", id="list"),
        pytest.param(np.array([0, 1]), np.array([0, 1]), "2", TypeError, "integer", id="text-for-the-count"),
        pytest.param(np.array([0, 1]), np.array([0, 1]), None, TypeError, "integer", id="no-count"),
    ],
)
def test_what_is_no_classification_is_refused(expected, predicted, count, error, message):
    """The error says which argument is wrong, and what it holds."""
    with pytest.raises(error, match=message):
        confusion_matrix(expected, predicted, count)
