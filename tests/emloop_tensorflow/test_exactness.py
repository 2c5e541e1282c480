"""What goes on to the bit, and what is said where something cannot."""

from __future__ import annotations

import logging
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

import emloop_tensorflow  # noqa: E402
from emloop._state.random import random_state, restore_random_state, seed_everything  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import StateError  # noqa: E402

from . import nets  # noqa: E402
from .trials import BATCHES, batches_of, manifest, step, trained, weights_in  # noqa: E402


@pytest.mark.parametrize("cls", [
    nets.Modules, nets.Subclassed, nets.Mixed,
    *(pytest.param(cls, marks=pytest.mark.torture) for cls in (nets.Nested, nets.Looping, nets.Hidden, nets.Shared)),
    *(pytest.param(cls, marks=pytest.mark.torture) for cls in (nets.StraightThrough, nets.Always, nets.Recurrent)),
], ids=lambda cls: cls.__name__)  # fmt: skip
def test_a_training_goes_on_to_the_bit(cls, create):
    """With its source, without, and from a state alone; in the middle of batches that make one step."""
    batches = BATCHES
    if cls is nets.Recurrent:
        rng = np.random.default_rng(1)
        batches = [{**b, "points": rng.integers(0, 9, (len(b["labels"]), 4 + n % 3))} for n, b in enumerate(BATCHES)]
    config = {"accumulate": 3, "lr_schedule": {"class": "CosineDecay", "decay_steps": 9, "interval": "batch"}}
    model = create(cls, **config)
    for number, batch in enumerate(batches[:4]):
        step(model, batch, last=number == 2)
    path = model.save("best")
    assert manifest(path)["rung"] == "exported", manifest(path)["reason"]
    others = {
        "with source": create(cls, path, **config),
        "without source": create(emloop_tensorflow.BaseModel, path, **config),
        "from a state": create(cls, seed=4, **config),
    }
    step(others["from a state"], batches[0])
    others["from a state"].load_state_dict(copy_tree(model.state_dict()))
    for number, batch in enumerate(batches[4:]):
        expected = step(model, batch, last=number == 2)
        for how, other in others.items():
            other.run(batches[0], train=False)
            assert equal_trees(expected, step(other, batch, last=number == 2)), f"{how}: batch {number}"
    for how, other in others.items():
        for key in ("variables", "optimizer", "learner"):
            assert equal_trees(model.state_dict()[key], other.state_dict()[key]), f"{how}: {key}"


@pytest.mark.parametrize("cls", [nets.Modules, nets.Always, nets.Chancy], ids=lambda cls: cls.__name__)
def test_an_evaluation_leaves_what_its_graph_writes(cls, create):
    """Counters and generators that an evaluation moves are afterwards where they were."""
    model = create(cls)
    model.run(BATCHES[0], train=True)
    before = copy_tree(model.state_dict()["variables"])
    first = np.array(model.run(BATCHES[1], train=False)["logits"])

    assert np.array_equal(first, model.run(BATCHES[1], train=False)["logits"])
    assert equal_trees(before, model.state_dict()["variables"])


@pytest.mark.parametrize("seed", [3, None], ids=["of-a-run", "outside-of-runs"])
def test_a_state_from_before_the_first_batch_brings_a_model_back_there(seed, create):
    """Layers that have met no batch have no variables to store, and begin with the same ones again."""
    model = create(nets.Subclassed, seed=seed)
    state = copy_tree(model.state_dict())
    first = [step(model, batch) for batch in BATCHES[:3]]
    model.load_state_dict(state)

    assert equal_trees(state, model.state_dict())
    assert equal_trees(first, [step(model, batch) for batch in BATCHES[:3]])


def test_a_state_from_before_the_training_is_taken(create):
    """A model that was evaluated, saved in memory and trained begins anew."""
    model = create(nets.Subclassed)
    model.run(BATCHES[0], train=False)
    state = copy_tree(model.state_dict())
    for _ in range(2):
        model.run(BATCHES[0], train=True)
    model.load_state_dict(state)
    model.run(BATCHES[0], train=True)

    assert equal_trees(model.state_dict()["optimizer"], trained(create(nets.Subclassed)).state_dict()["optimizer"])


def test_variables_have_readable_names_whoever_was_made_before(create):
    """Layers of other models in the process make no difference."""
    keras.Sequential([keras.layers.Dense(2)]).build((None, 3))
    models = [create(nets.Modules), create(nets.Subclassed)]
    for model in models:
        model.run(BATCHES[0], train=False)

    assert "parts/2/out/weight" in weights_in(models[0])
    assert {"net/dense/kernel", "net/batch_normalization/moving_mean", "net/scale"} <= weights_in(models[1]).keys()


def test_names_that_tensorflow_makes_up_are_the_same_in_every_model(create):
    """A model takes the state of another one of its process."""
    first, second = trained(create(nets.Averaged)), trained(create(nets.Averaged))
    second.load_state_dict(copy_tree(first.state_dict()))

    assert "dense/kernel/ExponentialMovingAverage" in weights_in(second)


DETERMINISTIC = """
import numpy as np
import tensorflow as tf
from emloop._state.tree import equal_trees
from emloop.errors import ConfigError
from tests.emloop_tensorflow import nets
from tests.emloop_tensorflow.trials import BATCHES, make, weights_in

class Timed(nets.Classifier):
    def score(self, points, training):
        return self.out(points) + tf.cast(tf.timestamp() * 0, tf.float32)

def told(model):
    try:
        return np.isfinite(model.run(BATCHES[0], train=True)["loss"]).all()
    except ConfigError as error:
        return str(error).replace(chr(10), " | ")

before = make(Timed)
print(told(before))
ordinary = make(nets.Recurrent), *(make(nets.Recurrent, deterministic=True) for _ in range(2))
for model in ordinary:
    for batch in BATCHES[:3]:
        model.run({**batch, "points": batch["labels"][:, None]}, train=True)
print(all(equal_trees(weights_in(ordinary[0]), weights_in(each)) for each in ordinary))
print(told(before))
print(told(make(Timed, deterministic=True)))
"""


@pytest.mark.slow
def test_deterministic_is_obeyed_in_the_whole_process_and_refuses_what_cannot_be(processes):
    """By graphs that were made before as well; the line names the key, and what TensorFlow says of the operation."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = processes.run(
        [sys.executable, "-c", DETERMINISTIC], cwd=root, env=environment, capture_output=True, text=True, timeout=600
    )
    first, alike, *refused = done.stdout.splitlines()

    assert (first, alike, len(refused)) == ("True", "True", 2), done.stderr
    for line in refused:
        assert line.startswith("deterministic: ")
        assert "Timestamp cannot be called when determinism is enabled" in line
        assert "leave `deterministic` out" in line


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sixteen_bits_learn_and_are_restored(precision, create):
    """The loss of half precision is scaled; clipping sees gradients as they are."""
    config = {
        "precision": precision,
        "optimizer": {"class": "Adam", "learning_rate": 0.05},
        "clip_gradient": {"norm": 1},
    }
    model = create(nets.StraightThrough, **config)
    first = np.mean(model.run(BATCHES[0], train=False)["loss"])
    for _ in range(15):
        model.run(BATCHES[0], train=True)
    without = create(emloop_tensorflow.BaseModel, model.save("best"), **config)
    expected = step(model, BATCHES[1])

    assert np.mean(model.run(BATCHES[0], train=False)["loss"]) < first
    assert equal_trees(expected, step(without, BATCHES[1]))
    assert keras.config.dtype_policy().name == "float32"


def test_a_compiled_model_goes_on_to_the_bit(create):
    """XLA compiles what is restored as it does the training."""
    model = create(nets.StraightThrough, compile=True)
    step(model, BATCHES[0])
    without = create(emloop_tensorflow.BaseModel, model.save("best"), compile=True)

    assert equal_trees(step(model, BATCHES[0]), step(without, BATCHES[0]))


def test_random_numbers_that_nobody_can_save_are_named_and_no_resume_is_called_exact(create, caplog):
    """At the first batch; a state is refused after all that can be had was taken."""
    model = create(nets.Noisy)
    for _ in range(2):
        model.run(BATCHES[0], train=True)
    told = [r.getMessage() for r in caplog.records if "draws random numbers by RandomStandardNormal" in r.getMessage()]
    other = create(nets.Noisy)

    assert len(told) == 1
    assert "keras.random" in told[0]
    with pytest.raises(StateError, match="draws random numbers"):
        other.load_state_dict(copy_tree(model.state_dict()))
    assert equal_trees(weights_in(model), weights_in(other))


def test_what_is_kept_outside_of_variables_is_named_and_not_resumed(create, caplog):
    """A table that training fills is in no state."""
    caplog.set_level(logging.WARNING)
    model = trained(create(nets.Filling))

    assert "Filling keeps something by LookupTableInsertV2, outside of variables" in caplog.text
    with pytest.raises(StateError, match=r"Keep it in a tf\.Variable"):
        trained(create(nets.Filling)).load_state_dict(copy_tree(model.state_dict()))


class Noting(keras.layers.Layer):
    """Counts its calls, and notes what it was given."""

    def __init__(self):
        super().__init__()
        self.calls, self.sizes, self.last = 0, {}, None

    def call(self, values):
        self.calls += 1
        self.sizes[str(values.shape)] = values.shape
        self.last = values
        return values


class Counting(nets.Classifier):
    """Counts and collects in Python."""

    def create_model(self):
        self._n, self.seen, self.mode = 0, [], None
        self.body = keras.Sequential([Noting(), keras.layers.Dense(2)])

    def score(self, points, training):
        self._n += 1
        self.seen.append(points)
        self.mode = training
        return self.body(points)


def test_what_python_counts_while_a_graph_is_traced_is_named_once(create, caplog):
    """What only notes sizes, tensors and modes is no state."""
    for cls in (Counting, nets.Subclassed):
        model = create(cls)
        for train in (False, True, True):
            model.run(BATCHES[0], train=train)
        model.run(BATCHES[2], train=True)

    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("Counting changes _n, seen, body.noting.calls in Python")
    assert told.endswith("Keep what changes with batches in a tf.Variable, e.g. by assign_add")


def test_saved_models_leave_what_counts_in_kernels(create, caplog):
    """What nobody can save goes on at least in the process, saved models or not."""
    models = [create(nets.Noisy), create(nets.Noisy)]
    found = []
    for model in models:
        for number in range(3):
            model.run(BATCHES[0], train=True)
            if model is models[0]:
                model.save(str(number))
        found.append(weights_in(model))

    assert equal_trees(*found)
    assert "draws random numbers by" in caplog.text


def draw():
    """Draw by everything that has a generator outside of models."""
    drawn = tf.random.normal([]), keras.random.normal([]), random.random(), np.random.rand()
    return [float(each) for each in drawn]


def test_what_is_drawn_outside_of_models_is_seeded_goes_on_and_is_left_alone(create):
    """A run resumes what datasets and hooks draw by TensorFlow, and no model or saved model comes in between."""
    seed_everything(5)
    draw()
    state = copy_tree(random_state())
    expected = [draw(), draw(), draw()]

    restore_random_state(state)
    found = [draw()]
    model = create(nets.Drawn)
    model.run(BATCHES[0], train=True)
    found.append(draw())
    model.save("best")
    model.run(batches_of([3])[0], train=False)
    found.append(draw())

    assert expected == found
    assert equal_trees(weights_in(model), weights_in(trained(create(nets.Drawn))))


def test_threads_may_meet_a_model_at_once(create):
    """Variables are made once, whoever comes first, and an evaluation leaves none changed."""
    model, expected = create(nets.Always), create(nets.Always)
    expected.run(BATCHES[0], train=False)

    def meet(number):
        for size in (8, 5, 8):
            model.run(batches_of([size], seed=number)[0], train=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(meet, range(4)))

    assert equal_trees(weights_in(expected), weights_in(model))
