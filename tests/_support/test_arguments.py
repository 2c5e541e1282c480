"""Checks of what a configuration gives, by which backends and plugins say what is wrong."""

from __future__ import annotations

import pytest

from emloop.arguments import arguments_of, distinct_names
from emloop.errors import ConfigError


def takes_two(first, second=2, *, third): ...


def takes_any(first, **others): ...


def test_arguments_are_told_in_order_with_whether_they_must_be_given():
    """Those without a default must be."""
    assert [("first", True), ("second", False), ("third", True)] == list(arguments_of(takes_two).items())


def test_a_function_of_any_arguments_takes_those_that_are_given():
    """None of them is unknown, and only the named ones can be missing."""
    assert {"first": True, "more": False} == arguments_of(takes_any, ["more"])
    assert {"first": True} == arguments_of(takes_any)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param("loss", "outputs: expected a list of names, got 'loss'; write [loss]", id="one"),
        pytest.param(["a", "a"], "outputs: expected a list of different names, got ['a', 'a']", id="twice"),
        pytest.param([1], "outputs: expected a list of different names, got [1]", id="number"),
        pytest.param(None, "outputs: expected a list of different names, got None", id="nothing"),
    ],
)
def test_names_must_be_a_list_of_different_ones(names, message):
    """A single text is not taken for the list of its letters."""
    with pytest.raises(ConfigError) as caught:
        distinct_names("outputs", names)

    assert message == str(caught.value)
