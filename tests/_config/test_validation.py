"""The form of a configuration is checked as a whole."""

from __future__ import annotations

import logging

import pytest

from emloop._config import load_config, validate_config
from emloop._config.check import check_config
from emloop.errors import ConfigError

GOOD = """\
dataset: {class: d.Data}
model: {class: m.Model, name: my model, restore_fallback: m.Fallback}
hooks:
  - SaveLatest
  - StopAfter: {epochs: 1, name: limit}
  - LogProfile:
main_loop: {epochs_count: 3}
eval:
  test: {model: {lr: 1}, hooks: [LogDir], stream_names: [test]}
  valid:
common: &common {a: 1}
models: [a, b]
"""


def problems(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        validate_config(load_config(path))
    return [str(problem).replace(str(path), "config.yaml") for problem in caught.value.problems]


def test_a_configuration_of_the_right_form_is_accepted(tmp_path):
    """All sections, and sections of the user's own."""
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)

    validate_config(load_config(path))


def test_plain_dicts_are_checked_too():
    """A configuration made by a program needs no text."""
    validate_config({"dataset": {"class": "d.Data"}, "model": {"class": "m.Model"}, "hooks": []})

    with pytest.raises(ConfigError) as caught:
        validate_config({"model": {"class": "m.Model", "log_dir": "x"}})

    assert str(caught.value) == (
        "the section 'dataset' is missing\n"
        "  it needs at least a class: dataset: {class: a.B}\n"
        "model.log_dir: 'log_dir' is reserved; emloop itself gives it to the model\n"
        "  remove it"
    )


@pytest.mark.parametrize("sections", [{"dataset": None, "model": None}, {"dataset": {"class": "d.D"}, "model": None}])
def test_dataset_and_model_may_be_null(sections, tmp_path):
    """0.2 asked whether they are there, not what they hold; a command that needs them asks more."""
    validate_config({**sections, "hooks": None, "main_loop": None, "eval": None})
    (tmp_path / "config.yaml").write_text("dataset:\nmodel:\n")

    assert [problem.message for problem in check_config(tmp_path)[1]] == ["there is no 'class'"] * 2


def test_a_missing_list_of_hooks_is_mentioned(caplog):
    """A training without hooks is possible, but seldom meant."""
    with caplog.at_level(logging.WARNING, logger="emloop"):
        validate_config({"dataset": {"class": "d.Data"}, "model": {"class": "m.Model"}})

    assert caplog.messages == ["There is no section `hooks` in the config"]


def test_all_problems_are_told_at_once_in_the_order_of_the_text(tmp_path):
    """One run of the program is enough to see every mistake."""
    found = problems(
        tmp_path,
        "mainloop: {}\n"
        "dataset: {output_dir: x}\n"
        "model: {class: 3, name: 7, restore_from: y}\n"
        "hooks:\n"
        "  - StopAfter:\n"
        "    epochs: 3\n"
        "  - Check: 5\n"
        "  - 5\n"
        "  -\n"
        "  - {}\n"
        "  - WriteCSV: {name: 3, output_dir: x}\n"
        "eval: {test: {datset: {}, model: {dataset: 1}, stream_names: test}, valid: 1}\n",
    )

    assert [problem.splitlines()[0] for problem in found] == [
        "config.yaml:1:1: mainloop: unknown section 'mainloop'",
        "config.yaml:2:1: dataset: there is no 'class'",
        "config.yaml:2:11: dataset.output_dir: 'output_dir' is reserved; emloop itself gives it to the dataset",
        "config.yaml:3:16: model.class: expected text, got 3",
        "config.yaml:3:25: model.name: expected text, got 7",
        "config.yaml:3:28: model.restore_from: 'restore_from' is reserved; emloop itself gives it to the model",
        "config.yaml:5:5: hooks[0]: expected one hook, got the keys 'StopAfter', 'epochs'",
        "config.yaml:7:12: hooks[1].Check: expected a mapping, got 5",
        "config.yaml:8:5: hooks[2]: expected a hook, got 5",
        "config.yaml:9:4: hooks[3]: expected a hook, got nothing",
        "config.yaml:10:5: hooks[4]: expected a hook, got an empty mapping",
        "config.yaml:11:22: hooks[5].WriteCSV.name: expected text, got 3",
        "config.yaml:11:25: hooks[5].WriteCSV.output_dir: 'output_dir' is reserved; emloop itself gives it to the hook",
        "config.yaml:12:15: eval.test: unknown key 'datset'",
        "config.yaml:12:35: eval.test.model.dataset: 'dataset' is reserved; emloop itself gives it to the model",
        "config.yaml:12:62: eval.test.stream_names: expected a list of streams' names, got 'test'",
        "config.yaml:12:76: eval.valid: expected a mapping, got 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "dataset: {class: d.D}\nmodel: {class: m.M}\nhooks:\n  SaveLatest:\n  StopAfter: {epochs: 3}\n",
            "config.yaml:4:3: hooks: expected a list of hooks, got a mapping\n"
            "    4 |   SaveLatest:\n"
            "      |   ^^^^^^^^^^^\n"
            "  start each hook with '- '",
            id="hooks-as-mapping",
        ),
        pytest.param(
            "dataset: {class: d.D}\nmodel: {class: m.M}\nhooks:\n  - StopAfter:\n    epochs: 3\n",
            "config.yaml:4:5: hooks[0]: expected one hook, got the keys 'StopAfter', 'epochs'\n"
            "    4 |   - StopAfter:\n"
            "      |     ^^^^^^^^^^\n"
            "  indent a hook's arguments deeper than its name; start the next hook with '- '",
            id="arguments-not-indented",
        ),
        pytest.param(
            "dataset: {class: d.D}\nmodel: {class: m.M, name: 2026}\nhooks:\n",
            "config.yaml:2:27: model.name: expected text, got 2026\n"
            "    2 | model: {class: m.M, name: 2026}\n"
            "      |                           ^^^^\n"
            "  put it into quotes",
            id="name-that-is-a-number",
        ),
        pytest.param(
            "dataset: {class: d.D}\nmodel: {class: m.M}\nhook: []\n",
            "config.yaml:3:1: hook: unknown section 'hook'\n"
            "    3 | hook: []\n"
            "      | ^^^^\n"
            "  did you mean 'hooks'?\n"
            "  a section of your own, e.g. for anchors, needs a name less like it",
            id="misspelt-section",
        ),
        pytest.param(
            "dataset: {class: d.D}\nmodel: {}\nhooks:\n",
            "config.yaml:2:1: model: there is no 'class'\n"
            "    2 | model: {}\n"
            "      | ^^^^^\n"
            "  name the model's class: my_package.MyClass",
            id="empty-section",
        ),
        pytest.param(
            "model: {class: m.M}\ndatasets: {class: d.D}\nhooks:\n",
            "config.yaml:2:1: datasets: unknown section 'datasets'\n"
            "    2 | datasets: {class: d.D}\n"
            "      | ^^^^^^^^\n"
            "  did you mean 'dataset'?\n"
            "  a section of your own, e.g. for anchors, needs a name less like it",
            id="misspelt-section-is-not-missing-too",
        ),
        pytest.param(
            "dataset: {class: d.D}\nmodel: {class: m.M}\nmain_loop: 3\n",
            "config.yaml:3:12: main_loop: expected a mapping, got 3\n    3 | main_loop: 3\n      |            ^",
            id="number-as-section",
        ),
        pytest.param(
            "dataset: {class: d.D}\nmodel: {class: m.M}\nmain_loop: {model: 3}\n",
            "config.yaml:3:13: main_loop.model: 'model' is reserved; emloop itself gives it to the main loop\n"
            "    3 | main_loop: {model: 3}\n"
            "      |             ^^^^^\n"
            "  remove it",
            id="reserved-in-the-main-loop",
        ),
    ],
)
def test_a_mistake_is_shown_with_what_helps(tmp_path, text, message):
    """Where, what was found, what is accepted, and the way out."""
    assert problems(tmp_path, text) == [message]


def test_an_evaluation_may_be_called_like_a_section(tmp_path):
    """The names of evaluations are free."""
    path = tmp_path / "config.yaml"
    path.write_text(GOOD + "# end\n")
    config = load_config(path, ["eval.model={model: {lr: 1}}", "eval.dataset={}"])

    validate_config(config)


def test_a_mistake_from_the_command_line_is_located_there(tmp_path):
    """A wrong override is told as the argument that it is."""
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)

    with pytest.raises(ConfigError) as caught:
        validate_config(load_config(path, ["hooks={a: 1}"]))

    assert str(caught.value).splitlines()[0] == ("argument 1: hooks: expected a list of hooks, got a mapping")
