"""Configuring a dataset, and the random numbers that it draws."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._state.random import RUN_SEED
from emloop._streams import StreamWrapper
from emloop.datasets import BaseDataset, IndexStream
from emloop.errors import ConfigError


class Shapes(BaseDataset):
    """A dataset that keeps what it was given."""

    def _configure_dataset(self, output_dir, batch_size, classes=("circle",)):
        self.given = (output_dir, batch_size, classes)


class Loose(BaseDataset):
    """A dataset that takes anything."""

    def _configure_dataset(self, output_dir=None, **kwargs):
        self.given = (output_dir, kwargs)


class Shuffled(BaseDataset):
    """A dataset that is split by chance and shuffled in every pass."""

    def _configure_dataset(self):
        order = self.rng("split").permutation(20)
        self.split = order[:15], order[15:]

    def train_stream(self):
        return IndexStream({"x": self.split[0]}, 4, rng=self.rng("train"))

    def generated_stream(self):
        for index in self.rng("generated").permutation(5):
            yield {"x": [int(index)]}


@pytest.fixture
def _seeded():
    token = RUN_SEED.set(3)
    yield
    RUN_SEED.reset(token)


def test_the_text_becomes_arguments():
    """Keys of the YAML mapping are arguments of ``_configure_dataset``."""
    dataset = Shapes("output_dir: /tmp/run\nbatch_size: 8\nclasses: [circle, square]\n")
    assert dataset.given == ("/tmp/run", 8, ["circle", "square"])


def test_an_unknown_argument_is_named_with_a_suggestion():
    """A typo does not train with defaults."""
    with pytest.raises(ConfigError) as raised:
        Shapes("batch_siez: 8\nbatch_size: 8\n")
    assert str(raised.value) == (
        "Shapes: unknown argument 'batch_siez'\n  did you mean 'batch_size'?\n  Shapes takes: batch_size, classes"
    )


def test_all_mistakes_come_at_once():
    """Unknown and missing arguments are told together."""
    with pytest.raises(ConfigError) as raised:
        Shapes("size: 8\ncolour: red\n")
    assert [problem.message for problem in raised.value.problems] == [
        "unknown argument 'size'",
        "unknown argument 'colour'",
        "Shapes needs the argument 'batch_size'",
    ]


def test_a_dataset_with_kwargs_takes_everything():
    """As in the reference: who asks for anything gets it."""
    assert Loose("a: 1\noutput_dir: here\n").given == ("here", {"a": 1})


@pytest.mark.parametrize("text", ["", "{}", None])
def test_a_dataset_may_need_no_configuration(text):
    """Created by hand without text, without a run directory."""
    assert Loose(text).given == (None, {})


def test_a_dataset_created_by_hand_has_no_run_directory():
    """A required ``output_dir`` is ``None`` then."""
    assert Shapes("batch_size: 1").given == (None, 1, ("circle",))


@pytest.mark.usefixtures("_seeded")
def test_a_dataset_that_does_not_name_the_run_directory_is_not_given_it():
    """The injected argument is passed only to those who ask for it."""
    assert len(Shuffled("output_dir: /tmp/run").split[0]) == 15


@pytest.mark.parametrize("text", ["[1, 2]", "just text"])
def test_a_configuration_that_is_no_mapping_is_refused(text):
    """The class is named, and what was found."""
    with pytest.raises(ConfigError, match=r"^Loose: expected arguments as a mapping, got a (list|str)"):
        Loose(text)


def test_a_base_dataset_must_be_configured():
    """A subclass without ``_configure_dataset`` cannot be created."""
    with pytest.raises(TypeError, match="abstract"):
        type("Unfinished", (BaseDataset,), {})("")


@pytest.mark.usefixtures("_seeded")
def test_a_split_is_the_same_in_every_process_of_a_run():
    """What is drawn while the dataset is being configured depends on the run's seed alone."""
    one, other = Shuffled(""), Shuffled("")
    assert one.split[0].tolist() == other.split[0].tolist()
    RUN_SEED.set(4)
    assert one.split[0].tolist() != Shuffled("").split[0].tolist()


@pytest.mark.usefixtures("_seeded")
def test_a_loop_by_hand_sees_another_order_every_time_and_the_same_in_every_run():
    """Without a main loop, successive calls give successive, reproducible generators."""
    first, second = Shuffled(""), Shuffled("")
    epochs = [[batch["x"] for batch in first.generated_stream()] for _ in range(3)]
    assert len({str(epoch) for epoch in epochs}) == 3
    assert epochs == [[batch["x"] for batch in second.generated_stream()] for _ in range(3)]


@pytest.mark.usefixtures("_seeded")
def test_a_run_is_not_disturbed_by_loops_by_hand():
    """Looking at a stream beforehand changes no batch of the run."""

    def epoch(dataset):
        return [batch["x"].tolist() for batch in StreamWrapper(dataset.train_stream, name="train")]

    looked_at = Shuffled("")
    list(looked_at.train_stream())
    assert epoch(looked_at) == epoch(Shuffled(""))


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize("name", ["train_stream", "generated_stream"])
def test_both_kinds_of_stream_draw_by_pass(name):
    """A sequence made in the method, and a generator that runs later, get the generator of their pass."""
    stream = StreamWrapper(getattr(Shuffled(""), name), 4)
    with stream:
        epochs = [[np.asarray(batch["x"]).tolist() for batch in stream] for _ in range(2)]
    again = StreamWrapper(getattr(Shuffled(""), name))
    assert [[np.asarray(batch["x"]).tolist() for batch in again] for _ in range(2)] == epochs
    assert epochs[0] != epochs[1]


@pytest.mark.usefixtures("_seeded")
def test_a_subclass_may_replace_the_constructor():
    """Random numbers need nothing that the constructor would have prepared."""

    class ByHand(Shuffled):
        def __init__(self):
            pass

    dataset = ByHand()
    assert dataset.rng("x").random() != dataset.rng("x").random()
