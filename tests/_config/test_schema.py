"""The JSON Schema of configurations says what ``emloop check`` would say, as far as a schema can."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from emloop import hooks
from emloop._config import load_config
from emloop._config.check import check_config
from emloop._config.schema import config_schema
from emloop._yaml import documents as yaml
from emloop.cli._configs.schema import schema

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))

MODULE = '''
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import emloop as el


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Options:
    rate: float
    steps: int = 3


class Data(el.BaseDataset):
    """Numbers in a row."""

    def _configure_dataset(self, batch_size: int = 32, *, root: str):
        """Remember the arguments.

        Args:
            batch_size: Examples of a batch,
                the last one maybe fewer.
            root: Where the files are.
        """


class Model(el.AbstractModel):
    """Learns ``y``.

    And more.
    """

    input_names = output_names = run = save = None

    def __init__(
        self, dataset, log_dir, restore_from=None, layers: list[int] = [8, 4], mode: Literal["a", "b"] = "a",
        size: Size = Size.SMALL, options: Options | None = None, pair: tuple[int, str] = (1, "x"),
        table: dict[str, float] = {},
    ):
        """
        Args:
            layers: Width of each layer.
        """


class Mine(el.AbstractHook):
    """Does its own thing."""

    def __init__(self, depth: int, **kwargs):
        super().__init__(**kwargs)
'''
CONFIG = """\
dataset: {class: schema_parts.Data, root: /data}
model: {class: schema_parts.Model, name: m}
hooks:
  - LogProfile
  - StopAfter: {epochs: 3}
  - schema_parts.Mine: {depth: 2, name: mine}
  - elsewhere.Other
  - elsewhere.More: {x: 1}
main_loop: {epochs_count: 3, commit: {every: 10min}}
eval:
  test: {hooks: [LogVariables], model: {layers: [1]}, stream_names: [a, b]}
  other:
x-own: {anything: 1}
"""


def is_meant(name):
    """Whether a config may name it: a hook that leaves nothing to subclasses."""
    cls = getattr(hooks, name)
    return hasattr(cls, "register_mainloop") and not inspect.isabstract(cls) and name != "AbstractHook"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The schema of the configuration above."""
    folder = tmp_path_factory.mktemp("schema")
    (folder / "schema_parts.py").write_text(MODULE)
    (folder / "config.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield config_schema(load_config("config.yaml"))


@pytest.fixture(scope="module")
def complaints(made):
    """What a validator says about a text."""
    Draft202012Validator.check_schema(made)
    validator = Draft202012Validator(json.loads(json.dumps(made)))
    return lambda text: [error.json_path for error in validator.iter_errors(yaml.load(text))]


@pytest.fixture(scope="module")
def of_no_classes():
    """The schema that knows none."""
    made = config_schema({})
    Draft202012Validator.check_schema(made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=[str(path.relative_to(ROOT)) for path in EXAMPLES])
def test_every_example_is_valid(path, of_no_classes, monkeypatch):
    """By the schema that is made for it, and by the one that knows no classes."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    config = yaml.load_file(path)
    own = config_schema(load_config(path))
    Draft202012Validator.check_schema(own)
    for made in (own, of_no_classes):
        assert [error.message for error in Draft202012Validator(made).iter_errors(config)] == []


def test_a_right_configuration_is_valid(complaints):
    """With everything that may be in it."""
    assert complaints(CONFIG) == []


@pytest.mark.parametrize(
    "model",
    [
        "layers: []",
        "layers: [1, '${a}']",
        "layers: ${a.b}",
        "mode: b",
        "mode: ${x}",
        "size: SMALL",
        "size: 2",
        "options: null",
        "options: {rate: 1}",
        "options: ${x}",
        "pair: [1, a]",
        "table: {a: 1.5}",
        "restore_fallback: a.B",
    ],
)
def test_what_fits_an_annotation_is_valid(complaints, model):
    """References may stand in place of any value."""
    assert complaints(f"extends: base.yaml\nmodel:\n  class: schema_parts.Model\n  {model}") == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("layers: 3", "$.model.layers"),
        ("layers: [a]", "$.model.layers[0]"),
        ("mode: c", "$.model.mode"),
        ("size: 3", "$.model.size"),
        ("options: {steps: 1}", "$.model.options"),
        ("options: {rate: 1, steps: x}", "$.model.options"),
        ("pair: [1]", "$.model.pair"),
        ("table: {a: b}", "$.model.table.a"),
        ("laiers: []", "$.model"),
        ("dataset: x", "$.model"),
    ],
)
def test_what_does_not_fit_is_marked(complaints, text, where):
    """Where it stands."""
    assert complaints(f"extends: base.yaml\nmodel:\n  class: schema_parts.Model\n  {text}") == [where]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("model: {class: a.B}", "$"),
        ("dataset: {class: schema_parts.Data}\nmodel: {class: a.B}", "$.dataset"),
        ("dataset: {class: a.B}\nmodel: {rate: 1}", "$.model"),
        ("extends: base.yaml\nhooks: [LogProfil]", "$.hooks[0]"),
        ("extends: base.yaml\nhooks: [{LogProfile: {x: 1}}]", "$.hooks[0]"),
        ("extends: base.yaml\nhooks: [{StopAfter: {epochs: many}}]", "$.hooks[0]"),
        ("extends: base.yaml\nhooks: [ComputeStats]", "$.hooks[0]"),
        ("extends: base.yaml\nhooks: [{schema_parts.Mine: {deep: 1}}]", "$.hooks[0]"),
        ("extends: base.yaml\nhooks: [{LogProfile: , StopOnNaN: }]", "$.hooks[0]"),
        ("extends: base.yaml\nhooks: {LogProfile: }", "$.hooks"),
        ("extends: base.yaml\nmain_loop: {epoch_count: 1}", "$.main_loop"),
        ("extends: base.yaml\neval: {test: {hoks: []}}", "$.eval.test"),
        ("extends: []", "$.extends"),
    ],
)
def test_what_check_refuses_is_marked(complaints, text, where):
    """Missing and misspelt keys, hooks, and arguments; nothing is missing in a file that extends others."""
    assert complaints(text) == [where]


@pytest.mark.parametrize(
    "text",
    [
        "layers: 3",
        "layers: [a]",
        "mode: c",
        "size: 3",
        "options: 3",
        "options: {rate: 1, steps: x}",
        "pair: [1]",
        "pair: [x, y]",
        "table: {a: b}",
        "table: [a]",
    ],
)
def test_an_editor_words_what_does_not_fit_as_check_does(made, tmp_path, monkeypatch, text):
    """Down to the innermost value; editors show ``errorMessage``, which validators pass over."""
    (tmp_path / "schema_parts.py").write_text(MODULE)
    (tmp_path / "config.yaml").write_text(CONFIG.replace("name: m}", f"{text}}}"))
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = (one for one in check_config(tmp_path / "config.yaml")[1] if one.kind == "wrong-value")

    waiting, told = list(Draft202012Validator(made).iter_errors(yaml.load_file(tmp_path / "config.yaml"))), set()
    while waiting:
        error = waiting.pop()
        told.add(error.schema.get("errorMessage"))
        waiting += error.context

    assert problem.message.partition(", got ")[0] in told


def test_an_extending_file_need_not_be_complete(complaints):
    """What it lacks stands in its base."""
    assert complaints("extends: [a.yaml, b.yaml]\ndataset: {class: schema_parts.Data}\nmodel: {depth: 1}") == []


def test_classes_and_arguments_are_explained(made):
    """By their docstrings, with the defaults."""
    hook = made["$defs"]["hooks"]["items"]["anyOf"]
    model = made["$defs"]["model"]["allOf"][0]["then"]
    dataset = made["$defs"]["dataset"]["allOf"][0]["then"]
    mine = hook[-1]["properties"]["schema_parts.Mine"]

    assert model["description"] == "Learns y."
    assert model["properties"]["layers"]["description"] == "Width of each layer."
    assert model["properties"]["layers"]["default"] == [8, 4]
    assert dataset["properties"]["batch_size"] == {
        "type": ["integer", "string"],
        "pattern": r"\$\{",
        "errorMessage": "expected whole number",
        "description": "Examples of a batch, the last one maybe fewer.",
        "default": 32,
    }
    assert (mine["description"], mine["required"]) == ("Does its own thing.", ["depth"])


def test_every_built_in_hook_is_offered_and_explained():
    """With every argument that a configuration may give."""
    offered = config_schema({})["$defs"]["hooks"]["items"]["anyOf"][-1]["properties"]

    assert set(offered) == {name for name in hooks.__all__ if is_meant(name)}
    assert [name for name, hook in offered.items() if not hook.get("description")] == []
    unexplained = [
        f"{name}.{argument}"
        for name, hook in offered.items()
        for argument, described in hook["properties"].items()
        if "description" not in described and argument not in ("clock", "output")
    ]
    assert unexplained == []


def test_the_command_writes_the_schema(made, capsys):
    """Plain JSON, for a file beside the project."""
    assert schema("config.yaml", "log") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(made))


def test_unknown_arguments_are_fine_where_the_configuration_says_so(made, tmp_path):
    """``on_incorrect_config: warn`` opens every object."""
    path = tmp_path / "warn.yaml"
    path.write_text(CONFIG.replace("main_loop: {", "main_loop: {on_incorrect_config: warn, "))
    validator = Draft202012Validator(config_schema(load_config(path)))

    assert list(validator.iter_errors(yaml.load(CONFIG.replace("name: m", "nam: m")))) == []
