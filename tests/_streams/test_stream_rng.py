"""Random numbers that depend on the run's seed, the stream and the pass, and on nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from emloop._state.random import RUN_SEED
from emloop._streams import Pass, StreamWrapper, current_pass, entered, keyed_rng


def pass_rng(stream):
    return current_pass().rng(stream)


@pytest.fixture(autouse=True)
def _run_seed():
    token = RUN_SEED.set(11)
    yield
    RUN_SEED.reset(token)


def draws(count=3):
    """A stream of numbers from its generator, asked for anew with every batch."""

    def stream_fn():
        for _ in range(count):
            yield {"x": pass_rng("train").random(2).tolist()}

    return stream_fn


def numbers(stream, epochs):
    with stream:
        return [[batch["x"] for batch in stream] for _ in range(epochs)]


def test_a_second_call_within_a_pass_returns_the_same_generator():
    """A stream may ask again instead of keeping it: the numbers go on."""
    with entered(Pass(training=True, index=0)):
        assert pass_rng("train") is pass_rng("train")
        assert pass_rng("train") is not pass_rng("valid")


def test_every_training_pass_has_numbers_of_its_own():
    """Passes differ from each other, and are the same in every run with the seed."""
    first = numbers(StreamWrapper(draws()), 3)
    assert first == numbers(StreamWrapper(draws()), 3)
    assert len({tuple(map(tuple, epoch)) for epoch in first}) == 3


def test_every_evaluation_has_the_same_numbers():
    """The epoch in which a stream is evaluated changes nothing; training draws others."""
    evaluated = numbers(StreamWrapper(draws(), training=False), 3)
    assert evaluated[0] == evaluated[1] == evaluated[2]
    assert evaluated[0] != numbers(StreamWrapper(draws()), 1)[0]


@pytest.mark.parametrize("buffer_size", [1, 16])
def test_a_buffer_changes_no_number(buffer_size):
    """Also read ahead, in another thread, a stream draws the same."""
    assert numbers(StreamWrapper(draws(), buffer_size), 3) == numbers(StreamWrapper(draws()), 3)
    assert numbers(StreamWrapper(draws(), buffer_size, 2), 5) == numbers(StreamWrapper(draws(), 0, 2), 5)


def test_streams_read_at_the_same_time_do_not_mix():
    """Each stream is in its own pass, however the reading of several alternates; a reader is in none."""
    one, other = StreamWrapper(draws()), StreamWrapper(draws(), training=False)
    mixed = [(next(one)["x"], next(other)["x"]) for _ in range(3)]
    alone = [numbers(StreamWrapper(draws(), training=training), 1)[0] for training in (True, False)]
    assert mixed == list(zip(*alone, strict=True))
    assert current_pass() is None


@pytest.mark.parametrize(
    ("seed", "stream", "purpose", "index"),
    [
        (12, "train", "training", 0),
        (11, "valid", "training", 0),
        (11, "train", "evaluation", 0),
        (11, "train", "training", 1),
    ],
)
def test_seed_stream_purpose_and_pass_all_count(seed, stream, purpose, index):
    """A change of any one of them gives other numbers."""
    RUN_SEED.set(11)
    usual = keyed_rng("train", "training", 0).random()
    RUN_SEED.set(seed)
    assert keyed_rng(stream, purpose, index).random() != usual


def test_numbers_stay_the_same_from_version_to_version():
    """A run can be resumed after an upgrade: the way from seed to numbers is part of what we promise."""
    assert keyed_rng("train", "training", 0).integers(1000, size=5).tolist() == [584, 137, 282, 896, 90]


def test_without_a_seed_one_is_drawn_for_the_process_and_logged():
    """Numbers are consistent within the process, and can be had again from what the log says."""
    script = (
        "import logging; logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "from emloop._state.random import RUN_SEED\n"
        "from emloop._streams import keyed_rng\n"
        "draw = lambda: keyed_rng('train', 'training', 0).random()\n"
        "print(draw() == draw(), draw())"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    equal, number = done.stdout.split()
    (line,) = done.stderr.splitlines()
    assert equal == "True"
    assert line.startswith("No run seed is set; the streams of this process use ")
    RUN_SEED.set(int(line.rpartition(" ")[2]))
    assert keyed_rng("train", "training", 0).random() == float(number)


def test_a_generator_goes_on_from_its_saved_state():
    """What a pass has drawn so far can be put into another."""
    one, other = Pass(training=True, index=3), Pass(training=True, index=3)
    one.rng("train").random(7)
    other.load_state(one.state())
    assert np.array_equal(one.rng("train").random(5), other.rng("train").random(5))
