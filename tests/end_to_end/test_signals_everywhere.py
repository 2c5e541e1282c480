"""A signal at any instant of a training: it stops behind the batch in progress, and a resume repeats nothing."""

from __future__ import annotations

import ast
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import emloop as el
from emloop.api import resume_emloop_training
from emloop.datasets import IndexStream
from emloop.models.abstract_model import AbstractModel
from emloop.utils import load_config

HOME = str(Path(el.__file__).parent)
FUNCTIONS = sorted(
    {
        node.name
        for path in Path(HOME, "_streams").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
)
"""What reads streams."""
GOES_ON = threading.Event()
"""A batch that is waited for has come."""


class Data(el.BaseDataset):
    """Three batches to train on, two to evaluate."""

    def _configure_dataset(self, kind: str = "sequence") -> None:
        self._kind = kind

    def train_stream(self):
        """A sequence, or a generator that draws."""
        if self._kind == "stuck":
            return self._stuck()
        if self._kind == "sequence":
            return IndexStream({"x": np.arange(12.0)}, 4, rng=self.rng("train"))
        rng = self.rng("train")
        return ({"x": rng.normal(size=4)} for _ in range(3))

    def _stuck(self):
        yield {"x": np.ones(4)}
        if not GOES_ON.wait(60.0):
            raise TimeoutError("nobody gave this up")
        yield {"x": np.ones(4)}

    def valid_stream(self):
        """A sequence."""
        return IndexStream({"x": np.arange(8.0)}, 4)


class Follower(AbstractModel):
    """Follows the mean."""

    input_names, output_names = ("x",), ("loss",)

    def __init__(self, dataset, log_dir, restore_from=None, **kwargs):
        super().__init__(dataset, log_dir, restore_from)
        self._at = 0.0

    def run(self, batch, train, stream=None):
        """One step."""
        self._at += 0.1 * (batch["x"].mean() - self._at) if train else 0.0
        return {"loss": (batch["x"] - self._at) ** 2}

    def save(self, name_suffix):
        """Nothing is saved."""
        raise NotImplementedError

    def state_dict(self):
        """Where it is."""
        return {"at": self._at}

    def load_state_dict(self, state):
        """Go on there."""
        self._at = state["at"]


CONFIG = """
dataset: {class: %(module)s.Data, kind: %(kind)s}
model: {class: %(module)s.Follower, name: follower}
hooks:
  - ComputeStats: {variables: {loss: [mean, size]}}
  - LogVariables
  - WriteCSV
main_loop: {epochs_count: 3, extra_streams: [valid], seed: 1, %(more)s}
"""


class Raised:
    """Sends a signal when so many functions of emloop, or those of a name, have been entered or left."""

    def __init__(self, number: int, at: tuple[str, str] | None = None) -> None:
        self.left = number
        self._at = at

    def __call__(self, frame, event, _):
        counts = event in ("call", "return") if self._at is None else (event, frame.f_code.co_name) == self._at
        if counts and frame.f_code.co_filename.startswith(HOME):
            self.left -= 1
            if not self.left:
                sys.setprofile(None)
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def trained(tmp_path, caplog):
    """Trains, with a signal at the n-th instant: the run directory, whether it came, and what was said."""
    caplog.set_level(logging.INFO, "emloop")

    def train(name, number, kind, more, at=None):
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG % {"module": __name__, "kind": kind, "more": more})
        training = el.create_emloop_training(load_config(config), str(tmp_path), None, name)
        caplog.clear()
        raised, before = Raised(number, at), sys.getprofile()
        # Within the loop from the first instant on: before it is entered, a signal is the caller's.
        with training.main_loop as loop:
            try:
                sys.setprofile(raised)
                loop.run_training()
            finally:
                sys.setprofile(before)
        return Path(training.output_dir), raised.left <= 0, caplog.messages

    return train


@pytest.fixture
def hold(trained):
    """Sends a signal, looks at what is said, and resumes; whether it came, and stopped the training."""
    expected: dict[tuple[str, str], str] = {}

    def check(number, kind, more, at=None):
        if (kind, more) not in expected:
            expected[kind, more] = (trained("whole", 10**9, kind, more)[0] / "metrics.jsonl").read_text()
        run, came, said = trained(f"at-{number}", number, kind, more, at)
        stopped = [line for line in said if line.startswith("Stopped after commit")]
        assert [line for line in stopped if not line.endswith("a resume repeats nothing")] == [], number
        if stopped:
            resume_emloop_training(load_config(run / "config.yaml"), run).main_loop.run_training()
        assert (run / "metrics.jsonl").read_text() == expected[kind, more], number
        return came, bool(stopped)

    return check


FORMS = [("sequence", "buffer: 0"), ("generator", "evaluate_every: 2ba"), ("sequence", "buffer: 2")]


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(("return", "epoch_done"), id="the-epoch-is-seen-to"),
        pytest.param(("call", "watch"), id="a-stream-is-prepared"),
        pytest.param(("call", "_open"), id="a-pass-is-opened"),
        pytest.param(("return", "_open"), id="a-pass-was-opened"),
        pytest.param(("return", "_run_stream"), id="a-stream-has-ended"),
        pytest.param(("return", "after_epoch"), id="a-hook-has-seen-the-epoch"),
    ],
)
def test_a_signal_between_batches_costs_none(hold, at):
    """Though nothing is in progress that it could wait for."""
    assert (True, True) == hold(4, "sequence", "buffer: 0", at)


@pytest.mark.parametrize(
    "at",
    [
        # Among these are waits that find the end of a stream, behind which it must not go on.
        pytest.param(("return", "_wait"), id="a-wait-has-ended"),
        pytest.param(("return", "_join"), id="a-thread-has-ended"),
    ],
)
def test_a_signal_to_a_stream_that_reads_ahead_costs_no_batch(hold, at):
    """Nor does it begin a stream again."""
    assert stops(hold, "sequence", "buffer: 2", 1, 1, at) > 3


def test_a_signal_just_before_a_wait_ends_it(trained):
    """Though nothing else arrives that would."""
    try:
        # Between the batch before, behind which a signal is looked for, and the wait, which it would interrupt.
        _, came, said = trained("run", 2, "stuck", "buffer: 2", ("call", "rest"))
    finally:
        GOES_ON.set()

    assert came
    assert [line for line in said if line.startswith("Stopped after commit")], said


def stops(hold, kind, more, first, step, at=None):
    """Signals until one comes too late; how many have stopped the training."""
    found, came, number = 0, True, first
    while came:
        came, stopped = hold(number, kind, more, at)
        found += stopped
        number += step
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "more"), FORMS)
def test_a_signal_costs_no_batch(hold, kind, more):
    """Before a batch, in it, after it; between streams, in hooks, while metrics are written, between two epochs."""
    assert stops(hold, kind, more, 101, 797) > 8


@pytest.mark.torture
@pytest.mark.parametrize(("kind", "more"), FORMS)
def test_no_signal_costs_a_batch(hold, kind, more):
    """Every 17th instant."""
    assert stops(hold, kind, more, 1, 17) > 300


@pytest.mark.torture
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("event", ["call", "return"])
@pytest.mark.parametrize("more", ["buffer: 0, evaluate_every: 2ba", "buffer: 2", "buffer: 2, evaluate_every: 2ba"])
def test_a_signal_at_any_function_of_a_stream_costs_no_batch(hold, more, event, name):
    """At each of the first times that it is entered, and left."""
    for number in range(1, 16):
        if not hold(number, "sequence", more, (event, name))[0]:
            return


def test_a_loop_that_is_entered_already_is_not_entered_again(trained, tmp_path):
    """``with main_loop: main_loop.run_training()`` begins and ends once, and puts the handlers back."""
    handler = signal.getsignal(signal.SIGINT)
    run, _, _ = trained("whole", 10**9, "sequence", "buffer: 0")
    twice = el.create_emloop_training(load_config(tmp_path / "config.yaml"), str(tmp_path), None, "twice")
    with twice.main_loop as loop:
        loop.run_training()

    attempts = (Path(twice.output_dir) / "attempts.jsonl").read_text().splitlines()
    assert [(run / "metrics.jsonl").read_text(), 2] == [
        (tmp_path / "twice" / "metrics.jsonl").read_text(),
        len(attempts),
    ]
    assert handler is signal.getsignal(signal.SIGINT)
