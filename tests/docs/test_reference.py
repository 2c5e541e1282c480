"""The reference says what the code says."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

import emloop
from emloop import constants, errors

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def test_the_tree_of_errors_is_the_one_in_the_code():
    """Every error with its built-in base stands in the page as in the module."""
    tree = re.search(r"EmloopError\n(?:    [├│└].*\n)+", errors.__doc__ or "")
    assert tree is not None

    assert re.sub("^    ", "", tree[0], flags=re.MULTILINE) in read("errors.md")


@pytest.mark.parametrize(
    ("file", "heading", "path"),
    [
        ("main-loop.md", "Arguments", "emloop.MainLoop"),
        ("main-loop.md", "Which commits are kept", "emloop.main_loop.Keep"),
        ("streams.md", "IndexStream", "emloop.datasets.IndexStream"),
        ("streams.md", "StreamWrapper", "emloop.datasets.StreamWrapper"),
    ],
)
def test_a_table_of_arguments_has_all_arguments_with_their_defaults(file, heading, path):
    """Nothing is left out, nothing is made up, and the defaults are those of the code."""
    module, _, name = path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    expected = {
        argument: "required" if parameter.default is parameter.empty else f"`{as_yaml(parameter.default)}`"
        for argument, parameter in inspect.signature(cls).parameters.items()
        if argument not in ("model", "dataset", "hooks", "kwargs")
    }

    assert expected == table_under(heading, read(file))


def test_every_public_name_is_described():
    """The names of the package, and its public modules, stand in the page."""
    text = read("python-api.md")
    modules = {
        path.stem for path in (ROOT / "src" / "emloop").iterdir() if path.name[0] not in "_." and path.stem != "py"
    }
    entered = {
        "cli",
        "entry_point",
        "api",
        "main_loop",
        "py",
    }  # commands, and homes of names that are at the top as well

    assert [name for name in emloop.__all__ if f"`{name}" not in text] == []
    assert [name for name in sorted(modules - entered) if f"`emloop.{name}`" not in text] == []


def test_every_file_of_a_run_is_described():
    """What the core writes under a fixed name stands in the page."""
    names = {getattr(constants, name) for name in dir(constants) if name.startswith("EL_") and name.endswith("_FILE")}

    assert [name for name in sorted(names) if f"`{name}`" not in read("run-directory.md")] == []


def table_under(heading: str, text: str) -> dict[str, str]:
    section = re.split(r"^##+ ", text.split(f"# {heading}\n", 1)[1], flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| [^|]+ \|$", section, flags=re.MULTILINE)
    return {name: default.strip() for name, default in rows}


def as_yaml(value: object) -> str:
    words = {"()": "[]", "None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))
