"""``emloop config show``: a configuration, and where every value in it comes from."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from emloop._config import load_config
from emloop.cli._configs.config import show
from emloop.errors import ConfigFileError, RunDirError, UsageError

BASE = """\
dataset: {class: data.Data, batch: 32, day: 2026-01-31}
model:
  class: model.Model
  name: net_${main_loop.seed}
  rate: ${env:EMLOOP_RATE,0.5}
hooks:
  - ComputeStats: {variables: [loss]}
  - LogProfile
"""
CONFIG = "extends: base.yaml\nmodel: {layers: [{units: 8}, {units: 4}], sizes: [1, 2]}\nmain_loop: {seed: 3}\n"
MODEL = """\
class Model:
    run = save = None

    def __init__(self, dataset, log_dir, rate=0.1, depth=2, *, bias=True): ...
"""


@pytest.fixture
def shown(tmp_path, monkeypatch, capsys):
    """What is shown of a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("EMLOOP_RATE", raising=False)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "model.py").write_text(MODEL)

    def shown(section=None, *overrides, config="config.yaml", **options):
        assert show(config, section, overrides, "log", **options) == 0
        return capsys.readouterr().out

    return shown


def test_every_value_tells_where_it_comes_from(shown, monkeypatch):
    """A file and its line, an argument, or a variable of the environment."""
    monkeypatch.setenv("EMLOOP_RATE", "1e-3")
    lines = shown(None, "model.sizes.1=7", "hooks+=SaveLatest").splitlines()

    assert [tuple(line.split("  # ")) for line in lines] == [
        ("dataset:",),
        ("  class: data.Data     ", "base.yaml:1"),
        ("  batch: 32            ", "base.yaml:1"),
        ("  day: 2026-01-31      ", "base.yaml:1"),
        ("model:",),
        ("  class: model.Model   ", "base.yaml:3"),
        ("  name: net_3          ", "base.yaml:4"),
        ("  rate: 0.001          ", "environment variable EMLOOP_RATE"),
        ("  layers:",),
        ("    - units: 8         ", "config.yaml:2"),
        ("    - units: 4         ", "config.yaml:2"),
        ("  sizes:",),
        ("    - 1                ", "config.yaml:2"),
        ("    - 7                ", "argument 1"),
        ("hooks:",),
        ("  - ComputeStats:",),
        ("      variables: [loss]", "base.yaml:7"),
        ("  - LogProfile         ", "base.yaml:8"),
        ("  - SaveLatest         ", "argument 2"),
        ("main_loop:",),
        ("  seed: 3              ", "config.yaml:3"),
    ]


def test_what_is_shown_is_the_configuration(shown, tmp_path):
    """The lines are YAML themselves, places and all; so are the plain ones."""
    config = load_config("config.yaml")
    for options in ({}, {"resolved": True}):
        (tmp_path / "shown.yaml").write_text(shown(**options))
        assert load_config("shown.yaml") == config


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("dataset.batch", "32  # base.yaml:1\n"),
        ("model.layers.1", "units: 4  # config.yaml:2\n"),
        ("hooks.ComputeStats", "variables: [loss]  # base.yaml:7\n"),
        ("hooks.ComputeStats.variables.0", "loss  # base.yaml:7\n"),
        ("main_loop", "seed: 3  # config.yaml:3\n"),
    ],
)
def test_a_part_is_named_as_in_an_override(shown, section, expected):
    """Hooks by name, items of lists by number."""
    assert shown(section) == expected


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("modle", "the configuration has no 'modle'; did you mean 'model'?; it has: dataset, model, hooks"),
        ("model.raet", "model has no 'raet'; did you mean 'rate'?; it has: class, name, rate, layers, sizes"),
        ("dataset.batch.x", "dataset.batch has no 'x'"),
        ("hooks.ComputeStat", "hooks has no 'ComputeStat'; did you mean 'ComputeStats'?; it has: ComputeStats"),
    ],
)
def test_a_part_that_is_not_there_is_an_error(shown, section, message):
    """The message says what there is."""
    with pytest.raises(UsageError) as error:
        shown(section)

    assert str(error.value).startswith(message)


def test_defaults_of_classes_can_be_added(shown):
    """Arguments that are not written, of the user's classes as of built-in ones; nothing is imported for that."""
    lines = shown("model", defaults=True).splitlines()

    assert "depth: 2            # default of model.Model" in lines
    assert "bias: true          # default of model.Model" in lines
    assert not any(line.startswith(("dataset", "log_dir")) for line in lines)
    assert shown("hooks.ComputeStats", defaults=True).splitlines()[1] == "streams: null      # default of ComputeStats"
    assert "on_save_failure: error  # default of SaveLatest" in shown(
        "hooks.SaveLatest", "hooks+=SaveLatest", defaults=True
    )
    lines = shown("hooks", "hooks+=SaveBest", defaults=True).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("- SaveBest:"))
    assert lines[first].endswith("# argument 1")
    assert " ".join(lines[first + 1].split()) == "model_name: best # default of SaveBest"


def test_defaults_of_components_and_inner_sections_are_added_where_they_stand(shown):
    """As deep as sections nest, and also where a component is named by its class alone."""
    lines = shown("main_loop", "main_loop.commit={every: 2ep}", defaults=True).splitlines()
    assert any(line.split("#")[0].split() == ["keep:", "2"] for line in lines)

    scaled = "{class: sklearn.pipeline.Pipeline, steps: [[fit, {class: sklearn.linear_model.SGDClassifier}]]}"
    lines = shown(
        "model", f"model={{class: emloop_sklearn.BaseModel, estimator: {scaled}}}", defaults=True
    ).splitlines()
    described = [" ".join(line.split()) for line in lines]
    assert "memory: null # default of Pipeline" in described
    assert "penalty: l2 # default of SGDClassifier" in described


def test_a_configuration_with_its_defaults_is_complete(shown, tmp_path):
    """The plain form holds them, too."""
    (tmp_path / "shown.yaml").write_text(shown(resolved=True, defaults=True))
    config = load_config("shown.yaml")

    assert (config["model"]["depth"], config["main_loop"]["buffer"]) == (2, 0)


def test_programs_get_json(shown):
    """Each value with its path and its place; or the configuration as such."""
    described = json.loads(shown("dataset", "dataset.batch=8", as_json=True))

    assert described[1] == {
        "key": "dataset.batch",
        "path": ["dataset", "batch"],
        "value": 8,
        "origin": "argument 1",
        "line": None,
        "column": 15,
    }
    assert (described[2]["value"], described[2]["line"], described[2]["column"]) == ("2026-01-31", 1, 45)
    assert json.loads(shown("main_loop", as_json=True, resolved=True)) == {"seed": 3}


def test_a_run_is_named_as_everywhere(shown, tmp_path):
    """By its directory, by the beginning of its name; the newest configuration counts."""
    run = tmp_path / "log" / "mine_keen-noether"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "config.yaml").write_text("a: 1")
    (run / "config.attempt-2.yaml").write_text("a: 2")

    assert shown(config="mine") == "a: 2  # log/mine_keen-noether/config.attempt-2.yaml:1\n"
    assert shown(config="log/mine_keen-noether") == shown(config="mine")
    assert shown(config="log/mine_keen-noether/config.yaml", resolved=True) == "a: 1\n"
    with pytest.raises(RunDirError, match="'yours' is neither a run directory nor the beginning of a run's name"):
        shown(config="yours")
    with pytest.raises(ConfigFileError, match=r"did you mean 'config\.yaml'"):
        shown(config="confg.yaml")


def test_values_that_json_and_flow_style_lack_are_shown_all_the_same(shown, tmp_path):
    """Sets, and keys that are numbers."""
    (tmp_path / "odd.yaml").write_text("a: !!set {b, c}\n1: {2: .nan}\nempty: {}\nlist: []\n")

    assert shown(config="odd.yaml") == (
        "a: !!set {b, c}  # odd.yaml:1\n1:\n  2: .nan        # odd.yaml:2\n"
        "empty: {}        # odd.yaml:3\nlist: []         # odd.yaml:4\n"
    )
    assert [value["value"] for value in json.loads(shown(config="odd.yaml", as_json=True))] == [
        ["b", "c"],
        "nan",
        {},
        [],
    ]


@pytest.mark.parametrize(
    "command",
    [["config", "show", "config.yaml", "--defaults"], ["diff", "base.yaml", "config.yaml"], ["schema", "config.yaml"]],
    ids=" ".join,
)
def test_looking_at_configs_imports_nothing_that_they_name(shown, tmp_path, command):
    """No framework, no NumPy, and none of the user's modules."""
    (tmp_path / "model.py").write_text(f"import torch\n{MODEL}")
    program = (
        "import sys; from emloop.cli.app import main; main(sys.argv[1:]); "
        "print({'numpy', 'torch', 'sklearn', 'rich', 'model', 'data'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stderr.splitlines()[-1] == "set()"
