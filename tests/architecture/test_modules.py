"""What holds for every module."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from emloop.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
MAY_PRINT = {"emloop.cli", "emloop.entry_point"}
MAY_HANDLE_LOGS = {"emloop.cli", "emloop.entry_point", "emloop._run_dir"}
ROOT_LOGGER = {"debug", "info", "warning", "error", "exception", "critical", "log", "basicConfig", "root"}


def calls(module):
    """Line and dotted name of every call."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def test_a_module_says_what_it_is_for(module):
    """The first thing in a file is a docstring whose first line is a sentence."""
    docstring = ast.get_docstring(module.tree)

    assert docstring, f"{module.path} has no header"
    assert docstring.splitlines()[0].rstrip().endswith((".", ":")), docstring.splitlines()[0]


def test_a_module_fits_into_a_head(module):
    """No file is longer than 400 lines."""
    assert len(module.text.splitlines()) <= 400


def test_a_public_module_lists_its_names_and_has_them(module):
    """``__all__`` holds what may be relied upon, and every name in it is there."""
    if not module.is_public or module.name == "emloop.constants":
        return
    try:
        imported = importlib.import_module(module.name)
    except MissingExtraError as missing:
        pytest.skip(str(missing))

    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []


@pytest.mark.parametrize("package", ["emloop", "emloop.hooks", "emloop.datasets", "emloop.models", "emloop.utils"])
def test_everything_public_comes_with_a_star_import(package):
    """``from emloop import *`` works and brings no more than it says."""
    namespace: dict[str, object] = {}
    exec(f"from {package} import *", namespace)

    assert set(importlib.import_module(package).__all__) == set(namespace) - {"__builtins__"}


def test_only_the_command_line_prints(module):
    """A library talks through its loggers."""
    if module.room in MAY_PRINT:
        return
    assert [module.where(line) for line, name, _ in calls(module) if name == "print"] == []


def test_nobody_uses_the_root_logger(module):
    """Records carry the name of the module they come from."""
    found = [
        module.where(line)
        for line, name, call in calls(module)
        if name in {f"logging.{method}" for method in ROOT_LOGGER}
        or (name == "logging.getLogger" and not call.args and module.room not in MAY_HANDLE_LOGS)
    ]

    assert found == []


def test_only_the_command_line_and_a_run_s_own_log_attach_handlers(module):
    """A program that uses emloop as a library keeps its logging as it is."""
    if module.room in MAY_HANDLE_LOGS:
        return
    found = [module.where(line) for line, name, _ in calls(module) if name.endswith(("addHandler", "removeHandler"))]

    assert found == []


def test_importing_a_module_changes_nothing_outside_of_it(module):
    """Signals, the import path and the environment are touched by calls, never by an import."""
    touching = ("signal.signal", "sys.path", "os.environ", "os.putenv", "logging.config", "warnings.filterwarnings")
    found = [
        module.where(statement.lineno)
        for statement in module.tree.body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in touching
    ]

    assert found == []


def test_an_expectation_is_never_asserted(module):
    """``python -O`` removes assertions, so none may guard against bad input."""
    if module.room == "emloop.testing":
        return
    assert [module.where(node.lineno) for node in ast.walk(module.tree) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("folder", ["src", "tests", "examples"])
def test_nobody_waits_by_sleeping(folder):
    """What has to be waited for is waited for by name, not by the clock."""
    sleeping = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep")
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and "sleep" in {a.name for a in node.names})
    ]

    assert sleeping == []
