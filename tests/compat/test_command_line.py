"""Rough edges of the command line of emloop 0.2 are gone; each test runs commands in a directory of its own."""

from __future__ import annotations

import os
import re
import sys

import pytest

MODULE = """
import logging


class Data:
    def __init__(self, config_str):
        self._text = config_str

    def train_stream(self):
        yield {"x": [1, 2]}

    def describe(self):
        logging.getLogger("parts").debug("about to tell")
        return self._text.splitlines()[-1]

    def silent(self):
        pass

    def broken(self):
        raise RuntimeError("no way")


class Model:
    input_names = ["x"]
    output_names = ["y"]

    def __init__(self, dataset, log_dir, restore_from=None):
        pass

    def run(self, batch, train):
        return {"y": batch["x"]}

    def save(self, name_suffix):
        return name_suffix

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""

CONFIG = """\
dataset: {class: parts.Data, size: 3}
model: {class: parts.Model, name: run}
hooks: []
main_loop: {epochs_count: 1}
"""


@pytest.fixture
def emloop(tmp_path, processes):
    """Run a command; what it wrote to both outputs, and its exit code."""
    (tmp_path / "parts.py").write_text(MODULE)
    (tmp_path / "config.yaml").write_text(CONFIG)

    def run(*arguments, expect=0):
        done = processes.run(
            # As the console script, which does not put its working directory first.
            [sys.executable, "-P", "-m", "emloop", *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout, done.stderr

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-o", "runs", "-v", "train", "config.yaml", "--output_dir", "a"], id="before-the-command"),
        pytest.param(["train", "config.yaml", "-o", "runs", "-v", "--output_dir", "a"], id="after-it"),
        pytest.param(["train", "-v", "--output_root", "runs", "config.yaml", "--output_dir", "a"], id="in-between"),
    ],
)
def test_common_options_work_wherever_they_stand(emloop, tmp_path, arguments):
    """Before the command they were parsed and ignored."""
    _, log = emloop(*arguments)

    assert (tmp_path / "runs" / "a" / "config.yaml").is_file()
    assert "Training started" in log.splitlines()  # a debug message


def test_lines_of_the_log_look_as_they_did(emloop, tmp_path):
    """In ``train.log``: moment, level, module, text; on the screen, there is nothing before what is said."""
    _, shown = emloop("train", "config.yaml", "--output_dir", "a")
    pattern = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}: INFO    @loop        : Training epoch 1$"

    assert not re.search(r"^\d{4}-|INFO", shown, flags=re.MULTILINE)
    assert re.search(pattern, (tmp_path / "log" / "a" / "train.log").read_text(), flags=re.MULTILINE)


def test_an_override_behind_the_run_is_no_path_to_restore_from(emloop, tmp_path):
    """``resume RUN a=b``."""
    emloop("train", "config.yaml", "--output_dir", "a")
    emloop("resume", "log/a", "main_loop.epochs_count=2")

    assert "epochs_done: 2" in (tmp_path / "log" / "a" / "trace.yaml").read_text()


@pytest.mark.parametrize("name", ["random", "json", "yaml", "numpy"])
def test_a_file_in_the_working_directory_takes_no_modules_place(emloop, tmp_path, name):
    """It is searched last, so that a ``random.py`` of one's own breaks nothing."""
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported by mistake')")

    emloop("train", "config.yaml", "--output_dir", "a")


def test_a_method_of_the_dataset_prints_what_it_returns(emloop, tmp_path):
    """And makes no directory; ``None`` is nothing to print; a failure is exit code 1."""
    assert emloop("dataset", "describe", "config.yaml")[0] == "size: 3\n"
    assert emloop("dataset", "describe", "config.yaml", "dataset.size=4")[0] == "size: 4\n"
    assert emloop("dataset", "silent", "config.yaml")[0] == ""
    _, log = emloop("dataset", "broken", "config.yaml", expect=1)

    assert "RuntimeError: no way" in log
    assert not (tmp_path / "log").exists()


def test_without_a_command_there_is_help_and_an_exit_code(emloop):
    """0.2 ended with 1, as if something had failed."""
    out, err = emloop(expect=2)

    assert "usage: emloop" in out + err
    assert emloop("--version")[0].startswith("emloop ")
