"""The quick reader of our own YAML says what the real one says, or leaves the text to it."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emloop._yaml import documents as yaml
from emloop._yaml import quick as yaml_quick
from emloop.errors import ConfigError

CONFIG = {
    "dataset": {"class": "data.Digits", "batch_size": 32, "root": "/data/my digits", "split": None},
    "model": {
        "class": "nets.Net",
        "lr": 1e-4,
        "layers": [32, 64],
        "blocks": [{"units": 3, "kind": ["a", {}]}, [[1], []]],
    },
    "hooks": [{"ComputeStats": {"variables": ["loss"]}}, "LogVariables", {"my.hooks.Own": {"loud": True}}],
    "main_loop": {"epochs_count": 20, "since": date(2026, 1, 31), "at": datetime(2026, 1, 31, 12), "text": "yes"},
}

plain = st.sampled_from(
    ["a", "loss", "1", "1e3", "-2", ".5", "yes", "null", "true", "a b", "a: b", "a #b", "a#b:c", "é"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | plain | st.datetimes()
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
words = "a b key 1 -1 1.5 true null 2026-01-31 2026-02-31 - : # {} [] [ } | > &x *x << --- ... % ? é , @ ` ~ = / ( \" '"
blanks = ("- ", "  ", " ", "\n", ": ", " #", "!!int ", "\t", "\r", "\x85", "\ufeff", "\\n")
pieces = st.sampled_from([*words.split(), *blanks])


def told_by(read, text):
    """What a reader makes of a text, in a form that tells ``1`` from ``True`` and equals ``nan``."""
    try:
        return repr(read(text, "text.yaml"))
    except ConfigError as error:
        return str(error)


@given(trees)
@example(CONFIG)
def test_what_we_wrote_is_read_back(data):
    """Whatever the data, both readers agree on what was written."""
    try:
        text = yaml.dump(data).encode()
    except ConfigError:
        return

    assert told_by(yaml.load, text) == told_by(yaml_quick.load, text)


@settings(max_examples=500)
@given(st.lists(pieces, max_size=14).map("".join))
@example("a: b: c\n")
@example("a: 1\n  b\n")
@example("a:\n- 1\n")
@example("a: 1\na: 2\n")
@example("true: 1\n")
@example("- a\n -b\n")
@example('a: "x\nb: y"\n')
@example("a:\n    b: 1\n  c: 2\n")
@example("a: 1 \n")
@example("- - - a: 1\n      b: 2\n    - 3\n")
@example("a: " + "9" * 5000 + "\n")
def test_any_other_text_is_read_like_by_the_real_reader(text):
    """Also texts that are nearly, but not quite, of the kind that we write, and those with mistakes."""
    for whole in (text, text + "\n"):
        assert told_by(yaml.load, whole.encode()) == told_by(yaml_quick.load, whole.encode())


@pytest.mark.parametrize(
    "text", [b"\xff: 1\n", b"a: 1\n" * 5000, b"- " * 60 + b"a\n", b"x: y\n" * 9 + b"z" * 17000 + b": 1\n"]
)
def test_what_is_large_or_deep_or_no_text_is_left_to_the_real_reader(text):
    """With its limits and its messages."""
    assert told_by(yaml.load, text) == told_by(yaml_quick.load, text)


def test_an_ordinary_configuration_needs_no_parser():
    """PyYAML is not even imported."""
    code = (
        "import sys; from emloop._yaml import quick as yaml_quick\n"
        "print(yaml_quick.load(sys.stdin.buffer.read(), 'x'))\n"
        "sys.exit('yaml' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=yaml.dump(CONFIG), capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == repr(CONFIG)


def test_readers_share_nothing():
    """A caller may change what it was given."""
    first = yaml_quick.load(b"a: {}\nb: []\n", "x")
    first["a"]["x"] = first["b"].append(1)

    assert yaml_quick.load(b"a: {}\nb: []\n", "x") == {"a": {}, "b": []}
