"""What does a step of a JAX model cost beside the same step in a bare loop?

A perceptron of 85,000 parameters, batches of 32, AdamW; CPU time, blocks of steps of all variants in turn, each waited
for at its end. The bare loop is what one would write: a jitted step over nested parameters, which it donates. It
returns the loss of every example, but keeps nothing that could be saved or steered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import emloop_jax

from ..figures import Figure, Measure, compare

RATE = 1e-7
SIZES = (784, 100, 64, 10)
CONFIG: Mapping[str, Any] = {
    "inputs": ["points", "labels"],
    "outputs": ["loss"],
    "device": "cpu",
    "optimizer": {"class": "adamw", "learning_rate": RATE},
}
_RNG = np.random.default_rng(0)
BATCH: dict[str, Any] = {
    "points": _RNG.normal(size=(32, SIZES[0])).astype(np.float32),
    "labels": _RNG.integers(0, 10, 32).astype(np.int32),
}


def init(key: Any, _batch: Any) -> dict[str, Any]:
    """Parameters of a perceptron."""
    keys = jax.random.split(key, len(SIZES) - 1)
    return {
        f"layer{number}": {"kernel": jax.random.normal(own, (before, after)) / before**0.5, "bias": jnp.zeros(after)}
        for number, (own, before, after) in enumerate(zip(keys, SIZES, SIZES[1:], strict=False))
    }


def apply(parameters: Any, batch: Any, _train: bool, _key: Any) -> Any:
    """Scores."""
    values = batch["points"]
    for number in range(len(SIZES) - 1):
        layer = parameters[f"layer{number}"]
        values = values @ layer["kernel"] + layer["bias"]
        values = values if number == len(SIZES) - 2 else jax.nn.relu(values)
    return values


def loss_of(scores: Any, batch: Any) -> Any:
    """The loss of every example."""
    return optax.softmax_cross_entropy_with_integer_labels(scores, batch["labels"])


class Perceptron(emloop_jax.BaseModel):
    """The same for emloop."""

    def create_model(self) -> emloop_jax.Functions:
        """Two functions."""
        return emloop_jax.Functions(init, apply)

    def outputs(self, results: Any, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The loss."""
        return {"loss": loss_of(results, batch)}


def bare() -> Callable[[], Any]:
    """Steps as one would write them."""
    optimizer = optax.adamw(RATE)
    parameters = init(jax.random.key(0), BATCH)
    state = parameters, optimizer.init(parameters)

    def step(state: Any, batch: Any) -> Any:
        parameters, remembered = state

        def mean(parameters: Any) -> Any:
            losses = loss_of(apply(parameters, batch, True, None), batch)
            return losses.mean(), losses

        gradients, losses = jax.grad(mean, has_aux=True)(parameters)
        changes, remembered = optimizer.update(gradients, remembered, parameters)
        return (optax.apply_updates(parameters, changes), remembered), losses

    compiled = jax.jit(step, donate_argnums=0)

    def run() -> Any:
        nonlocal state
        state, losses = compiled(state, BATCH)
        return losses

    return run


def bare_evaluation() -> Callable[[], Any]:
    """Evaluations as one would write them."""
    parameters = init(jax.random.key(0), BATCH)
    compiled = jax.jit(lambda parameters, batch: loss_of(apply(parameters, batch, False, None), batch))
    return lambda: compiled(parameters, BATCH)


def waited(run: Callable[[], Any]) -> Measure:
    """Seconds of CPU time of so many steps, the last of which is waited for."""

    def measure(count: int) -> float:
        began = process_time()
        for _ in range(count):
            last = run()
        jax.block_until_ready(last)
        return process_time() - began

    return measure


def measure(quick: bool) -> list[Figure]:
    """Training and evaluation, with the source and without."""
    with TemporaryDirectory() as directory:
        live = Perceptron(None, directory, **CONFIG)
        live.run(BATCH, train=True)
        restored = emloop_jax.BaseModel(None, None, live.save("best"), **CONFIG)
        groups: list[dict[str, Measure]] = [
            {
                "bare step": waited(bare()),
                "BaseModel": waited(lambda: live.run(BATCH, train=True)["loss"]),
                "without source": waited(lambda: restored.run(BATCH, train=True)["loss"]),
            },
            {
                "bare evaluation": waited(bare_evaluation()),
                "BaseModel, evaluation": waited(lambda: live.run(BATCH, train=False)["loss"]),
            },
        ]
        for group in groups:
            for warm in group.values():
                warm(10)
        return compare(groups, *((2, 2) if quick else (200, 40)), most={"BaseModel": 1.10, "without source": 1.10})
