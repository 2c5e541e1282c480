"""``emloop find-lr``: where a training begins to diverge, and which learning rate to begin with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emloop.cli._training.find_lr import find_lr
from emloop.cli.app import main
from emloop.errors import UsageError

MODULE = '''
import numpy as np

import emloop as el

SPREAD = [3.0, 1.0, 0.2]


class Data(el.BaseDataset):
    """The same points of a plane in every batch, so that the loss is one quadratic function."""

    def _configure_dataset(self, **kwargs):
        pass

    def train_stream(self):
        x = np.random.default_rng(1).normal(size=(64, 3)) * SPREAD
        return [{"x": x, "y": x @ [1.0, -2.0, 3.0]}] * 4


class Fixed(el.AbstractModel):
    """Linear regression by steepest descent, at a rate that nobody can set."""

    input_names, output_names = ("x", "y"), ("loss",)

    def __init__(self, dataset, log_dir, restore_from=None, rate=0.01, **kwargs):
        self._w, self._rate = np.zeros(3), rate

    def run(self, batch, train, stream=None):
        errors = batch["x"] @ self._w - batch["y"]
        if train:
            self._w = self._w - self._rate * batch["x"].T @ errors / len(errors)
        with np.errstate(over="ignore"):
            return {"loss": errors**2 / 2}

    def save(self, name_suffix):
        return name_suffix


class Linear(Fixed):
    """The same, with a rate that can be set."""

    def get_variable(self, name):
        return self._rate

    def set_variable(self, name, value):
        self._rate = value


class Stateful(Linear):
    """The same, with a state."""

    def state_dict(self):
        return {"w": self._w, "rate": self._rate}

    def load_state_dict(self, state):
        self._w, self._rate = state["w"], state["rate"]
'''


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config of one of the models; returns its path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quadratic.py").write_text(MODULE)

    def write(model):
        path = tmp_path / "config.yaml"
        path.write_text(
            f"dataset: {{class: quadratic.Data}}\nmodel: {{class: quadratic.{model}}}\nhooks: []\n"
            "main_loop: {epochs_count: 1}\n"
        )
        return str(path)

    return write


def edge_of_divergence():
    """Steepest descent on a quadratic function diverges beyond 2 ÷ the largest eigenvalue of its second derivative."""
    x = np.random.default_rng(1).normal(size=(64, 3)) * [3.0, 1.0, 0.2]
    return 2 / np.linalg.eigvalsh(x.T @ x / len(x)).max()


@pytest.mark.parametrize("factor", [1.1, 1.25, 2.0])
def test_the_edge_of_divergence_is_found_within_a_step_of_the_grid(config, factor):
    """The rate to begin with is below it, and above the smallest."""
    grid = [1e-4 * factor**step for step in range(int(np.log(1e5) / np.log(factor)))]
    found = find_lr(config("Stateful"), [], grid)

    assert found.edge / factor**2 < edge_of_divergence() <= found.edge
    assert grid[0] < found.suggested < edge_of_divergence()
    assert len(found.losses) == len(found.rates) <= len(grid)


def test_without_a_state_the_edge_is_where_the_loss_begins_to_rise(config):
    """That is later than it is beyond the edge, since what has shrunk has to grow first."""
    grid = [1e-3 * 1.25**step for step in range(60)]
    found = find_lr(config("Linear"), [], grid)

    assert edge_of_divergence() / 2 < found.edge < 20 * edge_of_divergence()


def test_a_grid_below_the_edge_has_none(config):
    """Then nothing diverges."""
    assert find_lr(config("Stateful"), [], [1e-5, 1e-4, 1e-3]).edge is None


def test_a_model_whose_rate_cannot_be_set_is_refused(config):
    """The message names what it would take."""
    with pytest.raises(UsageError) as caught:
        find_lr(config("Fixed"), [], [0.1, 1.0])

    assert str(caught.value) == (
        "find-lr: Fixed has no learning rate that could be set: it takes get_variable and set_variable, "
        "as the models of PyTorch have them"
    )


def test_it_draws_a_curve_and_writes_nothing(config, capsys, tmp_path):
    """Or says the same as JSON."""
    path = config("Stateful")
    assert main(["find-lr", path, "--from", "1e-4"]) == 0
    told = capsys.readouterr().out
    assert "┤" in told
    assert "Edge: the loss diverges from 0." in told
    assert "Learning rate to begin with: 0." in told

    assert main(["find-lr", path, "--json", "--steps", "40", "--from", "1e-4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["rates", "losses", "edge", "suggested"]
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name != "__pycache__") == [
        "config.yaml",
        "quadratic.py",
    ]
    assert main(["find-lr", path, "--from", "1", "--to", "0.1"]) == 2
