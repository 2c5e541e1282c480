"""What the sequence of gathered examples promises."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from emloop.hooks._variables.examples import Examples


def examples_of(*batches):
    examples = Examples()
    for batch in batches:
        examples.add(batch)
    return examples


def test_arrays_of_one_kind_become_one_array():
    """``numpy.asarray`` joins the batches, dtype kept, whatever their sizes."""
    examples = examples_of(np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32))

    joined = np.asarray(examples)

    assert joined.dtype == np.float32
    assert joined.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert np.asarray(examples, dtype=int).dtype == int


def test_examples_may_differ_in_length_from_batch_to_batch():
    """Batches padded to different lengths are gathered all the same."""
    examples = examples_of(np.ones((1, 2)), np.zeros((1, 3)))

    assert [row.tolist() for row in examples] == [[1, 1], [0, 0, 0]]
    with pytest.raises(ValueError, match="inhomogeneous"):
        np.asarray(examples)


def test_it_behaves_as_a_list():
    """Length, order, indices, slices and comparison are those of a list."""
    examples = examples_of([1, 2], np.array([3, 4]))

    assert len(examples) == 4
    assert examples[0] == 1
    assert examples[-1] == 4
    assert examples[1:3] == [2, 3]
    assert 3 in examples
    assert examples == [1, 2, 3, 4]
    assert examples != [1, 2, 3]
    assert examples != 5
    assert repr(examples_of([1, "a"])) == "[1, 'a']"


def test_values_of_any_type_are_kept():
    """Arrays of objects, moments and texts come back as they were."""
    moment = datetime.date(2026, 11, 22)

    assert examples_of(np.array(["a", None], dtype=object), [moment], "xy") == ["a", None, moment, "x", "y"]


def test_nothing_gathered_is_an_empty_array():
    """A stream without batches gives nothing, and no error."""
    assert np.asarray(Examples()).tolist() == []
    assert len(Examples()) == 0


def test_a_state_keeps_the_kinds_of_the_parts():
    """Equal arrays are stored as one; lists stay lists."""
    arrays, mixed = examples_of(np.arange(2), np.arange(1)), examples_of(np.arange(2), ["a"])

    assert [part.tolist() for part in arrays.state()] == [[0, 1, 0]]
    assert [list(part) for part in mixed.state()] == [[0, 1], ["a"]]
