"""A state is what its owner says it is, or its place is named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emloop._state.kinds import check_state
from emloop.errors import StateError

FLOATS = np.zeros(2)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"best": None, "waited": 0}, {"best": (float, None), "waited": int}),
        ({"best": math.nan}, {"best": (float, None)}),
        ({"best": np.float32(0.5), "waited": np.int64(3)}, {"best": float, "waited": int}),
        ({}, {str: int}),
        ({"train": 1}, {str: int}),
        ([], [str, ...]),
        (["a", "b"], [str, ...]),
        ([0.5, 3], [float, int]),
        ({"kept": [[0.5, 3]]}, {"kept": [[float, int], ...]}),
        (FLOATS, np.ndarray),
        (FLOATS, np.dtype("float64")),
        ({"what": {"ever": [1]}}, {"what": object}),
        (None, ({"a": int}, None)),
    ],
)
def test_what_fits_is_returned(state, kind):
    """The very state, so that a check costs no copy."""
    assert check_state("Hook", state, kind) is state


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        ("x", {"a": int}, "expected 'a', got no mapping"),
        ({}, {"a": int, "b": int}, "expected 'a', 'b', got nothing"),
        ({"a": 1, "c": 1, 2: 1}, {"a": int}, "expected 'a', got 2, 'a', 'c'"),
        ({"a": True}, {"a": int}, "a: expected a whole number from 0 on, got True"),
        ({"a": -1}, {"a": int}, "a: expected a whole number from 0 on, got -1"),
        ({"a": 1.0}, {"a": int}, "a: expected a whole number from 0 on, got 1.0"),
        ({"a": "1"}, {"a": (float, None)}, "a: expected a number or None, got '1'"),
        ({"a": {"b": "x"}}, {"a": {str: int}}, "a: b: expected a whole number from 0 on, got 'x'"),
        ({"a": {3: 1}}, {"a": {str: int}}, "a: expected a mapping, got {3: 1}"),
        ({"a": "text"}, {"a": [str, ...]}, "a: expected a list, got 'text'"),
        ({"a": ["b", 1]}, {"a": [str, ...]}, "a: 1: expected text, got 1"),
        ({"a": [1.0]}, {"a": [float, int]}, "a: expected a list of 2, got [1.0]"),
        ({"a": FLOATS}, {"a": np.dtype("uint8")}, "a: expected an array of uint8, got array([0., 0.])"),
        ({"a": {"b": 1}}, {"a": ({"b": str}, None)}, "a: b: expected text, got 1"),
        ({"a": 7}, {"a": ({"b": str}, None)}, "a: expected a mapping or None, got 7"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(state, kind, message):
    """What stands there, and what is expected instead."""
    with pytest.raises(StateError) as raised:
        check_state("Hook", state, kind)

    assert f"Hook: the state does not fit; {message}" == str(raised.value)
