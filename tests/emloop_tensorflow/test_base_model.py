"""What is special of models of TensorFlow, beside the promises that every backend keeps."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

import emloop_tensorflow  # noqa: E402
from emloop._state.random import use_seed  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import BatchError, ConfigError, SavedModelError, StateError, UntrustedError  # noqa: E402
from emloop.testing.contents import copies_in, pickles_in  # noqa: E402
from emloop_tensorflow._graphs.operations import drawing, foreign, kinds_of  # noqa: E402
from emloop_tensorflow._graphs.program import Program  # noqa: E402

from . import nets  # noqa: E402

SGD = {"class": "SGD", "learning_rate": 0.1}


def batches_of(sizes, seed=2):
    """Points in two classes."""
    rng = np.random.default_rng(seed)
    return [
        {"points": rng.normal(size=(size, 3)).astype(np.float32), "labels": rng.integers(0, 2, size)} for size in sizes
    ]


BATCHES = batches_of([8, 8, 5, 8, 8, 1, 8, 8, 3])


@pytest.fixture
def create(tmp_path):
    """Create a model."""

    def create(cls=nets.Classifier, restore_from=None, *, log_dir=tmp_path, seed=3, **config):
        config = {"inputs": ["points", "labels"], "outputs": ["loss", "logits"], "device": "cpu"} | config
        with use_seed(seed):
            return cls(None, None if log_dir is None else str(log_dir), restore_from, **config)

    return create


def weights_in(model):
    """All variables of a model, by name."""
    return model.state_dict()["variables"]


def manifest(path):
    """What a saved model says of itself."""
    return json.loads(Path(path, "manifest.json").read_text())


def step(model, batch, *, last=False):
    """Train on a batch; everything that can be seen of it."""
    outputs = {name: np.array(values) for name, values in model.run(batch, train=True).items()}
    if last:
        model.end_epoch()
    return outputs | {"rate": np.array(model.get_variable("learning_rate"))}


@pytest.mark.parametrize("cls", [
    nets.Modules, nets.Subclassed, nets.Mixed,
    *(pytest.param(cls, marks=pytest.mark.torture)
      for cls in (nets.Looping, nets.Hidden, nets.Shared, nets.StraightThrough, nets.Always, nets.Recurrent)),
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


def test_variables_have_readable_names_whoever_was_made_before(create):
    """Layers of other models in the process make no difference."""
    keras.Sequential([keras.layers.Dense(2)]).build((None, 3))
    models = [create(nets.Modules), create(nets.Subclassed)]
    for model in models:
        model.run(BATCHES[0], train=False)

    assert "parts/2/out/weight" in weights_in(models[0])
    assert {"net/dense/kernel", "net/batch_normalization/moving_mean", "net/scale"} <= weights_in(models[1]).keys()


def test_batches_that_make_one_step_count_by_their_examples(create):
    """Three batches of different sizes move the weights as all of them together do."""
    several, one = create(optimizer=SGD, accumulate=4), create(optimizer=SGD)
    for batch in BATCHES[1:4]:
        several.run(batch, train=True)
    before = copy_tree(weights_in(several))
    several.end_epoch()
    one.run({name: np.concatenate([batch[name] for batch in BATCHES[1:4]]) for name in BATCHES[0]}, train=True)

    assert equal_trees(before, weights_in(create(optimizer=SGD)) or before)
    for name, expected in weights_in(one).items():
        np.testing.assert_allclose(weights_in(several)[name], expected, rtol=1e-5, atol=1e-7)


def test_a_weight_counts_in_gradients_and_what_has_none_counts_nothing(create):
    """Not even where it is NaN."""
    batch = {**BATCHES[0], "mask": np.array([1, 1, 1, 0, 0, 0, 0, 2.0])}
    spoilt = {**batch, "points": batch["points"].copy()}
    spoilt["points"][3:7] = np.nan
    repeated = {name: batch[name][[0, 1, 2, 7, 7]] for name in ("points", "labels")}
    weighted, other = (create(optimizer=SGD, weights={"loss": "mask"}) for _ in range(2))
    plain = create(optimizer=SGD)
    weighted.run(batch, train=True)
    plain.run(repeated, train=True)
    assert np.isnan(other.run(spoilt, train=False)["loss"]).sum() == 4
    assert other.first_nan() == 0

    for name, expected in weights_in(plain).items():
        np.testing.assert_allclose(weights_in(weighted)[name], expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(BatchError, match="expected numbers from 0 on"):
        weighted.run({**batch, "mask": -batch["mask"]}, train=True)


def test_the_first_batch_with_nan_is_known(create):
    """Its number since one has asked last."""
    model = create()
    assert model.first_nan() is None
    for number in range(70):
        spoilt = {**BATCHES[0], "points": np.full((8, 3), np.nan, np.float32)}
        model.run(spoilt if number in (66, 68) else BATCHES[0], train=False)

    assert model.first_nan() == 67
    model.run(BATCHES[0], train=False)
    assert model.first_nan() == 0


@pytest.mark.parametrize(("clip", "measure"), [
    pytest.param(0.001, lambda moved: max(np.abs(each).max() for each in moved), id="a-bare-number"),
    pytest.param({"norm": 0.001}, lambda moved: np.sqrt(sum((each**2).sum() for each in moved)), id="norm"),
])  # fmt: skip
def test_gradients_are_clipped(clip, measure, create):
    """By value for a bare number, by the norm of all of them where that is named."""
    model = create(optimizer={"class": "SGD", "learning_rate": 1.0}, clip_gradient=clip)
    model.run(BATCHES[0], train=False)
    before = copy_tree(weights_in(model))
    model.run(BATCHES[0], train=True)

    assert measure([weights_in(model)[name] - before[name] for name in before]) == pytest.approx(0.001, rel=1e-3)


def test_regularisers_and_losses_of_layers_are_learned_from_and_statistics_move(create):
    """Without a word in the configuration; the output ``loss`` stays what the model gives."""
    model = create(nets.Subclassed, optimizer={"class": "SGD", "learning_rate": 0.5})
    first = model.run(BATCHES[0], train=False)["loss"]
    norm = np.abs(weights_in(model)["net/dense/kernel"]).sum()
    for _ in range(20):
        model.run(BATCHES[0], train=True)

    assert np.isfinite(first).all()
    assert np.abs(weights_in(model)["net/dense/kernel"]).sum() < norm
    assert not np.allclose(weights_in(model)["net/batch_normalization/moving_mean"], 0)


def test_a_schedule_moves_the_rate_and_goes_on_from_one_that_a_hook_sets(create):
    """By epochs unless told otherwise; a warm-up is no part of it."""
    schedule = {"class": "ExponentialDecay", "decay_steps": 1, "decay_rate": 0.5, "warmup_steps": 100}
    model = create(optimizer=SGD, lr_schedule=schedule)
    rates = [model.get_variable("learning_rate")]
    for _ in range(2):
        rates += [float(step(model, batch)["rate"]) for batch in BATCHES[:2]]
        model.end_epoch()
    model.set_variable("learning_rate", 0.2)
    rates.append(float(step(model, BATCHES[0])["rate"]))

    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.1])


def test_a_rate_that_is_configured_anew_moves_what_was_set_meanwhile(create):
    """By the same factor, with the source and without; of the rest, a line says that it has no effect."""
    model = create(optimizer=SGD)
    model.run(BATCHES[0], train=True)
    model.set_variable("learning_rate", 0.05)
    path = model.save("best")
    changed = {"optimizer": {"class": "SGD", "learning_rate": 0.2}}

    assert create(restore_from=path, **changed).get_variable("learning_rate") == pytest.approx(0.1)
    without = create(emloop_tensorflow.BaseModel, path, **changed)
    assert without.get_variable("learning_rate") == pytest.approx(0.1)


def test_what_a_program_cannot_obey_is_said(create, caplog):
    """Once, by the names of the keys."""
    model = create(optimizer=SGD)
    model.run(BATCHES[0], train=True)
    path = model.save("best")
    create(emloop_tensorflow.BaseModel, path, optimizer={"class": "Adam", "learning_rate": 0.1}, accumulate=2)

    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["optimizer, accumulate"]


def test_an_optimizer_that_a_class_has_made_is_used(create):
    """As it is, in every step; its rate is the one that hooks set."""

    class Own(nets.Classifier):
        def create_model(self):
            super().create_model()
            self.chosen = keras.optimizers.SGD(0.25)

        def create_optimizer(self):
            return self.chosen

    model = create(Own)
    assert model.get_variable("learning_rate") == 0.25
    model.run(BATCHES[0], train=True)
    model.set_variable("learning_rate", 0.0)
    before = copy_tree(weights_in(model))
    model.run(BATCHES[0], train=True)

    assert equal_trees(before, weights_in(model))


def test_frozen_variables_stay(create):
    """Those whose whole name matches; a pattern that matches nothing is refused."""
    model = create(nets.Subclassed, frozen=["net/dense.*"])
    model.run(BATCHES[0], train=False)
    before = copy_tree(weights_in(model))
    model.run(BATCHES[0], train=True)
    moved = {name for name, value in weights_in(model).items() if not np.array_equal(value, before[name])}

    assert moved >= {"net/batch_normalization/beta", "net/scale"}
    assert not [name for name in moved if name.startswith("net/dense")]
    with pytest.raises(ConfigError, match="frozen: 'net/dens' matches"):
        create(nets.Subclassed, frozen=["net/dens"]).run(BATCHES[0], train=True)


def test_a_fresh_model_begins_with_what_fits(create, tmp_path, caplog):
    """By name and shape; the log says what became of the rest."""
    caplog.set_level(logging.INFO)
    origin = create(nets.Subclassed, log_dir=tmp_path / "origin")
    (tmp_path / "origin").mkdir()
    origin.run(BATCHES[0], train=True)
    path = origin.save("best")
    rename = {"net/dense/(.*)": r"first/\1", "net/dense_2/.*": "elsewhere"}

    class Other(nets.Classifier):
        def create_model(self):
            self.first, self.out = keras.layers.Dense(6, name="first"), keras.layers.Dense(2, name="out")

        def score(self, points, training):
            return self.out(self.first(points))

    model = create(Other, init_from={"path": path, "rename": {k: v for k, v in rename.items() if "2" not in k}})
    model.run(BATCHES[0], train=False)

    assert np.array_equal(weights_in(model)["first/kernel"], weights_in(origin)["net/dense/kernel"])
    assert [r for r in caplog.records if "2 of 4 taken" in r.getMessage()]


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


def test_signals_and_traces_of_single_batches(create, tmp_path):
    """Of a kind of operation, or of a layer; the newest traces stay."""
    config = {"monitor": "Conv2D", "profile": {"keep": 2, "every": 1}}
    model = create(nets.Looked, **config)
    for batch in BATCHES[:3]:
        outputs = model.run(batch, train=True)
    by_layer = create(nets.Looked, monitor="look").run(BATCHES[0], train=False)
    without = create(emloop_tensorflow.BaseModel, model.save("best"), **config)

    assert outputs["signal_mean"].shape == outputs["signal_variance"].shape == (5,)
    assert np.isfinite(by_layer["signal_variance"]).all()
    assert list(without.run(BATCHES[0], train=False)) == ["loss", "logits", "signal_mean", "signal_variance"]
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == ["trace-00000002", "trace-00000003"]
    with pytest.raises(ConfigError, match="there is no operation or layer 'Conv3D'"):
        create(nets.Looked, monitor="Conv3D").run(BATCHES[0], train=False)


def test_a_compiled_and_deterministic_model_goes_on_to_the_bit(create):
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


def test_a_graph_that_calls_python_needs_its_source(create, caplog):
    """The manifest says why, and so does the refusal."""
    model = create(nets.Pythonic)
    model.run(BATCHES[0], train=True)
    path = model.save("best")

    assert manifest(path)["rung"] == "weights"
    assert "calls Python" in manifest(path)["reason"]
    assert [r for r in caplog.records if "cannot be restored without its source" in r.getMessage()]
    with pytest.raises(SavedModelError, match="the model's source is needed: it calls Python"):
        create(emloop_tensorflow.BaseModel, path)
    strict = create(nets.Pythonic, saved_model={"source_free": "require"})
    strict.run(BATCHES[0], train=False)
    with pytest.raises(SavedModelError, match=r"saved_model\.source_free is 'require'"):
        strict.save("other")


def test_a_program_is_data_without_weights_examples_or_places(create, tmp_path):
    """It is written once, and later saves bring only another state."""
    model = create(nets.Subclassed)
    model.run(BATCHES[0], train=True)
    path = Path(model.save("first"))
    program = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "program").iterdir()}
    model.run(BATCHES[0], train=True)
    model.save("second")
    arrays = [value for value in weights_in(model).values() if value.nbytes >= 48]

    assert program == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "program").iterdir()}
    assert set(program) == {"saved_model.pb", "program.json"}
    assert pickles_in(path) == []
    assert copies_in(path / manifest(path)["program"], [*arrays, BATCHES[0]["points"]]) == []
    here = str(Path(nets.__file__).parent).encode()
    assert not [file for file in path.rglob("*") if file.is_file() and here in file.read_bytes()]


def test_a_program_that_would_write_files_is_refused(create, tmp_path):
    """Before anything of it is loaded."""
    target = tmp_path / "written"

    @tf.function(input_signature=(), autograph=False)
    def write():
        tf.io.write_file(str(target), "x")

    evil = Program.of({"eval": write.get_concrete_function()}, {}, {})

    with pytest.raises(UntrustedError, match="the operation WriteFile"):
        evil.load("model_best")
    assert not target.exists()


@pytest.mark.parametrize(("compute", "kind"), [
    pytest.param(lambda: tf.io.read_file("x"), "ReadFile", id="reads-a-file"),
    pytest.param(lambda: tf.numpy_function(float, [], tf.float32, stateful=False), "PyFuncStateless", id="python"),
    pytest.param(lambda: tf.raw_ops.DebugIdentityV3(input=1.0, io_of_node="x"), "DebugIdentityV3", id="debugging"),
    pytest.param(lambda: tf.raw_ops.RangeDataset(
        start=np.int64(0), stop=np.int64(1), step=np.int64(1), output_types=[tf.int64], output_shapes=[[]]
    ), "RangeDataset", id="a-dataset"),
])  # fmt: skip
def test_no_operation_that_leaves_the_graph_is_in_a_program(compute, kind):
    """Neither are those that have no state, and only look harmless."""
    made = tf.function(compute, input_signature=(), autograph=False).get_concrete_function()

    assert kind in foreign(made.graph.as_graph_def())


@pytest.mark.parametrize("draw", [
    pytest.param(lambda: tf.random.normal([2]), id="normal"),
    pytest.param(lambda: tf.random.log_uniform_candidate_sampler(
        np.zeros((1, 1), np.int64), 1, 1, unique=True, range_max=5
    )[0], id="candidates"),
])  # fmt: skip
def test_operations_that_draw_are_known(draw):
    """Whatever counts in its kernel, which nobody can read; it may be in a program."""
    graph = tf.function(draw, input_signature=(), autograph=False).get_concrete_function().graph.as_graph_def()

    assert drawing(kinds_of(graph))
    assert foreign(graph) == []


@pytest.mark.parametrize(("points", "words"), [
    pytest.param(np.array([["a"] * 3] * 8), "expected numbers, got an array of <U1; turn text into numbers", id="text"),
    pytest.param(tf.ragged.constant([[1.0], [1.0, 2.0]]), "got a RaggedTensor", id="ragged"),
    pytest.param(np.float32(1), "expected a value for every example", id="scalar"),
    pytest.param([[1.0], [1.0, 2.0]], "must have one shape", id="of-different-lengths"),
])  # fmt: skip
def test_what_no_graph_takes_is_refused_by_name(points, words, create):
    """With the way out."""
    with pytest.raises(BatchError, match=f"points: .*{words}"):
        create().run({**BATCHES[0], "points": points}, train=False)


def test_without_source_a_batch_of_another_size_is_refused_by_name(create):
    """What was the same in all batches is fixed in the program."""
    model = create()
    model.run(BATCHES[0], train=True)
    without = create(emloop_tensorflow.BaseModel, model.save("best"))

    with pytest.raises(BatchError, match=r"points: expected float32 \[any, 3\], got float32 \[8, 4\]"):
        without.run({**BATCHES[0], "points": np.zeros((8, 4), np.float32)}, train=False)


@pytest.mark.parametrize(("config", "words"), [
    pytest.param({"ema": {"decay": 0.9}}, "no average is kept here", id="ema"),
    pytest.param({"clip_gradient": {"norm": 1.0, "value": 1.0}}, "either a value or a norm", id="two-limits"),
    pytest.param({"clip_gradient": {}}, "either a value or a norm", id="no-limit"),
    pytest.param({"optimizer": {"class": "Adam", "beta_1": "x"}}, "beta_1: expected a number", id="no-number"),
    pytest.param({"optimizers": []}, "one optimizer trains a model", id="several-optimizers"),
    pytest.param({"inputs": ["points", "label"]}, "call takes no 'label'", id="an-input"),
    pytest.param({"lr_schedule": {"class": "CosineDecay"}}, "lr_schedule", id="a-schedule-without-arguments"),
])  # fmt: skip
def test_what_means_nothing_here_is_refused_when_the_model_is_made(config, words, create):
    """By one line that says what to do instead."""
    with pytest.raises(ConfigError, match=words):
        create(**config)


@pytest.mark.parametrize(("given", "words"), [
    pytest.param(lambda points, labels: {"loss": points @ tf.transpose(points)}, r"broadcast to \[B, B\]", id="square"),
    pytest.param(lambda points, labels: {"loss": labels}, "got int64", id="whole-numbers"),
    pytest.param(lambda points, labels: {"los": points[:, 0]}, "no 'loss' to learn from; .*did you mean", id="none"),
    pytest.param(lambda points, labels: points, "must return a mapping", id="a-tensor"),
])  # fmt: skip
def test_what_is_no_loss_is_refused(given, words, create):
    """Before anything is learned from it."""

    class Odd(emloop_tensorflow.BaseModel):
        def create_model(self):
            self.out = keras.layers.Dense(1)

        def call(self, points, labels, training):
            return given(self.out(points) * points, labels)

    with pytest.raises((BatchError, KeyError), match=words):
        create(Odd, outputs=["loss"]).run(BATCHES[0], train=True)


@pytest.mark.parametrize(("body", "words"), [
    pytest.param({"create_model": lambda self: None}, "no method 'call'", id="without-call"),
    pytest.param({"call": lambda self, points, labels: {}}, "does not take 'training'", id="call-without-training"),
    pytest.param(
        {"create_model": lambda self: setattr(self, "weights", [])}, "sets self.weights", id="a-name-that-is-taken"
    ),
])  # fmt: skip
def test_a_class_that_lacks_something_is_refused_when_the_model_is_made(body, words, create):
    """And told what is needed."""
    base = emloop_tensorflow.BaseModel if words.startswith("no") else nets.Classifier

    with pytest.raises(ConfigError, match=words):
        create(type("Odd", (base,), body))


def test_a_model_of_keras_that_gives_its_loss_needs_no_method(create):
    """Its arguments are the sources, in their order."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = keras.layers.Dense(2)

        def call(self, points, labels, training=False):
            loss = keras.losses.sparse_categorical_crossentropy(labels, self.out(points), from_logits=True)
            return {"loss": loss, "logits": self.out(points)}

    model = create(type("Returned", (emloop_tensorflow.BaseModel,), {"create_model": lambda self: Net()}))
    first = np.mean(model.run(BATCHES[0], train=True)["loss"])
    for _ in range(9):
        last = np.mean(model.run(BATCHES[0], train=True)["loss"])

    assert last < first
    assert list(weights_in(model)) == ["net/dense/kernel", "net/dense/bias"]


def test_keras_with_another_framework_is_refused_in_one_line():
    """Before anything is imported that would have to be imported otherwise."""
    done = subprocess.run(
        [sys.executable, "-c", "from emloop_tensorflow import BaseModel"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "set KERAS_BACKEND=tensorflow" in done.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_importing_says_nothing_and_obeys_the_limit_of_threads(tmp_path):
    """What libraries tell of the machine is for those who ask, whatever a model's own module imports first."""
    (tmp_path / "own.py").write_text(
        "import keras\nimport tensorflow as tf\nimport emloop_tensorflow\n"
        "class Model(emloop_tensorflow.BaseModel):\n"
        "    def create_model(self):\n"
        "        print(tf.config.threading.get_intra_op_parallelism_threads())\n"
        "    def call(self, x, training):\n"
        "        return {'loss': x}\n"
    )
    program = "import emloop\nmodel = {'class': 'own.Model', 'inputs': ['x'], 'outputs': ['loss']}\n"
    program += "emloop.create_model({'model': model}, None, None, None)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("1\n", "")
