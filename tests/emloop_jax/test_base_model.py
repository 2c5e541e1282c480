"""What is special about networks of JAX: kinds of networks, sizes, numbers, and what is left without the source."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from emloop.errors import BatchError, ConfigError, MissingVariableError, SavedModelError, StateError, UntrustedError
from emloop.saved_models import find_saved, shelf_life

jax = pytest.importorskip("jax")
jnp = jax.numpy
optax = pytest.importorskip("optax")
nn = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")

import emloop  # noqa: E402
import emloop_jax  # noqa: E402 - without JAX there is nothing to import
from emloop_jax._programs import Program  # noqa: E402

NAMES = {"inputs": ["x", "y"], "outputs": ["loss", "guess"]}


def batches(count=6, sizes=(4, 4, 3), width=3, seed=0):
    """Batches of a linear function."""
    rng = np.random.default_rng(seed)
    xs = [rng.normal(size=(sizes[n % len(sizes)], width)).astype(np.float32) for n in range(count)]
    return [{"x": x, "y": x.sum(1)} for x in xs]


def squared(results, batch):
    """The outputs of a regression."""
    return {"loss": (results - batch["y"]) ** 2, "guess": results}


class Regression(emloop_jax.BaseModel):
    """Two plain functions."""

    def create_model(self):
        def init(key, batch):
            return {"w": jax.random.normal(key, (batch["x"].shape[1],)), "b": jnp.zeros(())}

        def apply(parameters, batch, train, key):
            return batch["x"] @ parameters["w"] + parameters["b"]

        return emloop_jax.Functions(init, apply)

    def outputs(self, results, batch):
        return squared(results, batch)


class Stateful(nnx.Module):
    """Batch statistics, dropout, and one layer in two places."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.again = self.first
        self.last = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(self.again(self.norm(self.first(x)))))[:, 0]


class OfNnx(Regression):
    """A module of NNX."""

    def create_model(self):
        return Stateful(self.rngs)


class Layers(nn.Module):
    """Two layers, and a number that hooks may change; its argument names no source."""

    @nn.compact
    def __call__(self, anything):
        scale = self.variable("steered", "scale", lambda: jnp.ones(()))
        return nn.Dense(1, name="head")(jnp.tanh(nn.Dense(4, name="body")(anything)))[:, 0] * scale.value


class OfLinen(Regression):
    """A module of Linen."""

    def create_model(self):
        return Layers()


def train(model, data):
    """The losses of training batches."""
    return [np.asarray(model.run(batch, train=True)["loss"]) for batch in data]


def same(one, other):
    """Whether losses are equal to the bit."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", [Regression, OfNnx])
def test_without_its_source_a_network_trains_on_to_the_bit(kind, tmp_path):
    """Plain functions, and a module with statistics, random numbers and a layer that is used twice."""
    model = kind(None, str(tmp_path), **NAMES, accumulate=2, clip_gradient=1.0)
    train(model, batches(3))
    restored = emloop_jax.BaseModel(None, None, model.save("middle"), **NAMES)

    for _ in range(2):
        assert same(train(model, batches(3, seed=1)), train(restored, batches(3, seed=1)))
        model.end_epoch()
        restored.end_epoch()
    assert model.prediction_inputs == restored.prediction_inputs == ["x"]
    assert "loss" not in restored.predict({"x": batches()[0]["x"]})


def test_neither_flax_nor_optax_is_needed_without_the_source(tmp_path):
    """A process in which they cannot be imported evaluates and trains on."""
    model = OfNnx(None, str(tmp_path), **NAMES)
    train(model, batches(2))
    path = model.save("middle")
    expected = [np.asarray(train(model, batches(2, seed=1))[1]).tolist(), model.get_variable("learning_rate")]
    code = f"""
        import json, sys
        import numpy as np

        sys.modules |= dict.fromkeys(("flax", "optax"))
        import emloop_jax

        model = emloop_jax.BaseModel(None, None, {path!r}, inputs=["x", "y"], outputs=["loss", "guess"])
        rng = np.random.default_rng(1)
        for _ in range(2):
            x = rng.normal(size=(4, 3)).astype(np.float32)
            loss = model.run({{"x": x, "y": x.sum(1)}}, train=True)["loss"]
        print(json.dumps([np.asarray(loss).tolist(), model.get_variable("learning_rate")]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_a_program_says_nothing_of_where_it_was_made(tmp_path):
    """No path, and no line of the source."""
    model = OfLinen(None, str(tmp_path), **NAMES)
    train(model, batches(1))
    program = find_saved(model.save("one")).program()
    content = b"".join(path.read_bytes() for path in program.iterdir())

    assert b".py" not in content
    assert b"tanh(" not in content


def test_a_program_that_calls_what_does_not_compute_is_refused(tmp_path):
    """Whatever a name may lead to in the process that restores it."""
    called = jax.ffi.ffi_call("run_anything", jax.ShapeDtypeStruct((), np.float32))
    exported = jax.export.export(
        jax.jit(called), disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("run_anything")]
    )(jax.ShapeDtypeStruct((), np.float32))
    none = {"model": [], "training": [], "inputs": {"train": {}, "eval": {}}, "predictions": [[], []], "settings": {}}
    Program.made({"eval": exported}, {"rung": "inference", "reason": None, **none}).write(tmp_path / "program")

    with pytest.raises(UntrustedError, match="eval calls 'run_anything'"):
        Program.read(tmp_path / "program")


def test_what_asks_for_the_size_of_a_batch_is_trained_but_needs_its_source(tmp_path, caplog):
    """The first save says why; `require` makes it an error."""

    class Asking(Regression):
        def outputs(self, results, batch):
            return squared(results * 2 if results.shape[0] > 100 else results, batch)

    model = Asking(None, str(tmp_path), **NAMES)
    train(model, batches(2))
    path = model.save("one")

    assert find_saved(path).manifest["rung"] == "weights"
    assert "cannot be restored without its source" in caplog.text
    assert "'b' > '100'" in caplog.text
    with pytest.raises(SavedModelError, match="source is needed"):
        emloop_jax.BaseModel(None, None, path, **NAMES)
    strict = Asking(None, str(tmp_path), **NAMES, saved_model={"source_free": "require"})
    train(strict, batches(1))
    with pytest.raises(SavedModelError, match="'require'"):
        strict.save("two")


def test_an_axis_that_varies_stays_open(tmp_path):
    """A step is exported anew once sizes differ, and the restored one takes any size."""

    class Mean(Regression):
        def create_model(self):
            return emloop_jax.Functions(
                lambda key, batch: {"w": jnp.ones(())},
                lambda parameters, batch, train, key: (batch["x"] * batch["mask"]).sum(1) * parameters["w"],
            )

    def batch(size, length):
        x = np.arange(size * length, dtype=np.float32).reshape(size, length) / 10
        return {"x": x, "mask": np.ones_like(x), "y": x.sum(1) / 2}

    names = {**NAMES, "inputs": ["x", "mask", "y"]}
    model = Mean(None, str(tmp_path), **names)
    train(model, [batch(4, 5), batch(4, 7), batch(2, 6)])
    restored = emloop_jax.BaseModel(None, None, model.save("one"), **names)

    assert same(train(model, [batch(3, 9)]), train(restored, [batch(3, 9)]))
    with pytest.raises(BatchError, match="x: expected float32"):
        restored.run({**batch(3, 9), "x": np.zeros((3, 9, 1), np.float32)}, train=False)


def test_an_accumulated_step_is_that_of_one_large_batch():
    """Weighted by what each example counts; what is left at the end of an epoch makes a step, too."""
    data = batches(3, sizes=(4, 2, 3))
    for number, batch in enumerate(data):
        batch["w"] = np.arange(len(batch["y"])) + number
    whole = {name: np.concatenate([batch[name] for batch in data]) for name in data[0]}
    options = {**NAMES, "weights": {"loss": "w"}, "optimizer": {"class": "sgd", "learning_rate": 0.1}}
    at_once, in_parts = Regression(None, None, **options), Regression(None, None, **options, accumulate=5)
    train(at_once, [whole])
    train(in_parts, data)
    in_parts.end_epoch()

    for name, values in at_once.state_dict()["model"].items():
        np.testing.assert_allclose(in_parts.state_dict()["model"][name], values, rtol=1e-5)


def test_a_schedule_keeps_its_proportion_to_what_hooks_set():
    """Halved while it is trained, the rate is half of what it would have been."""
    options = {"optimizer": {"class": "SGD", "learning_rate": 0.1}}
    schedule = {"class": "exponential_decay", "transition_steps": 1, "decay_rate": 0.5}
    model = Regression(None, None, **NAMES, **options, lr_schedule=schedule)
    rates = []
    for number, batch in enumerate(batches(3)):
        model.run(batch, train=True)
        rates.append(model.get_variable("learning_rate"))
        if number == 1:
            model.set_variable("learning_rate", 0.025)

    assert rates == pytest.approx([0.1, 0.05, 0.0125])


def test_a_changed_rate_counts_with_and_without_the_source(tmp_path):
    """And what of the configuration only the source obeys is named."""
    model = Regression(None, str(tmp_path), **NAMES, optimizer={"class": "adam", "learning_rate": 0.1})
    train(model, batches(1))
    model.set_variable("learning_rate", 0.05)
    path = model.save("one")
    changed = {**NAMES, "optimizer": {"class": "adam", "learning_rate": 0.2}}

    for kind in (Regression, emloop_jax.BaseModel):
        assert kind(None, None, path, **changed).get_variable("learning_rate") == pytest.approx(0.1)


def test_a_strangers_model_trains_whatever_its_optimizer_is_called(tmp_path):
    """It is part of the program; functions that a stranger names are not called."""
    described = {"optimizer": {"class": "adamw", "learning_rate": 0.1}}
    model = Regression(None, str(tmp_path), **NAMES, **described)
    train(model, batches(2))
    path = model.save("one")
    with emloop.untrusted():
        restored = emloop_jax.BaseModel(None, None, path, **NAMES, **described)

    assert same(train(model, batches()), train(restored, batches()))


def test_what_a_program_does_not_obey_is_named(tmp_path, caplog):
    """One line, where it is restored to train."""
    model = Regression(None, str(tmp_path), **NAMES)
    train(model, batches(1))
    emloop_jax.BaseModel(None, None, model.save("one"), **NAMES, clip_gradient=1.0)

    assert "in which clip_gradient stay as they were" in caplog.text


def test_frozen_parameters_stay_and_others_come_from_another_model(tmp_path):
    """By names without `params/`; a number that hooks steer is reached by its own."""
    first = OfLinen(None, str(tmp_path), **NAMES)
    train(first, batches(3))
    first.set_variable("steered/scale", 2.0)
    model = OfLinen(None, None, **NAMES, init_from=first.save("one"), frozen=["body/.*"])
    train(model, batches(3))
    before, after = first.state_dict()["model"], model.state_dict()["model"]

    assert np.array_equal(before["params/body/kernel"], after["params/body/kernel"])
    assert not np.array_equal(before["params/head/kernel"], after["params/head/kernel"])
    assert model.get_variable("steered/scale") == 2
    with pytest.raises(ConfigError, match="boddy"):
        OfLinen(None, None, **NAMES, frozen=["boddy/.*"]).run(batches()[0], train=True)
    with pytest.raises(MissingVariableError, match="steered/scale"):
        model.get_variable("scale")


def test_an_optimizer_that_remembers_parameters_begins_with_those_of_init_from(tmp_path):
    """Schedule-free ones average from where the network begins."""
    first = OfLinen(None, str(tmp_path), **NAMES)
    train(first, batches(1))
    free = {"class": "optax.contrib.schedule_free_sgd", "learning_rate": 0.1}
    model = OfLinen(None, None, **NAMES, init_from=first.save("one"), optimizer=free)
    model.run(batches()[0], train=False)
    state = model.state_dict()

    assert np.array_equal(state["training"]["optimizer/z/body/kernel"], state["model"]["params/body/kernel"])


@pytest.mark.parametrize("exported", ["auto", "off"])
def test_a_model_that_goes_back_to_its_beginning_is_not_compiled_anew(exported, caplog):
    """Which looking for a learning rate does again and again; neither is an equal model, where steps are exported."""
    options = {**NAMES, "saved_model": {"source_free": exported}}
    data = [*batches(3), *batches(1, width=5)]

    class Mean(Regression):
        def create_model(self):
            return emloop_jax.Functions(
                lambda key, batch: {"w": jax.random.normal(key)},
                lambda parameters, batch, train, key: batch["x"].mean(1) * parameters["w"],
            )

    model = Mean(None, None, **options)
    beginning, losses = model.state_dict(), train(model, data)
    model.load_state_dict(beginning)
    others = [model, Mean(None, None, **options)] if exported == "auto" else [model]
    with jax.log_compiles():
        assert all(same(losses, train(each, data)) for each in others)

    assert "XLA compilation" not in caplog.text


def test_sixteen_bits_are_only_inside():
    """Parameters, losses and outputs keep 32."""
    model = OfLinen(None, None, **NAMES, precision="bf16")
    losses = train(model, batches(3))

    assert {loss.dtype for loss in losses} == {np.dtype(np.float32)}
    assert model.state_dict()["model"]["params/body/kernel"].dtype == np.float32
    assert not same(losses, train(OfLinen(None, None, **NAMES), batches(3)))


def test_parameters_of_sixteen_bits_are_kept_to_the_bit(tmp_path):
    """NumPy has no such dtype."""

    class Short(Regression):
        def create_model(self):
            made = super().create_model()
            return made._replace(init=lambda key, batch: {**made.init(key, batch), "w": jnp.ones(3, jnp.bfloat16)})

    model = Short(None, str(tmp_path), **NAMES)
    train(model, batches(2))

    restored = Short(None, None, model.save("one"), **NAMES)
    assert same(train(model, batches(2)), train(restored, batches(2)))


def test_numbers_of_64_bits_are_narrowed_or_refused():
    """Without a warning, and never silently another number."""

    class Picking(Regression):
        def outputs(self, results, batch):
            return squared(results, {**batch, "y": batch["y"].astype(float)})

    model = Picking(None, None, **NAMES)
    x = np.ones((2, 3))
    assert np.asarray(model.run({"x": x, "y": np.array([1, 2])}, train=True)["loss"]).dtype == np.float32
    with pytest.raises(BatchError, match="y: int64 with numbers that int32 cannot hold"):
        model.run({"x": x, "y": np.array([1, 2**40])}, train=True)
    with pytest.raises(BatchError, match="x: expected numbers"):
        model.run({"x": np.array(["a", "b"]), "y": np.array([1, 2])}, train=True)


def test_a_stream_may_write_over_its_batches():
    """A batch is the model's own as soon as run returns, although it is still being computed."""
    expected, model = Regression(None, None, **NAMES), Regression(None, None, **NAMES)
    x, y = np.empty((4096, 3), np.float32), np.empty(4096, np.float32)
    losses = []
    for batch in batches(8, sizes=(4096,)):
        x[:], y[:] = batch["x"], batch["y"]
        losses.append(model.run({"x": x, "y": y}, train=True)["loss"])

    assert same(train(expected, batches(8, sizes=(4096,))), map(np.asarray, losses))


def test_every_so_many_batches_are_traced(tmp_path):
    """The newest traces stay; an evaluation is none."""
    model = Regression(None, str(tmp_path), **NAMES, profile={"keep": 1, "every": 2})
    for batch in batches():
        model.run(batch, train=True)
        model.run(batch, train=False)

    assert [path.name for path in (tmp_path / "profile").iterdir()] == ["trace-00000006"]


def test_a_loss_that_is_none_is_told_by_its_batch():
    """Of all batches since it was asked for the last time."""
    model = Regression(None, None, **NAMES)
    good, bad = batches(1)[0], {"x": np.full((4, 3), np.nan, np.float32), "y": np.zeros(4, np.float32)}
    for batch in (good, good, bad, bad):
        model.run(batch, train=False)

    assert int(model.first_nan()) == 3
    assert model.first_nan() is None


def test_a_state_of_another_network_is_refused():
    """By the first names that differ."""
    one, other = Regression(None, None, **NAMES), OfLinen(None, None, **NAMES)
    train(one, batches(1))

    with pytest.raises(StateError, match="params/b"):
        other.load_state_dict(one.state_dict())


def test_a_program_near_its_last_day_says_so(tmp_path, caplog):
    """A month before, and after it; the way out is named."""
    model = Regression(None, str(tmp_path), **NAMES)
    train(model, batches(1))
    path = model.save("one")
    folder = find_saved(path).program()
    until = find_saved(path).manifest["extra"]["until"]

    assert json.loads((folder / "program.json").read_text())["until"] == until
    assert shelf_life({"jax": "0.10.2"}, until) is None
    assert "since 2020-01-01" in shelf_life({"jax": "0.10.2"}, "2020-01-01")
    assert caplog.text.count("emloop upgrade") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": {"class": "adamw", "lerning_rate": 1}}, "did you mean 'learning_rate'"),
        ({"optimizer": "lbfgs"}, "evaluates the model several times"),
        ({"lr_schedule": {"class": "warmup_cosine_decay_schedule", "decay_steps": 3}}, "cosine_decay_schedule with"),
        ({"optimizer": {"class": "sgd", "momentum": "high"}}, "sgd cannot compute with momentum: high"),
        ({"ema": 0.9}, "optax.ema"),
        ({"clip_gradient": {}}, "clip_gradient: expected either a value or a norm"),
        ({"compile": True}, "every step is compiled"),
        ({"device": "cuda:3"}, "JAX has no cuda here"),
    ],
)
def test_mistakes_are_named(options, said):
    """With what to do instead."""
    if "device" in options and jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=said):
        Regression(None, None, **NAMES, **options)


def test_what_is_no_network_is_refused():
    """The message says what create_model returns, and what it has to."""

    class Wrong(Regression):
        def create_model(self):
            return 3

    class Unknown(Regression):
        def create_model(self):
            class Net(nn.Module):
                def __call__(self, pictures, others):
                    return pictures

            return Net()

    with pytest.raises(ConfigError, match="got 3"):
        Wrong(None, None, **NAMES)
    with pytest.raises(ConfigError, match="'pictures', 'others'"):
        Unknown(None, None, **NAMES)
