"""A dataset, a model and hooks written as the documentation of emloop 0.2 teaches run unchanged."""

from __future__ import annotations

import json
import os
import sys

import pytest

CODE = """
import logging
import pickle
from collections import OrderedDict
from os import path
from typing import Iterable, List, Mapping, Optional

import numpy as np

import emloop as el
from emloop.datasets import BaseDataset
from emloop.hooks import AbstractHook, AccumulateVariables, EveryNEpoch, OnPlateau, TrainingTerminated
from emloop.models import AbstractModel


class Majority(BaseDataset):

    def _configure_dataset(self, N: int, dim: int, batch_size: int, **kwargs):
        self._batch_size = batch_size
        xs = np.random.randint(0, 2, size=(N, dim))
        ys = (xs.sum(axis=1) > dim / 2).astype(int)
        self._train, self._valid = (xs[: N // 2], ys[: N // 2]), (xs[N // 2 :], ys[N // 2 :])

    def _stream(self, data) -> el.Stream:
        for i in range(0, len(data[0]), self._batch_size):
            yield {"x": data[0][i : i + self._batch_size], "y": data[1][i : i + self._batch_size]}

    def train_stream(self) -> el.Stream:
        yield from self._stream(self._train)

    def valid_stream(self):
        return self._stream(self._valid)


class MajorityNet(AbstractModel):

    def __init__(self, dataset: el.AbstractDataset, log_dir: str, restore_from: Optional[str] = None, **kwargs):
        super().__init__(dataset=dataset, log_dir=log_dir, restore_from=restore_from, **kwargs)
        self._log_dir = log_dir
        self._rate = kwargs["rate"]
        self._w = None
        if restore_from is not None:
            is_file = restore_from.endswith(".npy")
            self._w = np.load(restore_from if is_file else path.join(restore_from, "model_best.npy"))

    @property
    def input_names(self) -> List[str]:
        return ["x", "y"]

    @property
    def output_names(self) -> List[str]:
        return ["loss", "accuracy"]

    @property
    def restore_fallback(self) -> str:
        return ""

    def run(self, batch: el.Batch, train: bool, stream: el.datasets.StreamWrapper) -> Mapping[str, object]:
        x = np.hstack([batch["x"], np.ones((len(batch["x"]), 1))])
        if self._w is None:
            self._w = np.zeros(x.shape[1])
        with stream.allow_buffering:
            p = 1 / (1 + np.exp(-x @ self._w))
        if train:
            self._w = self._w - self._rate * x.T @ (p - batch["y"]) / len(x)
        return {
            "loss": -np.log(np.where(batch["y"] == 1, p, 1 - p) + 1e-9),
            "accuracy": ((p > 0.5) == batch["y"]).astype(float),
        }

    def save(self, name_suffix: str) -> str:
        target = path.join(self._log_dir, "model_{}.npy".format(name_suffix))
        np.save(target, self._w)
        return target


class Announce(AbstractHook):

    def __init__(self, text: str, **kwargs):
        super().__init__(**kwargs)
        self._text = text

    def before_training(self) -> None:
        logging.info("before %s", self._text)

    def after_batch(self, stream_name: str, batch_data: el.Batch) -> None:
        assert set(batch_data) == {"x", "y", "loss", "accuracy"}

    def after_epoch(self, epoch_id: int, epoch_data: el.EpochData) -> None:
        epoch_data["train"]["announced"] = epoch_id

    def after_epoch_profile(self, epoch_id: int, profile: el.TimeProfile, streams: List[str]) -> None:
        assert len(profile["read_batch_train"]) == len(profile["eval_batch_train"])

    def after_training(self, success: bool) -> None:
        logging.info("after %s: %s", self._text, success)


class MeanAbs(AccumulateVariables):

    def __init__(self, variables, **kwargs):
        super().__init__(variables=variables, **kwargs)

    def after_epoch(self, epoch_data: el.EpochData, **kwargs) -> None:
        for stream in epoch_data:
            epoch_data[stream]["abs"] = np.mean(np.abs(self._accumulator[stream]["loss"]))
        super().after_epoch(epoch_data=epoch_data, **kwargs)


class EverySecond(EveryNEpoch):

    def __init__(self, output_dir: str, **kwargs):
        super().__init__(n_epochs=2, **kwargs)
        self._file = path.join(output_dir, "seconds.txt")

    def _after_n_epoch(self, epoch_id: int, **_) -> None:
        with open(self._file, "a") as file:
            file.write("{}\\n".format(epoch_id))


class StopWhenFlat(OnPlateau):

    def _on_plateau_action(self, **kwargs) -> None:
        raise TrainingTerminated("flat")
"""

CONFIG = """\
dataset:
  class: taught.Majority
  N: 400
  dim: 5
  batch_size: 20
model:
  name: majority
  class: taught.MajorityNet
  rate: 0.5
hooks:
  - taught.Announce:
      text: training
  - taught.MeanAbs:
      variables: [loss]
  - ComputeStats:
      variables: [loss, accuracy]
  - taught.EverySecond
  - taught.StopWhenFlat:
      long_term: 40
      short_term: 20
  - LogVariables
  - LogProfile
  - SaveBest
  - StopAfter:
      epochs: 4
main_loop:
  extra_streams: [valid]
  buffer: 2
eval:
  valid:
    hooks:
      - ComputeStats: {variables: [accuracy]}
      - LogVariables
"""


@pytest.fixture
def emloop(tmp_path, processes):
    """Runs a command in a project of documented code."""
    (tmp_path / "taught.py").write_text(CODE)
    (tmp_path / "config.yaml").write_text(CONFIG)

    def run(*arguments: str) -> str:
        process = processes.run(
            [sys.executable, "-m", "emloop", *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert 0 == process.returncode, process.stderr
        return process.stderr

    return run


def test_documented_code_trains_evaluates_and_goes_on(emloop, tmp_path):
    """Train, evaluate, resume: with hooks, a model and a dataset that know nothing of this emloop."""
    said = emloop("train", "config.yaml", "--output_dir", "a", "main_loop.seed=1")
    evaluated = emloop("eval", "valid", "log/a")
    emloop("resume", "log/a", "hooks.StopAfter.epochs=6")

    lines = [json.loads(line) for line in (tmp_path / "log" / "a" / "metrics.jsonl").read_text().splitlines()]
    assert list(range(7)) == [line["train"]["announced"] for line in lines]
    assert lines[-1]["valid"]["accuracy"]["mean"] >= 0.9
    assert lines[0]["train"]["abs"] == pytest.approx(lines[0]["train"]["loss"]["mean"])
    assert "after training: True" in said
    assert "evaluated  valid accuracy 0.9" in evaluated
    assert ["0", "2", "4", "6"] == (tmp_path / "log" / "a" / "seconds.txt").read_text().split()
