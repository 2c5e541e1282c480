"""Numbers are those of a loop written by hand, or there is a line that says why not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emloop.errors import BatchError, ConfigError, SavedModelError
from emloop.saved_models import find_saved

jax = pytest.importorskip("jax")
jnp = jax.numpy
optax = pytest.importorskip("optax")
nn = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")

import emloop_jax  # noqa: E402 - without JAX there is nothing to import
from emloop_jax._programs import Program  # noqa: E402

NAMES = {"inputs": ["x", "y"], "outputs": ["loss", "guess"]}
SGD = {"class": "sgd", "learning_rate": 0.1}


def batch(size=4, width=3, seed=0):
    """Examples of a linear function."""
    x = np.random.default_rng(seed).normal(size=(size, width)).astype(np.float32)
    return {"x": x, "y": x.sum(1)}


class Sum(emloop_jax.BaseModel):
    """Any number of columns, one parameter."""

    def create_model(self):
        start = {"w": jnp.full((), 0.5)}
        return emloop_jax.Functions(lambda key, batch: start, lambda p, batch, train, key: batch["x"].sum(1) * p["w"])

    def outputs(self, results, batch):
        return {"loss": (results - batch["y"]) ** 2, "guess": results}


def test_a_branch_on_the_size_of_a_batch_is_the_one_that_python_takes(tmp_path):
    """JAX says that an open size equals no number, and would export that; such a step is compiled as it is."""

    class Branching(Sum):
        def outputs(self, results, batch):
            guess = results * 10 if results.shape[0] == 4 else results
            return {"loss": (guess - batch["y"]) ** 2, "guess": guess}

    model = Branching(None, str(tmp_path), **NAMES)
    guesses = [np.asarray(model.run(batch(size), train=False)["guess"]) for size in (4, 3)]

    assert guesses == [pytest.approx(5 * batch(4)["x"].sum(1)), pytest.approx(0.5 * batch(3)["x"].sum(1))]
    assert "'b' > '4'" in find_saved(model.save("one")).manifest["reason"]


def test_a_changed_rate_counts_once_where_there_is_a_schedule(tmp_path):
    """With the source, which makes the schedule for the new rate, as without it; also where it was 0 before."""
    schedule = {"class": "exponential_decay", "transition_steps": 1, "decay_rate": 0.5}
    options = {**NAMES, "lr_schedule": schedule}
    model = Sum(None, str(tmp_path), **options, optimizer=SGD)
    model.run(batch(), train=True)
    path = model.save("one")

    for kind in (Sum, emloop_jax.BaseModel):
        restored = kind(None, None, path, **options, optimizer={**SGD, "learning_rate": 0.2})
        restored.run(batch(), train=True)
        assert restored.get_variable("learning_rate") == pytest.approx(0.1)

    still = Sum(None, str(tmp_path), **NAMES, optimizer={**SGD, "learning_rate": 0.0})
    still.run(batch(), train=True)
    assert Sum(None, None, still.save("two"), **NAMES, optimizer=SGD).get_variable("learning_rate") == 0.1


def test_an_accumulated_step_is_told_the_mean_of_its_window():
    """Optimizers see the mean of all its examples, at the end of an epoch as well; a scalar is weighed, too."""

    class Told(Sum):
        def create_optimizer(self, learning_rate):
            def update(updates, state, params=None, *, value, **others):
                return jax.tree.map(lambda each: -learning_rate * each, updates), {"value": value}

            return optax.GradientTransformationExtraArgs(lambda params: {"value": jnp.zeros(())}, update)

        def outputs(self, results, batch):
            return {"loss": ((results - batch["y"]) ** 2 * batch["w"]).sum() / batch["w"].sum(), "guess": results}

    names = {**NAMES, "weights": {"loss": "w"}, "accumulate": 2, "optimizer": SGD}
    model = Told(None, None, **names)
    data = [
        {**batch(size, seed=size), "w": np.full(size, weight, np.float32)} for size, weight in ((4, 1), (4, 3), (2, 1))
    ]
    w, told = 0.5, []
    losses = [float(((1 - w) * each["y"]) ** 2 @ each["w"] / each["w"].sum()) for each in data]
    for each in data[:2]:
        model.run(each, train=True)
    told.append(float(model.state_dict()["training"]["optimizer/value"]))
    w = float(model.state_dict()["model"]["params/w"])
    model.run(data[2], train=True)
    model.end_epoch()
    told.append(float(model.state_dict()["training"]["optimizer/value"]))

    losses[2] = float(np.mean(((1 - w) * data[2]["y"]) ** 2))
    assert told == pytest.approx([(losses[0] + 3 * losses[1]) / 4, losses[2]], rel=1e-5)


def test_arrays_of_the_user_stay_his_own():
    """A second network of NNX, made of the same array, begins as the first did."""
    table = jnp.ones((3, 1))

    class Table(nnx.Module):
        def __init__(self):
            self.table = nnx.Param(table)

        def __call__(self, x):
            return (x @ self.table)[:, 0]

    class OfTable(Sum):
        def create_model(self):
            return Table()

    models = OfTable(None, None, **NAMES), OfTable(None, None, **NAMES)
    losses = [[np.asarray(each.run(batch(), train=True)["loss"]).tolist() for _ in range(2)] for each in models]

    assert losses[0] == losses[1]
    assert table.tolist() == [[1.0]] * 3


def test_predictions_and_evaluations_take_every_length_that_training_takes(tmp_path):
    """Whatever was seen first, with the source and without; what does not fit is named."""
    model = Sum(None, str(tmp_path), **NAMES)
    for width in (3, 5):
        model.run(batch(width=width), train=True)
    model.run(batch(width=4), train=False)
    restored = emloop_jax.BaseModel(None, None, model.save("one"), **NAMES)

    for width in (3, 7):
        x = batch(width=width)["x"]
        for each in (model, restored):
            found = np.asarray(each.predict({"x": x})["guess"])
            assert np.array_equal(found, np.asarray(each.run(batch(width=width), train=False)["guess"]))
    for each in (model, restored):
        with pytest.raises(BatchError, match="x: expected float32"):
            each.predict({"x": np.ones((4, 3), np.int32)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.pop("until"), "program.json"),
        (lambda told: told["model"].reverse(), "takes other arrays of the model"),
        (lambda told: told["inputs"]["eval"]["x"].update(sizes=[4, 9]), "takes another 'x'"),
        (lambda told: told["model"][0].update(dtype="float64"), "JAX has 32 here"),
    ],
)
def test_a_program_that_is_not_as_described_is_refused(change, said, program):
    """By one line, before anything of it is called."""
    told = json.loads((program / "program.json").read_text())
    change(told)
    (program / "program.json").write_text(json.dumps(told))

    with pytest.raises(SavedModelError, match=said):
        Program.read(program)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model."""
    model = Sum(None, str(tmp_path_factory.mktemp("run")), **NAMES)
    model.run(batch(), train=True)
    return model.save("one")


@pytest.fixture
def program(saved, tmp_path):
    """A copy of its program."""
    for path in find_saved(saved).program().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_inputs_that_a_program_does_not_know_are_named(saved):
    """One of another name, and sources of different sizes."""
    one = emloop_jax.BaseModel(None, None, saved, inputs=["z", "y"], outputs=["guess"])

    with pytest.raises(BatchError, match="'x' is one of them"):
        one.run({"z": batch()["x"], "y": batch()["y"]}, train=False)
    with pytest.raises(BatchError, match="y: expected 4 examples as in 'x', got 1"):
        Sum(None, None, **NAMES).run({**batch(), "y": np.ones(1, np.float32)}, train=True)


def test_what_a_step_cannot_keep_is_refused():
    """A collection that grows in every step, an attribute that counts, and an argument that Linen takes for itself."""

    class Sowing(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("losses", "mean", x.mean())
            return nn.Dense(1)(x)[:, 0]

    class Asking(nn.Module):
        @nn.compact
        def __call__(self, x, rngs):
            return nn.Dense(1)(x)[:, 0]

    class Counting(nnx.Module):
        def __init__(self):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            return x.sum(1) * self.calls

    def model_of(module):
        return type("Of", (Sum,), {"create_model": lambda self: module})(None, None, **NAMES)

    with pytest.raises(ConfigError, match=r"which arrays the model has \(losses/mean/1\)"):
        model_of(Sowing()).run(batch(), train=True)
    with pytest.raises(ConfigError, match="Counting changes its attributes"):
        model_of(Counting()).run(batch(), train=True)
    with pytest.raises(ConfigError, match="'rngs', which is none of the inputs"):
        model_of(Asking())


def test_a_program_that_is_older_than_the_state_says_what_it_has_seen(saved):
    """A checkpoint may know of sizes that came after the program was made."""
    model, restored = Sum(None, None, **NAMES), emloop_jax.BaseModel(None, None, saved, **NAMES)
    for width in (3, 5):
        model.run(batch(width=width), train=True)
    restored.load_state_dict(model.state_dict())

    assert np.array_equal(model.run(batch(), train=True)["loss"], restored.run(batch(), train=True)["loss"])
    with pytest.raises(BatchError, match=r"x: expected float32 \[any, 3\]"):
        restored.run(batch(width=5), train=True)
