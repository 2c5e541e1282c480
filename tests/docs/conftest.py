"""Pages that run: every file, script, command and configuration that the documentation shows is tried.

A page is executed from top to bottom in one temporary directory that also holds ``examples/``, as a reader in the
checkout would have it, and the files of ``given/``: classes for pages that are about something else. What a fenced
block does follows from the first words after its fence:

``yaml title=NAME``, ``python title=NAME``, ``text title=NAME``
    is written to a file of that name.
``yaml``
    is part of a configuration: laid over the last ``title=….yaml`` of the page, it survives a dry run of one batch. A
    section that names another class takes the place of the one there.
``python``
    is run; what it prints can be shown in a block ``text output``.
``console``
    holds commands after ``$``, each followed by lines that its output contains, in that order. ``…`` stands for any
    text, and a line ``^C`` interrupts the command once the lines before it have been seen. With ``exit=N`` the last
    command ends with that status, otherwise every command succeeds.
``sh``, ``text``, ``json``
    is shown and not run: commands that change the reader's machine, and pictures.

``needs=PACKAGE`` at any of them skips the test where the package is not installed; but what stands before is tried, and
after a part of a configuration, which stands for itself, also what comes after.
Blocks inside HTML comments count too: they set up what a page takes for granted.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emloop.utils import load_yaml, yaml_to_file

from ..processes import EMLOOP, without_shell

ROOT = Path(__file__).parents[2]
TIMEOUT = 180
SHOWN_ONLY = {"sh", "text", "json"}
DEAR = {"docs/how-to/start-a-project.md", "docs/how-to/train-on-many-processes.md", "examples/digits/README.md"}
"""Pages that take long for what other tests run as well: tried by `make torture` only."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        line: Of the opening fence.
        language: First word after the fence.
        options: The other words: ``title=x`` gives ``{"title": "x"}``, a bare word stands for itself.
        text: What is inside.
    """

    line: int
    language: str
    options: dict[str, str]
    text: str


@dataclass
class Page:
    """A Markdown file, the directory in which it runs, and what starts its commands."""

    path: Path
    directory: Path
    processes: Any
    output: str = field(default="", init=False)
    config: str | None = field(default=None, init=False)

    def run(self) -> None:
        """Do what every block says."""
        missing = []
        for block in blocks_of(self.path.read_text(encoding="utf-8")):
            where = f"{self.path.name}:{block.line}"
            needed = block.options.get("needs")
            if needed is not None and importlib.util.find_spec(needed) is None:
                missing.append(f"{where} needs {needed}")
                if block.language == "yaml" and "title" not in block.options:
                    continue
                break
            if "title" in block.options:
                self._write(block)
            elif block.language == "yaml":
                self._try_fragment(block, where)
            elif block.language == "python":
                self.output = self._run([sys.executable, "-c", block.text], where, status=0)
            elif block.language == "console":
                self._run_console(block, where)
            elif block.language == "text" and "output" in block.options:
                unseen = first_missing(block.text.splitlines(), self.output)
                assert unseen is None, f"{where}: {unseen!r} is not in the output:\n{self.output}"
            else:
                assert block.language in SHOWN_ONLY, f"{where}: no rule for a block of {block.language!r}"
        if missing:
            pytest.skip(f"{', '.join(missing)}, which is not installed")

    def _write(self, block: Block) -> None:
        name = block.options["title"]
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
        if name.endswith(".yaml"):
            self.config = name

    def _try_fragment(self, block: Block, where: str) -> None:
        assert self.config, f"{where}: a configuration's part needs a page with a whole one (title=config.yaml)"
        part = self.directory / ".part.yaml"
        part.write_text(block.text, encoding="utf-8")
        whole = merged(load_yaml(self.directory / self.config), load_yaml(part))
        yaml_to_file(whole, self.directory, part.name)
        self._run([*EMLOOP, "train", part.name, "--dry-run", "1"], where, status=0)

    def _run_console(self, block: Block, where: str) -> None:
        commands = list(commands_of(block.text))
        assert commands, f"{where}: a console block without a command"
        for number, (command, expected) in enumerate(commands, start=1):
            status = int(block.options.get("exit", "0")) if number == len(commands) else 0
            self.output = self._run(without_shell(command), f"{where}: {command}", status, expected)

    def _run(self, arguments: list[str], where: str, status: int, expected: list[str] | None = None) -> str:
        process = self.processes.Popen(
            arguments,
            cwd=self.directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        killer = threading.Timer(TIMEOUT, os.killpg, [process.pid, signal.SIGKILL])
        killer.start()
        try:
            missing, output = watch(process, list(expected or ()))
            returned = process.wait()
        finally:
            killer.cancel()
            process.stdout.close()
        assert missing is None, f"{where}: {missing!r} is not in the output, in this order:\n{output}"
        assert returned == status, f"{where}: ended with {returned} instead of {status}:\n{output}"
        return output


def merged(base: object, part: object) -> object:
    """A configuration with a part of one laid over it: mappings merge, unless of another class; all else replaces."""
    if not (isinstance(base, dict) and isinstance(part, dict)) or part.get("class", base.get("class")) != base.get(
        "class"
    ):
        return part
    return {**base, **{key: merged(base.get(key), value) for key, value in part.items()}}


def environment() -> dict[str, str]:
    """The caller's, with this interpreter's programs and this checkout first; nothing changes what they print."""
    programs = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    path = f"{programs}{os.pathsep}{kept.get('PATH', '')}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return {**kept, **own, "COLUMNS": "100", "NO_COLOR": "1"}


def watch(process: subprocess.Popen[str], expected: list[str]) -> tuple[str | None, str]:
    """Read a process's output to its end; the first expected line that did not come, and all that came."""
    lines: list[str] = []
    while True:
        while expected and expected[0] == "^C":
            os.killpg(process.pid, signal.SIGINT)
            expected.pop(0)
        line = process.stdout.readline()
        if not line:
            return (expected[0] if expected else None), "".join(lines)
        lines.append(line)
        if expected and matches(expected[0], line):
            expected.pop(0)


def first_missing(expected: list[str], output: str) -> str | None:
    """The first of some lines that does not follow the ones before it."""
    left = [line for line in expected if line.strip()]
    for line in output.splitlines():
        if left and matches(left[0], line):
            left.pop(0)
    return left[0] if left else None


def matches(expected: str, line: str) -> bool:
    """Whether a line contains what is expected of it, however it is spaced."""
    pattern = ".*".join(re.escape(_squeeze(part)) for part in expected.split("…"))
    return re.search(pattern, _squeeze(line)) is not None


def _squeeze(line: str) -> str:
    return " ".join(line.split())


def blocks_of(markdown: str) -> Iterator[Block]:
    """The fenced blocks of a page, those in comments included."""
    lines = enumerate(markdown.splitlines(), start=1)
    for number, line in lines:
        fence = re.match(r"(`{3,})(.*)$", line)
        if fence is None:
            continue
        body: list[str] = []
        for _, inner in lines:
            if inner.rstrip() == fence[1]:
                break
            body.append(inner + "\n")
        else:
            raise ValueError(f"line {number}: a block is not closed")
        words = fence[2].split()
        assert words, f"line {number}: a block without a language"
        options = {key: value for key, _, value in (word.partition("=") for word in words[1:])}
        yield Block(number, words[0], options, "".join(body))


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every command of a console block with the lines expected of it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, rest = re.sub(r"\\\n", " ", part).partition("\n")
        yield command, [line for line in rest.splitlines() if line.strip() and line.strip() != "…"]


PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]


@pytest.fixture
def run_page(tmp_path, processes):
    """Run a page in a fresh directory beside a copy of the examples."""

    def run(path: Path) -> Page:
        ignored = shutil.ignore_patterns("log", "__pycache__")
        shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=ignored)
        shutil.copytree(Path(__file__).parent / "given", tmp_path, ignore=ignored, dirs_exist_ok=True)
        page = Page(path, tmp_path, processes)
        page.run()
        return page

    return run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page" in metafunc.fixturenames:
        dear = DEAR if "run_page" in metafunc.fixturenames else set()
        pages = {str(path.relative_to(ROOT)): path for path in PAGES}
        marks = {name: [pytest.mark.torture] * (name in dear) for name in pages}
        metafunc.parametrize("page", [pytest.param(pages[name], marks=marks[name], id=name) for name in pages])
