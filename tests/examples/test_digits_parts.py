"""The parts of the example ``digits``: its dataset and its model, without a run around them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import emloop_sklearn
from emloop._state.random import use_seed
from emloop._state.tree import equal_trees
from emloop.utils import load_yaml

ROOT = Path(__file__).parents[2]

NAMES = {"inputs": ["images", "labels"], "outputs": ["predictions", "loss", "accuracy"]}


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    """The examples are importable from where their commands are run."""
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def create():
    """Create the dataset in a run of a seed."""
    cls = import_module("examples.digits.digits_dataset").Digits

    def create(seed=1797, config="{}"):
        with use_seed(seed):
            return cls(config)

    return create


def examples(stream, name):
    return np.concatenate([batch[name] for batch in stream])


def test_a_batch_has_images_and_labels(create):
    """Images are 8 × 8 and from 0 to 1."""
    batch = next(iter(create(config="batch_size: 20").train_stream()))

    assert (batch["images"].shape, batch["images"].dtype) == ((20, 8, 8), np.float32)
    assert (batch["labels"].shape, batch["labels"].dtype) == ((20,), np.int64)
    assert (batch["images"].min(), batch["images"].max()) == (0, 1)
    assert batch.keys() == {"images", "labels"}


def test_the_parts_share_no_digit(create):
    """Every one of the 1797 is in exactly one of train, valid and test."""
    dataset = create()
    streams = [dataset.train_stream(), dataset.valid_stream(), dataset.test_stream()]
    images = [examples(stream, "images").reshape(-1, 64) for stream in streams]

    assert [len(part) for part in images] == [1257, 270, 270]
    assert len(np.unique(np.concatenate(images), axis=0)) == 1797


def test_the_seed_decides_who_is_tested(create):
    """The same seed, the same test digits; another seed, others."""
    one, same, other = create(seed=1), create(seed=1), create(seed=2)

    np.testing.assert_array_equal(examples(one.test_stream(), "images"), examples(same.test_stream(), "images"))
    assert not np.array_equal(examples(one.test_stream(), "labels"), examples(other.test_stream(), "labels"))


def test_training_digits_come_in_another_order_every_time(create):
    """And evaluated ones in the same."""
    dataset = create()
    first, second = (examples(dataset.train_stream(), "labels") for _ in range(2))

    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.sort(second))
    valid = [examples(dataset.valid_stream(), "labels") for _ in range(2)]
    np.testing.assert_array_equal(*valid)


def test_what_is_predicted_comes_with_ids_and_without_labels(create):
    """The ids are the numbers of the scans in scikit-learn's collection."""
    dataset = create()
    stream = dataset.predict_stream()

    assert next(iter(stream)).keys() == {"ids", "images"}
    np.testing.assert_array_equal(examples(stream, "images"), examples(dataset.test_stream(), "images"))
    np.testing.assert_array_equal(
        load_digits().target[examples(stream, "ids")], examples(dataset.test_stream(), "labels")
    )


def test_the_dataset_tells_what_hooks_ask_for(create):
    """Number and names of the classes, and how many batches to expect."""
    dataset = create(config="batch_size: 100")

    assert dataset.num_classes() == len(dataset.classes_names()) == 10
    for name, count in dataset.num_batches.items():
        assert sum(1 for _ in getattr(dataset, f"{name}_stream")()) == count
    assert dataset.num_batches == {"train": 13, "valid": 3, "test": 3, "predict": 3}


def train(model, dataset, epochs):
    with use_seed(1797):  # outside of a run, the order of the digits would be another one in every process
        for _ in range(epochs):
            for batch in dataset.train_stream():
                model.run(batch, train=True)


def accuracy(model, stream):
    return float(np.concatenate([model.run(batch, train=False)["accuracy"] for batch in stream]).mean())


def test_the_network_learns_to_read(create, tmp_path):
    """Well over nine of ten test digits after a few epochs; and its best model does without the source."""
    dataset = create()
    with use_seed(1797):
        model = import_module("examples.digits.digits_model").Network(
            dataset, str(tmp_path), hidden=[256], learning_rate=0.003, **NAMES
        )
    assert accuracy(model, dataset.test_stream()) < 0.2
    train(model, dataset, epochs=6)

    assert accuracy(model, dataset.test_stream()) > 0.95
    restored = emloop_sklearn.BaseModel(
        dataset, None, restore_from=model.save("best"), hidden=[256], learning_rate=0.003, **NAMES
    )
    for batch in dataset.test_stream():
        assert equal_trees(restored.run(batch, train=False), model.run(batch, train=False))


def test_a_linear_classifier_needs_no_model_code(create):
    """The estimator of the second config reads nine of ten digits."""
    section = load_yaml(ROOT / "examples" / "digits" / "config_from_yaml_only.yaml")["model"]
    dataset = create()
    with use_seed(1797):
        model = emloop_sklearn.BaseModel(
            dataset, None, inputs=section["inputs"], outputs=section["outputs"], estimator=section["estimator"]
        )
    train(model, dataset, epochs=4)

    assert accuracy(model, dataset.test_stream()) > 0.9
