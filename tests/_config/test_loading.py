"""A configuration is read with the place of everything in it."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._config import Config, find_config, load_config, validate_config
from emloop._yaml import documents as yaml
from emloop.errors import ConfigError, ConfigFileError, Place

CONFIG = """\
# an experiment
rate: &rate 1e-3
base: &base
  optimizer: {name: adam, lr: *rate}

dataset:
  class: my_package.MyDataset
  batch_size: 32
model:
  <<: *base
  class: my_package.MyModel
hooks:
  - SaveLatest
  - StopAfter:
      epochs: 10
main_loop:
"""


@pytest.fixture
def config_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_a_configuration_is_plain_data(config_file):
    """Aliases and merge keys are resolved, and the text is kept byte for byte."""
    config = load_config("config.yaml")

    optimizer = {"name": "adam", "lr": 0.001}
    assert config == {
        "rate": 0.001,
        "base": {"optimizer": optimizer},
        "dataset": {"class": "my_package.MyDataset", "batch_size": 32},
        "model": {"class": "my_package.MyModel", "optimizer": optimizer},
        "hooks": ["SaveLatest", {"StopAfter": {"epochs": 10}}],
        "main_loop": None,
    }
    assert config.source == CONFIG.encode()
    assert config.origin == "config.yaml"
    validate_config(config)


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("dataset", "batch_size"), "config.yaml:8:3", "config.yaml:8:15"),
        (("hooks",), "config.yaml:12:1", "config.yaml:13:3"),
        (("hooks", 0), "config.yaml:13:5", "config.yaml:13:5"),
        (("hooks", 0, "SaveLatest"), "config.yaml:13:5", "config.yaml:13:5"),
        (("hooks", 1, "StopAfter", "epochs"), "config.yaml:15:7", "config.yaml:15:15"),
        (("model", "class"), "config.yaml:11:3", "config.yaml:11:10"),
        pytest.param(("model", "optimizer"), "config.yaml:4:3", "config.yaml:4:14", id="merged"),
        pytest.param(("model", "optimizer", "lr"), "config.yaml:4:27", "config.yaml:2:7", id="aliased"),
        ((), "config.yaml:2:1", "config.yaml:2:1"),
    ],
)
def test_every_key_and_value_has_its_place(config_file, path, key, value):
    """Keys and values are found where they are physically written."""
    config = load_config("config.yaml")

    assert (str(config.place(path)), str(config.place(path, value=True))) == (key, value)


@pytest.mark.parametrize("path", [("nothing",), ("hooks", 2), ("hooks", -1), ("hooks", 0, "Other"), ("rate", "x")])
def test_what_is_not_there_has_no_place(config_file, path):
    """A key that nobody wrote stands nowhere."""
    assert load_config("config.yaml").place(path) is None


def test_a_place_shows_the_line_and_what_is_meant(config_file):
    """A place is ready to be shown."""
    place = load_config("config.yaml").place(("model", "class"))

    assert place == Place("config.yaml", 11, 3, "  class: my_package.MyModel", 5)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, copy.copy, Config.copy, lambda config: pickle.loads(pickle.dumps(config))],
    ids=["deepcopy", "copy", "method", "pickle"],
)
def test_copies_know_the_same_places(config_file, copied):
    """A copy is as good as the original."""
    config = load_config("config.yaml", ["dataset.batch_size=8"])
    other = copied(config)

    assert type(other) is Config
    assert other == config
    assert (other.origin, other.source, other.evaluates) == (config.origin, config.source, None)
    for path in (("hooks", 1, "StopAfter", "epochs"), ("dataset", "batch_size")):
        assert other.place(path) == config.place(path)


def test_a_deep_copy_is_independent(config_file):
    """Changing a deep copy changes nothing else, and what was one object still is."""
    config = load_config("config.yaml")
    other = copy.deepcopy(config)
    other["base"]["optimizer"]["lr"] = 5

    assert other["model"]["optimizer"]["lr"] == 5
    assert config["base"]["optimizer"]["lr"] == 0.001


def test_a_written_configuration_is_read_as_the_same(config_file, tmp_path):
    """What a run directory keeps is the configuration as resolved."""
    config = load_config("config.yaml", ["hooks.StopAfter.epochs=3"])
    (tmp_path / "resolved.yaml").write_text(yaml.dump(config))

    assert load_config("resolved.yaml") == config


@pytest.mark.parametrize("given", ["config.yaml", ".", os.curdir + "/config.yaml"])
def test_a_directory_means_the_configuration_in_it(config_file, given):
    """A file, or the directory that holds ``config.yaml``."""
    assert load_config(given)["rate"] == 0.001
    assert Path(find_config(given)).samefile(config_file)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("confg.yaml", "confg.yaml: there is no such file\n  did you mean 'config.yaml'?"),
        ("a/b.yaml", "a/b.yaml: there is no such file"),
        ("config.yaml/x", "config.yaml/x: there is no such file"),
        ("empty", "empty: there is no config.yaml in this directory"),
        ("odd", "odd/config.yaml: cannot be read: Is a directory"),
        ("x" * 300, f"{'x' * 300}: cannot be read: File name too long"),
        ("a\0b", "a\0b: there is no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(config_file, tmp_path, given, message):
    """The path as it was given, the reason, and the name that was probably meant."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "config.yaml").mkdir(parents=True)

    with pytest.raises(ConfigFileError) as caught:
        load_config(given)

    assert str(caught.value) == message


def test_a_file_that_may_not_be_read_is_named(config_file):
    """The system's reason is told."""
    config_file.chmod(0)
    if os.access(config_file, os.R_OK):
        pytest.skip("this user may read everything")

    with pytest.raises(ConfigFileError) as caught:
        load_config("config.yaml")

    assert str(caught.value) == "config.yaml: cannot be read: Permission denied"


def test_a_pipe_can_be_read(config_file, tmp_path):
    """``emloop train <(make_config)`` works."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(CONFIG,))
    writer.start()

    assert load_config(pipe) == load_config("config.yaml")
    writer.join()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "config.yaml: the file is empty"),
        (b"# nothing\n", "config.yaml: the file is empty"),
        (b"- a\n", "config.yaml:1:1: expected sections at the top of the file"),
        (b"word\n", "config.yaml:1:1: expected sections at the top of the file"),
        (b"!!set {a}\n", "config.yaml:1:1: expected sections at the top of the file"),
        (b"a: \xff\n", "config.yaml:1:4: is not UTF-8"),
        (b"a: 1\na: 2\n", "config.yaml:2:1: the key 'a' is given twice"),
        (b"\xff\xfea\x00", "config.yaml:1:1: is not UTF-8"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(config_file, text, message):
    """The first line says which file, and what is wrong with it."""
    config_file.write_bytes(text)

    with pytest.raises(ConfigError) as caught:
        load_config("config.yaml")

    assert str(caught.value).splitlines()[0] == message


_KEYS = [at for at in range(len(CONFIG)) if CONFIG[at].isalpha()]


@given(at=st.sampled_from(_KEYS), char=st.characters() | st.sampled_from(" \t\n:-#&*!{}[]'\"%@`,?|>~"))
def test_one_wrong_character_is_located_or_harmless(tmp_path_factory, at, char):
    """Whatever one character becomes, there is a configuration, or an error with the line of the mistake."""
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes((CONFIG[:at] + char + CONFIG[at + 1 :]).encode("utf-8", errors="surrogatepass"))

    try:
        config = load_config(path)
        validate_config(config)
    except ConfigError as error:
        problems = error.problems
    else:
        problems = ()

    # A section that is no longer there has no place.
    assert all(problem.place or problem.message.startswith("the section ") for problem in problems)


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    """No file makes reading fail in any other way than with an error of ours."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)

    try:
        config = load_config(path, override_stream="test")
    except ConfigError as error:
        problems = error.problems
    else:
        problems = ()
        assert isinstance(config, Config)

    assert all(str(problem) for problem in problems)
