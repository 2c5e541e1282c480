"""The section ``eval`` changes a configuration for one evaluation."""

from __future__ import annotations

import pytest

from emloop._config import load_config, validate_config
from emloop._config.check import check_config
from emloop.errors import ConfigError

CONFIG = """\
common: &common {lr: 1, depth: 2}
dataset:
  class: d.Data
  sizes: {train: 100, test: 10}
  files: [a, b]
model:
  <<: *common
  class: m.Model
  io: {in: [x], out: [y]}
hooks:
  - SaveBest
  - ShowProgress
eval:
  test:
    dataset:
      sizes: {test: 5}
      files: [c]
      augment: false
    model:
      io: {in: [z]}
    main_loop:
      on_empty_stream: ignore
    hooks: [WriteCSV]
    stream_names: [test, valid]
  plain:
    model:
  none:
"""


@pytest.fixture
def load(tmp_path):
    def load_text(target, *arguments, text=CONFIG):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_config(path, arguments, target)

    return load_text


def test_mappings_are_merged_and_lists_replaced(load):
    """What the evaluation does not mention stays, at every depth."""
    config = load("test")

    assert config["dataset"] == {
        "class": "d.Data",
        "sizes": {"train": 100, "test": 5},
        "files": ["c"],
        "augment": False,
    }
    assert config["model"] == {"class": "m.Model", "io": {"in": ["z"], "out": ["y"]}, "lr": 1, "depth": 2}
    assert config["hooks"] == ["WriteCSV"]


def test_a_section_that_is_not_there_is_created(load):
    """An evaluation may say more than the training."""
    assert load("test")["main_loop"] == {"on_empty_stream": "ignore"}


def test_the_section_itself_stays_as_it_is(load):
    """What is kept in the run directory can be evaluated again."""
    config = load("test")

    assert config["eval"] == load(None)["eval"]
    assert config.evaluates == "test"
    validate_config(config)


@pytest.mark.parametrize("target", ["plain", "none", "unmentioned"])
def test_what_says_nothing_changes_nothing(load, target):
    """Empty parts, and targets without one, leave the training's configuration, hooks included."""
    assert load(target) == load(None)


def test_an_empty_section_is_none_at_all(load):
    """``eval:`` without a value is accepted."""
    text = "dataset: {class: d.D}\nmodel: {class: m.M}\nhooks:\neval:\n"

    config = load("test", text=text)

    validate_config(config)
    assert config["eval"] is None


def test_no_hooks_can_be_asked_for(load):
    """A null list of hooks replaces the training's hooks."""
    config = load("t", text="hooks: [SaveBest]\neval: {t: {hooks: }}\n")

    assert config["hooks"] is None


def test_the_command_line_wins(load):
    """File, then evaluation, then command line."""
    config = load("test", "model.io.in=[w]", "dataset.sizes.test=1", "hooks+=ShowProgress")

    assert config["model"]["io"]["in"] == ["w"]
    assert config["dataset"]["sizes"] == {"train": 100, "test": 1}
    assert config["hooks"] == ["WriteCSV", "ShowProgress"]


def test_the_evaluation_can_be_changed_from_the_command_line(load):
    """A change of the section ``eval`` is not without effect."""
    config = load("test", "eval.test.model.io.in=[v]", "eval.test.stream_names=[a]")

    assert config["model"]["io"]["in"] == ["v"]
    assert config["eval"]["test"]["stream_names"] == ["a"]


def test_anchors_still_reach_a_merged_section(load):
    """Merging an evaluation in does not cut a section off from what it merges."""
    assert load("test", "common.lr=7")["model"]["lr"] == 7


def test_an_evaluation_leaves_what_shares_a_part_alone(load):
    """Only the section is changed that the evaluation names."""
    text = "model: {io: &io {in: 1}}\nother: *io\neval: {t: {model: {io: {in: &two 2}}}}\nthird: *two\n"

    assert load("t", text=text)["other"] == {"in": 1}
    assert load("t", "model.io.in=3", text=text)["third"] == 2


def test_places_lead_to_the_evaluation(load):
    """What the evaluation changed is located there, the rest where it was."""
    config = load("test", "main_loop.seed=1")

    assert str(config.place(("dataset", "sizes", "test"))).endswith("config.yaml:16:15")
    assert str(config.place(("dataset", "sizes", "train"))).endswith("config.yaml:4:11")
    assert str(config.place(("hooks", 0))).endswith("config.yaml:23:13")
    assert str(config.place(("main_loop", "seed"))) == "argument 1: main_loop.seed=1"


@pytest.mark.parametrize(
    ("section", "place", "message"),
    [
        ("{t: {hook: []}}", "1:12", "eval.t: unknown key 'hook'"),
        ("[t]", "1:7", "eval: expected a mapping"),
        ("{t: 3}", "1:11", "eval.t: expected a mapping"),
        ("{t: {model: m.M}}", "1:19", "eval.t.model: expected a mapping"),
    ],
)
def test_an_evaluation_of_the_wrong_form_is_refused(load, section, place, message):
    """The message says where it stands."""
    with pytest.raises(ConfigError) as caught:
        load("t", text=f"eval: {section}\n")

    assert str(caught.value).splitlines()[0].endswith(f"config.yaml:{place}: {message}")


def test_a_misspelt_key_of_an_evaluation_comes_with_the_right_one(load):
    """The accepted keys are listed."""
    with pytest.raises(ConfigError) as caught:
        load("t", text="eval: {t: {hook: []}}\n")

    assert caught.value.problems[0].hints == (
        "did you mean 'hooks'?",
        "eval.t takes: dataset, model, main_loop, hooks, stream_names",
    )


def test_what_a_training_is_given_is_no_change_of_its_evaluations(tmp_path):
    """A hook that is added for it stays out of those that name their own, and so need not fit their streams."""
    (tmp_path / "config.yaml").write_text(
        "dataset: {class: emloop.BaseDataset}\nmodel: {class: emloop.models.Sequence, model_paths: [a]}\n"
        "hooks: [ComputeStats: {variables: [loss]}]\nmain_loop: {extra_streams: [valid]}\n"
        "eval: {test: {hooks: [LogVariables]}}\n"
    )

    def found(*changes):
        return [problem.message for problem in check_config(tmp_path / "config.yaml", changes)[1]]

    assert found("hooks+=EarlyStopping") == found("~hooks.ComputeStats") == found()
    assert found("eval.test.hooks+=EarlyStopping") == [*found(), "stream 'valid' is not evaluated"]
