"""Rows as CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop.hooks._text.cells import cell, csv_text

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


@given(st.lists(st.lists(st.text(), min_size=2, max_size=4), max_size=5))
def test_any_text_survives_writing_and_reading(rows):
    """Commas, quotes and line breaks of all systems in a cell neither split nor join cells or rows."""
    cells = [[cell(value) for value in row] for row in rows]

    assert cells == list(csv.reader(io.StringIO(csv_text(rows), newline="")))


def test_cells_are_quoted_only_where_needed():
    """The file stays readable for people and for simple tools; rows end with a newline."""
    rows = [["id", "name"], [1, "a b"], [2, 'say "x", y'], [3, None]]
    expected = 'id,name\n1,a b\n2,"say ""x"", y"\n3,\n'

    assert expected == csv_text(rows)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (np.float64(1e-5), "1e-05"),
        (float("nan"), "nan"),
        (-float("inf"), "-inf"),
        (np.int64(-3), "-3"),
        (2**70, str(2**70)),
        (np.True_, "True"),
        (b"bytes", "bytes"),
        (b"\xff", "\\xff"),
        (np.str_("text"), "text"),
    ],
)
def test_values_are_written_plainly(value, written):
    """Numbers have the fewest digits that give them back in their own precision; bytes are text."""
    assert f"{written},\n" == csv_text([[value, None]])


@given(st.sampled_from(FORMULA_SIGNS), st.text())
def test_no_spreadsheet_runs_a_cell(sign, rest):
    """On request, text that it would take for a formula starts with an apostrophe, unless it is a number."""
    text = sign + rest
    (found, _), *_ = csv.reader(io.StringIO(csv_text([[text, None]], escape_formulas=True), newline=""))

    try:
        float(text)
    except ValueError:
        assert f"'{text}" == found
    else:
        assert text == found


@pytest.mark.parametrize("text", ["-1", "+2.5", "-1e-3", "-inf", "a=1", "1-2", "x@y"])
def test_numbers_and_ordinary_text_stay_as_they_are(text):
    """Only what could be run is changed."""
    assert text == cell(text, escape_formulas=True)
