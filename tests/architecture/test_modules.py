"""What holds for every module."""

from __future__ import annotations

import ast
import contextlib
import importlib
from pathlib import Path

import pytest

from emloop.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
MAY_PRINT = {"emloop.cli", "emloop.entry_point"}
MAY_HANDLE_LOGS = {"emloop.cli", "emloop.entry_point", "emloop._reporter", "emloop._run_dir"}
ROOT_LOGGER = {"debug", "info", "warning", "error", "exception", "critical", "log", "basicConfig", "root"}


def places(modules, nodes_of):
    """Where the nodes stand that a rule finds in each module."""
    return [module.where(node.lineno) for module in modules for node in nodes_of(module)]


def test_a_module_says_what_it_is_for(modules):
    """The first thing in a file is a docstring whose first line is a sentence."""
    first_lines = {module.name: (ast.get_docstring(module.tree) or "").partition("\n")[0] for module in modules}

    assert {name: line for name, line in first_lines.items() if not line.rstrip().endswith((".", ":"))} == {}


@pytest.mark.slow
def test_a_public_module_lists_its_names_and_has_them(modules):
    """``__all__`` holds what may be relied upon, and every name in it is there."""
    missing = []
    for module in modules:
        if module.is_public and module.name != "emloop.constants":
            # What lacks an extra is not there to be looked at.
            with contextlib.suppress(MissingExtraError):
                imported = importlib.import_module(module.name)
                listed = getattr(imported, "__all__", ["__all__"])
                missing += [f"{module.name}.{name}" for name in listed if not hasattr(imported, name)]

    assert missing == []


@pytest.mark.parametrize("package", ["emloop", "emloop.hooks", "emloop.datasets", "emloop.models", "emloop.utils"])
def test_everything_public_comes_with_a_star_import(package):
    """``from emloop import *`` works and brings no more than it says."""
    namespace: dict[str, object] = {}
    exec(f"from {package} import *", namespace)

    assert set(importlib.import_module(package).__all__) == set(namespace) - {"__builtins__"}


def test_only_the_command_line_prints(modules):
    """A library talks through its loggers."""

    def prints(module):
        return [call for name, call in module.calls if name == "print" and module.room not in MAY_PRINT]

    assert places(modules, prints) == []


def test_nobody_uses_the_root_logger(modules):
    """Records carry the name of the module they come from."""
    functions = {f"logging.{method}" for method in ROOT_LOGGER}

    def uses(module):
        return [
            call
            for name, call in module.calls
            if name in functions
            or (name == "logging.getLogger" and not call.args and module.room not in MAY_HANDLE_LOGS)
        ]

    assert places(modules, uses) == []


def test_only_the_command_line_and_a_run_s_own_log_attach_handlers(modules):
    """A program that uses emloop as a library keeps its logging as it is."""

    def attaches(module):
        names = ("addHandler", "removeHandler")
        return [call for name, call in module.calls if name.endswith(names) and module.room not in MAY_HANDLE_LOGS]

    assert places(modules, attaches) == []


def test_importing_a_module_changes_nothing_outside_of_it(modules):
    """Signals, the import path and the environment are touched by calls, never by an import."""
    touching = ("signal.signal", "sys.path", "os.environ", "os.putenv", "logging.config", "warnings.filterwarnings")

    def touches(module):
        return [
            node
            for statement in module.tree.body
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
            for node in ast.walk(statement)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in touching
        ]

    assert places(modules, touches) == []


def test_an_expectation_is_never_asserted(modules):
    """``python -O`` removes assertions, so none may guard against bad input."""

    def asserts(module):
        nodes = ast.walk(module.tree) if module.room != "emloop.testing" else ()
        return [node for node in nodes if isinstance(node, ast.Assert)]

    assert places(modules, asserts) == []


def test_nobody_waits_by_sleeping():
    """What has to be waited for is waited for by name, not by the clock."""
    files = [path for folder in ("src", "tests", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    sleeping = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, text in texts.items()
        if "sleep" in text
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep")
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and "sleep" in {a.name for a in node.names})
    ]

    assert sleeping == []
