"""Values of a configuration may be taken from elsewhere."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._config import load_config, written
from emloop._yaml import documents as yaml
from emloop.errors import ConfigError

CONFIG = """\
rate: 1e-3
sizes: [64, 32]
optimizer: {name: adam, beta: 0.9}
dataset:
  class: a.Data
  batch: 32
model:
  class: a.Model
  name: net_${rate}_${sizes.1}
  rate: ${rate}
  layers: ${sizes}
  first: ${sizes.0}
  optimizer: ${optimizer}
  epochs: ${hooks.StopAfter.epochs}
hooks:
  - SaveLatest
  - StopAfter: {epochs: 7}
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write a configuration, and read it with overrides."""
    monkeypatch.chdir(tmp_path)

    def load(text, *overrides, target=None):
        (tmp_path / "config.yaml").write_text(text)
        return load_config("config.yaml", overrides, target)

    return load


def test_a_reference_alone_keeps_its_type_and_inside_of_text_is_text(load):
    """Numbers stay numbers, lists and mappings stay what they are."""
    assert load(CONFIG)["model"] == {
        "class": "a.Model",
        "name": "net_0.001_32",
        "rate": 0.001,
        "layers": [64, 32],
        "first": 64,
        "optimizer": {"name": "adam", "beta": 0.9},
        "epochs": 7,
    }


def test_an_override_reaches_all_that_refer_to_it(load):
    """References are replaced last; they may stand in overrides themselves."""
    config = load(CONFIG, "rate=0.5", "hooks.StopAfter.epochs=3", "dataset.batch=${sizes.1}", "sizes=[5, '${rate}']")

    assert (config["model"]["rate"], config["model"]["epochs"]) == (0.5, 3)
    assert config["model"]["name"] == "net_0.5_0.5"
    assert config["dataset"]["batch"] == 0.5


def test_a_file_may_change_what_its_base_refers_to(load, tmp_path):
    """References of all files are replaced together."""
    (tmp_path / "base.yaml").write_text(CONFIG)

    assert load("extends: base.yaml\nrate: 2\nsizes: [1, 1]")["model"]["name"] == "net_2_1"


def test_references_follow_references_anchors_and_merge_keys(load):
    """What is referred to may itself be referred, aliased or merged."""
    config = load("a: &a {x: '${b}', y: [1]}\nb: ${c.d}\nc: {<<: *a, d: '${e}!'}\ne: ${c.y.0}\nf: *a\ng: ${f.x}")

    assert config["a"] == config["f"] == {"x": "1!", "y": [1]}
    assert config["c"] == {"x": "1!", "y": [1], "d": "1!"}
    assert config["g"] == "1!"


def test_an_anchored_reference_means_the_same_to_its_aliases(load):
    """Also where nothing but the alias is left."""
    config = load("a: {r: &r '${x}'}\nb: *r\nc: [*r]\nx: 5", "~a")

    assert config == {"b": 5, "c": [5], "x": 5}


def test_the_evaluation_refers_to_what_is_in_force_for_it(load):
    """The section ``eval`` is merged in before references are replaced."""
    text = "dataset: {batch: 4, twice: '${dataset.batch}0'}\neval: {test: {dataset: {batch: 9}}}"

    assert load(text)["dataset"]["twice"] == "40"
    assert load(text, target="test")["dataset"]["twice"] == "90"


@pytest.mark.parametrize(
    ("word", "value", "text"),
    [
        ("12", 12, "x12"),
        ("1e-3", 0.001, "x0.001"),
        ("true", True, "xtrue"),
        ("2026-01-31", date(2026, 1, 31), "x2026-01-31"),
        ("", None, "xnull"),
        ("~", None, "xnull"),
        ("[1, 2]", "[1, 2]", "x[1, 2]"),
        ("a: b", "a: b", "xa: b"),
        ("${rate}", "${rate}", "x${rate}"),
        ("yes", "yes", "xyes"),
    ],
)
def test_the_environment_is_read_word_by_word(load, monkeypatch, word, value, text):
    """A variable is what the word would be in the file, and never more than a word."""
    monkeypatch.setenv("EMLOOP_TEST", word)
    config = load("a: ${env:EMLOOP_TEST}\nb: 'x${env:EMLOOP_TEST}'\nc: ${env:EMLOOP_TEST, 5}\nrate: 1")

    assert (config["a"], config["b"], config["c"]) == (value, text, value)


@pytest.mark.parametrize(("default", "value"), [("3", 3), (" /data, a", "/data, a"), ("", None), ("null", None)])
def test_a_default_stands_for_what_is_not_set(load, monkeypatch, default, value):
    """The default is read like the variable."""
    monkeypatch.delenv("EMLOOP_TEST", raising=False)

    assert load(f"a: ${{env:EMLOOP_TEST,{default}}}")["a"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$${a}", "${a}"),
        ("x$${a}${b}", "x${a}1"),
        ("$$${a}", "$${a}"),
        ("$${", "${"),
        ("$x {b} $", "$x {b} $"),
        ("cost: $5", "cost: $5"),
    ],
)
def test_a_doubled_dollar_stands_for_itself(load, text, value):
    """Text that looks like a reference can be written."""
    assert load(f"a: '{text}'\nb: 1")["a"] == value


@given(st.text(alphabet="${}a.:", max_size=12))
def test_a_resolved_configuration_is_read_back_as_it_is(tmp_path_factory, text):
    """What the run directory keeps has no references, whatever its texts look like."""
    path = tmp_path_factory.mktemp("run") / "config.yaml"
    data = {"a": text, "b": [{"c": text}], "d": 1}
    path.write_text(written(data))

    assert load_config(path) == data


def test_a_value_is_found_where_it_is_written(load, monkeypatch):
    """A mistake is shown where it was made, not where it is referred to."""
    monkeypatch.setenv("EMLOOP_TEST", "fast")
    config = load("rate: 1\nmodel: {rate: '${rate}', speed: '${env:EMLOOP_TEST}'}", "rate=quick")

    assert str(config.place(("model", "rate"), value=True)) == "argument 1: rate=quick"
    assert str(config.place(("model", "rate"))) == "config.yaml:2:9"
    assert str(config.place(("model", "speed"), value=True)) == "environment variable EMLOOP_TEST: fast"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "optimizer: {rate: 1}\na: ${optimizer.rat}",
            (
                "config.yaml:2:4: ${optimizer.rat}: 'optimizer' has no 'rat'\n"
                "    2 | a: ${optimizer.rat}\n"
                "      |    ^^^^^^^^^^^^^^^^\n"
                "  did you mean 'rate'?\n"
                "  it has: rate"
            ),
        ),
        (
            "a: ${env:EMLOOP_TSET}",
            (
                "config.yaml:1:4: there is no environment variable 'EMLOOP_TSET'\n"
                "    1 | a: ${env:EMLOOP_TSET}\n"
                "      |    ^^^^^^^^^^^^^^^^^^\n"
                "  did you mean 'EMLOOP_TEST'?\n"
                "  ${env:EMLOOP_TSET,VALUE} does without it"
            ),
        ),
        ("a: ${b}\nb: x ${a}\nc: ${a}", "config.yaml:1:4: refers to itself: ${b} → x ${a} → ${b}\n"),
        ("a: ${a}", "config.yaml:1:4: refers to itself: ${a} → ${a}\n"),
        ("a: {b: '${a}'}", "config.yaml:1:8: refers to a part that contains it\n"),
        ("a: [1, {c: 'x ${a}'}]", "config.yaml:1:12: ${a} is a list, which cannot be inserted into text\n"),
        ("a: {b: 1}\nc: x${a}", "config.yaml:2:4: ${a} is a mapping, which cannot be inserted into text\n"),
        ("a: 1\nc: ${a.b}", "config.yaml:2:4: ${a.b}: 'a' is 1, which has no keys\n"),
        ("a: [1]\nc: ${a.1}", "config.yaml:2:4: ${a.1}: 'a' is a list of 1 items, counted from 0; it has no '1'\n"),
        ("a: !!set {b}\nc: ${a.b}", "config.yaml:2:4: ${a.b}: 'a' is a set, which has no keys\n"),
        ("a: x${b", "config.yaml:1:4: '${' begins a reference that does not end\n"),
        ("a: ${}", "config.yaml:1:4: ${} is no reference\n"),
        ("a: ${b..c}", "config.yaml:1:4: ${b..c} is no reference\n"),
        ("a: ${env:1x}", "config.yaml:1:4: ${env:1x} is no reference\n"),
        ("a: ${env:NONE,2026-02-30}", "config.yaml:1:4: ${env:NONE}: there is no such date\n"),
        ("a: [${b}]", "config.yaml:1:5: '${…}' inside '[ ]' or '{ }' needs quotes\n"),
        ("a: {b: ${c}}", "config.yaml:1:8: '${…}' inside '[ ]' or '{ }' needs quotes\n"),
    ],
)
def test_a_reference_that_leads_nowhere_is_located(load, monkeypatch, text, message):
    """The message says where it is written, what is wrong and what would be right."""
    monkeypatch.setenv("EMLOOP_TEST", "1")
    monkeypatch.delenv("NONE", raising=False)
    with pytest.raises(ConfigError) as error:
        load(text)

    assert str(error.value).startswith(message)
    assert len(error.value.problems) == 1


def test_an_override_cannot_reach_into_a_reference(load):
    """It comes first; the message says what to change instead."""
    with pytest.raises(ConfigError) as error:
        load(CONFIG, "model.optimizer.beta=1")

    assert str(error.value) == (
        "argument 1: model.optimizer.beta=1: 'model.optimizer' is '${optimizer}', which has no keys\n"
        "  change what it refers to"
    )
    assert load(CONFIG, "optimizer.beta=1")["model"]["optimizer"]["beta"] == 1


def test_all_wrong_references_come_at_once(load):
    """Nobody has to run the command once per mistake."""
    with pytest.raises(ConfigError) as error:
        load("a: ${x}\nb: [1, 'y${z}']\nc: &c '${w}'\nd: *c\ne: ${a}")

    assert [str(problem.place) for problem in error.value.problems] == [
        "config.yaml:1:4",
        "config.yaml:2:8",
        "config.yaml:3:4",
    ]


@pytest.mark.slow
def test_references_cannot_grow_without_bounds(load):
    """Neither long chains, nor text that doubles, nor mappings that do."""
    chain = "\n".join(f"a{n}: ${{a{n + 1}}}" for n in range(5000))
    doubling = "\n".join(f"a{n}: ${{a{n + 1}}}${{a{n + 1}}}" for n in range(40))
    nested = "\n".join(f"a{n}: ['${{a{n + 1}}}', '${{a{n + 1}}}']" for n in range(40))
    long = "x" * 5000
    with pytest.raises(ConfigError, match="too many values refer one to the next; at most 50 are followed"):
        load(f"{chain}\na5000: 1")
    with pytest.raises(ConfigError, match="grows to more than 1,000,000 characters"):
        load(f"{doubling}\na40: xy")
    with pytest.raises(ConfigError, match="at most 20,000 are read"):
        load(f"{nested}\na40: 1")
    with pytest.raises(ConfigError, match="characters once its aliases are followed"):
        load(f"s: {long}\nt: &t '${{s}}'\nu: [{', '.join(['*t'] * 900)}]")


def test_a_run_from_elsewhere_learns_nothing_from_the_environment(load, tmp_path, monkeypatch):
    """A file in a run directory cannot ask for variables; the user's own overrides can."""
    monkeypatch.setenv("SECRET", "s3cret")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="a configuration in a run directory cannot ask for environment variables"):
        load("a: ${env:SECRET}")
    with pytest.raises(ConfigError, match="cannot ask for environment variables"):
        load("a: ${env:SECRET,1}")

    assert load("a: 1", "a=${env:SECRET}") == {"a": "s3cret"}


def test_a_written_configuration_without_references_is_written_as_before():
    """Only what needs it is escaped."""
    assert written({"a": "$5", "b": [1]}) == yaml.dump({"a": "$5", "b": [1]})
