"""What YAML means here."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
import yaml as pyyaml

from emloop._yaml import documents as yaml
from emloop._yaml import events
from emloop.errors import ConfigError, ConfigFileError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("010", 10),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1_0.5", -10.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("2026-01-31", date(2026, 1, 31)),
        ("2026-11-22 05:46:33.012578", datetime(2026, 11, 22, 5, 46, 33, 12578)),
        ("2026-11-22T05:46:33Z", datetime(2026, 11, 22, 5, 46, 33, tzinfo=UTC)),
        ("2026-1-2 3:04:05.5 -01:30", datetime(2026, 1, 2, 3, 4, 5, 500000, timezone(-timedelta(minutes=90)))),
    ],
)
def test_numbers_words_and_dates_have_their_types(written, meant):
    """Numbers of YAML 1.2, its words, and ISO dates are read as such."""
    read = yaml.load(f"a: {written}")["a"]

    assert (read, type(read)) == (meant, type(meant))


def test_not_a_number_is_written_with_a_point():
    """``.nan`` is the number that is none."""
    assert math.isnan(yaml.load(".nan"))


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "on",
        "Off",
        "y",
        "12:30",
        "1:30:00",
        "nan",
        "none",
        "inf",
        "1__0",
        "_1",
        "1_",
        "0b1",
        "0x",
        "+",
        "-.",
        ".",
        "1e",
        "1.2.3",
        "2ep",
        "10min",
        "-0x1F",
        "tRue",
        "1,5",
        "٣",
    ],
)
def test_everything_else_is_text(text):
    """Nothing that only looks a little like a number or a word is changed."""
    assert yaml.load(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!int '0x1F'", 31),
        ("!!float 1", 1.0),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("!!seq [1]", [1]),
        ("!!map {a: 1}", {"a": 1}),
        ("!!set {b, a}", {"a", "b"}),
        ("!!set {}", set()),
        ("!!omap [b: 1, a: 2]", {"b": 1, "a": 2}),
        ("!!omap []", {}),
    ],
)
def test_quotes_and_core_tags_decide_the_type(written, meant):
    """The core tags are understood, and quotes make text."""
    read = yaml.load(written)

    assert (read, type(read)) == (meant, type(meant))


def test_an_old_trace_is_read_in_order():
    """The ordered map that emloop 0.2 wrote is a dict with naive times."""
    trace = yaml.load("!!omap\n- train_begin: 2026-11-22 05:46:33.012578\n- train_end:\n- epochs_done: 0\n")

    assert list(trace.items()) == [
        ("train_begin", datetime(2026, 11, 22, 5, 46, 33, 12578)),
        ("train_end", None),
        ("epochs_done", 0),
    ]


def test_aliases_of_one_part_are_one_object():
    """What is written once exists once."""
    data = yaml.load("a: &x {b: [1]}\nc: *x\nd: [*x, *x]\n")

    assert data["a"] is data["c"] is data["d"][0] is data["d"][1]


def test_own_keys_come_before_merged_ones_and_win():
    """``<<`` fills in what is missing, the first of several mappings first."""
    data = yaml.load(
        "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: &c {<<: *a, w: 3}\nd: {<<: [*b, *c], y: 4, v: 4}\ne: {<<: {q: 5}}\n"
    )

    assert list(data["d"].items()) == [("y", 4), ("v", 4), ("z", 2), ("w", 3), ("x", 1)]
    assert data["e"] == {"q": 5}


def test_a_quoted_merge_key_is_a_key():
    """Only the plain ``<<`` merges."""
    assert yaml.load("'<<': 1\na: <<") == {"<<": 1, "a": "<<"}


def test_keys_may_be_numbers_dates_and_aliases():
    """Keys follow the same rules as values."""
    assert yaml.load("k: &k name\n1: a\n2026-01-31: b\n~: c\n*k : d\n") == {
        "k": "name",
        1: "a",
        date(2026, 1, 31): "b",
        None: "c",
        "name": "d",
    }


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n...\n", "\ufeff"])
def test_an_empty_document_is_none(text):
    """Nothing written is nothing read."""
    assert yaml.load(text) is None


def test_bytes_with_a_byte_order_mark_are_read():
    """Files from other systems may start with a mark and end their lines differently."""
    assert yaml.load(b"\xef\xbb\xbfa: 1\r\nb: \xc3\xa9\r\n") == {"a": 1, "b": "é"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "model:\n  lr: 1\n  lr: 2\n",
            "f.yaml:3:3: the key 'lr' is given twice\n    3 |   lr: 2\n      |   ^^\n  first in line 2",
            id="duplicate-key",
        ),
        pytest.param(
            "1: a\n0x1: b\n",
            "f.yaml:2:1: the key 1 is given twice\n    2 | 0x1: b\n      | ^^^\n  first in line 1",
            id="duplicate-number",
        ),
        pytest.param(
            "a: {<<: {}, <<: {}}",
            "f.yaml:1:13: '<<' is given twice\n"
            "    1 | a: {<<: {}, <<: {}}\n"
            "      |             ^^\n"
            "  several mappings are merged by '<<: [*a, *b]'",
            id="duplicate-merge",
        ),
        pytest.param(
            "a: 1\n---\nb: 2\n",
            "f.yaml:2:1: a second document starts here; a file holds one\n    2 | ---\n      | ^^^",
            id="two-documents",
        ),
        pytest.param(
            "a:\n\tb: 1\n",
            "f.yaml:2:1: a tab cannot indent\n    2 |  b: 1\n      | ^\n  use spaces",
            id="tab",
        ),
        pytest.param(
            "a:\n  b: 1\n \tc: 1\n",
            "f.yaml:3:2: a tab cannot indent\n    3 |   c: 1\n      |  ^\n  use spaces",
            id="tab-after-a-space",
        ),
        pytest.param(
            "x: y: z",
            "f.yaml:1:5: mapping values are not allowed in this context\n"
            "    1 | x: y: z\n"
            "      |     ^\n"
            "  text with ': ' in it needs quotes; nested keys go to lines of their own",
            id="colon-in-text",
        ),
        pytest.param(
            "a: 1\nb 2\nc: 3\n",
            "f.yaml:2:1: could not find expected ':'\n    2 | b 2\n      | ^\n  a key needs ': ' after it",
            id="no-colon",
        ),
        pytest.param(
            "a: 'x\nb: 1\n",
            "f.yaml:1:4: found unexpected end of stream\n    1 | a: 'x\n      |    ^\n  the quote is never closed",
            id="open-quote",
        ),
        pytest.param(
            "a:\n  b: [1,\n  2\n\n",
            "f.yaml:3:4: did not find expected ',' or ']'\n"
            "    3 |   2\n"
            "      |    ^\n"
            "  an item, a ',' or the closing bracket is missing\n"
            "  while parsing a flow sequence that starts in line 2",
            id="open-bracket",
        ),
        pytest.param(
            "a: @home",
            "f.yaml:1:4: found character that cannot start any token\n"
            "    1 | a: @home\n"
            "      |    ^\n"
            "  text that starts with this character needs quotes",
            id="reserved-character",
        ),
        pytest.param(
            "a: x\x07y",
            "f.yaml:1:5: U+0007 is not allowed in YAML\n"
            "    1 | a: x y\n"
            "      |     ^\n"
            '  "\\x07" in double quotes stands for it',
            id="control-character",
        ),
        pytest.param(
            "a: \ud800",
            "f.yaml:1:4: U+D800 is not allowed in YAML\n    1 | a:\n      |    ^",
            id="half-a-character",
        ),
        pytest.param(
            b"a: 1\nb\xc3\xa9: \xff\n",
            "f.yaml:2:5: is not UTF-8\n    2 | bé: �\n      |     ^\n  save the file as UTF-8",
            id="not-utf-8",
        ),
        pytest.param(
            "base: &base 1\na: *bse\n",
            "f.yaml:2:4: there is no anchor 'bse'\n    2 | a: *bse\n      |    ^^^^\n  did you mean 'base'?",
            id="unknown-alias",
        ),
        pytest.param(
            "a: &a {b: [*a]}",
            "f.yaml:1:12: an alias cannot refer to a part that contains it\n"
            "    1 | a: &a {b: [*a]}\n"
            "      |            ^^",
            id="recursive-alias",
        ),
        pytest.param(
            "a: {<<: 3}",
            "f.yaml:1:9: '<<' takes a mapping or a list of mappings\n    1 | a: {<<: 3}\n      |         ^",
            id="merged-number",
        ),
        pytest.param(
            "a: {{ name }}",
            "f.yaml:1:5: a key must be a single value\n"
            "    1 | a: {{ name }}\n"
            "      |     ^\n"
            "  text that starts with '{' or '[' needs quotes",
            id="template",
        ),
        pytest.param(
            "a: 2026-02-30",
            "f.yaml:1:4: there is no such date\n"
            "    1 | a: 2026-02-30\n"
            "      |    ^^^^^^^^^^\n"
            "  if it is meant as text, put it into quotes",
            id="impossible-date",
        ),
        pytest.param(
            "a: !!int seven",
            "f.yaml:1:4: this is not of the kind '!!int'\n"
            "    1 | a: !!int seven\n"
            "      |    ^^^^^^^^^^^\n"
            "  if it is meant as text, put it into quotes",
            id="tag-that-does-not-fit",
        ),
        pytest.param(
            "s: !!set {a: 1}",
            "f.yaml:1:11: '!!set' holds keys without values\n    1 | s: !!set {a: 1}\n      |           ^",
            id="set-with-values",
        ),
        pytest.param(
            "o: !!omap [a]",
            "f.yaml:1:12: '!!omap' is a list of mappings with one key each\n"
            "    1 | o: !!omap [a]\n"
            "      |            ^",
            id="omap-of-text",
        ),
    ],
)
def test_a_mistake_is_shown_where_it_was_made(text, message):
    """The message has file, line, column, the line itself with the mistake marked, and what helps."""
    with pytest.raises(ConfigError) as caught:
        yaml.load(text, "f.yaml")

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system",
        "!!python/name:os.system",
        "!!python/tuple",
        "!!binary",
        "!!timestamp",
        "!thing",
        "!<x:y>",
    ],
)
@pytest.mark.parametrize("value", ["['true']", "{a: b}", "'x'", ""])
def test_no_other_tag_is_accepted(tag, value):
    """A tag cannot name a class or a function; where it stands is said."""
    with pytest.raises(ConfigError, match=r"^f\.yaml:2:6: the tag '.*' is not accepted here\n"):
        yaml.load(f"a:\n  b: {tag} {value}\n", "f.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    """A missing file is an error of its own kind, which also is an OSError."""
    with pytest.raises(ConfigFileError) as caught:
        yaml.load_file(tmp_path / "none.yaml")

    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    assert isinstance(caught.value, OSError)


def test_a_file_is_named_in_its_mistakes(tmp_path):
    """A mistake in a file starts with the file's path."""
    path = tmp_path / "a.yaml"
    path.write_text("a: [\n")

    with pytest.raises(ConfigError) as caught:
        yaml.load_file(path)

    assert str(caught.value).startswith(f"{path}:1:5: ")


def test_a_terminal_is_not_written_to_by_an_excerpt():
    """Characters that move a cursor do not reach the message."""
    with pytest.raises(ConfigError) as caught:
        yaml.load("a: 1\x9b2J\u202e [\nb", "f.yaml")

    assert not set("\x9b\u202e\x1b") & set(str(caught.value))


def test_the_parser_in_python_reads_the_same(monkeypatch):
    """Where PyYAML was built without its C parser, documents mean the same and mistakes are located too."""
    text = "a: &x {b: 1, 'ü😀': [1e-3, !!set {a}]}\nc: {<<: *x}\nd: |\n  text\n"
    expected = yaml.load(text)
    monkeypatch.setattr(events, "_LOADER", pyyaml.SafeLoader)

    assert yaml.load(text) == expected
    assert yaml.parse(text, "f").place == yaml.parse(text, "f").place
    for broken in ("a: [1", "a:\n\tb: 1", "a: b: c", "a: 'x", "a: \x07", "a: \ud800", "[" * 100_000):
        with pytest.raises(ConfigError) as caught:
            yaml.load(broken, "f.yaml")
        assert caught.value.problems[0].place is not None


def test_nodes_survive_a_trip_to_another_process():
    """What was read can be sent to a worker with its places."""
    nodes = yaml.parse("a: &x {b: 1}\nc: {<<: *x}\n", "f.yaml")

    sent = pickle.loads(pickle.dumps(nodes))

    assert yaml.construct(sent) == {"a": {"b": 1}, "c": {"b": 1}}
    assert sent.place == nodes.place
