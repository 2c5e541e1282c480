"""Writing a vector per example."""

from __future__ import annotations

import numpy as np
import pytest

from emloop.errors import BatchError, ConfigError, VariableTypeError
from emloop.hooks.logits_to_csv import LogitsToCsv

LOGITS = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]


def hook_for(class_names=("cat", "dog", "horse"), **arguments):
    return LogitsToCsv(
        variable="logits", class_names=class_names, id_variable="ids", output_file="out.csv", **arguments
    )


@pytest.mark.parametrize("kind", [list, np.array], ids=["lists", "arrays"])
def test_every_example_is_a_record(kind):
    """Columns are the id and one per class, in the order of the names."""
    hook = hook_for()
    hook.after_batch(stream_name="train", batch_data={"ids": ["a", "b"], "logits": kind(LOGITS)})

    assert hook._accumulator == [
        {"ids": "a", "cat": 0.5, "dog": 0.25, "horse": 0.25},
        {"ids": "b", "cat": 0.0, "dog": 1.0, "horse": 0.0},
    ]
    assert list(hook._accumulator[0]) == ["ids", "cat", "dog", "horse"]


def test_the_file_is_an_ordinary_csv_file(tmp_path):
    """A header and comma-separated rows; single precision is not blown up to digits that mean nothing."""
    hook = hook_for(["a", "b", 2], output_dir=tmp_path)
    hook.after_batch("train", {"ids": [1, 2], "logits": np.array([[0.1, 0.9, 0], [1 / 3, 0.5, -2]], dtype=np.float32)})
    hook.after_epoch(0)

    assert (tmp_path / "out.csv").read_text().splitlines() == ["ids,a,b,2", "1,0.1,0.9,0.0", "2,0.33333334,0.5,-2.0"]


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (
            np.zeros((2, 4)),
            BatchError,
            "stream 'train': variable 'logits': example 0 has 4 values, but class_names has 3",
        ),
        ([[1, 2, 3], [1, 2]], BatchError, "stream 'train': variable 'logits': example 1 has 2 values, but class_names"),
        ([1, 2], VariableTypeError, r"variable 'logits': expected a sequence .* got an array of shape \(2,\)"),
    ],
)
def test_every_class_needs_its_value(logits, error, message):
    """A vector of another length is refused with the example's number."""
    with pytest.raises(error, match=message):
        hook_for().after_batch("train", {"ids": ["a", "b"], "logits": logits})


@pytest.mark.parametrize(
    ("class_names", "message"),
    [
        ([], "class_names: expected at least one name"),
        ("cat", "class_names: expected a list of names, got 'cat'"),
        (None, "class_names: expected a list of names, got None"),
        (["cat", "dog", "cat"], "more than one column is called 'cat'"),
    ],
)
def test_class_names_must_tell_classes_apart(class_names, message):
    """No names, or one twice, is a mistake of the configuration."""
    with pytest.raises(ConfigError, match=message):
        hook_for(class_names)
