"""A configuration builds upon others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._config import load_config
from emloop._yaml import documents as yaml
from emloop.errors import ConfigError, ConfigFileError

BASE = """\
defaults: &defaults {rate: 0.1, size: 8}
dataset:
  class: a.Data
  batch: 32
model:
  <<: *defaults
  class: a.Model
  layers: [64, 32]
  optimizer: {name: adam, beta: 0.9}
hooks: [SaveLatest]
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write files, given by their paths, in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / (name.replace("__", "/") + ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(base=BASE)
    return write


def test_mappings_merge_lists_replace_and_the_files_own_keys_win(files):
    """Only what is different has to be written."""
    files(config="extends: base.yaml\nmodel: {layers: [8], optimizer: {beta: 0.5}, depth: 2}\nhooks: [LogProfile]\n")
    config = load_config("config.yaml")

    assert config == {
        "defaults": {"rate": 0.1, "size": 8},
        "dataset": {"class": "a.Data", "batch": 32},
        "model": {
            "class": "a.Model",
            "layers": [8],
            "optimizer": {"name": "adam", "beta": 0.5},
            "depth": 2,
            "rate": 0.1,
            "size": 8,
        },
        "hooks": ["LogProfile"],
    }
    assert list(config) == ["defaults", "dataset", "model", "hooks"]


def test_later_bases_win_and_paths_are_relative_to_the_file_that_names_them(files):
    """Bases are read from top to bottom, each with its own; the same one may be reached on two ways."""
    files(
        shared__sgd="extends: [../base.yaml, more/tiny.yaml]\nmodel: {optimizer: {name: sgd}}",
        shared__more__tiny="dataset: {batch: 1}\nmodel: {optimizer: {beta: 0.1}}",
        project__config="extends: [../base.yaml, ../shared/sgd.yaml]\ndataset: {class: b.Data}",
    )
    config = load_config("project/config.yaml")

    assert config["dataset"] == {"class": "b.Data", "batch": 1}
    assert config["model"]["optimizer"] == {"name": "sgd", "beta": 0.1}
    assert [path for path, _ in config.bases] == [
        "project/../base.yaml",
        "project/../shared/sgd.yaml",
        "project/../shared/../base.yaml",
        "project/../shared/more/tiny.yaml",
    ]
    assert config.bases[0][1] == BASE.encode()


def test_a_value_that_replaces_a_mapping_ends_what_came_before(files):
    """Three files are merged from the lowest to the highest, not from the highest down."""
    files(
        middle="extends: base.yaml\nmodel: {optimizer: none}",
        config="extends: middle.yaml\nmodel: {optimizer: {name: sgd}}",
    )

    assert load_config("config.yaml")["model"]["optimizer"] == {"name": "sgd"}


KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.dictionaries(
    KEYS,
    st.recursive(st.integers() | st.lists(st.integers()), lambda inner: st.dictionaries(KEYS, inner), max_leaves=8),
)


def laid_over(base, over):
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: laid_over(base.get(key), value) for key, value in over.items()}}


@given(TREES, TREES, TREES)
def test_any_files_are_merged_like_plain_data(tmp_path_factory, lowest, middle, highest):
    """Key by key, however deep they are, and whatever stands in place of what."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "lowest.yaml").write_text(yaml.dump(lowest or {"a": {}}))
    (folder / "middle.yaml").write_text(yaml.dump({"extends": "lowest.yaml", **middle}))
    (folder / "highest.yaml").write_text(yaml.dump({"extends": "middle.yaml", **highest}))
    expected = laid_over(laid_over(lowest or {"a": {}}, middle), highest)

    assert load_config(folder / "highest.yaml") == expected


def test_every_key_is_found_in_the_file_that_says_it(files):
    """A mistake in a base is shown there."""
    files(config="extends: base.yaml\nmodel: {class: b.Model, optimizer: {beta: 0.5}}\n")
    config = load_config("config.yaml", ["dataset.batch=2"])
    places = {
        path: str(config.place(path.split("."), value=True))
        for path in ("model.class", "model.optimizer.name", "model.optimizer.beta", "model.rate", "dataset.batch")
    }

    assert places == {
        "model.class": "config.yaml:2:16",
        "model.optimizer.name": "base.yaml:9:21",
        "model.optimizer.beta": "config.yaml:2:43",
        "model.rate": "base.yaml:1:28",
        "dataset.batch": "argument 1: dataset.batch=2",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("defaults: {rate: 5}", {"defaults": 5, "model": 5}, id="of-what-is-merged-elsewhere"),
        pytest.param("model: {rate: 5}", {"defaults": 0.1, "model": 5}, id="of-what-merges"),
        pytest.param("defaults: {rate: &r 5}\ndataset: {r: *r}", {"defaults": 5, "model": 5, "dataset": 5}, id="own"),
        pytest.param("mine: &m {rate: 5}\nmodel: {<<: *m}", {"defaults": 0.1, "model": 5, "mine": 5}, id="own-merge"),
    ],
)
def test_a_change_of_something_anchored_reaches_those_that_refer_to_it(files, text, expected):
    """Anchors of the base hold what became of them; a change where they are only referred to stays there."""
    files(config=f"extends: base.yaml\n{text}\n")
    config = load_config("config.yaml")
    rates = {name: section.get("rate", section.get("r")) for name, section in config.items() if "hooks" not in name}

    assert {name: rate for name, rate in rates.items() if rate is not None} == expected


@pytest.mark.parametrize(
    ("text", "override"),
    [
        pytest.param("", "defaults.rate=7", id="only-in-the-base"),
        pytest.param("defaults: {size: 2}", "defaults.rate=7", id="changed-by-the-file"),
        pytest.param("defaults: {rate: 2}", "defaults={rate: 7}", id="replaced"),
        pytest.param("mine: &m {rate: 5}\nmodel: {<<: *m}", "mine.rate=7", id="the-files-own"),
        pytest.param("defaults: &d {rate: 5}\nother: {<<: *d}", "defaults.rate=7", id="anchored-in-both"),
    ],
)
def test_an_override_of_something_anchored_reaches_through_files(files, text, override):
    """Overrides act as if all files were one."""
    files(config=f"extends: base.yaml\n{text}\n")
    config = load_config("config.yaml", [override])

    assert config["model"]["rate"] == 7
    assert config.get("other", {}).get("rate", 7) == 7


def test_an_alias_of_a_mapping_is_what_the_files_made_of_it(files):
    """An alias and what it refers to stay the same, whichever file adds to it."""
    files(config="extends: base.yaml\ndefaults: &d {rate: 5}\nother: *d\n")

    assert load_config("config.yaml")["other"] == {"rate": 5, "size": 8}


def test_what_a_base_only_refers_to_is_changed_in_one_place(files):
    """A file that changes one of two mappings that are the same in the base leaves the other alone."""
    files(
        twins="a: &a {n: {q: 1, r: 1}}\nb: *a\nc: {<<: *a}\n",
        config="extends: twins.yaml\nb: {n: {q: 2}}\nc: {n: {q: 3}}\n",
    )

    assert load_config("config.yaml") == {
        "a": {"n": {"q": 1, "r": 1}},
        "b": {"n": {"q": 2, "r": 1}},
        "c": {"n": {"q": 3, "r": 1}},
    }


def test_evaluations_of_base_and_file_are_merged_before_one_is_chosen(files):
    """The section ``eval`` is merged like any other, overrides included."""
    files(
        below="eval: {test: {dataset: {batch: 1, size: 2}}}\nextends: base.yaml",
        config="extends: below.yaml\neval: {test: {dataset: {batch: 3}}}",
    )

    assert load_config("config.yaml", [], "test")["dataset"] == {"class": "a.Data", "batch": 3, "size": 2}
    assert load_config("config.yaml", ["eval.test.dataset.size=4"], "test")["dataset"]["size"] == 4


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        (
            "bse.yaml",
            (
                "config.yaml:1:10: bse.yaml: there is no such file\n"
                "    1 | extends: bse.yaml\n      |          ^^^^^^^^\n  did you mean 'base.yaml'?"
            ),
        ),
        (
            "${env:HOME}/b.yaml",
            (
                "config.yaml:1:10: ${env:HOME}/b.yaml: there is no such file\n"
                "    1 | extends: ${env:HOME}/b.yaml\n      |          ^^^^^^^^^^^^^^^^^^\n"
                "  '${…}' is not replaced here"
            ),
        ),
        (
            "[base.yaml, 3]",
            (
                "config.yaml:1:22: extends: expected the path of a config\n"
                "    1 | extends: [base.yaml, 3]\n      |                      ^\n"
                "  write a path, or a list of paths, relative to this file: extends: base.yaml"
            ),
        ),
        (
            "config.yaml",
            (
                "config.yaml:1:10: extends: config.yaml extends itself\n"
                "    1 | extends: config.yaml\n      |          ^^^^^^^^^^^"
            ),
        ),
        ("broken.yaml", "broken.yaml:1:5: did not find expected node content\n    1 | a: [}\n"),
        ("empty.yaml", "config.yaml:1:10: empty.yaml: the file is empty\n"),
    ],
)
def test_a_base_that_cannot_be_used_is_located(files, extends, message):
    """The message leads to the line that names the base, or into the base."""
    files(config=f"extends: {extends}\n", broken="a: [}\n", empty="")
    with pytest.raises(ConfigError) as error:
        load_config("config.yaml")

    assert str(error.value).startswith(message)


def test_a_missing_base_is_a_missing_file(files):
    """``except OSError`` catches it."""
    files(config="extends: [base.yaml, no.yaml]")
    with pytest.raises(ConfigFileError):
        load_config("config.yaml")


@pytest.mark.parametrize("extends", ["", "[]", "{a: b}", "1"])
def test_extends_takes_paths_only(files, extends):
    """Anything else is refused."""
    files(config=f"extends: {extends}\n")
    with pytest.raises(ConfigError, match="extends: expected the path of a config"):
        load_config("config.yaml")


def test_files_that_extend_one_another_are_refused(files):
    """A cycle is named with the way around it."""
    files(a="extends: b.yaml", b="extends: c.yaml", c="extends: [base.yaml, a.yaml]")
    with pytest.raises(ConfigError) as error:
        load_config("a.yaml")

    assert str(error.value) == (
        "c.yaml:1:22: extends: a.yaml extends itself\n"
        "    1 | extends: [base.yaml, a.yaml]\n"
        "      |                      ^^^^^^\n"
        "  by way of b.yaml → c.yaml → a.yaml"
    )


def test_a_tower_of_files_is_refused(files):
    """Eleven levels are too many, and so are two bases each, ten times."""
    files(**{f"t{n}": f"extends: t{n + 1}.yaml" for n in range(11)}, t11="a: 1")
    files(**{f"w{n}": f"extends: [w{n + 1}.yaml, w{n + 1}.yaml]" for n in range(9)}, w9="a: 1")
    with pytest.raises(ConfigError, match=r"t10.yaml:1:10: extends: too many files extend one another; at most 10"):
        load_config("t0.yaml")
    with pytest.raises(ConfigError, match="too many files are extended; at most 50"):
        load_config("w0.yaml")

    assert load_config("t1.yaml") == {"a": 1}


def test_aliases_of_two_files_cannot_form_a_circle(files):
    """What would contain itself, once the files are one, is refused and not followed for ever."""
    files(
        first="q: &b {x: 1}\np: {r: *b}\n",
        config="extends: first.yaml\np: &x {k: 1}\nq: {s: *x}\n",
        merging="q: &q {x: 1}\np: {<<: *q}\nz: {<<: *q}",
        merger="extends: merging.yaml\np: &p {}\nq: {<<: *p}\n",
        twins="q: &b {x: 1}\np: {k: *b}\nz: *b\n",
        others="extends: twins.yaml\np: &x {j: 1}\nq: {k: *x}\nz: *x\n",
    )
    for name in ("config", "merger", "others"):
        with pytest.raises(ConfigError, match="refers to a part that contains it"):
            load_config(f"{name}.yaml")


def test_bases_cannot_grow_without_bounds_together(files):
    """The limits of one file hold for all of them as one."""
    many = ", ".join(["a"] * 9000)
    files(one=f"x: [{many}]", two=f"y: [{many}]", config=f"extends: [one.yaml, two.yaml]\nz: [{many}]")
    with pytest.raises(ConfigError, match="at most 20,000 are read"):
        load_config("config.yaml")


@pytest.mark.parametrize("mark", ["run.json", "trace.yaml"])
def test_a_configuration_in_a_run_extends_nothing(files, tmp_path, mark):
    """A run from somewhere else opens no file outside of it; but it may be built upon."""
    files(log__night__config="extends: ../../base.yaml\n", log__day__config="a: 1", config="extends: log/day")
    for run in ("night", "day"):
        (tmp_path / "log" / run / mark).write_text("{}")

    with pytest.raises(ConfigError, match="a configuration in a run directory cannot extend another one"):
        load_config("log/night/config.yaml")
    assert load_config("config.yaml") == {"a": 1}


def test_only_a_file_can_extend(files):
    """An override comes too late for that, and says so."""
    files(config="a: 1")
    with pytest.raises(ConfigError, match=r"argument 1: extends=base\.yaml: only a file can extend others"):
        load_config("config.yaml", ["extends=base.yaml"])
