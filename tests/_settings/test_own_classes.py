"""Hooks and models of users are judged as the built-in ones are."""

from __future__ import annotations

import pytest

from emloop._config.check import check_config

MODULE = """
from typing import Annotated

from emloop import AbstractHook, AbstractModel, BaseDataset
from emloop.declare import Limits, SavedModel, Scalar
from emloop.hooks import ComputeStats


class Data(BaseDataset):
    def _configure_dataset(self):
        self.takes = {"variable": 1}

    def train_stream(self):
        yield {}

    def valid_stream(self):
        yield {}


class Model(AbstractModel):
    input_names = ["images"]
    output_names = ["loss", "scores"]

    def run(self, batch, train=False, stream=None):
        return {}

    def save(self, name_suffix):
        return ""


class Saver(AbstractHook):
    reads = (Scalar("{variable}", stream="{stream}", aggregation="{aggregation}"),)
    writes = (SavedModel("{model_name}"),)

    def __init__(self, model_name="best", variable="loss", condition="min", stream="valid", aggregation="mean"):
        super().__init__()


class Paced(AbstractHook):
    reads = (Scalar("loss", strem="valid"),)
    writes = ()

    def __init__(self, every: Annotated[int | str, Limits("[0-9]+|auto", 1)] = 1):
        super().__init__()


class Extended(ComputeStats):
    def _statistics(self, stream_name):
        yield from super()._statistics(stream_name)
        yield "spread", {"mean": 1.0}
"""


@pytest.fixture
def problems(tmp_path, monkeypatch):
    """What is wrong with some hooks."""
    (tmp_path / "own_classes.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def check(*hooks, more=""):
        lines = "".join(f"  - {hook}\n" for hook in hooks)
        head = "dataset: {class: own_classes.Data}\nmodel: {class: own_classes.Model}\n"
        (tmp_path / "config.yaml").write_text(f"{head}main_loop: {{extra_streams: [valid]}}\nhooks:\n{lines}{more}")
        return check_config("config.yaml")[1]

    return check


@pytest.mark.parametrize(
    "hooks",
    [
        ("X",),
        ("X: {variable: accuracy}", "ComputeStats: {variables: [loss]}"),
        ("X", "ComputeStats: {variables: [loss]}"),
        ("ComputeStats: {variables: [loss, scores]}", "X: {variable: scors}"),
        ("ComputeStats: {variables: [{loss: [max]}]}", "X"),
        ("ComputeStats: {variables: [loss], streams: [train]}", "X"),
        ("ComputeStats: {variables: [loss]}", "X: {stream: test}"),
        ("ComputeStats: {variables: [loss]}", "X", "X: {name: two}"),
        ("ComputeStats: {variables: [loss]}", "SaveBest", "X: {model_name: best}"),
    ],
)
def test_a_hook_that_declares_what_it_reads_and_writes_gets_the_reports_of_a_built_in_one(hooks, problems):
    """The same words and hints, in the same places."""
    own = [str(p) for p in problems(*(hook.replace("X", "own_classes.Saver") for hook in hooks))]
    built_in = [str(p) for p in problems(*(hook.replace("X", "SaveBest") for hook in hooks))]

    def shown(reports):
        lines = (line for report in reports for line in report.splitlines())
        words = (line.split(":", 3)[-1] for line in lines if "|" not in line)
        return [line.replace("own_classes.Saver", "SaveBest") for line in words]

    assert built_in
    assert shown(built_in) == shown(own)


def test_a_hook_that_extends_the_inside_of_another_may_write_more(problems):
    """Nobody knows what it computes, so that nothing is said of what others read."""
    assert [] == problems("own_classes.Extended: {variables: [loss]}", "SaveBest: {variable: spread}")


def test_a_misspelt_variable_is_found_though_the_dataset_has_words_of_the_config(problems):
    """Only the variable's own name in the source of the dataset may be that of a source."""
    (found,) = problems("StopOnPlateau: {variable: los, stream: train}")

    assert "unknown-variable" == found.kind
    assert ("hooks", 0, "StopOnPlateau", "variable") == found.keys


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("lr", "model.optimizer.learning_rate"),
        ("learning_rate", "model.optimizer.learning_rate"),
        ("warmup_steps", "model.lr_schedule.warmup_steps"),
        ("wd", None),
    ],
)
def test_a_key_of_a_component_that_stands_outside_of_it_is_sent_to_its_place(key, hint, problems, tmp_path):
    """At the top, and in the section."""
    pytest.importorskip("torch")
    model = "model:\n  class: emloop_torch.Supervised\n  net: [ReLU]\n  inputs: [x]\n  outputs: [scores]\n"
    for text in (f"{model}  {key}: 1\n", f"{model}{key}: 1\n"):
        (tmp_path / "config.yaml").write_text(f"dataset: {{class: own_classes.Data}}\n{text}")
        (found,) = check_config("config.yaml")[1]

        assert key == found.keys[-1]
        assert (hint is not None) == any(str(hint) in text for text in found.hints)


@pytest.mark.parametrize(
    ("optimizer", "keys"),
    [
        ("{class: AdamW, learning_rate: '0,1'}", ("learning_rate",)),
        ("{class: torch.optim.SGD, learning_rate: fast}", ("learning_rate",)),
        ("{class: SGD, groups: [{match: a, learning_rate: x}]}", ("groups", 0, "learning_rate")),
        ("{class: SGD, learning_rate: 1, groups: [{match: a, learning_rate: 1e-3}]}", None),
    ],
)
def test_a_learning_rate_is_a_number(optimizer, keys, problems, tmp_path):
    """Also where PyTorch would take a tensor."""
    pytest.importorskip("torch")
    model = f"{{class: emloop_torch.Supervised, net: [ReLU], inputs: [x], outputs: [scores], optimizer: {optimizer}}}"
    (tmp_path / "config.yaml").write_text(f"dataset: {{class: own_classes.Data}}\nmodel: {model}\n")

    found = [problem.keys for problem in check_config("config.yaml")[1]]

    assert ([] if keys is None else [("model", "optimizer", *keys)]) == found


def test_limits_by_position_hold_for_numbers_and_texts_alike(problems):
    """A declaration that is no word of ours says nothing, and ends no check."""
    assert problems("own_classes.Paced: {every: auto}") == []
    assert problems("own_classes.Paced: {every: 2}") == []
    for wrong in ("0", "often"):
        (found,) = problems(f"own_classes.Paced: {{every: {wrong}}}")
        assert found.kind == "wrong-value"
        assert found.keys == ("hooks", 0, "own_classes.Paced", "every")
