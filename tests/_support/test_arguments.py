"""Checks of what a configuration gives, by which backends and plugins say what is wrong."""

from __future__ import annotations

import collections

import pytest

from emloop.arguments import argument_problems, arguments_of, distinct_names, import_object
from emloop.errors import ConfigError, UnknownClassError


def takes_two(first, second=2, *, third): ...


def takes_any(first, **others): ...


def test_arguments_are_told_in_order_with_whether_they_must_be_given():
    """Those without a default must be."""
    assert [("first", True), ("second", False), ("third", True)] == list(arguments_of(takes_two).items())


def test_a_function_of_any_arguments_takes_those_that_are_given():
    """None of them is unknown, and only the named ones can be missing."""
    assert {"first": True, "more": False} == arguments_of(takes_any, ["more"])
    assert {"first": True} == arguments_of(takes_any)


def test_all_that_is_wrong_with_arguments_is_told():
    """What is unknown, with what was meant and what there is; and what is missing."""
    problems = argument_problems(
        "takes_two", ["first", "secnd"], arguments_of(takes_two), others=["log"], prefix="net: "
    )

    assert [
        "net: unknown argument 'secnd'\n  did you mean 'second'?\n  takes_two takes: log, first, second, third",
        "net: takes_two needs the argument 'third'",
    ] == list(map(str, problems))


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


def test_a_full_name_leads_to_what_a_module_holds():
    """Whatever that is: its kind is for the caller to check."""
    assert collections.OrderedDict is import_object("collections.OrderedDict")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("Linear", "net: expected package.module.Class, got 'Linear'", id="short"),
        pytest.param(".Linear", "net: expected package.module.Class, got '.Linear'", id="no-package"),
        pytest.param("..nn.Linear", "net: expected package.module.Class, got '..nn.Linear'", id="relative"),
        pytest.param(3, "net: expected package.module.Class, got 3", id="number"),
        pytest.param("no.such.Thing", "net: no.such.Thing cannot be imported: No module named 'no'", id="no-module"),
        pytest.param(
            "collections.OrderedDic",
            "net: collections has no 'OrderedDic'\n  did you mean 'OrderedDict'?",
            id="no-attribute",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_told_with_where_it_ends(name, message):
    """Names without a package, too, which Python would look for in another way."""
    with pytest.raises(UnknownClassError) as caught:
        import_object(name, prefix="net: ")

    assert message == str(caught.value)
