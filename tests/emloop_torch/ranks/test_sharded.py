"""Several processes that have a part of the parameters each learn what one would."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from emloop.errors import ConfigError

from .scenes import REFUSED, SHARDED, batches, created, kept, trained


@pytest.fixture(scope="module")
def in_two(several):
    return several("all_sharded", size=2)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("name", SHARDED)
def test_processes_learn_what_one_does(in_two, name):
    """And keep no more than their part between steps."""
    found = [each[name] for each in in_two]
    config = {key: value for key, value in SHARDED[name].items() if key != "distributed"}
    model = created(**config)
    losses = trained(model, **config)
    expected = kept(model)
    tolerance = 3e-2 if "bf16" in name else 2e-5

    if name != "the mean of a batch":  # a process tells that of its own rows
        losses.append(np.array(model.run(next(batches()), train=False)["loss"]))
        for number, loss in enumerate(losses):
            together = np.concatenate([[*each[0], each[1]][number] for each in found])
            np.testing.assert_allclose(together, loss, rtol=tolerance, atol=tolerance)
    assert found[0][2].keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[0][2][key], value, rtol=tolerance, atol=tolerance)
    (one, whole), (other, _) = (each[3] for each in found)
    assert one + other == whole
    assert max(one, other) < 0.7 * whole


@pytest.fixture(scope="module")
def goings_on(several, tmp_path_factory):
    """What rank 0 has of trainings that went on from others, and their manifest."""
    directory = tmp_path_factory.mktemp("saved")
    return several("sharded_states", str(directory))[0], directory / "model_best"


@pytest.mark.parametrize(
    ("before", "after", "is_exact"),
    [
        ("fsdp", "fsdp", True),
        ("fsdp", "saved", True),
        ("fsdp", "restored with source", True),
        ("fsdp", "restored without", True),
        ("fsdp", "ddp", False),
        ("ddp", "fsdp", False),
    ],
)
def test_a_training_goes_on_from_a_state_within_a_window_of_batches(goings_on, before, after, is_exact):
    """To the bit where the parameters stay sharded, in whatever way it was kept; else but for rounding."""
    expected, found = (goings_on[0][before, how] for how in ("untouched", after))

    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0 if is_exact else 1e-5, atol=0 if is_exact else 1e-6)


def test_a_saved_model_says_what_nobody_has_compared(goings_on, manifest):
    """Its program was verified on rank 0, and is not compared with batches of the training."""
    told = manifest(goings_on[1])

    assert told["rung"] == "exported"
    assert told["extra"]["shadow"] == "its parameters are sharded among processes"


@pytest.mark.usefixtures("one_torch_thread")
def test_hooks_of_rank_0_reach_a_sharded_model(several):
    """What they thaw after an epoch is trained by all; within one, it is an error; predictions are those of one."""
    (before, after, predicted, said), (*_, others, elsewhere) = several("asked_of_shards")
    alone = created(restore_from=None)
    state = alone.state_dict()
    alone.load_state_dict({**state, "parameters": after})

    assert all((before[name] != after[name]).any() for name in before)
    assert "'body.0.weight' is frozen within an epoch; do so at its end" in said
    assert said in elsewhere
    np.testing.assert_allclose(predicted, alone.predict({"points": next(batches())["points"]})["logits"], rtol=1e-5)
    assert np.array_equal(predicted, others)


def test_what_cannot_be_sharded_is_told_before_the_first_batch(several):
    """With a way out."""
    said = several("refusals")[0]

    assert said.keys() == REFUSED.keys()
    for name, words in {
        "wrap": "distributed.wrap[0]: no part of the module is a 'Lineal'",
        "offload": "distributed.offload: the model is on the CPU already",
        "sync_batch_norm": "distributed.sync_batch_norm: PyTorch has this on CUDA only",
        "a number": "'scale' is a single number, which cannot be sharded",
        "tied": "'body.layers.0.weight' and 'body.layers.1.weight' are one, and would be sharded apart",
        "sparse": "'body' has sparse gradients",
        "Adafactor": "optimizer: Adafactor needs whole parameters",
        "two losses": "optimizers: a model that is sharded learns from one loss",
        "before its time": "Impatient.other: the optimizer has parameters that self.module has not",
    }.items():
        assert words in said[name]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strategy": "fsdp", "bucket_cap_mb": 1}, "distributed.bucket_cap_mb: this is for the strategy ddp"),
        ({"wrap": ["Linear"]}, "distributed.wrap: this is for the strategy fsdp, and there is ddp"),
        ({"strategy": "zero"}, "distributed.strategy: expected one of 'ddp', 'fsdp', got 'zero'"),
    ],
)
def test_a_key_of_the_other_strategy_is_an_error(settings, words):
    """Also where one process trains alone."""
    with pytest.raises(ConfigError) as error:
        created(distributed=settings)

    assert words in str(error.value)


def test_a_hook_loads_a_saved_model_for_itself(several, tmp_path):
    """It is no part of the training, so nobody has to take part."""
    logits, _ = several("loading", str(tmp_path), timeout=20.0, quiet=False)

    assert logits.shape == (2, 2)
