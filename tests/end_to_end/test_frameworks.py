"""PyTorch, TensorFlow and JAX compute in one process, whichever comes first, and processes are started beside them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

NAMES = ("torch", "tensorflow", "jax")

DATA = '''
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import emloop as el
from emloop.datasets import IndexStream


class Rows:
    """Every batch is computed by JAX, in a worker as in the training itself."""

    def __len__(self):
        return 96

    def batch(self, indices):
        Path(f"loads-{os.getpid()}").touch()
        x = np.random.default_rng(0).normal(size=(96, 3)).astype(np.float32)[indices]
        return {"x": x, "y": np.asarray(jnp.sum(jnp.asarray(x), axis=1))}


class Data(el.BaseDataset):
    def _configure_dataset(self, **kwargs):
        Path(f"made-{os.getpid()}").touch()

    def train_stream(self):
        return IndexStream(Rows(), 8, rng=self.rng("train"))
'''

MODEL = """
import {0}, {1}, {2}

import os
from pathlib import Path

import jax
import numpy as np
import tensorflow as tf
import torch

import emloop as el


@jax.jit
@jax.value_and_grad
def by_jax(w, x, y):
    return ((x @ w - y) ** 2).mean()


@tf.function
def by_tensorflow(w, x, y):
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.reduce_mean((tf.linalg.matvec(x, w) - y) ** 2)
    return loss, tape.gradient(loss, w)


def by_torch(w, x, y):
    w.requires_grad_()
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    return loss.detach(), w.grad


class Net(el.AbstractModel):
    '''A linear regression that every framework teaches a batch in turn.'''

    input_names, output_names = ("x", "y"), ("loss",)

    def __init__(self, dataset, log_dir, restore_from=None, *, made):
        self._w, self._number, self._made = np.zeros(3, np.float32), 0, made

    def run(self, batch, train, stream=None):
        while len(list(Path().glob("made-*"))) < self._made:
            os.sched_yield()  # until all workers are there
        to, learn = (
            (torch.tensor, by_torch), (tf.constant, by_tensorflow), (np.asarray, by_jax)
        )[self._number % 3]
        loss, gradient = learn(*(to(value) for value in (self._w, batch["x"], batch["y"])))
        self._w, self._number = self._w - 0.1 * np.asarray(gradient), self._number + 1
        return {{"loss": [float(loss)] * len(batch["x"])}}

    def save(self, name_suffix):
        raise NotImplementedError

    def state_dict(self):
        return {{"w": self._w, "number": self._number}}

    def load_state_dict(self, state):
        self._w, self._number = state["w"], state["number"]
"""

CONFIG = """
dataset: {class: rows.Data}
model: {class: nets.Net}
hooks: [ComputeStats: {variables: [loss]}, WriteCSV, StopAfter: {epochs: 3}]
main_loop: {seed: 1, extra_streams: [], skip_zeroth_epoch: true}
"""

# Processes of the second training are started where three frameworks have computed.
DRIVER = """
import sys, emloop
import {0}, {1}, {2}
for name, *words in (["alone", "model.made=1"], ["fed", "model.made=3", "main_loop.workers=2", "main_loop.buffer=4"]):
    if code := emloop.train("config.yaml", words, "log", output_dir=name):
        sys.exit(code)
"""


QUICK = {("jax", "tensorflow", "torch")}
ORDERS = [
    pytest.param(order, id="-".join(order), marks=pytest.mark.slow if order in QUICK else pytest.mark.torture)
    for order in itertools.permutations(NAMES)
]


@pytest.mark.parametrize("order", ORDERS)
def test_frameworks_get_along_whichever_is_imported_first(order, tmp_path):
    """They train one model together, with workers and a buffer as without, and the process ends well."""
    for name in NAMES:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    for name, text in {"rows.py": DATA, "nets.py": MODEL.format(*order), "config.yaml": CONFIG}.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", DRIVER.format(*order)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "fork" not in done.stderr
    alone, fed = ((tmp_path / "log" / name / "training.csv").read_text() for name in ("alone", "fed"))
    assert alone == fed
    assert 2 <= len(list(tmp_path.glob("loads-*"))) <= 3, "workers have loaded some"
    losses = [float(line.split(",")[1]) for line in alone.splitlines()[1:]]
    assert losses[-1] < losses[0] / 10
