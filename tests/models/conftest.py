"""Trained models on disk: plain ones, which are a config and a number, and whole runs."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

import emloop as el
from emloop.utils import yaml_to_file


class Plain(el.AbstractModel):
    """Gives fixed outputs for every example, and remembers what it was given.

    Args:
        gives: Output → value of every example, or ``input`` plus a number, e.g. ``x+1``.
        needs: Names of its inputs.
    """

    def __init__(self, dataset, log_dir, restore_from=None, gives=None, needs=("x",)):
        self.dataset, self.log_dir, self.restore_from = dataset, log_dir, restore_from
        self._gives, self._needs = gives, needs
        self.seen = []

    @property
    def input_names(self):
        return self._needs

    @property
    def output_names(self):
        return self._gives

    def run(self, batch, train):
        self.seen.append((sorted(batch), train))
        return {name: self._value(batch, value) for name, value in self._gives.items()}

    def _value(self, batch, value):
        if isinstance(value, str) and "+" in value:
            source, _, more = value.partition("+")
            return np.asarray(batch[source]) + float(more)
        return [value] * len(next(iter(batch.values())))

    def save(self, name_suffix):
        raise NotImplementedError


class Answering:
    """All that a member needs."""

    def __init__(self, gives, **kwargs):
        self._gives = gives

    input_names = ("x",)

    @property
    def output_names(self):
        return self._gives

    def run(self, batch, train, stream):
        return {name: [value] * len(batch["x"]) for name, value in self._gives.items()}


class Streaming(Plain):
    """Enters what lets the stream be read ahead, as models of the reference do."""

    def run(self, batch, train, stream):
        with stream.allow_buffering:
            return super().run(batch, train)


class Open(Plain):
    """Takes whatever it is given, as models of the reference do."""

    def __init__(self, dataset, log_dir, restore_from=None, gives=None, needs=("x",), **kwargs):
        super().__init__(dataset, log_dir, restore_from, gives, needs)
        self.kwargs = kwargs


@pytest.fixture(autouse=True)
def plain_models(monkeypatch):
    """The classes above, where a config finds them."""
    module = types.ModuleType("plain_models")
    for cls in (Plain, Answering, Streaming, Open):
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "plain_models", module)


@pytest.fixture
def trained(tmp_path):
    """Make the directory of a trained model, and return its path: a config that names a class, and nothing else."""

    def make(name: str, gives: dict[str, object], **section: object) -> str:
        directory = Path(tmp_path, name)
        directory.mkdir(parents=True)
        model = {"class": "plain_models.Plain", "gives": gives, **section}
        yaml_to_file({"model": model}, directory, "config.yaml")
        return str(directory)

    return make
