# ruff: noqa: INP001 -- for people, and a test
"""Record a day with emloop as it looks on a terminal of 80 columns.

    python tools/session.py

writes it into README.md as text, and as a picture into docs/session.svg. Every command runs in a pseudo-terminal of its
own, whose screen pyte keeps. A test records it again, and compares the two but for numbers.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "session.svg"
BEGIN, END = "<!-- session: made by tools/session.py -->\n```text\n", "```\n<!-- end of session -->\n"
COLUMNS, LINES = 80, 50
LIMIT = 300.0
"""Seconds that a command may take."""

FILES = {
    "points.csv": "points[0],points[1]\n0.1,0.2\n-0.5,0.7\n",
    "load.py": """import emloop

predictor = emloop.load("log/first")
print(predictor.predict({"points": [[0.1, 0.2]]})["predictions"])
""",
}
"""What else is in the project."""
_COLOURS = {"default": None, "brown": "yellow", "brightbrown": "bright_yellow"}
"""Those that pyte calls otherwise than rich."""


class Step(NamedTuple):
    """A line that is typed.

    Args:
        line: What is typed.
        until: How a line begins that has to be on the screen before the signal is sent.
        sent: The signal.
        status: How the command ends.
    """

    line: str
    until: str = ""
    sent: int = 0
    status: int = 0


SESSION = [
    Step("emloop new spirals --backend sklearn"),
    Step("cd spirals"),
    Step("emloop check config.yaml"),
    Step("emloop train config.yaml --output_dir first main_loop.epochs_count=50", r" +4 +\d", signal.SIGINT, 75),
    Step("emloop resume @ main_loop.epochs_count=12"),
    Step("emloop train config.yaml --output_dir second model.rate=0.01", r" +3 +\d", signal.SIGKILL, -signal.SIGKILL),
    Step("emloop ls"),
    Step("emloop show second"),
    Step("emloop diff first second", status=1),
    Step("emloop eval test first --output_dir tested"),
    Step("emloop predict first points.csv"),
    Step("cat load.py"),
    Step("python load.py"),
]


def record(directory: Path) -> list[Text]:
    """The whole session, line by line.

    Args:
        directory: Where the project is made.
    """
    shown = []
    for step in SESSION:
        shown.append(Text(f"$ {step.line}", "bold"))
        if not step.line.startswith("cd "):
            shown += typed(step, directory)
            continue
        directory /= step.line.removeprefix("cd ")
        for name, content in FILES.items():
            (directory / name).write_text(content)
    return shown


def typed(step: Step, directory: Path) -> Iterator[Text]:
    """What the terminal shows in the end of a command, line by line.

    Raises:
        RuntimeError: If it ends in another way than it should, or never shows what is waited for.
    """
    screen = pyte.HistoryScreen(COLUMNS, LINES, history=10_000)
    status, has_seen = _run(step, directory, screen)
    rows = [*screen.history.top, *(screen.buffer[number] for number in range(LINES))]
    lines = [_drawn(row) for row in rows]
    if (status, has_seen) != (step.status, True):
        said = "\n".join(line.plain for line in lines).rstrip()
        raise RuntimeError(f"{step.line} ended with {status}, having said:\n{said}")
    while lines and not lines[-1].plain:
        lines.pop()
    yield from lines


def _run(step: Step, directory: Path, screen: Any) -> tuple[int, bool]:
    """Run a command; how it ended, and whether what was waited for was seen."""
    stream, waits = pyte.ByteStream(screen), bool(step.until)
    process, terminal = pty.fork()
    if not process:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        unwanted = ("COLUMNS", "LINES", "NO_COLOR")
        environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        os.chdir(directory)
        termios.tcsetwinsize(0, (LINES, COLUMNS))
        os.execvpe(  # noqa: S606 - of the terminal's own
            "/bin/sh",
            ["sh", "-c", f"exec {step.line}"],
            {**environment, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "PATH": path},
        )
    ends = time.monotonic() + LIMIT
    while select.select([terminal], [], [], max(ends - time.monotonic(), 0))[0]:
        try:
            stream.feed(os.read(terminal, 65536))
        except OSError:  # nobody holds the other end any more
            break
        if waits and any(re.match(step.until, line) for line in screen.display):
            waits = False
            if step.sent == signal.SIGINT:
                os.write(terminal, b"\x03")
            else:
                os.kill(process, step.sent)
    else:
        os.kill(process, signal.SIGKILL)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), not waits


def _drawn(row: Mapping[int, Any]) -> Text:
    """A row of the screen, with its colours."""
    text = Text()
    for cell in (row[column] for column in range(COLUMNS)):
        colour = _COLOURS.get(cell.fg, f"#{cell.fg}" if re.fullmatch("[0-9a-f]{6}", cell.fg) else cell.fg)
        text.append(cell.data, Style(color=colour, bold=cell.bold, italic=cell.italics, underline=cell.underscore))
    text.rstrip()
    return text


def plain(lines: Sequence[Text]) -> str:
    """The session as text, without the name of this machine."""
    return "".join(f"{line.plain}\n" for line in lines).replace(socket.gethostname(), "laptop")


def picture(lines: Sequence[Text]) -> str:
    """The session as an SVG that needs nothing from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, soft_wrap=True)
    drawn = console.export_svg(title="emloop", unique_id="session").replace(socket.gethostname(), "laptop")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def main() -> None:
    """Write both."""
    with tempfile.TemporaryDirectory() as made:
        lines = record(Path(made))
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    readme.write_text(f"{before}{BEGIN}{plain(lines)}{END}{rest.partition(END)[2]}", encoding="utf-8")
    PICTURE.write_text(picture(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
