"""A small project whose training prints, logs and warns, and a screen that shows what a terminal would."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MODULE = '''
import logging
import time
import warnings
from pathlib import Path

import numpy as np

import emloop as el


class Data(el.BaseDataset):
    """Two streams of four numbers a batch."""

    def _configure_dataset(self, batches=6, **kwargs):
        self._batches = batches

    def train_stream(self):
        return [{"x": np.arange(4.0) + number} for number in range(self._batches)]

    def valid_stream(self):
        return self.train_stream()[:2]


class Model(el.AbstractModel):
    """Counts its steps; its loss falls with them, and rises again after 20."""

    input_names = ("x",)
    output_names = ("loss", "accuracy")

    def __init__(self, dataset, log_dir, restore_from=None, *, pause=0.0, talks=False, variables=0):
        self._steps, self._pause, self._talks, self._variables = 0, pause, talks, variables

    def model_facts(self):
        return ["toy 1.0", "1 parameter"]

    def run(self, batch, train, stream=None):
        if train:
            self._steps += 1
            time.sleep(self._pause)
            if self._talks and self._steps == 2:
                print("printed by the model")
                logging.getLogger("mine").info("a record of mine")
                warnings.warn("data of yesterday", stacklevel=1)
        loss = np.full(4, (self._steps - 20.0) ** 2 + 0.125)
        more = {f"variable_{number}": loss * 10.0**number for number in range(self._variables)}
        return {"loss": loss, "accuracy": loss / 1000, **more}

    def save(self, name_suffix):
        return "nowhere"

    def state_dict(self):
        return {"steps": self._steps}

    def load_state_dict(self, state):
        self._steps = state["steps"]
'''

CONFIG = """\
dataset:
  class: toy.Data
model:
  name: toy
  class: toy.Model
hooks:
  - ComputeStats: {variables: [loss, accuracy]}
  - LogVariables
  - SaveBest
main_loop: {seed: 7, extra_streams: [valid], epochs_count: 5, skip_zeroth_epoch: true}
"""


@dataclass
class Screen:
    """What a terminal shows: carriage returns, line ends, erased lines; everything else that is no letter is an error.

    Args:
        columns: Its width; longer lines go on in the next one, as terminals do it.
    """

    columns: int
    lines: list[list[str]] = field(default_factory=lambda: [[]])
    column: int = 0
    wrapped: int = 0

    def feed(self, text: str) -> None:
        for escape, character in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z])|([\s\S])", text):
            if escape:
                assert escape[-1] in "mK", repr(escape)
                if escape[-1] == "K":
                    self.lines[-1] = [] if escape == "\x1b[2K" else self.lines[-1][: self.column]
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self._next()
            else:
                assert character.isprintable() or character == "\t", repr(character)
                if self.column == self.columns:
                    self.wrapped += 1
                    self._next()
                line = self.lines[-1]
                line += [" "] * (self.column - len(line))
                line[self.column : self.column + 1] = [character]
                self.column += 1

    def _next(self) -> None:
        self.lines.append([])
        self.column = 0

    @property
    def text(self) -> str:
        return "\n".join("".join(line).rstrip() for line in self.lines).rstrip()


@dataclass
class Terminal:
    """A command at a real pseudo-terminal."""

    path: Path
    columns: int = 80
    raw: str = ""

    def run(self, *arguments: str, expect: int = 0, interrupt_at: str | None = None, **env: str) -> str:
        """Run ``emloop``; return what the screen shows in the end.

        Args:
            arguments: The words after ``emloop``.
            expect: The exit code.
            interrupt_at: What to wait for before ^C is typed.
            env: Variables of the environment.
        """
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, self.columns, 0, 0))
        inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
        process = subprocess.Popen(
            [sys.executable, "-m", "emloop", *arguments],
            cwd=self.path,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**inherited, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **env},
        )
        os.close(follower)
        said = bytearray()
        while select.select([leader], [], [], 120)[0]:
            try:
                said += os.read(leader, 1 << 16)
            except OSError:  # how a terminal says that nobody is there any more
                break
            if interrupt_at is not None and interrupt_at in re.sub(
                r"\x1b\[[0-9;]*m", "", said.decode(errors="replace")
            ):
                process.send_signal(signal.SIGINT)
                interrupt_at = None
        code = process.wait(timeout=60)
        os.close(leader)
        self.raw = said.decode()
        screen = Screen(self.columns)
        screen.feed(self.raw)
        assert code == expect, screen.text
        return screen.text


@pytest.fixture
def toy(tmp_path):
    """The directory of the project."""
    (tmp_path / "toy.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.fixture
def terminal(toy):
    """A terminal of 80 columns in the directory of the project."""
    return Terminal(toy)
