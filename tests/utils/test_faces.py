"""The names of the reference documentation at the paths it names them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import emloop.utils

NAMES = {
    "config": ("load_config", "parse_arg"),
    "confusion_matrix": ("confusion_matrix",),
    "download": ("maybe_download_and_extract",),
    "misc": ("CaughtInterrupts", "DisabledLogger", "DisabledPrint", "ReleasedSemaphore"),
    "names": ("get_random_name",),
    "profile": ("Timer",),
    "reflection": (
        "create_object",
        "find_class_module",
        "get_attribute",
        "get_class_module",
        "list_submodules",
        "parse_fully_qualified_name",
    ),
    "yaml": ("load_yaml", "yaml_to_file", "yaml_to_str"),
}


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_a_name_is_the_same_object_at_both_of_its_paths(module, name):
    """Code written for ``emloop.utils`` and for ``emloop.utils.<module>`` sees one object."""
    home = importlib.import_module(f"emloop.utils.{module}")

    assert getattr(home, name) is getattr(emloop.utils, name)


def test_a_star_import_brings_exactly_the_documented_names():
    """``from emloop.utils import *`` works and leaks nothing."""
    namespace: dict[str, object] = {}
    exec("from emloop.utils import *", namespace)

    assert {name for names in NAMES.values() for name in names} == set(namespace) - {"__builtins__"}


@pytest.mark.parametrize(
    "imports",
    [
        pytest.param("import emloop.utils", id="attribute-first"),
        pytest.param("from emloop.utils.confusion_matrix import confusion_matrix", id="module-first"),
        pytest.param("from emloop.utils import confusion_matrix", id="function-first"),
        pytest.param("import emloop.utils.confusion_matrix", id="module-by-its-path"),
    ],
)
def test_confusion_matrix_is_a_function_however_it_was_imported(imports):
    """``emloop.utils.confusion_matrix`` stays the function, and the module of that name can be imported from."""
    code = f"""
{imports}
import emloop.utils, types
from emloop.utils.confusion_matrix import confusion_matrix as from_module
assert isinstance(emloop.utils.confusion_matrix, types.FunctionType), emloop.utils.confusion_matrix
assert emloop.utils.confusion_matrix is from_module
print("function")
"""
    assert run_python(code) == "function\n"


def test_importing_the_package_loads_none_of_its_modules():
    """``import emloop.utils`` is as light as ``import emloop``."""
    code = (
        "import sys, emloop.utils; print([name for name in sys.modules if name.startswith(('emloop.utils.', 'numpy'))])"
    )

    assert run_python(code) == "[]\n"


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not there is reported like that of any module."""
    with pytest.raises(AttributeError, match=r"module 'emloop\.utils' has no attribute 'load_yml'"):
        emloop.utils.load_yml  # noqa: B018 -- the access is what is tested
