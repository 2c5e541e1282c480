"""Whatever a model can be restored from is one thing to all commands, with the config and the fallback that it has."""

from __future__ import annotations

import shutil

import pytest

import emloop as el

PROJECT = """
import numpy as np

import emloop as el


class Data(el.BaseDataset):
    def _configure_dataset(self, **kwargs):
        pass

    def train_stream(self):
        return [{"x": np.arange(4.0)}] * 2

    test_stream = train_stream
"""

NET = """
from runtime import Restored


class Net(Restored):
    restore_fallback = "runtime.Restored"

    def __init__(self, dataset, log_dir, restore_from=None, *, own=1):
        super().__init__(dataset, log_dir, restore_from)
        self.mean += own * (restore_from is None)
"""

RUNTIME = '''
import json
from pathlib import Path

import numpy as np

import emloop as el
from emloop.saved_models import find_saved, saved_model_path, write_saved_model


class Restored(el.AbstractModel):
    """All that is saved is a number."""

    input_names, output_names = ["x"], ["y"]

    def __init__(self, dataset, log_dir, restore_from=None):
        self.log_dir, self.mean = log_dir, 0.0
        if restore_from is not None:
            self.load_state_dict(find_saved(restore_from).tree())

    def run(self, batch, train, stream):
        self.mean += train
        return {"y": np.full(len(batch["x"]), self.mean)}

    def save(self, name_suffix):
        path = saved_model_path(self.log_dir, name_suffix)
        named = {"backend": "toy", "restore_fallback": "runtime.Restored", "rung": "weights"}
        return write_saved_model(path, inputs={}, outputs={}, tree=self.state_dict(), **named)

    def state_dict(self):
        return {"mean": float(self.mean)}

    def load_state_dict(self, state):
        self.mean = state["mean"]
'''

CONFIG = """
dataset: {class: project.Data}
model: {class: net.Net, own: 5}
hooks:
  - ComputeStats: {variables: [y]}
  - SaveLatest
  - LogVariables
main_loop: {epochs_count: 1, seed: 1, skip_zeroth_epoch: true}
"""


@pytest.fixture
def emloop(tmp_path, emloop_in):
    """The command line in a project with a run, whose model counts its training batches from 5: it stands at 7."""
    for name, text in (("project.py", PROJECT), ("net.py", NET), ("runtime.py", RUNTIME), ("config.yaml", CONFIG)):
        (tmp_path / name).write_text(text)
    emloop = emloop_in(tmp_path)
    emloop("train", "config.yaml", "--output_dir", "run")
    (tmp_path / "config.yaml").rename(tmp_path / "own.yaml")
    return emloop


@pytest.fixture
def shipped(emloop, tmp_path):
    """A directory with a config and a saved model, and nothing else; the source of the model is gone."""
    (tmp_path / "shipped").mkdir()
    shutil.copy(tmp_path / "own.yaml", tmp_path / "shipped" / "config.yaml")
    shutil.copytree(tmp_path / "log" / "run" / "model_latest", tmp_path / "shipped" / "model_latest")
    (tmp_path / "net.py").unlink()
    return emloop


REPLACED = "net.Net is restored as runtime.Restored: net.Net leads nowhere: there is no module 'net'"


@pytest.mark.parametrize("path", ["shipped", "shipped/model_latest", "shipped/config.yaml"])
def test_a_shipped_model_is_evaluated(shipped, path):
    """With the config in or beside it, and the fallback that the saved model names."""
    said = shipped("eval", "test", path, "--output_dir", "evaluation")

    assert REPLACED in said
    assert "test y 7.0000" in said


def test_a_shipped_model_is_checked(shipped, tmp_path):
    """Its class need not be there; alone, its config has a mistake."""
    assert shipped("check", "shipped") == "shipped: no mistakes found\n"
    shutil.rmtree(tmp_path / "shipped" / "model_latest")

    assert "there is no module 'net'" in shipped("check", "shipped", expect=2)


@pytest.mark.parametrize("spec", ["run", "@", "log/run", "log/run/model_latest", "log/run/config.yaml"])
def test_the_config_of_a_run_or_a_model_is_checked_by_its_name(emloop, tmp_path, spec):
    """As it is now, after the last resume; without the class, too."""
    emloop("resume", "run", "main_loop.epochs_count=2")
    (tmp_path / "net.py").unlink()
    said = emloop("check", spec, "main_loop.wrong=1", expect=2)

    assert "main_loop: unknown argument 'wrong'" in said
    assert said.endswith("1 mistake\n")


def test_a_shipped_model_is_trained_further_in_a_new_run(shipped, tmp_path):
    """Two more batches; the directory is left as it is."""
    before = sorted(tmp_path.glob("shipped/**/*"))
    said = shipped("resume", "shipped", "--output_dir", "further")

    assert "shipped holds a model, and no run to go on with: a new run begins" in said
    assert "train y 8.5000" in said
    assert sorted(tmp_path.glob("shipped/**/*")) == before


def test_a_shipped_model_is_a_member(shipped, tmp_path, monkeypatch):
    """Of an ensemble, beside a run."""
    monkeypatch.syspath_prepend(tmp_path)
    paths = sorted((tmp_path / "log" / "run" / "checkpoints").glob("0*"))
    members = el.models.Ensemble(["x"], ["y"], "mean", str(tmp_path), ["shipped", "log/run", str(paths[-1])])

    assert members.run({"x": [0.0]})["y"].tolist() == [7.0]


@pytest.mark.parametrize(
    "source",
    [None, "class Net(:\n", "raise RuntimeError('no licence')", "import no_such_package", "1 / 0", "class Other: pass"],
    ids=["gone", "syntax", "exception", "import", "bug", "renamed"],
)
@pytest.mark.parametrize("config", ["run", "plain.yaml"])
def test_a_class_that_cannot_be_imported_is_replaced_whichever_way_it_fails(emloop, tmp_path, source, config):
    """A run goes on by its fallback, and a config without one is given that of the run; the reason is said."""
    (tmp_path / "plain.yaml").write_text(CONFIG)
    (tmp_path / "net.py").unlink()
    if source is not None:
        (tmp_path / "net.py").write_text(source)
    for saved in tmp_path.glob("log/run/model_*"):
        shutil.rmtree(saved)
    words = ("resume", "run") if config == "run" else ("resume", config, "run", "--output_dir", "further")
    said = emloop(*words, "main_loop.epochs_count=2" if config == "run" else "main_loop.epochs_count=1")

    assert "net.Net is restored as runtime.Restored: " in said
    assert "train y 8.5000" in said


def test_without_any_fallback_nothing_is_begun(emloop, tmp_path):
    """The mistake is found before there is a directory, and says what would help."""
    (tmp_path / "plain.yaml").write_text(CONFIG)
    (tmp_path / "net.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "bare").mkdir()
    said = emloop("resume", "plain.yaml", "bare", "--output_dir", "further", expect=2)

    assert "importing net failed: RuntimeError: no licence" in said
    assert "neither the configuration nor the saved model names a restore_fallback" in said
    assert not (tmp_path / "log" / "further").exists()


def test_a_fallback_that_is_gone_as_well_is_named(emloop, tmp_path):
    """Beside the class that it stands in for."""
    (tmp_path / "net.py").unlink()
    (tmp_path / "runtime.py").unlink()
    said = emloop("eval", "test", "run", "--output_dir", "evaluation", expect=2)

    assert "net.Net leads nowhere: there is no module 'net'" in said
    assert "model.restore_fallback: runtime.Restored leads nowhere: there is no module 'runtime'" in said


def test_a_training_never_takes_the_fallback(emloop, tmp_path):
    """What a broken module raises is the user's own, with its traceback."""
    (tmp_path / "net.py").write_text(f"{NET}\nraise RuntimeError('no licence')")
    said = emloop("train", "own.yaml", "model.restore_fallback=runtime.Restored", expect=1)

    assert "RuntimeError: no licence" in said
    assert "is restored as" not in said


def test_what_holds_no_config_is_said_to_hold_none(emloop, tmp_path):
    """And what would."""
    shutil.copytree(tmp_path / "log" / "run" / "model_latest", tmp_path / "apart" / "inner" / "model")
    said = emloop("eval", "test", "apart/inner/model", expect=2)

    assert (
        "there is no config.yaml in apart/inner/model, beside it or in a run around it; name one with --config" in said
    )


@pytest.mark.parametrize("name", ["run", "@", "log/run/model_latest", "log/run/config.yaml", "ru"])
def test_a_model_to_begin_with_is_named_like_any_other(emloop, tmp_path, name):
    """By path, by the beginning of a run's name, or as the latest."""
    said = emloop("resume", "own.yaml", name, "--output_dir", "further")

    assert "train y 8.5000" in said


def test_what_only_the_model_understands_reaches_it_as_it_is(tmp_path, emloop_in):
    """``restore_from`` may be anything: the name of a model in a zoo, or the common beginning of some files."""
    (tmp_path / "zoo.py").write_text(
        PROJECT
        + """

class Zoo(el.AbstractModel):
    input_names, output_names = ["x"], ["y"]

    def __init__(self, dataset, log_dir, restore_from=None):
        print("RESTORED FROM", restore_from)

    def run(self, batch, train):
        return {"y": batch["x"]}

    def save(self, name_suffix):
        return ""
"""
    )
    (tmp_path / "config.yaml").write_text("dataset: {class: zoo.Data}\nmodel: {class: zoo.Zoo}\nhooks: []\n")
    (tmp_path / "weights.ckpt.index").touch()
    emloop = emloop_in(tmp_path)

    limits = ("main_loop.epochs_count=1", "--output_dir")
    assert "RESTORED FROM zoo://big" in emloop("resume", "config.yaml", "zoo://big", *limits, "a")
    assert "RESTORED FROM weights.ckpt\n" in emloop("eval", "test", "weights.ckpt", "--output_dir", "b")
