"""What a model shares with its process, what no state has, and programs that are not what they say."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

import emloop_tensorflow  # noqa: E402
from emloop._state.random import random_state, restore_random_state, seed_everything, use_seed  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import SavedModelError, StateError  # noqa: E402
from emloop_tensorflow._graphs.program import Program  # noqa: E402

from . import nets  # noqa: E402

CONFIG = {"inputs": ["points", "labels"], "outputs": ["loss", "logits"], "device": "cpu"}


def batch_of(size, seed=2):
    """Points in two classes."""
    rng = np.random.default_rng(seed)
    return {"points": rng.normal(size=(size, 3)).astype(np.float32), "labels": rng.integers(0, 2, size)}


BATCH = batch_of(8)


def create(cls, log_dir=None, **config):
    """Create a model."""
    with use_seed(3):
        return cls(None, None if log_dir is None else str(log_dir), **CONFIG | config)


def draw():
    """Draw by everything that has a generator outside of models."""
    drawn = tf.random.normal([]), keras.random.normal([]), random.random(), np.random.rand()
    return [float(each) for each in drawn]


def test_what_is_drawn_outside_of_models_is_seeded_goes_on_and_is_left_alone(tmp_path):
    """A run resumes what datasets and hooks draw by TensorFlow, and no model or saved model comes in between."""
    seed_everything(5)
    draw()
    state = copy_tree(random_state())
    expected = [draw(), draw(), draw()]

    restore_random_state(state)
    found = [draw()]
    model = create(nets.Drawn, tmp_path)
    model.run(BATCH, train=True)
    found.append(draw())
    model.save("best")
    model.run(batch_of(3), train=False)
    found.append(draw())

    assert expected == found
    assert equal_trees(model.state_dict()["variables"], trained(nets.Drawn).state_dict()["variables"])


def trained(cls):
    """A model that has seen a batch."""
    model = create(cls)
    model.run(BATCH, train=True)
    return model


def test_saved_models_leave_what_counts_in_kernels(tmp_path, caplog):
    """What nobody can save goes on at least in the process, saved models or not."""
    models = [create(nets.Noisy, tmp_path), create(nets.Noisy)]
    found = []
    for model in models:
        for number in range(3):
            model.run(BATCH, train=True)
            if model is models[0]:
                model.save(str(number))
        found.append(model.state_dict()["variables"])

    assert equal_trees(*found)
    assert "draws random numbers by" in caplog.text


def test_a_state_from_before_the_training_is_taken(tmp_path):
    """A model that was evaluated, saved in memory and trained begins anew."""
    model = create(nets.Subclassed)
    model.run(BATCH, train=False)
    state = copy_tree(model.state_dict())
    for _ in range(2):
        model.run(BATCH, train=True)
    model.load_state_dict(state)
    model.run(BATCH, train=True)

    assert equal_trees(model.state_dict()["optimizer"], trained(nets.Subclassed).state_dict()["optimizer"])


def test_names_that_tensorflow_makes_up_are_the_same_in_every_model():
    """A model takes the state of another one of its process."""
    first, second = trained(nets.Averaged), trained(nets.Averaged)
    second.load_state_dict(copy_tree(first.state_dict()))

    assert "dense/kernel/ExponentialMovingAverage" in second.state_dict()["variables"]


def test_what_is_kept_outside_of_variables_is_named_and_not_resumed(caplog):
    """A table that training fills is in no state."""
    caplog.set_level(logging.WARNING)
    model = trained(nets.Filling)

    assert "Filling keeps something by LookupTableInsertV2, outside of variables" in caplog.text
    with pytest.raises(StateError, match=r"Keep it in a tf\.Variable"):
        trained(nets.Filling).load_state_dict(copy_tree(model.state_dict()))


def test_threads_may_meet_a_model_at_once():
    """Variables are made once, whoever comes first, and an evaluation leaves none changed."""
    model, expected = create(nets.Always), create(nets.Always)
    expected.run(BATCH, train=False)

    def meet(number):
        for size in (8, 5, 8):
            model.run(batch_of(size, seed=number), train=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(meet, range(4)))

    assert equal_trees(expected.state_dict()["variables"], model.state_dict()["variables"])


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program, as the files of a directory."""
    directory = tmp_path_factory.mktemp("program")
    model = create(nets.Subclassed, directory, accumulate=2)
    model.run(BATCH, train=True)
    model.save("best")
    return directory / "program"


@pytest.mark.parametrize("change", [
    {"reason": 7}, {"versions": None}, {"weights": ["loss"]}, {"weighing": ["points of a stranger"]}, {"graphs": {}},
    {"functions": ["__class__", "eval", "train"]}, {"variables": ["elsewhere:x"]}, {"sources": ["points"]},
], ids=str)  # fmt: skip
def test_a_description_that_fits_nothing_is_one_line(change, program, tmp_path):
    """Hashes of a stranger are right, and his fields need not be."""
    description = json.loads((program / "program.json").read_text()) | change
    (tmp_path / "program.json").write_text(json.dumps(description))
    (tmp_path / "saved_model.pb").write_bytes((program / "saved_model.pb").read_bytes())

    with pytest.raises(SavedModelError, match=r"program\.json") as caught:
        Program.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda found: b"", lambda found: found[: len(found) // 2]], ids=["empty", "half"])
def test_graphs_that_are_none_are_one_line(damage, program, tmp_path):
    """The hash may be right, and the content still be nothing that TensorFlow can read."""
    content = damage((program / "saved_model.pb").read_bytes())
    description = json.loads((program / "program.json").read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "program.json").write_text(json.dumps(description))
    (tmp_path / "saved_model.pb").write_bytes(content)

    with pytest.raises(SavedModelError, match="the program"):
        Program.read(tmp_path).load("the program")


def test_variables_of_other_shapes_are_one_line(tmp_path):
    """A stranger may name them in any order."""
    model = create(nets.Subclassed, tmp_path)
    model.run(BATCH, train=True)
    model.save("first")
    file = tmp_path / "program" / "program.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps(description | {"variables": description["variables"][::-1]}))
    path = model.save("second")

    with pytest.raises(SavedModelError, match="its program does not fit together") as caught:
        create(emloop_tensorflow.BaseModel, restore_from=path)
    assert "\n" not in str(caught.value)


def test_a_program_from_before_a_setting_was_there_trains_on(tmp_path):
    """What a newer version can set besides, an older saved model has not been made with."""
    model = create(nets.Subclassed, tmp_path)
    model.run(BATCH, train=True)
    state = model.state_dict()
    del state["configured"]["frozen"]
    restored = create(emloop_tensorflow.BaseModel, restore_from=model.save("best"))
    restored.load_state_dict(state)
    restored.run(BATCH, train=True)

    assert Path(tmp_path, "model_best").is_dir()


def test_what_weighs_need_not_be_an_input_without_the_source(tmp_path):
    """It comes with the batch: the program trains on, and does not take its lack for one of labels."""
    weights = {"loss": "mask"}
    batch = BATCH | {"mask": np.array([1, 0, 2, 1, 0, 1, 1, 3], np.float32)}
    model = create(nets.Predicting, tmp_path, weights=weights)
    model.run(batch, train=True)
    restored = create(emloop_tensorflow.BaseModel, restore_from=model.save("best"), weights=weights)
    for each in (model, restored):
        each.run(batch, train=True)

    assert equal_trees(model.state_dict()["variables"], restored.state_dict()["variables"])
