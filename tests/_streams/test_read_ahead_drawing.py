"""Streams that draw from global random states, as a model does that works meanwhile: neither disturbs the other."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest

from emloop._state.random import random_state, restore_random_state, seed_everything
from emloop._streams import StreamWrapper

BATCHES = 6


class Reading:
    """What the code of a stream does, as others see it."""

    def __init__(self):
        self.drew = Event()
        self.batches = 0

    def draw(self, draw, *arguments):
        number = draw(*arguments)
        self.drew.set()
        return number

    def batch(self, number):
        self.batches += 1
        return {"drawn": [number]}


class Model:
    """Draws from a sequence of its own, which stands in the global generator while the model works."""

    def __init__(self, reading):
        self._reading = reading
        self._state = np.random.RandomState(3).get_state(legacy=False)

    def run(self, stream, *, patience):
        with stream.allow_buffering:
            outer = np.random.get_state(legacy=False)
            np.random.set_state(self._state)
            before = self._reading.batches
            self._reading.drew.wait(patience)  # time enough for the stream to draw, if it would
            drawn = np.random.rand()
            self._state = np.random.get_state(legacy=False)
            np.random.set_state(outer)
        return drawn, self._reading.batches > before


@pytest.fixture(autouse=True)
def _same_beginning():
    before = random_state()
    seed_everything(5)
    yield
    restore_random_state(before)


def each(reading):
    for _ in range(BATCHES):
        yield reading.batch(reading.draw(np.random.rand))


def order(reading):
    for number in reading.draw(np.random.permutation, BATCHES):
        yield reading.batch(number)


class Loader:
    """Draws when it is iterated, as PyTorch's loaders do."""

    def __init__(self, reading):
        self._reading = reading

    def __iter__(self):
        return map(self._reading.batch, self._reading.draw(np.random.permutation, BATCHES))


class Augmented:
    """A sequence whose batches are drawn when they are read."""

    def __init__(self, reading):
        self._reading = reading

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        return self._reading.batch(self._reading.draw(np.random.rand))


def train(stream_fn, buffer_size, epoch_size, gate="model"):
    """What a stream and a model draw in three epochs, and whether batches were read while the model worked."""
    seed_everything(5)
    reading = Reading()
    stream = StreamWrapper(lambda: stream_fn(reading), buffer_size, epoch_size, name="train", gate=gate)
    model = Model(reading)
    drawn, ahead = [], []
    for _ in range(3):
        with stream:
            for batch in stream:
                reading.drew.clear()
                number, read_meanwhile = model.run(stream, patience=0.02 if buffer_size else 0)
                drawn.append((batch["drawn"][0], number))
                ahead.append(read_meanwhile)
    return drawn, any(ahead)


@pytest.mark.parametrize("gate", ["open", "model"])
@pytest.mark.parametrize("epoch_size", [pytest.param(-1, id="passes"), pytest.param(4, id="fixed-epochs")])
@pytest.mark.parametrize(
    ("stream_fn", "is_read_ahead"),
    [
        pytest.param(each, False, id="in-each-batch"),
        pytest.param(Augmented, False, id="in-each-of-a-sequence"),
        pytest.param(order, True, id="with-the-first-batch"),
        pytest.param(Loader, True, id="when-opened"),
    ],
)
def test_a_buffer_changes_nothing_of_what_is_drawn_globally(stream_fn, is_read_ahead, epoch_size, gate):
    """Batches and the model's own numbers are those of a run without a buffer; it is of use where only an order is
    drawn.
    """
    expected, _ = train(stream_fn, 0, epoch_size)
    assert train(stream_fn, 3, epoch_size, gate) == (expected, is_read_ahead)
