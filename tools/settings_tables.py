# ruff: noqa: INP001 -- for `make generated`
"""Bring the tables of settings in the reference up to date; the text around them is written by hand.

The first table of a page that begins ``| key |`` or ``| argument |`` is made from the class that declares the settings:
names and defaults from its fields or its constructor, meanings from its docstring. No framework is imported.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from hooks_reference import NOT_FOR_CONFIGS, as_yaml, markdown, split

from emloop._config.check import new_library
from emloop._config.defaults import default_of
from emloop._settings.signatures import parameters_of
from emloop._source.ancestry import Ancestry
from emloop._source.library import ClassSource

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
TABLE = re.compile(r"(\| (?:key|argument) \| default \| .* \|\n\|.*\n)(?:\|.*\n)+")


def main_loop() -> str:
    """The reference of the main loop."""
    return page("main-loop.md", "emloop.main_loop.loop", "MainLoop")


def pytorch() -> str:
    """The reference of PyTorch."""
    return page("pytorch.md", "emloop_torch._settings", "Settings")


def jax() -> str:
    """The reference of JAX."""
    return page("jax.md", "emloop_jax._settings", "Settings")


def tensorflow() -> str:
    """The reference of TensorFlow."""
    return page("tensorflow.md", "emloop_tensorflow._settings", "Settings")


def page(name: str, module: str, cls: str) -> str:
    """A whole page, with the table of the settings that a class declares."""
    library = new_library()
    source = library.lookup(library.module(module), cls)
    parameters = parameters_of(Ancestry(library, source)) if isinstance(source, ClassSource) else None
    if parameters is None:
        raise SystemExit(f"tools/settings_tables.py: {module}.{cls} cannot be read")
    body = ast.parse(Path(library.finder.find(module).file).read_text(encoding="utf-8")).body
    node = next(node for node in body if isinstance(node, ast.ClassDef) and node.name == cls)
    meanings = split(ast.get_docstring(node) or "")[1]
    rows = ""
    for argument, parameter in parameters[0].items():
        if argument not in {*NOT_FOR_CONFIGS, "hooks"}:
            default = default_of(library, parameter)
            written = "required" if default is None else f"`{as_yaml(default[0])}`"
            rows += f"| `{argument}` | {written} | {markdown(meanings[argument]).replace('|', '&#124;')} |\n"
    return TABLE.sub(lambda found: found[1] + rows, (REFERENCE / name).read_text(encoding="utf-8"), count=1)
