"""Writing sequences."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop.errors import BatchError, ConfigError, VariableTypeError
from emloop.hooks.sequence_to_csv import SequenceToCsv

SENTENCES = {"ids": ["a", "b"], "words": [["w0", "w1", "w2"], ["w3"]], "tags": [[1, 2, 3], [4]]}


def hook_for(*variables, mask=None, **arguments):
    return SequenceToCsv(
        variables=list(variables), id_variable="ids", output_file="out.csv", pad_mask_variable=mask, **arguments
    )


def test_every_position_is_a_record():
    """Columns are the id, the position and the variables, in this order; sequences may differ in length."""
    hook = hook_for("words", "tags")
    hook.after_batch(stream_name="train", batch_data=SENTENCES)

    assert hook._accumulator == [
        {"ids": "a", "index": 0, "words": "w0", "tags": 1},
        {"ids": "a", "index": 1, "words": "w1", "tags": 2},
        {"ids": "a", "index": 2, "words": "w2", "tags": 3},
        {"ids": "b", "index": 0, "words": "w3", "tags": 4},
    ]
    assert list(hook._accumulator[0]) == ["ids", "index", "words", "tags"]


@pytest.mark.parametrize("kind", [list, np.array], ids=["lists", "arrays"])
def test_masked_positions_are_left_out_but_counted(kind):
    """``index`` is the position in the unmasked sequence, so a row can be found in its source."""
    hook = hook_for("tags", mask="mask")
    hook.after_batch(
        "train", {"ids": ["a", "b"], "tags": kind([[5, 6, 7], [8, 9, 0]]), "mask": kind([[1, 0, 1], [0, 1, 0]])}
    )

    assert [tuple(record.values()) for record in hook._accumulator] == [("a", 0, 5), ("a", 2, 7), ("b", 1, 9)]


def test_the_file_is_an_ordinary_csv_file(tmp_path):
    """A header and comma-separated rows without a row number."""
    hook = hook_for("words", "tags", output_dir=tmp_path)
    hook.after_batch("train", SENTENCES)
    hook.after_epoch(0)

    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "ids,index,words,tags",
        "a,0,w0,1",
        "a,1,w1,2",
        "a,2,w2,3",
        "b,0,w3,4",
    ]


def test_everything_masked_writes_no_file(tmp_path):
    """Examples without a row are no reason for a file."""
    hook = hook_for("tags", mask="mask", output_dir=tmp_path)
    hook.after_batch("train", {"ids": ["a"], "tags": [[1, 2]], "mask": [[0, 0]]})
    hook.after_epoch(0)

    assert not (tmp_path / "out.csv").exists()


def test_the_mask_can_be_written_too():
    """A variable may be both a column and the mask."""
    hook = hook_for("mask", mask="mask")
    hook.after_batch("train", {"ids": ["a"], "mask": [[0.0, 0.5]]})

    assert hook._accumulator == [{"ids": "a", "index": 1, "mask": 0.5}]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        pytest.param(np.array([[[0.1, 0.9], [0.25, 0.75]]], np.float32), ["[0.1, 0.9]", "[0.25, 0.75]"], id="array"),
        pytest.param([[[1, 2, 3], [4]]], ["[1, 2, 3]", "[4]"], id="different-lengths"),
        pytest.param([[[True, None], ["a", b"\xe9"]]], ["[true, null]", '["a", "\\\\xe9"]'], id="no-numbers"),
        pytest.param(np.arange(8).reshape(1, 2, 2, 2), ["[[0, 1], [2, 3]]", "[[4, 5], [6, 7]]"], id="matrices"),
        pytest.param([[2.5, np.array([1, 2], np.uint8)]], ["2.5", "[1, 2]"], id="mixed"),
        pytest.param(np.zeros((1, 1, 2000)), ["[" + ", ".join(["0.0"] * 2000) + "]"], id="longer-than-numpy-prints"),
    ],
)
def test_a_vector_at_a_position_is_one_cell(tmp_path, values, cells):
    """It is written as JSON, whole, with the digits of its own precision, also after a resume."""
    hook = hook_for("x", output_dir=tmp_path)
    hook.after_batch("train", {"ids": ["a"], "x": values})
    resumed = hook_for("x", output_dir=tmp_path)
    resumed.load_state_dict(hook.state_dict())
    resumed.after_epoch(0)

    with (tmp_path / "out.csv").open(newline="") as file:
        assert [["ids", "index", "x"], *([["a", str(i), cell] for i, cell in enumerate(cells)])] == list(
            csv.reader(file)
        )


def test_vectors_are_masked_by_position():
    """``[B, T, K]`` beside ``[B, T]`` and a mask ``[B, T]``."""
    hook = hook_for("x", "tags", mask="mask")
    x = np.arange(12).reshape(2, 3, 2)
    hook.after_batch("train", {"ids": ["a", "b"], "x": x, "tags": x[:, :, 0], "mask": [[1, 0, 1], [0, 1, 0]]})

    assert [(r["ids"], r["index"], list(r["x"]), r["tags"]) for r in hook._accumulator] == [
        ("a", 0, [0, 1], 0),
        ("a", 2, [4, 5], 4),
        ("b", 1, [8, 9], 8),
    ]


@given(st.lists(st.lists(st.lists(st.integers(-5, 5), max_size=4), min_size=1, max_size=3), max_size=4))
def test_no_value_is_lost_or_moved(tmp_path_factory, batches):
    """Whatever mix of equal and different lengths comes, batch after batch, its values are in the file in order."""
    folder = tmp_path_factory.mktemp("run")
    hook = hook_for("x", output_dir=folder)
    expected = []
    for number, values in enumerate(batches):
        ids = [f"{number}-{index}" for index in range(len(values))]
        hook.after_batch("train", {"ids": ids, "x": values})
        expected += [
            [ids[index], str(position), str(value)]
            for index, example in enumerate(values)
            for position, value in enumerate(example)
        ]
    resumed = hook_for("x", output_dir=folder)
    resumed.load_state_dict(hook.state_dict())
    resumed.after_epoch(0)

    if expected:
        with (folder / "out.csv").open(newline="") as file:
            assert [["ids", "index", "x"], *expected] == list(csv.reader(file))
    else:
        assert not (folder / "out.csv").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param(
            {"tags": [[1, 2], [4]]},
            BatchError,
            "stream 'train': example 0 has a different number of positions .*: 3 in 'words', 2 in 'tags', 3 in 'mask'",
            id="lengths",
        ),
        pytest.param(
            {"mask": [[1, 1, 1], [1, 1]]},
            BatchError,
            "example 1 has a different number of positions .*: 1 in 'words', 1 in 'tags', 2 in 'mask'",
            id="mask-lengths",
        ),
        pytest.param({"mask": [[1, 1, 1]]}, BatchError, "2 of 'tags', 1 of 'mask'", id="mask-batch-size"),
        pytest.param({"tags": [[1, 2, 3]]}, BatchError, "1 of 'tags'", id="batch-size"),
        pytest.param(
            {"tags": [1, 2]},
            VariableTypeError,
            r"variable 'tags': expected a sequence per example, got an array of shape \(2,\)",
            id="no-sequences",
        ),
        pytest.param(
            {"words": ["text", ["w3"]]},
            VariableTypeError,
            r"variable 'words': expected a sequence per example, got \['text', \['w3'\]\]",
            id="text-is-no-sequence",
        ),
        pytest.param(
            {"mask": np.ones((2, 3, 4))},
            VariableTypeError,
            r"variable 'mask': expected a sequence of single values per example, got an array of shape \(2, 3, 4\)",
            id="mask-of-vectors",
        ),
        pytest.param(
            {"mask": [[[1], 1, 1], [1]]},
            VariableTypeError,
            "variable 'mask': expected a sequence of single",
            id="nested-mask",
        ),
    ],
)
def test_what_makes_no_rows_is_refused(changes, error, message):
    """The error says which variable of which stream is wrong, and what it holds; nothing of the batch is kept."""
    hook = hook_for("words", "tags", mask="mask")

    with pytest.raises(error, match=message):
        hook.after_batch("train", {**SENTENCES, "mask": [[1, 1, 1], [1]], **changes})
    assert hook._accumulator == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [([], "variables: expected at least one name"), ("tags", "variables: expected a list of names, got 'tags'")],
)
def test_variables_must_be_listed(variables, message):
    """No variable, or one that is not in a list, is a mistake of the configuration."""
    with pytest.raises(ConfigError, match=message):
        SequenceToCsv(variables=variables, id_variable="ids", output_file="out.csv")
