"""Transforms: what they are called with, and what becomes of what they return."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from emloop._state.random import use_seed
from emloop._streams import StreamWrapper
from emloop._support.trust import untrusted
from emloop.api import create_dataset
from emloop.cli.app import main
from emloop.datasets._ready.transforms import stacked
from emloop.errors import BatchError, ConfigError, UntrustedError
from emloop.utils import yaml_to_file

OWN = """
import random

import numpy as np


def drawn(example, rng):
    return {**example, "drawn": rng.random()}


def positions(batch, rng):
    return {**batch, "batch": np.full(len(batch["n"]), rng.integers(10**9))}


def globally(example, rng):
    return {**example, "drawn": np.random.random()}


def nothing(example, rng):
    pass


def uneven(example, rng):
    return example if example["n"] % 2 else {"other": 1}


def typed(example, rng, strength: float, *, mode: str = "soft"):
    return {**example, "x": f"{mode} {strength}"}


class Looked:
    def __init__(self, up):
        self._up = up

    @classmethod
    def read(cls, path):
        return cls(np.loadtxt(path))

    def __call__(self, x, y, most: float):
        return {"found": np.minimum(np.take(self._up, x + y), most)}


def none(up):
    return 3


class Scaled:
    def __init__(self, by: int = 2):
        self._by = by

    def __call__(self, example, rng):
        return {"n": example["n"] * self._by}


constant = 3
"""


@pytest.fixture(autouse=True)
def _mine(project):
    (project / "own.py").write_text(OWN)
    np.savez(project / "n.npz", n=np.arange(20))
    with use_seed(1):
        yield
    sys.modules.pop("own", None)


def dataset(*transforms, batch_size=6, **options):
    section = {"class": "Arrays", "path": "n.npz", "batch_size": batch_size, "transforms": {"train": list(transforms)}}
    return create_dataset({"dataset": {**section, **options}})


def drawn_in(data, passes):
    """What was drawn in each place of each pass."""
    stream = StreamWrapper(data.train_stream, name="train")
    return [[float(x) for batch in stream for x in batch["drawn"]] for _ in range(passes)]


def test_random_numbers_belong_to_a_place_in_a_pass():
    """Not to the example in it, nor to the size of a batch; another pass, and another seed, has others."""
    first, second = drawn_in(dataset("own.drawn"), 2)

    assert len({*first, *second}) == 40
    assert [first, second] == drawn_in(dataset("own.drawn", batch_size=3, shuffle=False), 2)
    with use_seed(2):
        assert first != drawn_in(dataset("own.drawn"), 1)[0]


def test_a_transform_draws_what_it_would_draw_alone_in_its_place():
    """However much those before it have drawn."""
    (alone,) = drawn_in(dataset("own.Scaled", "own.drawn"), 1)

    assert [alone] == drawn_in(dataset("own.drawn", "own.drawn"), 1)


def test_functions_and_classes_get_their_arguments():
    """As the configuration gives them, one after the other."""
    (batch,) = dataset(
        {"class": "own.Scaled", "by": 5}, "own.Scaled", {"class": "own.typed", "strength": 1, "mode": "hard"},
        batch_size=20, shuffle=False,
    ).train_stream()  # fmt: skip

    assert batch["n"].tolist() == [10 * n for n in range(20)]
    assert batch["x"] == ["hard 1"] * 20


def test_a_batch_is_transformed_as_a_whole_where_that_is_asked_for():
    """With one generator, and between transforms of examples."""
    batches = list(dataset("own.drawn", {"class": "own.positions", "per": "batch"}, "own.drawn").train_stream())

    assert [1, 1, 1, 1] == [len(set(batch["batch"].tolist())) for batch in batches]
    assert len({batch["batch"][0] for batch in batches}) == 4
    assert [6, 6, 6, 2] == [len(batch["drawn"]) for batch in batches]


@pytest.mark.parametrize("per", ["batch", "example"])
def test_what_a_class_method_makes_is_called_with_columns(project, per):
    """As a tokenizer of others is, which knows nothing of examples; what it returns is added to them."""
    np.savetxt(project / "up.txt", [0.0, 0.5, 2.0])
    np.savez(project / "n.npz", n=np.array([0, 1, 0]), m=np.array([0, 1, 1]))
    looked = {"class": "own.Looked.read", "path": "up.txt", "inputs": ["n", "m"], "call": {"most": 1}, "per": per}

    (batch,) = dataset(looked, shuffle=False).train_stream()

    assert {name: values.tolist() for name, values in batch.items()} == {
        "n": [0, 1, 0],
        "m": [0, 1, 1],
        "found": [0.0, 1.0, 0.5],
    }


def test_a_column_that_is_not_there_is_named():
    """With those that are."""
    looked = {"class": "own.Looked", "up": [], "inputs": ["n", "m"], "call": {"most": 1}}

    with pytest.raises(BatchError, match=r"^transform own\.Looked: there is no 'm' among n$"):
        dataset(looked).train_stream()[0]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            {"class": "own.typed", "strenght": 1},
            "dataset.transforms.train[0]: unknown argument 'strenght'\n  did you mean 'strength'?",
        ),
        ("own.typed", "dataset.transforms.train[0]: typed needs the argument 'strength'"),
        ({"class": "own.typed", "strength": "x"}, "dataset.transforms.train[0].strength: expected number, got 'x'"),
        ({"class": "own.typed", "strength": 1, "rng": 1}, "dataset.transforms.train[0].rng: "),
        ({"class": "own.Scaled", "by": "x"}, "dataset.transforms.train[0].by: expected whole number, got 'x'"),
        ({"class": "own.drawm"}, "dataset.transforms.train[0]: own has no 'drawm'\n  did you mean 'drawn'?"),
        ("own.constant", "dataset.transforms.train[0]: "),
        (
            {"class": "own.Looked", "up": [], "inputs": ["n", "m"], "call": {"least": 1}},
            "dataset.transforms.train[0].call: own.Looked: missing a required argument: 'most'\n  it takes: x, y, most",
        ),
        (
            {"class": "own.Looked.read", "path": "gone.txt", "inputs": ["n"], "call": {"most": 1}},
            "dataset.transforms.train[0]: Looked.read: gone.txt not found.\n",
        ),
        (
            {"class": "own.none", "up": [], "inputs": ["n"]},
            "dataset.transforms.train[0]: own.none makes what cannot be called, int",
        ),
        (
            {"class": "own.Looked", "up": [], "call": {"most": 1}},
            "dataset.transforms.train[0].call: needs `inputs`, the names of what is handed over",
        ),
        (
            {"class": "own.Looked", "up": [], "inputs": "n", "call": {"most": 1}},
            "dataset.transforms.train[0].inputs: expected a list of different names or null, got 'n'\n  write [n]",
        ),
        ({"class": "own.drawn", "per": "epoch"}, "dataset.transforms.train[0].per: expected one of 'example', 'batch'"),
    ],
)
def test_what_a_transform_does_not_take_is_refused(transform, message):
    """As it is of any class."""
    with pytest.raises(ConfigError) as caught:
        dataset(transform)

    assert str(caught.value).startswith(message)


def test_the_check_knows_the_arguments_of_classes(project, capsys):
    """Before anything is imported; of functions, when the dataset is built."""
    config = {
        "dataset": {
            "class": "Arrays",
            "path": "n.npz",
            "transforms": {"train": [{"class": "own.Scaled", "bye": 1}, "own.drawn", "own.drawm", "own.constant"]},
        },
        "model": {"class": "mine.Recorder"},
    }
    yaml_to_file(config, str(project), "config.yaml")

    assert main(["check", "config.yaml"]) == 2
    told = capsys.readouterr().err
    assert "dataset.transforms.train[0]: unknown argument 'bye'" in told
    assert "did you mean 'drawn'?" in told
    assert "'own.constant'" in told or "own.constant" in told
    assert "3 mistakes" in told


def test_what_is_no_example_is_refused():
    """By the name of the transform."""
    with pytest.raises(
        BatchError, match=r"^transform own.nothing returned a NoneType; it must return the example, a map"
    ):
        dataset("own.nothing").train_stream()[0]
    with pytest.raises(BatchError, match=r"^one example holds (n|other), and another one (n|other)$"):
        dataset("own.uneven").train_stream()[0]


def test_global_random_numbers_are_noticed():
    """As they are in any stream; those of the generator are none."""
    for name, draws_globally in {"own.globally": True, "own.drawn": False}.items():
        stream = StreamWrapper(dataset(name).train_stream, name="train")
        next(stream)

        assert draws_globally == stream.draws_globally


def test_a_stranger_s_transform_is_not_called():
    """Not even one of an installed framework."""
    with untrusted(), pytest.raises(UntrustedError, match="may be any function or class, which no transform"):
        dataset("emloop._support.files.atomic_write")


def test_examples_are_put_side_by_side():
    """Numbers, and arrays of one shape; whatever else there is becomes a list."""
    found = stacked([{"a": 1, "b": np.zeros(2), "c": "x", "d": np.zeros(n)} for n in range(2)])

    assert found["a"].tolist() == [1, 1]
    assert found["b"].shape == (2, 2)
    assert found["c"] == ["x", "x"]
    assert isinstance(found["d"], list)
