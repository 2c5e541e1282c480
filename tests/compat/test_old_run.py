"""A run directory that emloop 0.2 has left is listed, evaluated and resumed, with the classes written for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from emloop.utils import load_yaml

MODULE = '''
"""Classes as people wrote them for emloop 0.2."""

import logging
import os

import numpy as np
import emloop as el
from emloop.hooks.abstract_hook import AbstractHook


class Data(el.BaseDataset):
    def _configure_dataset(self, output_dir, batch_size, n=6, **kwargs):
        self._output_dir = output_dir
        self._batch_size = batch_size
        self._x = np.arange(n)
        self._extra = kwargs

    def train_stream(self) -> el.Stream:
        for i in range(0, len(self._x), self._batch_size):
            yield {"x": self._x[i:i + self._batch_size]}

    def valid_stream(self) -> el.Stream:
        yield {"x": self._x}


class Model(el.AbstractModel):
    """Keeps one number, in a file of its own format; ``restore_from`` is a directory with a best one."""

    def __init__(self, dataset, log_dir, restore_from=None, step=1, **kwargs):
        super().__init__(dataset=dataset, log_dir=log_dir, restore_from=restore_from)
        self._dir = log_dir
        self._step = step
        self._value = 0
        self._kwargs = kwargs
        if restore_from is not None:
            assert os.path.isdir(restore_from), restore_from
            with open(os.path.join(restore_from, "model_best.ckpt")) as file:
                self._value = int(file.read())
            logging.info("restored %s from %s", self._value, restore_from)

    @property
    def input_names(self):
        return ["x"]

    @property
    def output_names(self):
        return ["loss"]

    @property
    def restore_fallback(self) -> str:
        return "old.Fallback"

    def run(self, batch, train, stream):
        if train:
            self._value += self._step
        return {"loss": np.full(len(batch["x"]), float(self._value))}

    def save(self, name_suffix):
        path = os.path.join(self._dir, "model_{}.ckpt".format(name_suffix))
        with open(path, "w") as file:
            file.write(str(self._value))
        return path


class Fallback(Model):
    """What the backend restored, when the class of the model was gone."""


class Shout(AbstractHook):
    def __init__(self, text, **kwargs):
        self._text = text
        super().__init__(**kwargs)

    def after_epoch(self, epoch_id, epoch_data):
        logging.info("%s %s %s", self._text, epoch_id, sorted(epoch_data))
'''

CONFIG = """\
# as emloop 0.2 dumped it: anchors, merge keys and comments stay
common: &common
  batch_size: 2
  n: 6

dataset:
  <<: *common
  class: old.Data
  shuffle: yes

model:
  name: Toy
  class: old.Model
  step: &step 10
  other: *step
  restore_fallback: old.Fallback   # written by cxflow and by emloop 0.1

hooks:
- ComputeStats:
    variables: [loss]
- LogVariables
- old.Shout:
    text: heard
- WriteCSV
- SaveBest:
    condition: max
    stream: train
- StopAfter:
    epochs: 2
- TrainingTrace

main_loop:
  extra_streams: [valid]
  on_unused_sources: ignore

eval:
  valid:
    dataset:
      batch_size: 3
    hooks:
    - ComputeStats:
        variables: [loss]
    - WriteCSV
"""

TRACE = """\
!!omap
- train_begin: 2019-11-22 05:46:33.012578
- train_end: 2019-11-22 05:47:13.912578
- epochs_done: 2
- exit_status: 0
"""

LOG = """\
2019-11-22 05:46:33.012: INFO    @api         : Creating dataset
2019-11-22 05:46:33.013: INFO    @main_loop   : Training epoch 1
"""

CSV = """\
"epoch_id",train_loss,valid_loss
0,0.0,0.0
1,20.0,30.0
2,50.0,60.0
"""


class Old:
    """A directory with the old classes, the old run, and a way to run commands there."""

    def __init__(self, path: Path, processes) -> None:
        self.path = path
        self._processes = processes
        self.run = path / "log" / "Toy_vibrant-cray"
        self.run.mkdir(parents=True)
        (path / "old.py").write_text(MODULE)
        for name, content in {
            "config.yaml": CONFIG,
            "trace.yaml": TRACE,
            "train.log": LOG,
            "training.csv": CSV,
            "model_best.ckpt": "60",
        }.items():
            (self.run / name).write_text(content)
        self.before = self.files()

    def files(self):
        """Content of every file of the old run."""
        return {path.name: path.read_bytes() for path in self.run.iterdir()}

    def emloop(self, *arguments, expect=0):
        """Run a command; the old run stays as it was."""
        done = self._processes.run(
            [sys.executable, "-m", "emloop", *arguments],
            cwd=self.path,
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == expect, done.stdout + done.stderr
        assert self.files() == self.before
        return done.stdout + done.stderr

    def new_run(self):
        """The only other run."""
        (run,) = (path for path in (self.path / "log").iterdir() if path != self.run)
        return run


@pytest.fixture
def old(tmp_path, processes):
    return Old(tmp_path, processes)


def test_it_is_listed(old):
    """With its classes, its duration and its epochs, like any other."""
    assert old.emloop("ls") == "Toy_vibrant-cray\n"
    (line,) = (line for line in old.emloop("ls", "-l").splitlines() if "vibrant" in line)

    assert line.split()[0] == "Toy_vibrant-cray"
    for told in ("done", "Model", "Data", "years ago", "41 seconds", "2"):
        assert told in line, line


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        pytest.param("epochs_done: 8\n", "8", id="mapping-in-part"),
        pytest.param(TRACE.replace("2019-11-22 05:47:13.912578", "").replace(": 0\n", ":\n"), "2", id="killed"),
    ],
)
def test_it_is_listed_whatever_its_trace_says(old, trace, told):
    """A mapping is a trace as well, and so is one without an end."""
    (old.run / "trace.yaml").write_text(trace)
    old.before = old.files()
    (line,) = (line for line in old.emloop("ls", "-l").splitlines() if "vibrant" in line)

    assert told in line.split()


def test_it_is_evaluated_by_its_own_config(old):
    """The part of ``eval`` is laid over it, the model gets the path as typed, the results stand in a new run."""
    said = old.emloop("eval", "valid", "log/Toy_vibrant-cray")

    assert "restored 60 from log/Toy_vibrant-cray" in said
    run = old.new_run()
    assert (run / "training.csv").read_text().splitlines()[1:] == ["0,60.0"]
    config = load_yaml(run / "config.yaml")
    assert config["dataset"] == {"class": "old.Data", "batch_size": 3, "n": 6, "shuffle": "yes"}
    assert [next(iter(hook)) if isinstance(hook, dict) else hook for hook in config["hooks"]] == [
        "ComputeStats",
        "WriteCSV",
    ]


def test_it_is_evaluated_on_a_stream_without_a_part_of_its_own(old):
    """The hooks that save and stop stand aside, the others do what they did; no checkpoint is made of it."""
    said = old.emloop("eval", "train", "log/Toy_vibrant-cray")

    assert "Hooks that save, steer or stop step aside in an evaluation: SaveBest, StopAfter" in said
    assert "heard 0 ['train']" in said
    assert not list(old.new_run().glob("model_*"))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["log/Toy_vibrant-cray"], id="directory"),
        pytest.param(["log/Toy_vibrant-cray/config.yaml"], id="config"),
        pytest.param(["Toy"], id="beginning-of-its-name"),
        pytest.param(["log/Toy_vibrant-cray", "log/Toy_vibrant-cray"], id="both"),
    ],
)
def test_resume_restores_the_model_and_starts_a_new_run(old, arguments):
    """As in 0.2: another directory, the model restored from the old one, epochs counted from zero."""
    said = old.emloop("resume", *arguments)

    assert "restored 60 from log/Toy_vibrant-cray" in said
    run = old.new_run()
    assert (run / "training.csv").read_text().splitlines()[1:] == ["0,60.0,60.0", "1,80.0,90.0", "2,110.0,120.0"]
    assert (run / "model_best.ckpt").read_text() == "120"
    trace = load_yaml(run / "trace.yaml")
    assert (trace["epochs_done"], trace["exit_status"]) == (2, 0)
    assert load_yaml(run / "config.yaml")["model"]["restore_fallback"] == "old.Fallback"


def test_another_config_takes_the_old_model(old):
    """``resume CONFIG RESTORE_FROM`` with overrides right behind, which 0.2 took for the model."""
    (old.path / "new.yaml").write_text(CONFIG.replace("step: &step 10", "step: &step 1"))
    old.emloop("resume", "new.yaml", "log/Toy_vibrant-cray", "hooks.StopAfter.epochs=1")

    assert (old.new_run() / "training.csv").read_text().splitlines()[1:] == ["0,60.0,60.0", "1,62.0,63.0"]


def test_an_old_model_that_takes_directories_only_is_told_what_it_takes_to_go_on(old):
    """The new run is one of ours, and goes on from what ``save`` returned, which 0.2 never did."""
    old.emloop("resume", "log/Toy_vibrant-cray")
    run = old.new_run()
    said = old.emloop("resume", str(run), "hooks.StopAfter.epochs=3", expect=1)
    assert f"the model was given as restore_from what its save had returned: {run}/model_checkpoint-" in said

    either = MODULE.replace("assert os.path.isdir(restore_from), restore_from", "at = restore_from").replace(
        'os.path.join(restore_from, "model_best.ckpt")',
        'os.path.join(at, "model_best.ckpt") if os.path.isdir(at) else at',
    )
    (old.path / "old.py").write_text(either)
    old.emloop("resume", str(run), "hooks.StopAfter.epochs=3")

    assert (run / "training.csv").read_text().splitlines()[-1] == "3,140.0,150.0"
    assert old.new_run() == run


def test_a_model_whose_class_is_gone_is_restored_by_its_fallback(old):
    """As before 0.2, with a warning that names both."""
    (old.run / "config.yaml").write_text(CONFIG.replace("old.Model", "lost.Model"))
    old.before = old.files()
    said = old.emloop("eval", "valid", "log/Toy_vibrant-cray")

    assert "lost.Model is restored as old.Fallback" in said
    assert (old.new_run() / "training.csv").read_text().splitlines()[1:] == ["0,60.0"]


def test_without_a_fallback_a_lost_class_is_an_error_of_one_message(old):
    """It says what was looked for; no run is made."""
    without = "\n".join(line for line in CONFIG.splitlines() if "restore_fallback" not in line)
    (old.run / "config.yaml").write_text(without.replace("old.Model", "lost.Model"))
    old.before = old.files()
    said = old.emloop("eval", "valid", "log/Toy_vibrant-cray", expect=2)

    assert "lost.Model leads nowhere: there is no module 'lost'" in said
    assert "restore_fallback" in said
    assert "Traceback" not in said


def test_it_can_be_read_from_python(old, monkeypatch):
    """``load_config`` and ``load_yaml`` read what 0.2 wrote, the trace included."""
    from datetime import datetime  # noqa: PLC0415

    trace = load_yaml(old.run / "trace.yaml")

    assert trace["train_begin"] == datetime(2019, 11, 22, 5, 46, 33, 12578)
    assert list(trace) == ["train_begin", "train_end", "epochs_done", "exit_status"]
