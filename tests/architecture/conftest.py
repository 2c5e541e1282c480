"""Every module under ``src``, parsed once for all rules."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Import:
    """One name that a module brings in.

    Args:
        line: Line of the statement.
        target: Full name of the imported module, or of the name imported from it.
        relative: Spelled with leading dots.
        eager: Done when the module is imported: not in a function, not for the type checker alone.
    """

    line: int
    target: str
    relative: bool
    eager: bool

    @property
    def room(self) -> str:
        """The room of the target."""
        return room_of(self.target)


@dataclass(frozen=True)
class Module:
    """One of our source files."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """Every call, with the dotted name of what is called."""
        return [(ast.unparse(node.func), node) for node in ast.walk(self.tree) if isinstance(node, ast.Call)]

    @cached_property
    def docstrings(self) -> list[ast.Constant]:
        """The docstrings of the module and of all that is in it, and the texts below its constants."""
        bodies = [body for node in ast.walk(self.tree) if isinstance(body := getattr(node, "body", None), list)]
        statements = [statement.value for body in bodies for statement in body if isinstance(statement, ast.Expr)]
        return [value for value in statements if isinstance(value, ast.Constant) and isinstance(value.value, str)]

    @property
    def texts(self) -> list[ast.Constant]:
        """The strings of the code, docstrings left out."""
        docstrings = {id(text) for text in self.docstrings}
        return [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ]

    @cached_property
    def code_lines(self) -> int:
        """The number of lines that are neither blank, nor comment, nor docstring."""
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
        for text in self.docstrings:
            lines.difference_update(range(text.lineno, text.end_lineno + 1))
        return len(lines)

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))

    @property
    def room(self) -> str:
        """``emloop.hooks`` for everything inside it; ``emloop`` for the package's own names."""
        return room_of(self.name)

    def where(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"

    @cached_property
    def imports(self) -> list[Import]:
        """All imports, wherever they stand, lazily resolved names included."""
        return [*self._imports(self.tree, eager=True), *self._lazy_imports()]

    def _imports(self, node: ast.AST, *, eager: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(child.lineno, alias.name, relative=False, eager=eager)
            elif isinstance(child, ast.ImportFrom):
                source = self._absolute(child.level, child.module or "")
                for alias in child.names:
                    yield Import(child.lineno, f"{source}.{alias.name}", relative=child.level > 0, eager=eager)
            else:
                deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_type_checkers(child)
                yield from self._imports(child, eager=eager and not deferred)

    def _lazy_imports(self) -> Iterator[Import]:
        for call in ast.walk(self.tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "lazy_names":
                yield from (home for node in ast.walk(call) if (home := self._home(node)))

    def _home(self, node: ast.AST) -> Import | None:
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return None
        path = re.fullmatch(r"(\.*)(\w+(?:\.\w+)*)", node.value)
        if path is None or not (path[1] or path[2].startswith("emloop.")):
            return None
        return Import(node.lineno, self._absolute(len(path[1]), path[2]), relative=bool(path[1]), eager=False)

    def _absolute(self, level: int, name: str) -> str:
        if not level:
            return name
        parts = self.name.split(".")
        package = parts if self.path.name == "__init__.py" else parts[:-1]
        return ".".join([*package[: len(package) - level + 1], *([name] if name else [])])


def room_of(name: str) -> str:
    """The room of a full name: its first two parts; in a backend, its folder, or else the package."""
    package, *inner = name.split(".")
    if package != "emloop" and not (inner and (ROOT / "src" / package / inner[0]).is_dir()):
        return package
    return ".".join([package, *inner[:1]])


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def all_modules() -> list[Module]:
    source = ROOT / "src"
    names = {path: ".".join(path.relative_to(source).with_suffix("").parts) for path in sorted(source.rglob("*.py"))}
    return [Module(name.removesuffix(".__init__"), path) for path, name in names.items()]


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """All of our modules, parsed once."""
    return all_modules()


@pytest.fixture
def parse(tmp_path):
    """Parse a text as the module of that full name."""

    def parse(name: str, text: str) -> Module:
        path = tmp_path / "module.py"
        path.write_text(text, encoding="utf-8")
        return Module(name, path)

    return parse
