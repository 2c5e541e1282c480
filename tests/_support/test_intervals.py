"""One grammar says how often something happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._support.intervals import Interval, parse_interval
from emloop.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "amount", "unit"),
    [
        (100, 100, "batches"),
        ("100", 100, "batches"),
        ("100ba", 100, "batches"),
        (1e3, 1000, "batches"),
        ("1000sa", 1000, "samples"),
        ("2ep", 2, "epochs"),
        ("30s", 30, "seconds"),
        ("10min", 600, "seconds"),
        ("1.5min", 90, "seconds"),
        ("2h", 7200, "seconds"),
    ],
)
def test_an_interval_reads_as_it_is_written(value, amount, unit):
    """Batches need no unit; minutes and hours are seconds."""
    assert Interval(amount, unit) == parse_interval(value)


@pytest.mark.parametrize(
    "value", ["", "ba", "10 min", "10m", "2 ep", "1e3", "-1", -1, "+1", "ten", None, True, [], "١٠"]
)
def test_anything_else_is_refused_with_the_grammar(value):
    """The message says what was found and what is accepted."""
    with pytest.raises(ConfigError) as caught:
        parse_interval(value, argument="main_loop.commit.every")

    assert str(caught.value) == (
        "main_loop.commit.every: expected an interval such as 100 or 100ba (batches), 1000sa (samples), 2ep (epochs), "
        f"30s, 10min or 2h, got {value!r}"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "interval: expected more than 0 batches, got 0"),
        ("0.0h", "interval: expected more than 0 seconds, got '0.0h'"),
        ("0.5ep", "interval: expected a whole number of epochs, got '0.5ep'"),
        ("2.5sa", "interval: expected a whole number of samples, got '2.5sa'"),
        (1.5, "interval: expected a whole number of batches, got 1.5"),
    ],
)
def test_never_and_half_a_batch_are_no_intervals(value, message):
    """An interval is positive, and batches and epochs come in whole numbers."""
    with pytest.raises(ConfigError) as caught:
        parse_interval(value)

    assert str(caught.value) == message


@given(st.text() | st.integers() | st.floats())
def test_every_value_is_an_interval_or_a_configuration_error(value):
    """Nothing a configuration may hold ends in another exception."""
    try:
        interval = parse_interval(value)
    except ConfigError:
        return
    assert 0 < interval.amount < float("inf")
