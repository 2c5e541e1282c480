"""No text whatever makes the reader do anything but read or refuse."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emloop._yaml import documents as yaml
from emloop.errors import ConfigError

MARKS = [
    "[",
    "]",
    "{",
    "}",
    ", ",
    ": ",
    "- ",
    "? ",
    "'",
    '"',
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "@",
    "`",
    "\\",
]
NAMES = ["&x ", "*x", "<<: ", "<<: *x", "! ", "!", "!!set ", "!!omap ", "!!int ", "!!str ", "!!python/none "]
SCALARS = ["a", "b: ", "c:\n", "1", "1e3", "0x", ".nan", "2020-01-01", "2020-99-01", "99:99", "~", "null", "é", "😀"]
BLANKS = ["\n", "  ", "\t", "\r", "#", " # c\n", "\ufeff", "\x85", "\u2028", "\x00", "\ud800"]
DOCUMENTS = st.lists(st.sampled_from(MARKS + NAMES + SCALARS + BLANKS), max_size=40).map("".join) | st.text(
    max_size=200
)


def read(text):
    """The data of a text, or the error that refuses it."""
    try:
        return yaml.load(text, "f.yaml"), None
    except ConfigError as error:
        return None, error


@pytest.mark.slow
@given(DOCUMENTS)
@settings(max_examples=1000)
def test_any_text_is_read_or_refused(text):
    """There is data, or an error of ours with the place of the mistake; never anything else."""
    data, error = read(text)

    if error is None:
        yaml.dump(data)
    else:
        assert str(error).startswith("f.yaml:")
        assert all(problem.place.line >= 1 for problem in error.problems)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data):
    """A file that is no text is refused like any other."""
    _, error = read(data)

    assert error is None or str(error).startswith("f.yaml:")


@given(DOCUMENTS)
def test_every_place_lies_within_the_text(text):
    """A line that exists, and a mark that starts below it."""
    _, error = read(text)
    place = error.problems[0].place if error else yaml.parse(text, "f.yaml").place

    assert 1 <= place.line <= text.count("\n") + text.count("\r") + 1
    assert 1 <= place.column <= max(map(len, re.split("[\n\r]", text))) + 1
    assert place.width >= 1


@pytest.mark.parametrize("tag", ["object/apply:os.system", "object/new:os.system", "name:os.system", "module:os"])
def test_no_code_is_ever_run(tag, tmp_path):
    """A document cannot reach a function, in whatever place the tag stands."""
    proof = tmp_path / "proof"
    for text in (
        f"!!python/{tag} ['touch {proof}']",
        f"? !!python/{tag} x\n: 1",
        f"a: [!!python/{tag} 'touch {proof}']",
    ):
        with pytest.raises(ConfigError, match="is not accepted"):
            yaml.load(text)
    assert not proof.exists()
