"""Data on one line of YAML."""

from __future__ import annotations

import math
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._yaml import documents as yaml
from emloop._yaml.flow import one_line

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["yes", "1e3", "null", "~", "a: b", "a, b", "12:30", "-", "nan", "!x", "2026-01-31", "é"])
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | st.dates()
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(trees)
def test_what_is_written_is_read_back(value):
    """With its type, in any depth."""
    assert repr(yaml.load(one_line(value))) == repr(value)


@given(trees)
def test_it_is_one_line(value):
    """Nothing in it can break a line or steer a terminal."""
    assert one_line(value).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (True, "true"),
        (None, "null"),
        ("relu", "relu"),
        ("nets.Net", "nets.Net"),
        ("yes", '"yes"'),
        ("1", '"1"'),
        ('say "a\\b"', '"say \\"a\\\\b\\""'),
        ("a\nb", '"a\\U0000000ab"'),
        ((1, "x"), "[1, x]"),
        ({"a": [1, {}]}, "{a: [1, {}]}"),
        (-math.inf, "-.inf"),
        (math.nan, ".nan"),
        (1e-7, "1e-07"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 12), "2026-01-31 12:00:00"),
    ],
)
def test_it_reads_like_written_by_hand(value, text):
    """Quotes stand only where they are needed."""
    assert one_line(value) == text


@pytest.mark.parametrize("value", [b"x", {1, 2}, 1j, object, "\ud800", ["\udfff"]])
def test_what_cannot_be_read_back_is_refused(value):
    """Rather than written as something else."""
    with pytest.raises(TypeError, match="cannot be written as YAML"):
        one_line(value)
