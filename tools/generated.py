# ruff: noqa: INP001, T201 -- a program by itself
"""Rewrite the tables and pages that are made from the code; ``make generated`` runs it.

``python tools/generated.py FILE`` prints what the file should hold instead.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = {
    "src/emloop/hooks/_modules.py": "hook_modules",
    "src/emloop/_config/builtin.json": "builtin_table",
    "docs/reference/hooks.md": "hooks_reference",
    "docs/reference/datasets.md": "hooks_reference.ready_datasets",
    "docs/reference/command-line.md": "command_line",
    "docs/reference/main-loop.md": "settings_tables.main_loop",
    "docs/reference/pytorch.md": "settings_tables.pytorch",
    "docs/reference/jax.md": "settings_tables.jax",
    "docs/reference/tensorflow.md": "settings_tables.tensorflow",
    "docs/how-to/migrate-from-0.2.md": "moved_names",
    "docs/explanation/ten-mistakes.md": "ten_mistakes",
}
"""File → the module beside this one that makes it, by `page` or the function named; what others need comes first."""


def main(files: list[str]) -> int:
    """Print the files that are named, or rewrite all."""
    for file in files or GENERATED:
        module, _, function = GENERATED[file].partition(".")
        made = getattr(importlib.import_module(module), function or "page")()
        if files:
            sys.stdout.write(made)
        elif (ROOT / file).read_text(encoding="utf-8") != made:
            (ROOT / file).write_text(made, encoding="utf-8")
            print(f"rewrote {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
