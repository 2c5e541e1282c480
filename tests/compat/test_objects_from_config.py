"""Datasets, models, hooks and directories are made from a config as emloop 0.2's own tests had it."""

from __future__ import annotations

import copy
import logging
import sys
import types
from collections import OrderedDict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import emloop as el
from emloop.api import (
    create_dataset,
    create_emloop_training,
    create_hooks,
    create_model,
    create_output_dir,
    delete_output_dir,
)
from emloop.cli import find_config, validate_config
from emloop.hooks import StopAfter, TrainingTrace
from emloop.hooks.training_trace import TrainingTraceKeys
from emloop.utils import load_config, load_yaml


class Dataset:
    """Inherits nothing and parses its text itself."""

    def __init__(self, config_str):
        self.text = config_str

    def train_stream(self):
        yield {"input": [1]}


class Model:
    """Inherits nothing; ``restore_fallback`` must do no harm."""

    input_names = ("input",)
    output_names = ("output",)

    def __init__(self, dataset, log_dir, restore_from=None, **kwargs):
        self.given = {"dataset": dataset, "log_dir": log_dir, "restore_from": restore_from, **kwargs}
        kwargs.get("io", {}).clear()

    def run(self, batch, train, stream):
        return {"output": batch["input"]}

    def save(self, name_suffix):
        return name_suffix

    @property
    def restore_fallback(self):
        return ""


class Hook(el.AbstractHook):
    """Modifies what it was given."""

    def __init__(self, parameters=None, **kwargs):
        super().__init__(**kwargs)
        if parameters:
            parameters.clear()


class SecondHook(el.AbstractHook):
    pass


@pytest.fixture(autouse=True)
def written(monkeypatch):
    """The classes above, where a config finds them."""
    module = types.ModuleType("written_for_02")
    for cls in (Dataset, Model, Hook, SecondHook):
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "written_for_02", module)


def hooks(*entries, **objects):
    return create_hooks({"hooks": list(entries)}, **objects)


# -- dataset ----------------------------------------------------------------------------------------------------------


def test_a_dataset_gets_its_section_as_one_text():
    """With the directory first, without the class; the config itself is out of its reach."""
    config = {"dataset": {"class": "written_for_02.Dataset", "a": {"b": [1, 2]}, "c": "yes"}}
    before = copy.deepcopy(config)

    assert create_dataset(config, "there").text == 'output_dir: there\na:\n  b:\n    - 1\n    - 2\nc: "yes"\n'
    assert create_dataset(config).text.startswith("output_dir: null\n")
    assert config == before


def test_a_datasets_directory_is_not_its_own_to_name():
    """``output_dir`` is given by us."""
    with pytest.raises(ValueError, match=r"dataset\.output_dir: 'output_dir' is reserved"):
        create_dataset({"dataset": {"class": "written_for_02.Dataset", "output_dir": "here"}}, "there")


@pytest.mark.parametrize("section", ["dataset", "model"])
def test_a_class_must_be_named(section):
    """By ``class``, and by its full name."""
    create = {"dataset": create_dataset, "model": create_model}[section]
    for content in ({}, {"class": None}, {"class": "Nowhere"}):
        with pytest.raises(ValueError, match=section):
            create({section: content})


# -- model ------------------------------------------------------------------------------------------------------------


def test_a_model_gets_its_section_and_three_objects():
    """Without ``class``, ``name`` and ``restore_fallback``, and as a copy."""
    config = {"model": {"class": "written_for_02.Model", "name": "x", "restore_fallback": "y", "io": {"in": ["a"]}}}
    before = copy.deepcopy(config)
    model = create_model(config, output_dir="there", dataset="the dataset", restore_from="from here")

    assert model.given == {"dataset": "the dataset", "log_dir": "there", "restore_from": "from here", "io": {}}
    assert config == before


@pytest.mark.parametrize("name", ["dataset", "log_dir", "restore_from"])
def test_a_section_cannot_override_what_a_model_is_given(name):
    """In 0.2 a stored ``restore_from`` made ``resume`` ignore its argument."""
    with pytest.raises(ValueError, match=f"model.{name}: '{name}' is reserved"):
        create_model({"model": {"class": "written_for_02.Model", name: "x"}}, "there", None, "from here")


# -- hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_come_in_the_order_of_the_list():
    """By short and by full name, with and without arguments."""
    made = hooks(
        {"written_for_02.Hook": {"parameters": {"a": 1}}}, "StopOnNaN", "written_for_02.SecondHook", {"LogProfile": {}}
    )

    assert [type(hook).__name__ for hook in made] == ["Hook", "StopOnNaN", "SecondHook", "LogProfile"]


def test_hooks_may_modify_their_arguments():
    """The config that is written into the run directory stays what it was."""
    config = {"hooks": [{"written_for_02.Hook": {"parameters": {"a": 1}}}]}
    create_hooks(config)

    assert config == {"hooks": [{"written_for_02.Hook": {"parameters": {"a": 1}}}]}


def test_a_hook_with_empty_arguments_is_mentioned(caplog):
    """Somebody may have indented them wrongly."""
    hooks({"written_for_02.SecondHook": None})

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "\t\t Empty config of `written_for_02.SecondHook` hook")
    ]


def test_an_entry_has_one_name():
    """Two in one mapping are a mistake of indentation."""
    with pytest.raises(ValueError, match="expected a hook's name, or one name with its arguments"):
        hooks({"StopOnNaN": None, "LogProfile": None})


def test_a_hook_that_is_not_there_is_a_missing_module():
    """As the exception that 0.2 raised."""
    with pytest.raises(ModuleNotFoundError, match="unknown hook 'IDoNotExist'"):
        hooks({"IDoNotExist": {"a": 1}})


@pytest.mark.parametrize("config", [{}, {"hooks": None}, {"hooks": []}])
def test_there_may_be_no_hooks(config):
    """Missing, null and empty are one."""
    assert create_hooks(config) == []


def test_a_mapping_is_no_list_of_hooks():
    """0.2 took the names and dropped the arguments, silently."""
    with pytest.raises(ValueError, match="expected a list of hooks"):
        create_hooks({"hooks": {"StopAfter": {"epochs": 1}}})


def test_a_trace_is_kept_without_being_asked_for(tmp_path):
    """By a hook at the end of the list, unless there is one, or a subclass, already."""
    made = create_hooks({"hooks": ["LogProfile"]}, output_dir=str(tmp_path))

    assert [type(hook).__name__ for hook in made] == ["LogProfile", "TrainingTrace"]
    assert len(create_hooks({"hooks": ["TrainingTrace", "LogProfile"]}, output_dir=str(tmp_path))) == 2


def test_a_hook_knows_its_loop_and_no_second_one():
    """``None`` before, the loop afterwards."""
    hook = SecondHook()
    assert hook._main_loop is None
    loop = el.MainLoop(Model(None, None), Dataset(""), [hook])

    assert hook._main_loop is loop
    with pytest.raises(ValueError, match="is registered with a main loop already"):
        el.MainLoop(Model(None, None), Dataset(""), [hook])


# -- directory --------------------------------------------------------------------------------------------------------


def test_a_directory_has_the_config_in_it(tmp_path):
    """The root may be any path, and the config may hold a set."""
    config = {"model": {"class": "x.Y", "name": "my_name"}, "set": {1, 2}}
    made = create_output_dir(config=config, output_root=tmp_path / "new" / "root", default_model_name="other")

    assert Path(made).parent == tmp_path / "new" / "root"
    assert Path(made).name.startswith("my_name_")
    assert load_yaml(Path(made, "config.yaml")) == config


def test_a_model_without_a_name_gets_the_default(tmp_path, caplog):
    """With a warning."""
    made = create_output_dir(config={"model": {"class": "x.Y"}}, output_root=tmp_path, default_model_name="default")

    assert Path(made).name.startswith("default_")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_given_name_needs_no_model(tmp_path):
    """The path is the root joined with the name."""
    made = create_output_dir(config={"any": 1}, output_root=str(tmp_path), output_dir_name="given")

    assert made == f"{tmp_path}/given"


def test_a_directory_is_deleted_with_everything_in_it(tmp_path):
    """Given as text or as a path; a missing one is fine."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    delete_output_dir(tmp_path / "a")
    delete_output_dir(str(tmp_path / "a"))

    assert not (tmp_path / "a").exists()


def test_a_config_is_found_in_its_directory(tmp_path):
    """A missing one is an error that names it."""
    (tmp_path / "config.yaml").touch()

    assert find_config(str(tmp_path)) == str(tmp_path / "config.yaml")
    assert find_config(str(tmp_path / "config.yaml")) == str(tmp_path / "config.yaml")
    with pytest.raises(ValueError, match=r"other\.yaml"):
        find_config(str(tmp_path / "other.yaml"))


@pytest.mark.parametrize("missing", ["dataset", "model"])
def test_a_config_needs_dataset_and_model(missing):
    """Hooks are only missed in a warning."""
    config = {section: {"class": "x.Y"} for section in ("dataset", "model") if section != missing}

    with pytest.raises(ValueError, match=f"the section '{missing}' is missing"):
        validate_config(config)


def test_a_whole_training_leaves_its_config_alone(tmp_path):
    """Whatever models and hooks do to what they are given; the run directory has it as it was."""
    config = {
        "dataset": {"class": "written_for_02.Dataset", "list": [1]},
        "model": {"class": "written_for_02.Model", "name": "x", "io": {"in": ["a"]}},
        "hooks": [{"written_for_02.Hook": {"parameters": {"a": 1}}}, {"StopAfter": {"epochs": 1}}],
        "main_loop": {"extra_streams": []},
    }
    before = copy.deepcopy(config)
    training = create_emloop_training(config, tmp_path)
    training.main_loop.run_training()
    written = load_yaml(Path(training.output_dir, "config.yaml"))

    assert config == before
    assert written == before
    assert training._fields == ("output_dir", "dataset", "model", "hooks", "main_loop")


# -- config -----------------------------------------------------------------------------------------------------------

CONFIG = """\
e:
  f: 2
  <<: &anchor {b: 1, c: 2}
a: *anchor
dataset: {class: a.B, batch: 1}
eval:
  predict:
    dataset: {batch: 2, new: 3}
    hooks: [LogProfile]
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_a_merged_section_has_its_own_keys_first(config_file):
    """Then those merged into it."""
    assert list(load_config(config_file)["e"]) == ["f", "b", "c"]


@pytest.mark.parametrize(
    ("override", "a", "e"),
    [
        ("a.b=12", {"b": 12, "c": 2}, {"f": 2, "b": 12, "c": 2}),
        ("e.b=19", {"b": 1, "c": 2}, {"f": 2, "b": 19, "c": 2}),
        ("e.x=12", {"b": 1, "c": 2}, {"f": 2, "b": 1, "c": 2, "x": 12}),
    ],
)
def test_an_override_reaches_what_merges_the_anchor(config_file, override, a, e):
    """And what is overridden where it is merged stays there."""
    config = load_config(config_file, [override])

    assert (config["a"], config["e"]) == (a, e)


def test_the_command_line_wins_over_the_evaluation_and_that_over_the_file(config_file):
    """New keys are added, and hooks replaced."""
    config = load_config(config_file, ["dataset.batch=4"], "predict")

    assert config["dataset"] == {"class": "a.B", "batch": 4, "new": 3}
    assert config["hooks"] == ["LogProfile"]
    assert load_config(config_file, (), "predict")["dataset"]["batch"] == 2
    assert load_config(config_file, (), "unknown")["dataset"]["batch"] == 1


# -- trace ------------------------------------------------------------------------------------------------------------


def test_the_trace_loads_into_naive_moments(tmp_path):
    """Within a second of the wall clock, under the keys of 0.2; null as long as nothing has happened."""
    trace = TrainingTrace(str(tmp_path))
    keys = TrainingTraceKeys
    trace.before_training()
    began = load_yaml(tmp_path / "trace.yaml")
    trace.after_epoch(3, {})
    trace.after_training(True)
    ended = load_yaml(tmp_path / "trace.yaml")

    now = datetime.now()
    assert abs(began[keys.TRAIN_BEGIN] - now) < timedelta(seconds=1)
    assert (began[keys.TRAIN_END], began[keys.EPOCHS_DONE], began[keys.EXIT_STATUS]) == (None, 0, None)
    assert abs(ended[keys.TRAIN_END] - now) < timedelta(seconds=1)
    assert (ended[keys.EPOCHS_DONE], ended[keys.EXIT_STATUS]) == (3, 0)


# -- epochs from Python -----------------------------------------------------------------------------------------------


def test_an_epoch_is_run_over_lists_names_and_wrappers(caplog):
    """Inside and outside of the context; every unnamed stream gets a name that hooks and epoch data share."""
    seen = []

    class Note(el.AbstractHook):
        def after_batch(self, stream_name, batch_data):
            seen.append(stream_name)

        def after_epoch(self, epoch_id, epoch_data):
            seen.append((epoch_id, list(epoch_data)))

    loop = el.MainLoop(Model(None, None), Dataset(""), [Note()])
    wrapper = el.datasets.StreamWrapper(lambda: [{"input": [1]}])
    with loop:
        loop.epoch(train_streams=["train", [{"input": [1]}, {"input": [2]}]], eval_streams=[wrapper])
    loop.epoch([], [[{"input": [1]}]])

    assert seen == [
        "train",
        "unnamed_train_0",
        "unnamed_train_0",
        "unnamed_eval_0",
        (1, ["train", "unnamed_train_0", "unnamed_eval_0"]),
        "unnamed_eval_0",
        (1, ["unnamed_eval_0"]),
    ]


def test_an_evaluation_sees_its_stream_alone(caplog):
    """Epoch 0, its own data, its own line in the log."""
    caplog.set_level(logging.INFO, "emloop.main_loop")
    seen = []

    class Note(el.AbstractHook):
        def after_epoch(self, epoch_id, epoch_data):
            seen.append((epoch_id, OrderedDict(epoch_data)))

        def after_epoch_profile(self, epoch_id, profile, streams):
            seen.append(list(streams))

    el.MainLoop(Model(None, None), Dataset(""), [Note(), StopAfter(epochs=0)], extra_streams=["gone"]).run_evaluation(
        "train"
    )

    assert seen == [(0, OrderedDict(train={})), ["train"]]
    assert "Running the evaluation of stream `train`" in caplog.messages
