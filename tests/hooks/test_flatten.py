"""What ``Flatten`` makes of nested variables."""

from __future__ import annotations

import numpy as np
import pytest

from emloop.errors import ConfigError, MissingVariableError
from emloop.hooks import Flatten


def flat(value):
    batch_data = {"nested": value}
    Flatten(variables={"nested": "flat"}).after_batch("train", batch_data)
    return batch_data["flat"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[1, 2], [3]], [1, 2, 3]),
        ([1, [2, (3, [4, {5}])]], [1, 2, 3, 4, 5]),
        (["ab", ["cd", b"ef"]], ["ab", "cd", b"ef"]),
        (7, [7]),
        ("word", ["word"]),
        ({"a": 1, "b": 2}, ["a", "b"]),
        (np.arange(6).reshape(1, 2, 3), [0, 1, 2, 3, 4, 5]),
        ([np.array([1, 2]), np.array(3)], [1, 2, 3]),
        (np.array([[1], ["x"]], dtype=object), [1, "x"]),
        ((number for number in (1, 2)), [1, 2]),
        ([], []),
        ([None], [None]),
    ],
)
def test_nesting_of_any_depth_and_kind_is_taken_apart(value, expected):
    """Texts stay whole, a scalar becomes a list of one."""
    assert flat(value) == expected


def test_arrays_become_lists_of_their_scalars():
    """Elements keep their type."""
    found = flat(np.ones((2, 2), np.float32))

    assert isinstance(found, list)
    assert {type(element) for element in found} == {np.float32}


def test_several_variables_may_be_flattened_in_the_listed_streams():
    """Others are left alone, and need not have the variables."""
    hook = Flatten(variables={"a": "flat_a", "b": "a_too"}, streams=["train"])
    train, valid = {"a": [[1]], "b": [[2]]}, {}

    hook.after_batch(stream_name="train", batch_data=train)
    hook.after_batch(stream_name="valid", batch_data=valid)

    assert train == {"a": [[1]], "b": [[2]], "flat_a": [1], "a_too": [2]}
    assert valid == {}


def test_a_missing_variable_is_named():
    """The error says what the batch has."""
    with pytest.raises(MissingVariableError, match="stream 'train': no variable 'nested' in the batch, which has 'x'"):
        Flatten(variables={"nested": "flat"}).after_batch("train", {"x": 1})


@pytest.mark.parametrize("variables", [{}, None, ["a"], "a"])
def test_without_names_there_is_nothing_to_do(variables):
    """Source and target are both needed."""
    with pytest.raises(ConfigError) as error:
        Flatten(variables=variables)

    assert str(error.value) == f"variables: expected names and the names of their flat lists, got {variables!r}"
