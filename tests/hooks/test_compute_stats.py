"""What ``ComputeStats`` promises: NumPy's results, in constant memory, whatever interrupts the run."""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections import OrderedDict
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emloop.errors import ConfigError, MissingVariableError, StateError, VariableTypeError
from emloop.hooks import ComputeStats
from emloop.hooks._statistics.reductions import GATHERING, STREAMING
from emloop.hooks.compute_stats import Aggregation

NUMPY = [
    *("mean", "average", "sum", "prod", "var", "std", "min", "amin", "max", "amax", "ptp", "median"),
    *("nanmean", "nansum", "nanprod", "nanvar", "nanstd", "nanmin", "nanmax", "nanmedian"),
    *("all", "any", "size", "count_nonzero", "argmin", "argmax"),
]
EVERY = [*NUMPY, "nancount", "nanfraction"]


def statistics(hook, *batches, stream="train", variable="x"):
    for batch in batches:
        hook.after_batch(stream, {variable: batch})
    epoch_data = {stream: {}}
    hook.after_epoch(epoch_data=epoch_data)
    return epoch_data[stream][variable]


def cut_into_batches(values, sizes):
    edges = np.cumsum([size for size in sizes if size])
    return [batch for batch in np.split(values, edges[edges < len(values)]) if len(batch)]


@pytest.mark.parametrize("aggregation", NUMPY)
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.linspace(-3, 7, 203), id="double"),
        pytest.param(np.linspace(-3, 7, 203, dtype=np.float32), id="single"),
        pytest.param(np.linspace(-3, 7, 203).astype(np.float16), id="half"),
        pytest.param(np.arange(-3, 11).repeat(3), id="integers"),
        pytest.param(np.arange(200, 255, dtype=np.uint8), id="small-integers"),
        pytest.param(np.linspace(0, 1, 204).reshape(51, 2, 2), id="matrices"),
        pytest.param(np.array([1.0, math.nan, -2.0] * 30), id="with-nan"),
        pytest.param(np.array([1.0, math.inf, 2.0] * 30), id="with-infinity"),
    ],
)
def test_results_are_those_of_numpy_for_the_whole_epoch(aggregation, values):
    """Every aggregation agrees with NumPy's function on all values at once."""
    with np.errstate(all="ignore"):
        # Double precision also where NumPy would round or wrap around.
        exact = values.astype(np.float64) if values.dtype.kind == "f" or "prod" in aggregation else values
        expected = getattr(np, aggregation)(exact)

    found = statistics(ComputeStats(variables=[{"x": [aggregation]}]), *cut_into_batches(values, [32] * 7))[aggregation]

    assert type(found) in (bool, int, float)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_nan_is_counted():
    """``nancount`` is a whole number, ``nanfraction`` the share."""
    values = [np.array([1, math.nan]), np.array([[math.nan, 3]])]

    assert statistics(ComputeStats(variables=[{"x": ["nancount", "nanfraction"]}]), *values) == {
        "nancount": 2,
        "nanfraction": 0.5,
    }


def test_whole_numbers_stay_whole():
    """Sums and extremes of integers are exact integers, also beyond 64 bits."""
    batches = [np.array([2**62]), np.array([2**62 + 1], dtype=np.uint64)] * 3

    assert statistics(ComputeStats(variables=[{"x": ["sum", "min"]}]), *batches) == {
        "sum": 3 * (2**63 + 1),
        "min": 2**62,
    }


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param(["x"], {"x": ["mean"]}, id="name"),
        pytest.param(["x", "y"], {"x": ["mean"], "y": ["mean"]}, id="names"),
        pytest.param([{"x": ["std", "max"]}], {"x": ["std", "max"]}, id="mapping-in-a-list"),
        pytest.param([{"x": ["std"], "y": ["max"]}], {"x": ["std"], "y": ["max"]}, id="two-names-in-a-mapping"),
        pytest.param(["y", {"x": ["median", "sum"]}], {"y": ["mean"], "x": ["median", "sum"]}, id="both"),
        pytest.param({"x": ["std", "nancount"]}, {"x": ["std", "nancount"]}, id="mapping"),
        pytest.param(["x", {"x": ["max", "mean"]}], {"x": ["mean", "max"]}, id="name-twice"),
    ],
)
def test_variables_may_be_written_in_several_ways(variables, expected):
    """Each way says which aggregations are computed, and they are left in the given order."""
    hook = ComputeStats(variables=variables)
    hook.after_batch("train", {"x": [1.0, 2.0], "y": [3.0, 4.0]})
    epoch_data = {"train": {}}

    hook.after_epoch(epoch_data=epoch_data)

    assert {name: list(found) for name, found in epoch_data["train"].items()} == expected


def test_the_result_is_left_for_the_hooks_behind():
    """Values replace what was there, stand beside other aggregations, and start afresh in every epoch."""
    hook = ComputeStats(variables=["loss"])
    epoch_data = {"train": {"loss": None}, "valid": {"loss": {"std": 5.0, "mean": 0.0}, "other": 1}}
    hook.after_batch(stream_name="train", batch_data={"loss": [1.0, 2.0]})
    hook.after_batch(stream_name="train", batch_data={"loss": [6.0]})
    hook.after_batch(stream_name="valid", batch_data={"loss": [4.0]})

    hook.after_epoch(epoch_data)

    assert epoch_data == {"train": {"loss": {"mean": 3.0}}, "valid": {"loss": {"std": 5.0, "mean": 4.0}, "other": 1}}
    assert isinstance(epoch_data["train"]["loss"], OrderedDict)
    assert statistics(hook, [8.0], variable="loss") == {"mean": 8.0}


def test_a_stream_without_batches_has_nan_and_no_warning():
    """Where there is nothing to average there is no number, and counts are 0."""
    found = statistics(ComputeStats(variables=[{"x": EVERY}]))

    neutral = {"sum": 0, "nansum": 0, "prod": 1, "nanprod": 1, "all": True, "any": False}
    counts = dict.fromkeys(["size", "count_nonzero", "nancount"], 0)
    assert {name: value for name, value in found.items() if value == value} == {**neutral, **counts}


def test_only_the_listed_streams_are_observed():
    """Other streams need not have the variable, and get no statistics."""
    hook = ComputeStats(variables=["x"], streams=["valid"])
    hook.after_batch("train", {})
    hook.after_batch("valid", {"x": [1.0]})
    epoch_data = {"train": {}, "valid": {}}

    hook.after_epoch(epoch_data)

    assert epoch_data == {"train": {}, "valid": {"x": {"mean": 1.0}}}


def test_a_model_may_use_one_output_buffer_for_all_batches():
    """The mean is that of the values that were there, not of what was written over them."""
    hook, buffer = ComputeStats(variables=["x"]), np.zeros(4)
    for number in range(100):
        buffer[:] = number
        hook.after_batch("train", {"x": buffer})

    assert statistics(hook) == {"mean": 49.5}


def test_a_smaller_batch_counts_as_what_it_is():
    """One example is not repeated to fill a batch: it is one example."""
    hook = ComputeStats(variables=[{"x": ["mean", "size"]}])

    assert statistics(hook, np.zeros(3), np.array([3.0]), np.zeros(2)) == {"mean": 0.5, "size": 6}


def test_batches_of_any_kind_may_be_mixed(device_array):
    """Arrays, lists and arrays on a device, in any order and of any shape, add up."""
    batches = [np.ones(2), device_array([2.0]), [3.0, 4.0], np.ones((1, 2, 2), np.float32), device_array([[5.0]])]

    found = statistics(ComputeStats(variables=[{"x": ["sum", "size", "max"]}]), *batches)

    assert found == {"sum": 20.0, "size": 10, "max": 5.0}


def test_a_device_is_asked_for_many_batches_at_a_time(device_array):
    """No batch waits for the device on its own."""
    hook = ComputeStats(variables=["x"])
    fetched = set()
    for number in range(130):
        hook.after_batch("train", {"x": device_array([number])})
        fetched.add(device_array.fetches)

    assert fetched == {0, 64, 128}
    assert statistics(hook) == {"mean": 64.5}


def test_arrays_that_can_be_joined_on_their_device_come_in_one_transfer(joined_array):
    """One for each variable and 64 batches; one of another size or dtype comes by itself, in its place."""
    rows = [np.arange(3.0) + number for number in range(63)]
    batches = [*rows, np.array([7.0]), np.array([8.0, 9.0, 1.0], np.float32)]
    aggregations = {"x": ["mean", "sum", "max"]}
    ours, theirs = ComputeStats(variables=[aggregations, {"y": ["median"]}]), ComputeStats(variables=[aggregations])
    for batch in batches[:64]:
        ours.after_batch("train", {"x": joined_array(batch), "y": joined_array(batch)})

    assert joined_array.fetches == 2 * 2
    ours.after_batch("train", {"x": batches[64], "y": joined_array(batches[64])})
    for batch in batches:
        theirs.after_batch("train", {"x": batch})
    found, expected = {"train": {}}, {"train": {}}
    ours.after_epoch(found)
    theirs.after_epoch(expected)
    assert found["train"]["x"] == expected["train"]["x"]
    assert found["train"]["y"] == {"median": np.median(np.concatenate(batches))}


def test_the_mean_is_the_sum_of_chunks_of_64_batches(hand_over):
    """To the bit, with an uneven last batch, and when an interrupted epoch goes on inside a chunk, of any dtype."""
    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float32, np.float64, ">f4", np.int8, bool):
        batches = [(100 * rng.random((7, 2))).astype(dtype) for _ in range(150)] + [np.ones((3, 2), dtype)]
        hook = ComputeStats(variables=["x"])
        for number, batch in enumerate(batches):
            hook.after_batch("train", {"x": np.asfortranarray(batch) if number % 2 else batch})
            if number in (1, 70):
                hook = hand_over(hook, ComputeStats(variables=["x"]))
        total = 0.0
        for chunk in (batches[:64], batches[64:128], batches[128:150], batches[150:]):
            total += np.concatenate(chunk).reshape(-1).sum(dtype=np.float64).item()

        assert statistics(hook) == {"mean": total / (150 * 14 + 6)}


def test_examples_without_values_survive_a_commit(hand_over):
    """Nothing is added up, and nothing fails."""
    hook = ComputeStats(variables=[{"x": ["sum", "size"]}])
    hook.after_batch("train", {"x": np.zeros((3, 0))})
    hook = hand_over(hook, ComputeStats(variables=[{"x": ["sum", "size"]}]))

    assert statistics(hook, np.ones(2)) == {"sum": 2.0, "size": 2}


@pytest.mark.slow
@pytest.mark.parametrize(("size", "more_batches"), [(1, 4000), (32, 4000), (5000, 400), (100_000, 40)])
def test_memory_does_not_grow_with_the_number_of_batches(size, more_batches):
    """A long epoch takes as much memory as a short one; all its values would take half a megabyte or more."""
    hook = ComputeStats(variables=[{"x": sorted(set(EVERY) - {"median", "nanmedian", "argmin", "argmax"})}])
    batch = np.random.default_rng(0).random(size, dtype=np.float32)
    for _ in range(65):
        hook.after_batch("train", {"x": batch})
    tracemalloc.start()
    try:
        for _ in range(more_batches):
            hook.after_batch("train", {"x": batch})
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert grown < 100_000


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3.5, "expected a sequence with a value for every example, got a single float: 3.5"),
        (["a", "b"], "expected numbers, got <U1 values such as array(['a'], dtype='<U1')"),
        ([None], "expected numbers, got object values such as array([None], dtype=object)"),
        ([1j], "expected numbers, got complex128 values such as array([0.+1.j])"),
    ],
)
@pytest.mark.parametrize("aggregation", ["mean", "median"])
def test_what_is_no_number_is_refused(aggregation, value, message):
    """The error names stream and variable and shows a value."""
    with pytest.raises(VariableTypeError) as error:
        statistics(ComputeStats(variables=[{"x": [aggregation]}]), value)

    assert str(error.value) == f"stream 'train': variable 'x': {message}"


def test_rows_of_different_length_are_no_array():
    """A ragged batch is refused at once, by name."""
    with pytest.raises(VariableTypeError, match="stream 'train': variable 'x': expected numbers that form an array"):
        statistics(ComputeStats(variables=["x"]), [[1], [1, 2]])


def test_a_missing_variable_is_an_error():
    """Every stream that is observed must have the variable."""
    with pytest.raises(MissingVariableError, match="stream 'train': no variable 'x' in the batch, which has 'y'"):
        ComputeStats(variables=["x"]).after_batch("train", {"y": [1]})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            [{"x": ["medain"]}],
            r"variables\.x: unknown aggregation 'medain'; did you mean 'median'\?; ComputeStats knows",
        ),
        ([{"x": ["pi"]}], "unknown aggregation 'pi'"),
        ([{"x": ["save"]}], "unknown aggregation 'save'"),
        ([{"x": ["argsort"]}], "unknown aggregation 'argsort'"),
        ([{"x": "mean"}], r"variables\.x: expected a list of names, got 'mean'; write \[mean\]"),
        ("x", r"variables: expected a list of names, got 'x'; write \[x\]"),
        (5, "variables: expected a list of names, got 5"),
        ([5], "variables: expected a list of names, got 5 in it"),
    ],
)
def test_what_cannot_be_computed_is_refused_at_once(variables, message):
    """Unknown aggregations and malformed lists fail when the hook is built."""
    with pytest.raises(ConfigError, match=message) as error:
        ComputeStats(variables=variables)

    assert isinstance(error.value, ValueError)


def test_extra_aggregations_are_announced():
    """The two that NumPy does not have are listed on the class."""
    assert {"nanfraction", "nancount"} == ComputeStats.EXTRA_AGGREGATIONS


numbers = st.floats(width=32) | st.just(math.nan)
arrays = hnp.arrays(st.sampled_from([np.float32, np.float64]), st.integers(1, 300), elements=numbers)


@given(arrays, st.lists(st.integers(1, 9), min_size=1, max_size=120), st.lists(st.integers(0, 60), max_size=3))
def test_a_resumed_epoch_ends_with_the_same_bits(hand_over, values, sizes, cuts):
    """Wherever and however often the run was cut, the results are those of an uninterrupted one, to the bit."""
    variables = [{"x": EVERY}]
    whole, resumed = ComputeStats(variables=variables), ComputeStats(variables=variables)
    for position, batch in enumerate(cut_into_batches(values, sizes)):
        for _ in range(cuts.count(position)):
            resumed = hand_over(resumed, ComputeStats(variables=variables))
        whole.after_batch("train", {"x": batch})
        resumed.after_batch("train", {"x": batch})

    expected, found = statistics(whole), statistics(resumed)

    assert np.array_equal(list(found.values()), list(expected.values()), equal_nan=True)


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 65, 66, 127, 128, 150])
def test_a_resume_with_arrays_on_a_device_ends_with_the_same_bits(hand_over, device_array, cut):
    """A commit fetches what is still on the device, and this changes no sum."""
    variables = [{"x": ["mean", "std"]}]
    whole, resumed = ComputeStats(variables=variables), ComputeStats(variables=variables)
    rows = np.random.default_rng(1).random((151, 7))
    for position, row in enumerate(rows):
        if position == cut:
            resumed = hand_over(resumed, ComputeStats(variables=variables))
        batch = row if position % 5 == 4 else device_array(row)
        whole.after_batch("train", {"x": batch})
        resumed.after_batch("train", {"x": batch})

    assert statistics(resumed) == statistics(whole)


def test_a_commit_changes_no_result():
    """Asking for the state in the middle of an epoch leaves the bits of its end alone."""
    asked, alone = ComputeStats(variables=["x"]), ComputeStats(variables=["x"])
    for row in np.random.default_rng(2).random((100, 5)):
        asked.after_batch("train", {"x": row})
        asked.state_dict()
        alone.after_batch("train", {"x": row})

    assert statistics(asked) == statistics(alone)


def test_a_state_does_not_change_while_the_epoch_goes_on():
    """What a commit is still writing is not touched by the next batch."""
    hook = ComputeStats(variables=["x"])
    hook.after_batch("train", {"x": np.ones(2)})
    chunk = hook.state_dict()["columns"]["train"]["x"]["chunk"]

    hook.after_batch("train", {"x": np.zeros(2)})

    assert chunk.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    "other", [[{"x": ["max"]}], [{"x": ["mean", "max"]}], ["y"], ["x", "y"], [{"x": ["mean", "median"]}]], ids=str
)
def test_a_state_with_other_statistics_is_refused(other):
    """Statistics of a part of an epoch are not taken for those of the whole."""
    hook = ComputeStats(variables=["x"])
    hook.after_batch("train", {"x": [1.0]})

    with pytest.raises(StateError):
        ComputeStats(variables=other).load_state_dict(hook.state_dict())


def test_every_aggregation_can_be_named_in_a_config():
    """The check knows those, and only those, that are computed."""
    assert set(get_args(Aggregation)) == {*STREAMING, *GATHERING}
