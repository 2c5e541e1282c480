"""Commands that read data begin anew once, with texts hashed as in every other run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from emloop.entry_point import _repeatable

SCRIPT = "/venv/bin/emloop"


@pytest.fixture(autouse=True)
def _unwatched(monkeypatch):
    """Whatever measures the tests is not asked."""
    monkeypatch.setattr("emloop.entry_point._is_watched", lambda: False)
    monkeypatch.setattr(sys, "flags", sys.flags if sys.flags.hash_randomization else Flags())


class Flags:
    hash_randomization, ignore_environment = 1, 0


@pytest.mark.parametrize(
    ("argv", "original"),
    [
        pytest.param([SCRIPT, "train", "c.yaml"], ["python", SCRIPT, "train", "c.yaml"], id="script"),
        pytest.param(["__main__.py", "resume", "@"], ["python", "-m", "emloop", "resume", "@"], id="module"),
        pytest.param([SCRIPT, "-o", "d", "eval", "t", "@"], ["python", SCRIPT, "-o", "d", "eval", "t", "@"], id="root"),
        pytest.param(
            ["__main__.py", "train", "c"],
            ["python", "-X", "dev", "-W", "error", "-uP", "-m", "emloop", "train", "c"],
            id="options",
        ),
    ],
)  # fmt: skip
def test_train_resume_and_eval_begin_anew(argv, original):
    """With the interpreter's options and all words as they are."""
    assert [sys.executable, *original[1:]] == _repeatable(argv, original, {"PYTHONHASHSEED": ""})


@pytest.mark.parametrize(
    ("argv", "original", "environ"),
    [
        pytest.param([SCRIPT, "ls"], ["python", SCRIPT, "ls"], {}, id="reads-no-data"),
        pytest.param([SCRIPT, "check", "train"], ["python", SCRIPT, "check", "train"], {}, id="check"),
        pytest.param([SCRIPT, "-o", "train", "ls"], ["python", SCRIPT, "-o", "train", "ls"], {}, id="no-verb"),
        pytest.param([SCRIPT, "train", "--help"], ["python", SCRIPT, "train", "--help"], {}, id="help"),
        pytest.param([SCRIPT], ["python", SCRIPT], {}, id="nothing"),
        pytest.param([SCRIPT, "train"], ["python", SCRIPT, "train"], {"PYTHONHASHSEED": "random"}, id="asked-for"),
        pytest.param([SCRIPT, "train"], ["python", SCRIPT, "train"], {"PYTHONHASHSEED": "0"}, id="again"),
        pytest.param(["m", "train"], ["python", "-m", "pdb", "-m", "emloop", "train"], {}, id="debugger"),
        pytest.param(["m", "train"], ["python", "/bin/coverage", "run", "-m", "emloop", "train"], {}, id="coverage"),
        pytest.param([SCRIPT, "train"], ["python", "-m", "cProfile", SCRIPT, "train"], {}, id="profiler"),
        pytest.param(["emloop", "train"], ["python", "server.py"], {}, id="fork-of-a-server"),
        pytest.param(["-c", "train"], ["python", "-c", "from emloop…", "train"], {}, id="program"),
        pytest.param([SCRIPT, "train"], ["python", "-R", SCRIPT, "train"], {}, id="random-by-option"),
    ],
)  # fmt: skip
def test_nothing_else_does(argv, original, environ):
    """Neither where it would be in vain, nor where somebody else has started the process."""
    assert _repeatable(argv, original, environ) is None


def test_an_interpreter_that_ignores_its_environment_goes_on(monkeypatch):
    """``-E`` and ``-I``: the variable would have no effect, for ever."""
    monkeypatch.setattr(sys, "flags", type("Flags", (), {"hash_randomization": 1, "ignore_environment": 1}))

    assert _repeatable([SCRIPT, "train"], ["python", "-E", SCRIPT, "train"], {}) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "start", [["-m", "emloop"], ["-P", "-m", "emloop"], ["SCRIPT"]], ids=["module", "safe", "script"]
)
def test_a_vocabulary_from_a_set_has_one_order_in_every_process(tmp_path, start):
    """The run says so; the process is the same, its words and its exit code, too."""
    (tmp_path / "words_in_a_set.py").write_text(
        """
import os

import emloop as el

class Words(el.BaseDataset):
    def _configure_dataset(self, pid_file=None, **kwargs):
        index = {word: number for number, word in enumerate({f"word {n}" for n in range(50)})}
        self._x = [index[f"word {n}"] for n in range(50)]
        with open("pid", "w") as file:
            file.write(str(os.getpid()))

    def train_stream(self):
        yield {"x": self._x}

class Model(el.AbstractModel):
    input_names, output_names = ("x",), ("y",)

    def __init__(self, dataset, log_dir, restore_from=None): ...
    def run(self, batch, train, stream=None): return {"y": batch["x"]}
    def save(self, name_suffix): return name_suffix
    def state_dict(self): return {}
    def load_state_dict(self, state): ...
"""
    )
    (tmp_path / "config.yaml").write_text(
        "dataset: {class: words_in_a_set.Words}\nmodel: {name: m, class: words_in_a_set.Model}\n"
        "main_loop: {seed: 1, epochs_count: 1}\n"
    )
    script = tmp_path / "emloop"
    script.write_text("from emloop.entry_point import entry_point\nentry_point()\n")
    start = [str(script) if word == "SCRIPT" else word for word in start]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    firsts, pids = [], []
    for name in "ab":
        process = subprocess.Popen(
            [sys.executable, *start, "train", "config.yaml", "--output_dir", f"{name} b"], cwd=tmp_path, env=environ
        )
        assert process.wait(120) == 0
        pids.append(str(process.pid) == (tmp_path / "pid").read_text())
        firsts.append(json.loads((tmp_path / "log" / f"{name} b" / "data.json").read_text())["streams"]["train"])
    missing = subprocess.run([sys.executable, *start, "train", "gone.yaml"], cwd=tmp_path, env=environ, check=False)

    assert firsts[0] == firsts[1]
    assert pids == [True, True]
    assert json.loads((tmp_path / "log" / "a b" / "run.json").read_text())["hash_seed"] == "0"
    assert missing.returncode == 2


def test_a_reader_that_has_seen_enough_ends_a_command_in_silence():
    """With the exit code that a shell gives any other command."""
    emloop = subprocess.Popen(
        [sys.executable, "-m", "emloop", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert emloop.stdout is not None
    emloop.stdout.close()
    _, complaint = emloop.communicate()

    assert (emloop.returncode, complaint) == (128 + signal.SIGPIPE, "")


def test_a_file_where_one_stands_takes_the_place_of_no_module(tmp_path):
    """Neither of a dependency nor of the standard library, also with ``python -m``."""
    for name in ("json", "yaml", "argparse"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")

    done = subprocess.run(
        [sys.executable, "-m", "emloop", "ls"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert "was imported" not in done.stderr
