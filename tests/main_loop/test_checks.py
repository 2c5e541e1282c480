"""Batches, outputs and arguments that break a rule, and the policies that say what to do about them."""

from __future__ import annotations

import logging

import pytest

from emloop.errors import BatchError, ConfigError

from .conftest import CountingModel, ListDataset, batches


@pytest.fixture
def run(make_loop, caplog):
    """Trains one epoch on the given batches and returns what the model has run."""
    caplog.set_level(logging.DEBUG)

    def train(train_batches, **arguments):
        model = arguments.pop("model", None) or CountingModel()
        loop = make_loop(
            dataset=ListDataset(train=train_batches), model=model, epochs_count=1, skip_zeroth_epoch=True, **arguments
        )
        loop.run_training()
        return [x for x, _ in model.runs]

    return train


EMPTY = {"x": []}
EMPTY_BATCH = "0-th batch in stream `train` appears to be empty (0-th empty batch in total)."
SUPPRESS = "Set `main_loop.{}` to `ignore` in order to suppress this {}."


def test_an_empty_batch_is_an_error(run):
    """The message says where, and how to live with it."""
    with pytest.raises(BatchError) as caught:
        run([EMPTY])
    assert f"{EMPTY_BATCH} {SUPPRESS.format('on_empty_batch', 'error')}" == str(caught.value)


def test_an_empty_batch_can_be_skipped_with_a_warning(run, caplog):
    """It is never run; the others are."""
    assert [[1]] == run([EMPTY, {"x": [1]}], on_empty_batch="warn")
    assert f"{EMPTY_BATCH} {SUPPRESS.format('on_empty_batch', 'warning')}" in caplog.messages


def test_an_empty_batch_can_be_ignored(run, caplog):
    """Nothing is said."""
    assert [[1]] == run([EMPTY, {}, {"x": [1]}], on_empty_batch="ignore")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_empty_stream_is_an_error(run):
    """Batches that were skipped do not count."""
    with pytest.raises(BatchError) as caught:
        run([EMPTY], on_empty_batch="ignore")
    assert f"Stream `train` appears to be empty. {SUPPRESS.format('on_empty_stream', 'error')}" == str(caught.value)


@pytest.mark.parametrize(("policy", "warnings"), [("warn", 1), ("ignore", 0)])
def test_an_empty_stream_can_be_tolerated(run, caplog, policy, warnings):
    """With a warning, or silently."""
    assert [] == run([], on_empty_stream=policy)
    message = f"Stream `train` appears to be empty. {SUPPRESS.format('on_empty_stream', 'warning')}"
    assert warnings == caplog.messages.count(message)


def test_batches_of_another_size_are_dropped(run, caplog):
    """fixed_batch_size keeps the others and says so at debug level."""
    assert [[1, 2]] == run([{"x": [1, 2]}, {"x": [3]}], fixed_batch_size=2)
    assert (
        "1-th batch in stream `train` has variable `x` of length 1 inconsistent with `main_loop.fixed_size` = 2"
        in caplog.messages
    )


def test_sources_of_different_lengths_are_an_error(run):
    """The first axis is the example, so all sources have the same length."""
    with pytest.raises(BatchError, match=r"different lengths: x: 1, z: 2\. Set `main_loop.on_unequal_lengths`"):
        run([{"x": [1], "z": [1, 2]}])


def test_sources_of_different_lengths_can_be_allowed(run):
    """For datasets that mean it."""
    assert [[1]] == run([{"x": [1], "z": [1, 2]}], on_unequal_lengths="ignore", on_unused_sources="ignore")


def test_a_missing_source_is_always_an_error(run):
    """The message names what is missing, what is there, and what was probably meant."""
    with pytest.raises(BatchError) as caught:
        run([{"X": [1]}])
    assert "stream 'train' does not provide 'x', which the model needs; it provides: 'X'; did you mean 'X'?" == str(
        caught.value
    )


def test_unused_sources_are_warned_about_once_per_stream(make_loop, caplog):
    """Not once per loop, which would hide the second stream, and not once per batch."""
    dataset = ListDataset(train=[{"x": [1], "z": [1]}] * 3, valid=[{"x": [1], "z": [1]}])

    make_loop(dataset=dataset, extra_streams=["valid"], epochs_count=2).run_training()

    warned = [message for message in caplog.messages if "does not use" in message]
    assert ["train", "valid"] == [message.split("`")[1] for message in warned]


def test_unused_sources_can_be_an_error(run):
    """For those who want to know."""
    with pytest.raises(BatchError, match="sources that the model does not use: 'z'"):
        run([{"x": [1], "z": [1]}], on_unused_sources="error")


def test_outputs_named_like_sources_are_an_error(run):
    """One of the two values would be lost to the hooks."""

    class Echo(CountingModel):
        def run(self, batch, train, stream=None):
            return {"x": batch["x"]}

    with pytest.raises(BatchError, match=r"outputs \['x'\] are named like sources"):
        run(batches(1), model=Echo())


@pytest.mark.parametrize("odd", [None, [1, 2], 3])
def test_outputs_that_are_no_mapping_are_an_error(run, odd):
    """The message says what came instead."""

    class Odd(CountingModel):
        def run(self, batch, train, stream=None):
            return odd

    with pytest.raises(BatchError, match=f"must return a mapping .*, got {type(odd).__name__}"):
        run(batches(1), model=Odd())


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        pytest.param([1], "must provide mappings of source names to examples, got list", id="list"),
        pytest.param({"x": 3}, "source 'x' must be a sequence of examples, got int", id="scalar-source"),
        pytest.param(None, "must provide mappings of source names to examples, got NoneType", id="none"),
    ],
)
def test_what_is_no_batch_is_an_error(run, odd, message):
    """The stream is named, not some line inside the loop."""
    with pytest.raises(BatchError, match=f"stream 'train'.* {message}"):
        run([odd])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_empty_batch": "wran"}, "main_loop.on_empty_batch: expected one of 'ignore', 'warn', 'error', got 'wran'"),
        ({"on_incorrect_config": "no"}, "main_loop.on_incorrect_config: expected one of"),
        ({"extra_streams": "valid"}, r"main_loop.extra_streams: expected a list of stream names, got 'valid'"),
        ({"extra_streams": ["valid", "valid"]}, "'valid' is named twice"),
        ({"extra_streams": ["train"]}, "'train' is named twice, or is the training stream"),
        ({"fixed_epoch_size": 0}, "main_loop.fixed_epoch_size: expected a positive number or null, got 0"),
        ({"fixed_batch_size": -1}, "main_loop.fixed_batch_size: expected a positive number or null, got -1"),
        ({"commit": {"evry": 3}}, "unknown argument 'evry'\n  did you mean 'every'?"),
        ({"commit": {"keep": 1}}, "main_loop.commit.keep: expected whole number >= 2 or mapping, got 1"),
        ({"epoch_count": 3}, "unknown argument 'epoch_count'\n  did you mean 'epochs_count'?"),
    ],
)
def test_impossible_arguments_are_refused(make_loop, arguments, message):
    """Every argument is checked when the loop is made."""
    with pytest.raises(ConfigError) as caught:
        make_loop(**arguments)
    assert message in str(caught.value)


def test_unknown_arguments_can_be_warned_about(make_loop, caplog):
    """With the reference's words."""
    make_loop(on_incorrect_config="warn", **{"non-existent": "none"})

    assert "Extra arguments: {'non-existent': 'none'}" in caplog.text


def test_unknown_arguments_can_be_ignored(make_loop, caplog):
    """Silently."""
    make_loop(on_incorrect_config="ignore", **{"non-existent": "none"})

    assert "" == caplog.text
