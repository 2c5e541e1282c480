"""The line of an epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._contracts import Monitored
from emloop._reporter.table import Table
from emloop._reporter.wording import Value, cells_of, fold, number, per_second, plain, short_time

EPOCH = {
    "train": {"loss": {"mean": 0.5, "std": 0.25}, "accuracy": 0.75},
    "valid": {"loss": {"mean": 0.625, "std": 0.5}, "accuracy": 0.5},
}


def rows(table, epoch_id, epoch_data, width=79):
    return [plain(line) for line in table.rows(epoch_id, cells_of(epoch_data), 12.34, 45.678, width)]


def test_a_heading_then_a_line_an_epoch():
    """Means before other aggregations, streams in their order, what does not fit is said to be elsewhere."""
    table = Table([Monitored("accuracy", condition="max")])

    assert rows(table, 1, EPOCH) == [
        "          train                            valid",
        "epoch      loss   accuracy   loss std   accuracy       loss     time  batch/s",
        "  1 more in metrics.jsonl",
        "    1    0.5000     0.7500     0.2500     0.5000*    0.6250    12.3s     45.7",
    ]
    EPOCH["valid"]["accuracy"] = 0.5
    assert rows(table, 2, EPOCH) == [
        "    2    0.5000     0.7500     0.2500     0.5000     0.6250    12.3s     45.7",
    ]


def test_the_best_value_is_marked_as_the_hook_sees_it():
    """An equal value is not better, NaN never is; another aggregation is another value."""
    table = Table([Monitored("loss", "valid", "mean", "min")])
    values = [3.0, float("nan"), 2.0, 2.0, 1.0]

    best = [
        epoch
        for epoch, value in enumerate(values)
        if table.learn(f"in epoch {epoch}", cells_of({"valid": {"loss": {"mean": value, "std": -value}}}))
    ]

    assert best == [0, 2, 4]
    assert list(table.best.values()) == [("in epoch 4", 1.0)]


def test_the_columns_follow_the_window():
    """A new heading stands above the columns of another width; without room for one, items are folded."""
    table = Table([Monitored("loss")])
    rows(table, 1, EPOCH)

    assert rows(table, 2, EPOCH, width=50) == [
        "          train      valid",
        "epoch      loss       loss     time  batch/s",
        "  4 more in metrics.jsonl",
        "    2    0.5000     0.6250    12.3s     45.7",
    ]
    assert rows(table, 3, EPOCH, width=24) == [
        "epoch 3  train loss 0.5000",
        "    accuracy 0.7500",
        "    loss std 0.2500",
        "    valid loss 0.6250",
        "    accuracy 0.5000",
        "    loss std 0.5000",
        "    12.3s",
        "    45.7 batches/s",
    ]


def test_an_epoch_without_numbers_has_its_time():
    """Texts, lists and arrays of numbers are for the log."""
    nothing = {"train": {"words": "many", "counts": [1, 2], "matrix": np.eye(2), "flag": True}, "odd": None}

    assert rows(Table(), 1, nothing) == ["epoch 1  12.3s · 45.7 batches/s"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.5, "-0.5000"),
        (1234567, "1234567"),
        (10**400, "inf"),
        (-(10**400), "-inf"),
        (123456789.0, "1.23e+08"),
        (99999.95, "99999.9"),
        (-1e-7, "-1.0e-07"),
        (1e-300, "1.0e-300"),
        (-1e-300, "-1e-300"),
        (float("nan"), "nan"),
        (np.float32(0.1), "0.1000"),
    ],
)
def test_a_number_has_few_characters(value, text):
    """Whatever its size."""
    assert number(value) == text


@given(st.floats(-1e300, 1e300) | st.sampled_from([math.inf, math.nan]) | st.integers())
def test_every_number_fits_its_column(value):
    """So that no table is wider than its window."""
    assert len(number(value)) <= 8
    if isinstance(value, float) and math.isfinite(value):
        assert float(number(value)) == pytest.approx(value, rel=0.34, abs=1e-3)


@given(
    st.dictionaries(
        st.sampled_from(["train", "valid", "a stream with a long name"]),
        st.dictionaries(
            st.text(max_size=30), st.floats() | st.dictionaries(st.text(max_size=9), st.floats(), max_size=3)
        ),
    ),
    st.integers(40, 200),
)
def test_no_line_of_a_table_is_wider_than_its_window(epoch_data, width):
    """Whatever there is to show."""
    table = Table([Monitored("loss", "train")])
    lines = [plain(line) for line in table.rows(1, cells_of(epoch_data), 3.0, 1.0, width)]

    assert all(len(line) <= width or "epoch 1" in lines[0] for line in lines)
    assert all("\n" not in line and "\x1b" not in line for line in lines)


def test_lines_are_folded_between_items():
    """An item that is too long stands alone."""
    items = [[("one", "")], [("two", "")], [("three and four", "")], [("five", "")]]

    assert [plain(line) for line in fold(items, 10)] == ["one · two", "    three and four", "    five"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (59.94, "59.9s"), (61, "1:01"), (3600, "1:00:00"), (360_000, "100:00:00")]
)
def test_a_time_is_short(seconds, text):
    """Also beyond a day."""
    assert short_time(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(0.01234, "0.0123"), (45.678, "45.7"), (1234.5, "1234"), (1e9, "1e+09")])
def test_a_rate_has_three_digits(rate, text):
    """More would be noise."""
    assert per_second(rate) == text


def test_a_value_of_the_metrics_file_is_that_of_the_epoch():
    """Which writes as text what JSON has no number for."""
    assert cells_of({"valid": {"loss": "nan", "a": {"mean": "inf"}}})[Value("valid", "a", "mean")] == math.inf
