"""Objects found and created by name."""

from __future__ import annotations

import logging
import sys

import pytest

from emloop.utils import reflection
from emloop.utils.reflection import (
    create_object,
    find_class_module,
    get_attribute,
    get_class_module,
    list_submodules,
    parse_fully_qualified_name,
)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A package whose modules share, define twice, and fail."""
    package = tmp_path / "zoo_of_modules"
    package.mkdir()
    (package / "__init__.py").write_text("class Keeper: ...\n")
    (package / "aviary.py").write_text("from .birds import Penguin\nclass Twice: ...\n")
    (package / "birds.py").write_text(
        "class Penguin:\n    def __init__(self, *args, **kwargs):\n        self.given = args, kwargs\n"
    )
    (package / "mammals.py").write_text("class Twice: ...\n")
    (package / "unfinished.py").write_text("raise OSError('no cage')\n")
    (package / "inner").mkdir()
    (package / "inner" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield package.name
    for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("a.b.C", ("a.b", "C")), ("a.C", ("a", "C")), ("C", (None, "C")), ("", (None, ""))],
)
def test_a_full_name_is_split_at_its_last_dot(name, parts):
    """Module and attribute come apart; without a module there is ``None``."""
    assert parts == parse_fully_qualified_name(name)


def test_an_object_is_created_with_its_arguments(zoo):
    """Positional and keyword arguments reach the constructor; both may be left out."""
    assert create_object(f"{zoo}.birds", "Penguin", (1,), {"name": "Pingu"}).given == ((1,), {"name": "Pingu"})
    assert create_object(f"{zoo}.birds", "Penguin").given == ((), {})


@pytest.mark.parametrize(
    ("module", "attribute", "error", "message"),
    [
        pytest.param("no_such_module", "X", ImportError, "No module named 'no_such_module'", id="module"),
        pytest.param("emloop", "NoSuchName", AttributeError, "'emloop' has no attribute 'NoSuchName'", id="attribute"),
        pytest.param(1, "X", TypeError, "module_name: expected a string, got 1", id="module-no-string"),
        pytest.param("emloop", None, TypeError, "attribute_name: expected a string, got None", id="name-no-string"),
    ],
)
def test_what_cannot_be_found_is_named(module, attribute, error, message):
    """Each failure is the exception that a Python programmer expects, and names what was looked for."""
    with pytest.raises(error, match=message):
        get_attribute(module, attribute)


def test_submodules_are_listed_without_descending(zoo):
    """Full names of direct submodules; a plain module has none."""
    assert list_submodules(zoo) == [f"{zoo}.{name}" for name in ("aviary", "birds", "inner", "mammals", "unfinished")]
    assert list_submodules("emloop.types") == []


def test_a_broken_submodule_is_reported_and_the_others_are_searched(zoo):
    """A module that cannot be imported does not hide what the others hold."""
    found, broken = find_class_module(zoo, "Penguin")

    assert [f"{zoo}.aviary", f"{zoo}.birds"] == found
    assert [(f"{zoo}.unfinished", "no cage")] == [(module, str(error)) for module, error in broken]


def test_a_shared_class_is_found_where_it_was_defined(zoo, caplog):
    """Of several modules with the same object the defining one is returned, and a broken one is warned about."""
    with caplog.at_level(logging.WARNING):
        assert get_class_module(zoo, "Penguin") == f"{zoo}.birds"
    assert caplog.messages == [f"{zoo}.unfinished cannot be imported and was not searched for Penguin: no cage"]


def test_different_objects_of_one_name_are_an_error_that_lists_their_modules(zoo):
    """The ambiguity is not resolved by chance."""
    with pytest.raises(ValueError, match=rf"Twice is ambiguous: {zoo}\.aviary, {zoo}\.mammals hold different objects"):
        get_class_module(zoo, "Twice")


def test_a_name_that_no_submodule_has_is_none(zoo):
    """Names of the package itself do not count."""
    assert get_class_module(zoo, "Keeper") is None


def test_every_hook_is_found_in_the_module_that_the_reference_names():
    """Programs that look a built-in hook up find it where the reference documentation puts it."""
    assert get_class_module("emloop.hooks", "LogProfile") == "emloop.hooks.log_profile"


def test_the_reference_s_shared_empty_mapping_cannot_be_changed():
    """A default argument that everybody shares stays empty."""
    with pytest.raises(TypeError):
        reflection._EMPTY_DICT["x"] = 1
