"""What is written as YAML comes back, here and in other readers."""

from __future__ import annotations

import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import yaml as pyyaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emloop._yaml import documents as yaml
from emloop.errors import ConfigError

_ZONES = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    lambda ahead: timezone(timedelta(minutes=ahead // timedelta(minutes=1)))
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(alphabet="-+.0123456789_eExo:TtZz#, &*!|>'\"%@`{}[]?~=<ynofruals\n\t \\"),
    st.dates(),
    st.datetimes(timezones=st.none() | _ZONES),
)
KEYS = SCALARS.filter(lambda key: key == key)  # not a number equals not even itself
DATA = st.recursive(
    SCALARS | st.sets(KEYS, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def same(one, other):
    """Equal in value, type and order; not a number is the same as itself, and so is minus zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(*pair) for items in zip(one.items(), other.items(), strict=True) for pair in zip(*items, strict=True)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return one == other


@pytest.mark.slow
@given(DATA)
@example("- a")
@example({"a": "b\nc\n", "d": ["e\nf"]})
@example({"x" * 2000: {"y" * 2000: [{"z\n" * 600: 1}]}})
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_back(data):
    """Every value has its value, type and order again."""
    assert same(yaml.load(yaml.dump(data)), data)


@given(DATA)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_other_safe_loaders_read_the_same(data):
    """A loader that follows YAML 1.1 takes no text for a number, a date or a truth value, nor the other way round."""
    read = pyyaml.load(yaml.dump(data), Loader=pyyaml.SafeLoader)  # it is the safe one

    assert same(read, data)


@given(st.text())
@settings(max_examples=300)
def test_text_stays_text(text):
    """No text is ever taken for something else, as a key or as a value."""
    for loaded in (yaml.load(yaml.dump({text: text})), pyyaml.safe_load(yaml.dump({text: text}))):
        assert loaded == {text: text}


def test_the_form_is_made_for_people():
    """Block style, keys in order, text of several lines as such, quotes only where they are needed."""
    config = OrderedDict(
        model={"class": "my.Model", "lr": 1e-05, "betas": (0.9, 0.999), "empty": {}, "none": None},
        hooks=["SaveLatest", {"StopAfter": {"epochs": 10}}, [], [1, [2]]],
        names={"b", "a"},
        note="one: two\n\n  three\n",
        when=datetime(2026, 1, 31, 12, 30),
        yes="no",
        path=Path("/data/x y"),
        time="12:30",
    )

    assert yaml.dump(config) == (
        "model:\n"
        "  class: my.Model\n"
        "  lr: 1.0e-05\n"
        "  betas:\n"
        "    - 0.9\n"
        "    - 0.999\n"
        "  empty: {}\n"
        "  none: null\n"
        "hooks:\n"
        "  - SaveLatest\n"
        "  - StopAfter:\n"
        "      epochs: 10\n"
        "  - []\n"
        "  - - 1\n"
        "    - - 2\n"
        "names: !!set\n"
        "  a: null\n"
        "  b: null\n"
        "note: |\n"
        "  one: two\n"
        "\n"
        "    three\n"
        "when: 2026-01-31 12:30:00\n"
        '"yes": "no"\n'
        "path: /data/x y\n"
        'time: "12:30"\n'
    )


@pytest.mark.parametrize("text", ["plain", "two words", "a.b.C", "./log", "10min", "2ep", "né", "a:b", "http://x/y#z"])
def test_ordinary_text_is_not_quoted(text):
    """Names, paths and addresses stay readable."""
    assert yaml.dump(text) == f"{text}\n"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array(2.5), 2.5),
        (np.datetime64("2026-01-31"), date(2026, 1, 31)),
        (Path("a/b"), "a/b"),
        ((1, 2), [1, 2]),
        (namedtuple("Size", "w h")(1, 2), [1, 2]),
        (frozenset({1}), {1}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (datetime(2026, 1, 31, tzinfo=timezone(timedelta(seconds=1))), datetime(2026, 1, 30, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_related_types_are_written_as_the_plain_ones(given, written):
    """Scalars of array libraries, paths, tuples and ordered dicts become what YAML has."""
    assert same(yaml.load(yaml.dump({"a": [given]})), {"a": [written]})


def test_what_is_shared_is_written_twice():
    """A reader of the file need not follow anchors."""
    shared = {"b": 1}

    assert yaml.dump([shared, shared]) == "- b: 1\n- b: 1\n"


_CYCLE: list = []
_CYCLE.append(_CYCLE)
_DEEP: list = []
for _ in range(60):
    _DEEP = [_DEEP]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"hooks": [{"A": {"f": len}}]},
         "hooks[0].A.f: a value of type 'builtin_function_or_method' cannot be written as YAML"),
        ({"a": b"x"}, "a: a value of type 'bytes' cannot be written as YAML"),
        ({"a": np.zeros(3)}, "a: a value of type 'ndarray' cannot be written as YAML"),
        ({"a": {(1, 2): 3}}, "a.(1, 2): a value of type 'tuple' cannot be written as YAML"),
        ({"a": "\ud800"}, "a: cannot be written as YAML: '\\ud800' is half of a character"),
        ({"a": {Path("x"): 1, "x": 2}}, "a: the key x would be written twice"),
        ({"a": _CYCLE}, "a[0]: contains itself"),
    ],
)  # fmt: skip
def test_what_yaml_cannot_hold_is_refused_by_name(data, message):
    """The message says where in the data the value is."""
    with pytest.raises(ConfigError) as caught:
        yaml.dump(data)

    assert str(caught.value) == message


def test_what_could_not_be_read_back_is_not_written():
    """Data deeper than what is read is refused when it is written."""
    with pytest.raises(ConfigError, match="nested too deeply; at most 50 levels can be read back"):
        yaml.dump(_DEEP)

    assert yaml.load(yaml.dump(_DEEP[0][0][0][0][0][0][0][0][0][0][0]))
