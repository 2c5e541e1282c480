"""What an error looks like."""

from __future__ import annotations

import pytest

from emloop import errors
from emloop.errors import ConfigError, EmloopError, Place, Problem


def test_a_problem_says_where_what_and_how_to_mend_it():
    """Place, path, message, the line with a caret, and the hints."""
    place = Place("config.yaml", 6, 9, "      - varible: accuracy", 7)

    problem = Problem("unknown argument 'varible'", "hooks[0].StopOnTarget", place, ("did you mean 'variable'?",))

    assert str(ConfigError(problem)) == (
        "config.yaml:6:9: hooks[0].StopOnTarget: unknown argument 'varible'\n"
        "    6 |       - varible: accuracy\n"
        "      |         ^^^^^^^\n"
        "  did you mean 'variable'?"
    )


def test_an_override_is_located_by_its_argument():
    """There is no line to show."""
    place = Place("argument 3", excerpt="model.lr=0,1")

    assert str(Problem("expected number, got '0,1'", "model.lr", place)) == (
        "argument 3: model.lr=0,1: model.lr: expected number, got '0,1'"
    )


def test_a_long_line_is_cut_around_the_mistake():
    """A config may be one line of JSON."""
    line = "a" * 5000 + "HERE" + "b" * 5000

    excerpt, mark = Place("c.json", 1, 5001, line, 4).caret()

    assert len(excerpt) < 200
    assert "HERE" == excerpt[mark.index("^") : mark.rindex("^") + 1]


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name.endswith("Error")])
def test_every_error_is_also_the_builtin_that_the_tree_names(name):
    """The docstring draws the tree; code may catch either."""
    line = next(line for line in errors.__doc__.splitlines() if f" {name} " in f"{line} ")
    cls = getattr(errors, name)

    assert issubclass(cls, EmloopError)
    builtin = line.split(name, 1)[1].split()
    if builtin:
        assert issubclass(cls, getattr(__import__("builtins"), builtin[0]))


def test_messages_survive_whatever_the_builtin_does_to_them():
    """A KeyError would show the repr, an OSError its number."""
    for name in errors.__all__:
        cls = getattr(errors, name)
        if isinstance(cls, type) and issubclass(cls, EmloopError) and name != "MissingExtraError":
            assert "the message" == str(cls("the message"))
    assert "pip install 'emloop[plots]'" in str(errors.MissingExtraError("Pictures", "plots"))
