"""Hooks follow what the model says of weights: every mean is a sum of weighted values over the sum of the weights."""

from __future__ import annotations

import numpy as np
import pytest

import emloop as el
from emloop.errors import MissingVariableError, VariableTypeError
from emloop.hooks import ClassificationMetrics, ComputeStats
from emloop.hooks._statistics.reductions import STREAMING

EVERY = [*STREAMING, "median", "nanmedian", "argmax", "argmin"]


def batches_of(sizes=(4, 4, 1, 3), shape=(), weight_shape=(), seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"x": rng.normal(size=(size, *shape)), "w": rng.integers(0, 4, (size, *weight_shape)).astype(float)}
        for size in sizes
    ]


def results(loop, batches, wanted, weights=None, **options):
    loop.weights = {"x": "w"} if weights is None else weights
    hook = ComputeStats({"x": wanted}, **options)
    hook.register_mainloop(loop)
    for batch in batches:
        hook.after_batch("valid", batch)
    data = {"valid": {}}
    hook.after_epoch(epoch_data=data)
    return data["valid"]["x"]


def joined(batches):
    values = np.concatenate([batch["x"] for batch in batches])
    weights = np.concatenate([batch["w"] for batch in batches])
    return values, np.broadcast_to(weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim)), values.shape)


@pytest.mark.parametrize(("shape", "weight_shape"), [((), ()), ((5,), ()), ((5,), (5,)), ((2, 3), (2,))], ids=str)
def test_statistics_are_weighted(loop, shape, weight_shape):
    """As if every value stood there as often as its weight says, however the epoch is cut into batches."""
    batches = batches_of(shape=shape, weight_shape=weight_shape)
    values, weights = joined(batches)
    repeated = np.repeat(values.ravel(), weights.ravel().astype(int))

    found = results(loop, batches, ["mean", "average", "var", "std", "sum", "median", "min", "max", "size"])

    for name in ("mean", "average", "var", "std", "sum", "median", "min", "max"):
        assert found[name] == pytest.approx(getattr(np, name)(repeated), rel=1e-12), name
    assert found["size"] == (weights > 0).sum()


def test_extremes_are_found_where_they_stand(loop):
    """Values of weight 0 keep their places."""
    batches = [{"x": np.array([9.0, 1.0, 5.0]), "w": np.array([0, 1, 1])}, {"x": np.array([-9.0]), "w": np.array([0])}]

    assert results(loop, batches, ["argmax", "argmin"]) == {"argmax": 2, "argmin": 1}


def test_weights_of_one_change_no_bit(loop, clock):
    """In no aggregation, over more batches than one reduction takes."""
    batches = [{**batch, "w": np.ones(len(batch["x"]))} for batch in batches_of((7,) * 150)]
    plain = results(loop, batches, EVERY, {})

    assert results(type(loop)(), batches, EVERY) == plain


def test_a_weight_with_further_axes_counts_for_all_of_them(loop):
    """A mean over the tokens of each text counts as often as it has tokens."""
    masks = [np.array([[1, 1, 0], [1, 0, 0]], bool), np.array([[1, 1, 1]], bool)]
    batches = [{"x": np.arange(len(mask)) + 1.0, "w": mask} for mask in masks]

    assert results(loop, batches, ["mean"])["mean"] == pytest.approx((1 * 2 + 2 * 1 + 1 * 3) / 6)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float32"])
@pytest.mark.parametrize("values", ["uint8", "int8", "float16", "float32", "bool"])
def test_sums_do_not_overflow(loop, values, dtype):
    """Neither those of values nor those of weights."""
    x, w = np.full(5000, 1 if values == "bool" else 100).astype(values), np.full(5000, 100).astype(dtype)

    assert results(loop, [{"x": x, "w": w}] * 3, ["mean", "std"]) == {"mean": x[0], "std": 0}


def test_no_weight_at_all_is_nan_and_said_once(loop, caplog):
    """An epoch like that is no error."""
    batches = [{"x": np.ones(3), "w": np.zeros(3)}]
    found = results(loop, batches * 2, ["mean", "median", "sum"])

    assert np.isnan(found["mean"])
    assert np.isnan(found["median"])
    assert found["sum"] == 0
    assert [record.getMessage() for record in caplog.records] == [
        "stream 'valid': all weights of 'x' were 0 in this epoch, so it has no mean (NaN)"
    ]


def test_a_value_without_weight_may_be_anything(loop):
    """Padding is often NaN or infinite."""
    batches = [{"x": np.array([np.nan, 1.0, np.inf]), "w": np.array([0, 2, 0])}]

    assert results(loop, batches, ["mean", "var", "nanfraction", "median"]) == {
        "mean": 1, "var": 0, "nanfraction": 0, "median": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, -2], "stream 'valid': variable 'x': a weight must be a number from 0 on, got -2"),
        ([1, np.nan], "stream 'valid': variable 'x': a weight must be a number from 0 on, got nan"),
        ([1, np.inf], "stream 'valid': variable 'x': a weight must be a number from 0 on, got inf"),
        ([1, 2, 3], "stream 'valid': variable 'x': its weight has the shape [3], which is no leading part of [2]"),
        (["a", "b"], "stream 'valid': variable 'x': expected numbers, got <U1"),
    ],
)
def test_what_is_no_weight_is_refused(loop, weight, message):
    """With its stream and variable."""
    with pytest.raises(VariableTypeError) as error:
        results(loop, [{"x": np.ones(2), "w": np.array(weight)}], ["mean"])

    assert str(error.value).startswith(message)


def test_a_batch_without_the_weight_is_refused(loop):
    """A mean without it would be another one."""
    with pytest.raises(MissingVariableError, match="no variable 'w' in the batch, which has 'x'"):
        results(loop, [{"x": np.ones(2)}], ["mean"])


def test_weights_stay_on_their_device(loop, device_array):
    """Until many are fetched together, with the values that they weigh."""
    batches = batches_of((3,) * 10)
    on_device = [{name: device_array(value) for name, value in batch.items()} for batch in batches]
    expected = results(type(loop)(), batches, ["mean", "std"])

    assert results(loop, on_device, ["mean", "std"]) == expected


@pytest.mark.parametrize("kind", [float, bool])
@pytest.mark.parametrize("cut", [0, 3, 70])
def test_weighted_statistics_are_resumed_to_the_bit(loop, hand_over, cut, kind):
    """Wherever an epoch was interrupted; booleans say what counts as numbers do."""
    batches = [{**batch, "w": np.asarray(batch["w"], kind)} for batch in batches_of((7,) * 100)]
    expected = results(loop, [{**batch, "w": batch["w"].astype(np.float64)} for batch in batches], EVERY)
    loops = [type(loop)() for _ in range(2)]
    old, new = (ComputeStats({"x": EVERY}) for _ in range(2))
    for hook, other in zip((old, new), loops, strict=True):
        other.weights = {"x": "w"}
        hook.register_mainloop(other)
    for batch in batches[:cut]:
        old.after_batch("valid", batch)
    hand_over(old, new)
    for batch in batches[cut:]:
        new.after_batch("valid", batch)
    data = {"valid": {}}
    new.after_epoch(epoch_data=data)

    assert data["valid"]["x"] == expected


def metrics(loop, weights, batches, **options):
    loop.weights = weights
    hook = ClassificationMetrics("found", "labels", **options)
    hook.register_mainloop(loop)
    for batch in batches:
        hook.after_batch("valid", batch)
    data = {"valid": {}}
    hook.after_epoch(data)
    return data["valid"]


@pytest.mark.parametrize("weighed", ["found", "labels"])
def test_classes_are_compared_where_they_count(loop, weighed):
    """Every position of a text is an example, but for those whose label is ignored."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    batches = [{name: rng.integers(0, 3, (4, 6)) for name in ("found", "labels")} for _ in range(3)]
    for batch in batches:
        batch["labels"][rng.random((4, 6)) < 0.4] = -100
        batch["counts"] = batch["labels"] != -100
    found, labels, counts = (np.concatenate([batch[n] for batch in batches]).ravel() for n in batches[0])

    mine = metrics(loop, {weighed: "counts"}, batches, f1_average="macro")
    plain = metrics(type(loop)(), {}, [{"found": found[counts], "labels": labels[counts]}], f1_average="macro")

    assert mine == plain
    assert mine["accuracy"] == (found == labels)[counts].mean()


def test_examples_count_by_their_weight(loop):
    """As if each stood there as often."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(1)
    found, labels, w = rng.integers(0, 2, 30), rng.integers(0, 2, 30), rng.integers(0, 4, 30)
    plain = metrics(loop, {}, [{"found": found.repeat(w), "labels": labels.repeat(w)}], f1_average="binary")

    weighted = metrics(type(loop)(), {"found": "w"}, [{"found": found, "labels": labels, "w": w}], f1_average="binary")
    assert weighted == pytest.approx(plain)


class Weighed(el.AbstractModel):
    """A model whose outputs are its inputs."""

    input_names = ("x", "w")
    output_names = ("y",)
    weights = {"y": "w"}  # noqa: RUF012

    def run(self, batch, train, stream=None):
        return {"y": batch["x"] * 2}

    def save(self, name_suffix):
        raise NotImplementedError


class Lots(el.BaseDataset):
    def _configure_dataset(self):
        pass

    def valid_stream(self):
        return batches_of()


def test_a_hook_is_told_by_the_loop(caplog):
    """Nobody names the weight but the model."""
    caplog.set_level("INFO")
    loop = el.MainLoop(Weighed(), Lots("{}"), [ComputeStats(["y"]), el.hooks.LogVariables()])
    loop.run_evaluation("valid")
    values, weights = joined(batches_of())

    assert f"\tvalid y mean: {np.average(values * 2, weights=weights):f}" in [r.getMessage() for r in caplog.records]
