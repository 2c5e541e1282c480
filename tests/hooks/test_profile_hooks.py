"""What ``LogProfile``, ``Benchmark`` and ``LogDir`` write, letter by letter."""

from __future__ import annotations

import logging

import pytest

from emloop.errors import ConfigError
from emloop.hooks import Benchmark, LogDir, LogProfile


@pytest.fixture
def logged(caplog):
    """What was logged since the test began."""
    caplog.set_level(logging.INFO)
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_the_profile_is_summed_by_stream(logged):
    """Times of the model by stream, times of reading and of hooks over the epoch's streams."""
    profile = {
        "some_contrived_additional": "nothing that could be summed",
        "read_batch_train": [0.1, 0.2],
        "read_batch_test": [0.3],
        "read_batch_other": [100],
        "eval_batch_train": [1, 2, 3],
        "after_batch_hooks_train": [4, 5],
        "after_batch_hooks_test": [6],
        "after_epoch_hooks": [7],
    }

    LogProfile().after_epoch_profile(0, profile, ["train", "test"])

    assert logged() == [
        ("INFO", "\tT train:\t6.000000"),
        ("INFO", "\tT test:\t0.000000"),
        ("INFO", "\tT read data:\t0.600000"),
        ("INFO", "\tT hooks:\t22.000000"),
    ]


def test_an_empty_profile_took_no_time(logged):
    """What was not measured counts as nothing."""
    LogProfile().after_epoch_profile(epoch_id=0, profile={}, streams=["train"])

    assert [message for _, message in logged()] == [
        "\tT train:\t0.000000",
        "\tT read data:\t0.000000",
        "\tT hooks:\t0.000000",
    ]


def test_the_time_of_an_example_is_that_of_full_batches(logged):
    """The last batch, which may be smaller, does not count."""
    profile = {"eval_batch_train": [2.0, 4.0, 9.0, 1000.0], "eval_batch_valid": [1.0, 1000.0], "whatever": None}

    Benchmark(batch_size=10).after_epoch_profile(0, profile, ["train", "valid"])

    assert logged() == [
        ("INFO", "train - time per example: mean=0.50000s, median=0.40000s"),
        ("INFO", "valid - time per example: mean=0.10000s, median=0.10000s"),
    ]


def test_the_only_batch_counts(logged):
    """A stream with one batch has a time too; one without any is left out."""
    Benchmark(batch_size=2).after_epoch_profile(
        0, {"eval_batch_train": [3.0], "eval_batch_empty": []}, ["train", "empty", "x"]
    )

    assert logged() == [("INFO", "train - time per example: mean=1.50000s, median=1.50000s")]


@pytest.mark.parametrize("batch_size", [0, -2, "32", None])
def test_a_batch_has_examples(batch_size):
    """The size of a batch is a positive whole number."""
    with pytest.raises(ConfigError) as error:
        Benchmark(batch_size=batch_size)

    assert str(error.value) == f"batch_size: expected a whole number, 1 or more, got {batch_size!r}"


def test_the_directory_is_logged_again_and_again(logged):
    """At both ends of the training and after every epoch, whatever is said of the epoch."""
    hook = LogDir(output_dir="/tmp/run")
    hook.before_training()
    hook.after_epoch(batch_data={}, stream_name="x")
    hook.after_epoch(1, {})
    hook.after_training(True)

    assert logged() == [("INFO", "Output dir: /tmp/run")] * 4
