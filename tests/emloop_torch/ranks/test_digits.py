"""The digits example on several processes is, but for rounding, that of one."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.emloop_torch.test_ranks_contract import MLP

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from emloop._state.commit import newest_commit
from emloop.testing.ranks import World

pytestmark = pytest.mark.torture

ROOT = Path(__file__).parents[3]
CONFIG = "examples/digits/config_torch.yaml"
MODULE = '''
import torch
from torch import nn

import emloop as el
from examples.digits import digits_torch_model


class ConvNet(digits_torch_model.ConvNet):
    """Without batch normalisations, which see the rows of one process only."""

    def create_model(self, channels=8, dropout=0.0):
        net = super().create_model(channels, dropout)
        for number, part in enumerate(net.features):
            if isinstance(part, nn.BatchNorm2d):
                net.features[number] = nn.Identity()
        return net


class Again(el.AbstractHook):
    """Computes the mean of every loss that it sees, and that of ``ComputeStats`` has to be the same."""

    stateless = True
    reads = ("loss",)
    writes = ()

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._seen = {}

    def after_batch(self, stream_name, batch_data):
        self._seen.setdefault(stream_name, []).extend(float(loss) for loss in batch_data["loss"])

    def after_epoch(self, epoch_id, epoch_data):
        for stream, losses in self._seen.items():
            found = epoch_data[stream]["loss"]["mean"]
            assert abs(sum(losses) / len(losses) - found) < 1e-6 * abs(found)
            assert len(losses) == {"train": 1257, "valid": 270}[stream]
        self._seen = {}
'''
WORDS = ("model.class=plain.ConvNet", "model.channels=8", "main_loop.epochs_count=2", "~hooks.ShowProgress")


@pytest.fixture(scope="module")
def world(tmp_path_factory, processes):
    """The example, beside a network that several processes train as one does."""
    path = tmp_path_factory.mktemp("digits")
    shutil.copytree(ROOT / "examples", path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    world = World(MLP, path, processes.Popen, 120.0)
    (path / "plain.py").write_text(MODULE)
    return world


@pytest.fixture(scope="module")
def alone(world):
    """The run of one process."""
    world.run(1, "train", CONFIG, "--output_dir", "alone", *WORDS, "model.dropout=0.0")
    return world.directory / "log" / "alone"


def pictures(run):
    return {path.name: path.read_bytes() for path in run.glob("confusion_matrix_*")}


def table(path):
    _, *rows = csv.reader(path.read_text().splitlines())
    return np.array(rows, float)


def states(run):
    return newest_commit(run / "checkpoints", set_aside=False)[0].states()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("count", [2, 4])
def test_metrics_confusion_matrix_and_choice_of_the_best_are_those_of_one_process(world, alone, strategy, count):
    """Parameters too, but for rounding."""
    name = f"{strategy}-{count}"
    words = (*WORDS, "model.dropout=0.0", f"model.distributed={{strategy: {strategy}}}")
    world.run(count, "train", CONFIG, "--output_dir", name, *words)

    run = world.directory / "log" / name
    np.testing.assert_allclose(table(run / "training.csv"), table(alone / "training.csv"), rtol=1e-5)
    assert len(pictures(run)) == 3
    assert pictures(run) == pictures(alone)
    together, expected = states(run), states(alone)
    assert together["hooks/SaveBest"] == expected["hooks/SaveBest"]
    for key, value in expected["model"]["parameters"].items():
        np.testing.assert_allclose(together["model"]["parameters"][key], value, rtol=1e-5, atol=1e-5)


def test_every_example_is_evaluated_once(world, alone):
    """Pictures and predictions are those of one process, to the byte."""
    for count in (1, 4):
        for stream in ("test", "predict"):
            world.run(count, "eval", stream, alone, "--output_dir", f"{stream}-{count}")

    log = world.directory / "log"
    assert pictures(log / "test-4") == pictures(log / "test-1")
    assert len(pictures(log / "test-4")) == 1
    found, expected = ((log / f"predict-{count}" / "predictions.csv").read_text() for count in (4, 1))
    assert found == expected


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_statistics_are_those_of_what_was_computed(world, strategy):
    """With masks that each process draws; the same on the same number of processes."""
    words = (*WORDS, "model.dropout=0.5", "hooks+=plain.Again", f"model.distributed={{strategy: {strategy}}}")
    found = []
    for name in ("one", "other"):
        world.run(2, "train", CONFIG, "--output_dir", f"{strategy}-{name}", *words)
        found.append((world.directory / "log" / f"{strategy}-{name}" / "metrics.jsonl").read_text())

    assert found[0] == found[1]
