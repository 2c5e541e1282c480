"""An error in the user's own code: where and with what comes first, then the user's own frames."""

from __future__ import annotations

import numpy as np
import pytest

from emloop import AbstractHook
from emloop._reporter.telling import told
from emloop.errors import EmloopError
from emloop.main_loop import MainLoop
from emloop.main_loop.checks import policy


class Data:
    def __init__(self, train, valid=()):
        self._streams = train, valid

    def train_stream(self):
        yield from self._streams[0]

    def valid_stream(self):
        yield from self._streams[1]


class Failing:
    """Fails at a batch with a single example."""

    input_names = ("x",)
    output_names = ()

    def run(self, batch, train, stream=None):
        if len(batch["x"]) == 1:
            raise ValueError("one is not enough")
        return {}

    def save(self, name_suffix):
        return name_suffix


def failure(data, *hooks, **settings):
    with pytest.raises(Exception) as caught:
        MainLoop(Failing(), data, hooks, skip_zeroth_epoch=True, **settings).run_training()
    return caught.value


TWO, ONE = {"x": np.zeros((2, 3), np.float32), "y": [1, 2]}, {"x": np.zeros((1, 3), np.float32), "y": [1]}


def test_the_batch_is_named_before_the_traceback():
    """Stream, number, epoch, sources with dtype and shape; only the user's own frames follow."""
    error = failure(Data([TWO, TWO, ONE]), on_unused_sources="ignore")

    head, place, traceback, *frames = told(error, in_full=False).splitlines()
    assert head == "ValueError: one is not enough"
    assert place == "  while training on batch 3 of stream 'train' in epoch 1, with x: float32 [1, 3], y: list of 1"
    assert traceback.startswith("Traceback (most recent call last; ")
    assert traceback.endswith(" frames of emloop are left out, -v shows them):")
    assert [line.split('"')[1] for line in frames if line.startswith("  File")] == [__file__, __file__]
    assert frames[-1] == "ValueError: one is not enough"


def test_nothing_is_left_out_on_request():
    """As Python tells it."""
    error = failure(Data([ONE]), on_unused_sources="ignore")

    text = told(error, in_full=True)
    assert "\nTraceback (most recent call last):\n" in text
    assert "main_loop/loop.py" in text


def test_an_evaluation_is_named_as_such():
    """With the epoch that it belongs to."""
    error = failure(Data([TWO], [TWO, ONE]), extra_streams=["valid"], on_unused_sources="ignore")

    assert error.__notes__ == [
        "while evaluating batch 2 of stream 'valid' in epoch 1, with x: float32 [1, 3], y: list of 1"
    ]


def test_a_stream_that_fails_is_told_from_a_model_that_does():
    """The batch that could not be read has a number, too."""

    def broken():
        yield TWO
        raise KeyError("no such file")

    error = failure(Data(broken()), on_unused_sources="ignore")

    assert error.__notes__[-1] == "while batch 2 of stream 'train' was read, in epoch 1"


class Break(AbstractHook):
    stateless = True

    def after_batch(self, stream_name, batch_data):
        raise ZeroDivisionError("a mean of nothing")


def test_a_hook_is_named_after_its_place():
    """From outside in: the batch, then the hook."""
    text = told(failure(Data([TWO]), Break(), on_unused_sources="ignore"), in_full=False)

    assert text.splitlines()[1:3] == [
        "  while training on batch 1 of stream 'train' in epoch 1, with x: float32 [2, 3], y: list of 2",
        "  raised by hook Break in after_batch of stream 'train'",
    ]


def test_an_error_of_our_own_is_told_whole():
    """A traceback that ends in emloop means a fault of ours, of which every frame counts."""
    with pytest.raises(EmloopError) as caught:
        policy("on_empty_batch", "maybe")

    assert "are left out" not in told(caught.value, in_full=False)


def test_causes_lose_the_same_frames():
    """An error that was raised while another was handled is shown with it."""
    try:
        try:
            MainLoop(Failing(), Data([ONE]), on_unused_sources="ignore", skip_zeroth_epoch=True).run_training()
        except ValueError as error:
            raise RuntimeError("outer") from error
    except RuntimeError as error:
        text = told(error, in_full=False)

    assert "one is not enough" in text
    assert "main_loop/loop.py" not in text
