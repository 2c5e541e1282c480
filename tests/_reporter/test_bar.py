"""How far a stream is: what is done, of how much, how fast, and how long it will take."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._reporter.bar import Bar, announced_total
from emloop._reporter.reporter import Reading
from emloop._reporter.wording import Value


class Stream:
    """A stream and a clock that a test moves on."""

    def __init__(self, total=None, done=0):
        self.total, self.done, self.now = total, done, 100.0
        self.bar = Bar(Reading("train", 1, True, total, lambda: self.done, lambda: None), total, lambda: self.now)

    def run(self, batches, seconds):
        self.done += batches
        self.now += seconds


def test_the_time_left_is_that_of_the_batches_to_come_at_the_average_speed():
    """As many digits as one can use."""
    stream = Stream(200)
    assert stream.bar.text() == "train: 0/200=0.0%"
    assert stream.bar.details() == ["0/200"]

    stream.run(31, 31)

    assert stream.bar.text() == "train: 31/200=15.5% ETA 0:02:49"
    assert stream.bar.details() == ["31/200", "ETA 0:02:49", "1/s"]


def test_a_resumed_stream_is_timed_from_where_it_goes_on():
    """The batches of another attempt took no time here."""
    stream = Stream(40, done=30)

    stream.run(5, 10)

    assert stream.bar.details() == ["35/40", "ETA 0:00:10", "0.5/s"]


@pytest.mark.parametrize("total", [0, 1, None])
def test_a_total_that_is_too_small_is_no_total(total):
    """Then batches are only counted."""
    stream = Stream(total)

    stream.run(2, 1)

    assert stream.bar.text() == "train: 2"


@pytest.mark.parametrize(
    ("loss", "shown"),
    [
        (np.array([1.0, 2.0], dtype=np.float32), ["loss 1.5000"]),
        (np.float64(0.25), ["loss 0.2500"]),
        ([1, 2], ["loss 1.5000"]),
        (float("nan"), ["loss nan"]),
        (None, []),
        (["a", "b"], []),
        (np.array([]), ["loss nan"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_the_loss_is_that_of_the_batch_that_was_seen_before(loss, shown):
    """By then, a device has computed it, and nobody has to wait; whatever it is does no harm."""
    bar = Stream(4).bar

    bar.saw({"loss": loss})
    assert bar.details() == ["0/4"]
    bar.saw({})

    assert bar.details()[1:] == shown


def test_running_means_take_the_place_of_the_loss_of_a_batch():
    """Those of this stream; in the plain line, too. A loss that is not among them stays first."""
    stream = Stream(200)
    stream.run(31, 31)
    means = {Value("train", "loss", "mean"): 0.25, Value("valid", "loss", "mean"): 9.0, Value("train", "f1", "mean"): 1}

    stream.bar.noted = means
    stream.bar.saw({"loss": [7.0]})
    stream.bar.saw({})

    assert stream.bar.details() == ["31/200", "loss 0.2500", "ETA 0:02:49", "1/s", "f1 1"]
    assert stream.bar.text() == "train: 31/200=15.5% ETA 0:02:49 loss 0.2500 f1 1"
    del means[Value("train", "loss", "mean")]
    assert stream.bar.details() == ["31/200", "loss 7.0000", "ETA 0:02:49", "1/s", "f1 1"]


def test_an_evaluated_stream_shows_no_running_means():
    """Not even one that has the name of the training stream, as in the zeroth epoch."""
    reading = Reading("train", 0, False, 2, lambda: 1, lambda: None)

    assert Bar(reading, 2, lambda: 0.0, {Value("train", "loss", "mean"): 0.25}).text() == "train: 1/2=50.0%"


def test_a_name_moves_no_cursor():
    """Control characters are spelt out."""
    bar = Bar(Reading("tr\x1b[2Jain", 1, True, 2, lambda: 1, lambda: None), 2, lambda: 0.0)

    assert bar.text() == "tr\\x1b[2Jain: 1/2=50.0%"


@pytest.mark.parametrize(
    ("announced", "total"),
    [
        pytest.param({"train": 10}, 10, id="mapping"),
        pytest.param(lambda: {"train": 10}, 10, id="method"),
        pytest.param({"train": 10}.get, 10, id="method-of-name"),
        pytest.param({"valid": 10}, None, id="of-another"),
    ],
)
def test_a_dataset_may_say_in_several_ways_how_many_batches_it_has(announced, total):
    """Mapping or method; a stream that it says nothing about is counted."""
    dataset = type("Dataset", (), {})()
    dataset.num_batches = announced

    assert announced_total(dataset, "train") == total
    assert announced_total(object(), "train") is None
