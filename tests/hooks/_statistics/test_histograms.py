"""Histograms of values that come in pieces are those of all values, in memory that does not grow."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emloop.errors import VariableTypeError
from emloop.hooks._statistics.histograms import MOST_BUCKETS, Histogram, HistogramColumn

numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30)


def histogram(*values):
    return Histogram.of(np.array(values, float))


def in_buckets(counted, values):
    """What the counts should be: bucket by bucket, by the definition."""
    width = Fraction(2) ** counted.exponent
    numbers = Counter(Fraction(value) // width - counted.first for value in values)
    return [numbers.pop(index, 0) for index in range(len(counted.counts))], numbers


@given(numbers)
@example([0.0, 5e-324])
@example([-5e-324, 1e308])
@example([-1.7976931348623157e308, 1.7976931348623157e308])
@example([0.1 + 0.2, 0.3])
def test_every_value_is_in_the_bucket_between_whose_edges_it_lies(values):
    """Whatever the range; there are no more than the most buckets, and none at either end is empty."""
    counted = histogram(*values)

    assert in_buckets(counted, values) == (counted.counts.tolist(), {})
    assert len(values) == counted.count
    assert len(counted.counts) <= MOST_BUCKETS
    assert counted.counts[0] > 0
    assert counted.counts[-1] > 0
    assert (min(values), max(values)) == (counted.smallest, counted.largest)


@given(numbers)
@example([-1.7976931348623157e308, 1.7976931348623157e308])
def test_edges_are_where_the_buckets_end(values):
    """As far as floats reach."""
    counted = histogram(*values)
    edges = counted.right_edges()
    exact = [Fraction(2) ** counted.exponent * (counted.first + index + 1) for index in range(len(edges))]

    assert [float(min(edge, Fraction(np.finfo(float).max))) for edge in exact] == edges.tolist()


@given(st.lists(numbers, min_size=1, max_size=6))
@example([[-5e-324], [1e308]])
@example([[0.0], [1e-300], [3.0]])
def test_it_does_not_matter_how_the_values_were_cut(pieces):
    """Buckets and counts are the same, bit for bit; sums may differ in the last bits."""
    joined = histogram(*pieces[0])
    for piece in pieces[1:]:
        joined = joined.join(histogram(*piece))
    whole = histogram(*(value for piece in pieces for value in piece))

    assert (whole.exponent, whole.first, whole.counts.tolist()) == (
        joined.exponent,
        joined.first,
        joined.counts.tolist(),
    )
    assert (whole.smallest, whole.largest) == (joined.smallest, joined.largest)


@given(st.integers(-300, 300), st.integers(2, 500))
def test_detail_is_at_least_half_of_what_the_buckets_allow(power, count):
    """Values that are spread evenly fill more than half of the buckets."""
    spread = histogram(*(10.0**power * np.linspace(-1, 1, count)))

    assert len(spread.counts) > MOST_BUCKETS // 2 or spread.exponent == -1074


def test_one_value_has_a_bucket_of_its_own():
    """As narrow as there is."""
    one = histogram(0.5, 0.5)

    assert one.counts.tolist() == [2]
    assert one.right_edges()[0] == pytest.approx(0.5)
    assert (one.total, one.squares) == (1.0, 0.5)


# Gathering


def gathered(*batches):
    column = HistogramColumn()
    for batch in batches:
        column.add(batch)
    return column


def test_values_that_are_not_finite_are_left_out():
    """They have no place on an axis; without any other there is no histogram."""
    some = gathered(np.array([1.0, np.nan, np.inf, 2.0]), [-np.inf])

    assert some.histogram().count == 2
    assert gathered(np.array([np.nan])).histogram() is None
    assert gathered().histogram() is None


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        pytest.param(np.arange(6, dtype=np.uint8).reshape(2, 3), 6, id="bytes"),
        pytest.param(np.array([True, False]), 2, id="booleans"),
        pytest.param([[1, 2], [3, 4]], 4, id="lists"),
        pytest.param(np.array([2**62, 1]), 2, id="large-integers"),
        pytest.param(np.float16([0.5, -1]), 2, id="half-floats"),
        pytest.param(np.longdouble(["1e4000", "1"]), 1, id="beyond-a-float"),
    ],
)
def test_numbers_of_all_kinds_are_counted(batch, count):
    """One or more for every example."""
    assert count == gathered(batch).histogram().count


def test_memory_does_not_grow_with_the_epoch():
    """What is kept, and would be committed, is a chunk of values and the counts."""
    rng = np.random.default_rng(0)
    column = gathered(*(rng.normal(size=(8, 100)) for _ in range(1000)))
    state = column.state()
    kept = sum(part.nbytes for part in (state["chunk"], state["histogram"]["counts"]) if part is not None)

    assert column.histogram().count == 800_000
    assert kept <= 64 * 8 * 100 * 8 + 8 * MOST_BUCKETS


def test_arrays_on_a_device_are_fetched_together(device_array):
    """Nobody waits for a single one."""
    column = gathered(*(device_array([float(index)]) for index in range(63)))
    assert device_array.fetches == 0

    assert column.histogram().count == 63
    assert device_array.fetches == 63


def test_text_is_no_number():
    """The error is the one of all hooks that need numbers."""
    with pytest.raises(VariableTypeError, match="expected numbers, got <U1 values"):
        gathered(np.array(["a"]))
