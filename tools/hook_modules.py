# ruff: noqa: INP001 -- for `make generated`
"""Write where each built-in hook lives, so that naming one imports no other.

``make generated`` puts what this prints into ``src/emloop/hooks/_modules.py``; a test compares the two.
"""

from __future__ import annotations

import ast
from pathlib import Path

HOOKS = Path(__file__).parents[1] / "src" / "emloop" / "hooks"


def page() -> str:
    """The whole module."""
    found = {name: path.stem for path in HOOKS.glob("[!_]*.py") for name in public_classes(path)}
    rows = "".join(f'    "{name}": "{found[name]}",\n' for name in sorted(found))
    return (
        '"""Every public class of this room → the module that holds it; written by ``make generated``."""\n\n'
        f"MODULES = {{\n{rows}}}\n"
    )


def public_classes(path: Path) -> list[str]:
    """The classes that a module lists in ``__all__``; only they begin with a capital letter."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if name[0].isupper()]
    raise SystemExit(f"tools/hook_modules.py: {path} has no __all__")
