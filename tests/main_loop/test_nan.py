"""A loss that is not a number is said aloud: where it was first, even if no hook looks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emloop.hooks import StopAfter
from emloop.main_loop import MainLoop, Record

NAN = math.nan


class Echo:
    """Gives back its source as the loss, in some form."""

    input_names = ("x",)
    output_names = ("loss",)

    def __init__(self, form=np.array):
        self._form = form

    def run(self, batch, train, stream=None):
        return {"loss": self._form(batch["x"])}

    def save(self, name_suffix):
        return name_suffix


class OnDevice(Echo):
    """Notices by itself, and tells when asked."""

    def __init__(self):
        super().__init__(lambda values: object())
        self._batches = []

    def run(self, batch, train, stream=None):
        self._batches.append(batch["x"])
        return {"loss": Unfetched(len(batch["x"]))}

    def first_nan(self):
        taken, self._batches = self._batches, []
        return next((number for number, x in enumerate(taken, 1) if any(map(math.isnan, x))), 0) if taken else None


class Unfetched:
    """A loss that nobody may wait for."""

    def __init__(self, length):
        self._length = length

    def __len__(self):
        return self._length

    def __array__(self, *args, **kwargs):
        raise AssertionError("nobody asked for the values")


class Data:
    def __init__(self, **streams):
        for name, batches in streams.items():
            setattr(self, f"{name}_stream", lambda batches=batches: [{"x": x} for x in batches])


def said(caplog):
    return [record.getMessage() for record in caplog.records if "NaN" in record.getMessage()]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Echo(), id="array"),
        pytest.param(Echo(list), id="list"),
        pytest.param(Echo(np.float16), id="float16"),
        pytest.param(Echo(lambda x: np.array([x, x]).T), id="per-element"),
        pytest.param(OnDevice(), id="on-device"),
    ],
)
def test_the_first_batch_with_nan_is_named_once(caplog, model):
    """Stream, batch and epoch; what follows is no news."""
    data = Data(train=[[1.0, 2.0], [3.0, NAN], [NAN, NAN]], valid=[[NAN, 1.0]])

    MainLoop(model, data, extra_streams=["valid"], epochs_count=2, skip_zeroth_epoch=True).run_training()

    assert said(caplog) == ["The loss is NaN, first in batch 2 of stream 'train' in epoch 1"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[math.inf, -math.inf], [1e300, 1e300], [1, 2], [], ["a", "b"]])
@pytest.mark.parametrize("form", [list, np.array, lambda x: np.array(x)[:0]])
def test_what_is_no_nan_is_not_named(caplog, values, form):
    """Infinities, integers and texts are none."""
    data = Data(train=[values or [0.0]])

    MainLoop(Echo(form), data, epochs_count=1).run_training()

    assert said(caplog) == []


@pytest.mark.parametrize("model", [Echo(), OnDevice()])
def test_it_is_named_where_a_hook_ends_the_training_within_an_epoch(caplog, model):
    """The epoch never comes to its end."""
    data = Data(train=[[1.0], [NAN], [1.0]])
    MainLoop(model, data, [StopAfter(iterations=2)], skip_zeroth_epoch=True).run_training()

    assert said(caplog) == ["The loss is NaN, first in batch 2 of stream 'train' in epoch 1"]


def test_batches_that_are_left_out_do_not_count(caplog):
    """A number is that of a batch that was run."""
    data = Data(train=[[1.0, 1.0], [1.0], [1.0, NAN]])

    MainLoop(Echo(), data, fixed_batch_size=2, epochs_count=1, skip_zeroth_epoch=True).run_training()

    assert said(caplog) == ["The loss is NaN, first in batch 2 of stream 'train' in epoch 1"]


class Commits(Record):
    """Takes the loop's state after every batch."""

    def __init__(self, loop):
        self._loop = loop

    def between_batches(self, batches, *, interrupted):
        self._loop.stage_state()
        return 1


def test_a_model_that_tells_is_asked_after_every_batch_where_each_is_committed(caplog):
    """At the end of the stream, no batch is left to ask about."""
    loop = MainLoop(OnDevice(), Data(train=[[1.0], [1.0], [NAN]]), epochs_count=2, skip_zeroth_epoch=True)
    loop.attach(Commits(loop))
    loop.run_training()

    assert said(caplog) == ["The loss is NaN, first in batch 3 of stream 'train' in epoch 1"]
