"""What hooks may rely on that gather variables over an epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop.errors import ConfigError, MissingVariableError, StateError, VariableTypeError
from emloop.hooks import AccumulateVariables


def gathered(hook):
    return {
        stream: {name: [np.asarray(example).tolist() for example in examples] for name, examples in variables.items()}
        for stream, variables in hook._accumulator.items()
    }


def test_examples_of_all_batches_are_gathered_by_stream_and_variable():
    """The accumulator offers every example of every batch as if it were in lists."""
    hook = AccumulateVariables(variables=["loss", "ids"])

    hook.after_batch("train", {"loss": np.array([1.0, 2.0]), "ids": ["a", "b"], "images": None})
    hook.after_batch("train", {"loss": np.array([3.0]), "ids": ["c"]})
    hook.after_batch("valid", {"loss": [4.0], "ids": ("d",)})

    assert hook._accumulator["train"]["loss"] == [1.0, 2.0, 3.0]
    assert hook._accumulator["train"]["ids"] == ["a", "b", "c"]
    assert hook._accumulator["valid"]["loss"] == [4.0]
    assert list(zip(hook._accumulator["train"]["ids"], hook._accumulator["train"]["loss"], strict=True)) == [
        ("a", 1.0),
        ("b", 2.0),
        ("c", 3.0),
    ]


def test_every_epoch_begins_empty():
    """Nothing of an epoch is left when it is over."""
    hook = AccumulateVariables(variables=["loss"])
    hook.after_batch("train", {"loss": [1.0]})

    hook.after_epoch()

    assert not hook._accumulator


def test_a_model_may_use_one_output_buffer_for_all_batches():
    """Values are those that the batch had, whatever is written over them later."""
    hook = AccumulateVariables(variables=["array", "rows", "nested"])
    array, nested = np.zeros(2), [[0], [0]]
    for number in (1, 2):
        array[:] = number
        nested[0][0] = nested[1][0] = number
        hook.after_batch("train", {"array": array, "rows": [array, array], "nested": nested})

    assert gathered(hook) == {
        "train": {
            "array": [1.0, 1.0, 2.0, 2.0],
            "rows": [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [2.0, 2.0]],
            "nested": [[1], [1], [2], [2]],
        }
    }


def test_only_the_listed_streams_need_the_variables():
    """A stream that is not listed is ignored."""
    hook = AccumulateVariables(variables=["loss"], streams=["valid"])

    hook.after_batch("train", {})
    hook.after_batch("valid", {"loss": [1.0]})

    assert gathered(hook) == {"valid": {"loss": [1.0]}}


def test_arrays_on_a_device_are_fetched_in_groups_and_never_by_element(device_array):
    """No batch waits for the device on its own; what is looked at is there."""
    hook = AccumulateVariables(variables=["loss"])
    fetched = []
    for number in range(130):
        hook.after_batch("train", {"loss": device_array([number, number])})
        fetched.append(device_array.fetches)

    assert set(fetched) == {0, 64, 128}
    assert [number for number in range(130) for _ in range(2)] == hook._accumulator["train"]["loss"]
    assert np.asarray(hook._accumulator["train"]["loss"]).shape == (260,)


def test_arrays_on_their_way_to_the_host_are_left_to_arrive(arriving_array):
    """The same for memory that is the host's, but not written yet; one that has arrived meanwhile is taken as it is."""
    hook = AccumulateVariables(variables=["loss"])
    arrays = [arriving_array([number]) for number in range(8)]
    for array in arrays:
        hook.after_batch("train", {"loss": array})
    assert arriving_array.fetches == 0
    arrays[3].is_there = True

    assert list(range(8)) == hook._accumulator["train"]["loss"]


def test_a_missing_variable_is_named_with_what_is_there():
    """The error says stream, variable, what the batch has, and the likely name."""
    hook = AccumulateVariables(variables=["acuracy"])

    with pytest.raises(MissingVariableError) as error:
        hook.after_batch("train", {"loss": [1], "accuracy": [1]})

    assert isinstance(error.value, KeyError)
    assert (
        str(error.value) == "stream 'train': no variable 'acuracy' in the batch, which has 'loss', 'accuracy'; "
        "did you mean 'accuracy'?"
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param(3, "a single int: 3", id="number"),
        pytest.param(None, "a single NoneType: None", id="none"),
        pytest.param(np.float32(3), "a single float32: np.float32(3.0)", id="numpy-scalar"),
        pytest.param(np.array(3.0), "a single ndarray: array(3.)", id="array-without-axes"),
    ],
)
def test_a_value_for_the_whole_batch_is_no_example(value, found):
    """A mean over the batch, where values per example are needed, is refused by name."""
    hook = AccumulateVariables(variables=["loss"])

    with pytest.raises(VariableTypeError) as error:
        hook.after_batch("train", {"loss": value})

    assert isinstance(error.value, TypeError)
    assert (
        str(error.value) == f"stream 'train': variable 'loss': "
        f"expected a sequence with a value for every example, got {found}"
    )


def test_an_error_of_the_batch_itself_is_not_taken_for_a_missing_variable():
    """A KeyError from within a value stays what it is."""

    class Broken:
        def __iter__(self):
            raise KeyError("inner")

    with pytest.raises(KeyError, match="inner") as error:
        AccumulateVariables(variables=["loss"]).after_batch("train", {"loss": Broken()})

    assert not isinstance(error.value, MissingVariableError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variables": "loss"}, "variables: expected a list of names, got 'loss'; write [loss]"),
        ({"variables": None}, "variables: expected a list of names, got None"),
        ({"variables": ["loss", 3]}, "variables: expected a list of names, got 3 in it"),
        ({"variables": ["loss"], "streams": "train"}, "streams: expected a list of names, got 'train'; write [train]"),
    ],
)
def test_names_that_are_no_list_are_refused(arguments, message):
    """A single name would otherwise mean its letters."""
    with pytest.raises(ConfigError) as error:
        AccumulateVariables(**arguments)

    assert str(error.value) == message


def test_unknown_arguments_are_refused_with_the_likely_name():
    """The class is for extension and takes **kwargs, but nothing that nobody knows."""
    with pytest.raises(ConfigError, match="unknown argument 'stream'") as error:
        AccumulateVariables(variables=["loss"], stream=["train"], model=None, dataset=None, output_dir="/tmp")

    assert "did you mean 'streams'?" in str(error.value)


batches = st.lists(
    st.tuples(
        st.sampled_from(["train", "valid"]),
        st.sampled_from(["array", "matrix", "list", "texts"]),
        st.integers(1, 4),
    ),
    max_size=12,
)
_KINDS = {
    "array": lambda numbers: np.array(numbers, np.float32),
    "matrix": lambda numbers: np.outer(numbers, [1, 2]),
    "list": list,
    "texts": lambda numbers: list(map(str, numbers)),
}


@given(batches, st.integers(0, 12))
def test_a_resumed_epoch_has_the_examples_of_both_attempts(hand_over, parts, cut):
    """Wherever the run was cut, the new hook has gathered what an uninterrupted one has."""
    whole = AccumulateVariables(variables=["x"])
    resumed = AccumulateVariables(variables=["x"])
    for position, (stream, kind, size) in enumerate(parts):
        if position == cut:
            resumed = hand_over(resumed, AccumulateVariables(variables=["x"]))
        batch = {"x": _KINDS[kind](range(position, position + size))}
        whole.after_batch(stream, batch)
        resumed.after_batch(stream, batch)

    assert gathered(resumed) == gathered(whole)


def test_a_state_does_not_change_while_the_epoch_goes_on():
    """What a commit is still writing is not touched by the next batch."""
    hook = AccumulateVariables(variables=["x"])
    hook.after_batch("train", {"x": [1]})
    state = hook.state_dict()

    hook.after_batch("train", {"x": [2]})

    assert state == {"accumulated": {"train": {"x": [[1]]}}}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "AccumulateVariables: the state does not fit; expected 'accumulated', got nothing"),
        (
            {"accumulated": {}, "best": 1},
            "AccumulateVariables: the state does not fit; expected 'accumulated', got 'accumulated', 'best'",
        ),
        ([], "AccumulateVariables: the state does not fit; expected 'accumulated', got no mapping"),
        (
            {"accumulated": {"train": {"loss": [[1]]}}},
            "AccumulateVariables: the state has 'loss' of stream 'train'; the hook gathers 'accuracy' of 'train'",
        ),
        (
            {"accumulated": {"valid": {"accuracy": [[1]]}}},
            "AccumulateVariables: the state has 'accuracy' of stream 'valid'; the hook gathers 'accuracy' of 'train'",
        ),
    ],
)
def test_a_state_of_something_else_is_refused(state, message):
    """Half of an epoch's examples would be a wrong result in silence."""
    hook = AccumulateVariables(variables=["accuracy"], streams=["train"])

    with pytest.raises(StateError) as error:
        hook.load_state_dict(state)

    assert str(error.value) == message
