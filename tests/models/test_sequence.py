"""Trained models answer one after the other."""

from __future__ import annotations

import pytest

from emloop.datasets import StreamWrapper
from emloop.errors import BatchError, ConfigError
from emloop.models import Sequence

BATCH = {"x": [10, 20]}


@pytest.fixture
def chain(trained):
    """Adds one, then another two to the result."""
    return [trained("a", {"y": "x+1"}), trained("b", {"z": "y+2"}, needs=["y"])]


def test_each_member_sees_what_those_before_it_gave(chain):
    """The outputs of all are the outputs; the batch stays as it was."""
    batch = dict(BATCH)
    outputs = Sequence(chain).run(batch)

    assert {name: list(value) for name, value in outputs.items()} == {"y": [11, 21], "z": [13, 23]}
    assert batch == BATCH


def test_names_come_from_the_members(chain):
    """Inputs of the first, outputs of all, as often as one asks."""
    sequence = Sequence(chain)

    assert sequence.input_names == ["x"]
    assert sequence.output_names == ["y", "z"]
    assert sequence.output_names == ["y", "z"]


def test_members_are_loaded_when_they_are_needed_or_at_once(chain, tmp_path):
    """With their own configs, and with the dataset."""
    lazy = Sequence(["a", "b"], models_root=str(tmp_path), dataset="the dataset")
    eager = Sequence(chain, eager_loading=True)

    assert lazy._models is None
    lazy.run(BATCH)
    assert [model.dataset for model in lazy._models] == ["the dataset"] * 2
    assert len(eager._models) == 2


def test_the_stream_reaches_every_member(trained):
    """In 0.2 it was lost, and models that let it be read ahead failed."""
    cls = {"class": "plain_models.Streaming"}
    paths = [trained("a", {"y": "x+1"}, **cls), trained("b", {"z": "y+1"}, needs=["y"], **cls)]

    assert list(Sequence(paths).run(BATCH, False, StreamWrapper(lambda: [BATCH]))["z"]) == [12, 22]


def test_what_nobody_provides_is_named(trained):
    """With the member that needs it, and with what there is."""
    a, b = trained("a", {"y": "x+1"}), trained("b", {"z": 1}, needs=["y", "v", "w"])
    with pytest.raises(BatchError) as error:
        Sequence([a, b]).run(BATCH)

    assert str(error.value) == f"member {b} needs 'v', 'w'; there is: 'x', 'y'"


def test_it_cannot_be_trained_or_saved(chain):
    """Its members can; and it is called what it is."""
    with pytest.raises(ValueError, match="Sequence cannot be trained; train its members"):
        Sequence(chain).run(BATCH, train=True)
    with pytest.raises(NotImplementedError, match="Sequence is not saved; its members are"):
        Sequence(chain).save("best")


def test_a_sequence_of_nothing_is_refused_at_once():
    """Not with an index error when it is first asked for a name."""
    with pytest.raises(ConfigError, match=r"^Sequence has no members: model_paths is empty$"):
        Sequence([])
