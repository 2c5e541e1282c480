"""The summary of a dataset's streams."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from emloop.datasets import BaseDataset
from emloop.errors import BatchError


class Dataset(BaseDataset):
    """Base of the datasets below, which need no configuration."""

    def _configure_dataset(self):
        """Nothing to configure."""


class Sound(Dataset):
    """Streams of which each can be read."""

    streams = ("not", "a", "method")
    upstream = "a string"

    def batches_stream(self):
        yield {
            "integers": [[1, 2], [3, 40]],
            "flags": np.array([True, False]),
            "floats": np.array([0.123, 4.5], np.float32),
            "names": ["ab", "c"],
        }
        raise AssertionError("only the first batch is read")

    def dict_stream(self):
        return [{}]

    def ragged_stream(self):
        yield {"ragged": [[1], [2, 3]], "objects": np.array([[1], [2, 3]], object)}

    def empty_stream(self):
        return []

    def _helper_stream(self, split):
        raise AssertionError("a helper is no stream")

    @property
    def lazy_stream(self):
        raise AssertionError("a property is not called")


class Broken(Dataset):
    """A dataset with failing streams."""

    def first_stream(self):
        raise FileNotFoundError("train.npy")

    def second_stream(self):
        return [{"x": [1]}]

    def third_stream(self):
        yield {"x": 5 / 0}


def records(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_every_stream_is_described_by_its_first_batch(caplog):
    """Names, dtypes, shapes and ranges, as a table a line each; ragged sources and empty streams are warned about."""
    caplog.set_level(logging.INFO)
    Sound("").stream_info()

    ragged = "*** stream source `{}` appears to be ragged (non-rectangular) ***"
    expected = [
        ("INFO", "Found 4 stream candidates: ['batches_stream', 'dict_stream', 'empty_stream', 'ragged_stream']"),
        ("INFO", "batches_stream"),
        ("INFO", "+----------+---------+---------+--------------+"),
        ("INFO", "| name     | dtype   | shape   | range        |"),
        ("INFO", "+==========+=========+=========+==============+"),
        ("INFO", "| integers | int64   | (2, 2)  | 1 - 40       |"),
        ("INFO", "+----------+---------+---------+--------------+"),
        ("INFO", "| flags    | bool    | (2,)    | False - True |"),
        ("INFO", "+----------+---------+---------+--------------+"),
        ("INFO", "| floats   | float32 | (2,)    | 0.12 - 4.50  |"),
        ("INFO", "+----------+---------+---------+--------------+"),
        ("INFO", "| names    | <U2     | (2,)    |              |"),
        ("INFO", "+----------+---------+---------+--------------+"),
        ("INFO", "dict_stream"),
        ("INFO", "+--------+---------+---------+---------+"),
        ("INFO", "| name   | dtype   | shape   | range   |"),
        ("INFO", "+========+=========+=========+=========+"),
        ("INFO", "+--------+---------+---------+---------+"),
        ("INFO", "empty_stream"),
        ("WARNING", "*** stream `empty_stream` has no batches ***"),
        ("INFO", "ragged_stream"),
        ("WARNING", ragged.format("ragged")),
        ("WARNING", ragged.format("objects")),
        ("INFO", "+---------+---------+---------+"),
        ("INFO", "| name    | dtype   | shape   |"),
        ("INFO", "+=========+=========+=========+"),
        ("INFO", "| ragged  | list    | (2,)    |"),
        ("INFO", "+---------+---------+---------+"),
        ("INFO", "| objects | object  | (2,)    |"),
        ("INFO", "+---------+---------+---------+"),
    ]
    assert records(caplog) == expected


def test_failing_streams_are_named_after_all_were_looked_at(caplog):
    """Each is warned about, its traceback kept for the verbose log, and the command fails in the end."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(
        BatchError, match=r"^first_stream, third_stream: no batch could be read; the log has the reasons$"
    ):
        Broken("").stream_info()

    warning = "Exception was raised during checking stream `{}`, (stack trace is displayed only with --verbose flag)"
    warnings = [message for level, message in records(caplog) if level == "WARNING"]
    first, third = (message for level, message in records(caplog) if level == "DEBUG")
    assert warnings == [warning.format("first_stream"), warning.format("third_stream")]
    assert 'raise FileNotFoundError("train.npy")' in first
    assert "ZeroDivisionError" in third
    assert ("INFO", "| x      | int64   | (1,)    | 1 - 1   |") in records(caplog)


def test_looking_at_a_stream_changes_no_later_batch():
    """The first batch shown is that of the first training pass, however often it is looked at."""

    class Random(Dataset):
        def train_stream(self):
            self.seen = self.rng("train").random()
            yield {"x": [self.seen]}

    dataset, other = Random(""), Random("")
    dataset.stream_info()
    first = dataset.seen
    dataset.stream_info()
    assert dataset.seen == first
    assert dataset.rng("train").random() == other.rng("train").random()
