"""``emloop check``, and the same check at the start of the commands that run a config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = Path(__file__).parents[1] / "config_corpus" / "modules"
GOOD = "dataset: {class: pets.Pets, path: data}\nmodel: {class: pets.Net, inputs: [a], outputs: [b]}\n"
BAD = GOOD.replace("path", "pth") + "hooks: [StopAfter: {epoch: 3}]\nmain_loop: {extra_streams: [vaild]}\n"


@pytest.fixture
def emloop(tmp_path):
    """Runs a command in a directory with a good and a bad config, whose classes cannot even be imported."""
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "config.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "emloop", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(MODULES)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_good_config_is_one_line(emloop):
    """Exit code 0; a directory stands for the config in it."""
    done = emloop("check", "good")

    assert (0, "good: no mistakes found\n", "") == (done.returncode, done.stdout, done.stderr)


def test_json_has_everything_that_the_text_has(emloop):
    """A list with an object for each mistake, for editors."""
    done = emloop("check", "bad.yaml", "--json", "model.rat=3")
    found = json.loads(done.stdout)

    assert (2, "") == (done.returncode, done.stderr)
    assert [
        ("bad.yaml", 1, "dataset", "unknown argument 'pth'"),
        ("bad.yaml", 3, "hooks[0].StopAfter", "unknown argument 'epoch'"),
        ("bad.yaml", 4, "main_loop", "the dataset Pets has no method 'vaild_stream', so no stream 'vaild'"),
        ("argument 1", None, "model", "unknown argument 'rat'"),
    ] == [(problem["file"], problem["line"], problem["path"], problem["message"]) for problem in found]
    assert (29, 3, BAD.splitlines()[0]) == (found[0]["column"], found[0]["width"], found[0]["excerpt"])
    assert "did you mean 'path'?" in found[0]["hints"]
    assert "[]\n" == emloop("check", "good", "--json").stdout


def test_json_says_what_a_program_would_otherwise_read_out_of_the_text(emloop):
    """The kind of the mistake, the keys that lead to it, and the words that would have been accepted."""
    found = json.loads(emloop("check", "bad.yaml", "--json", "main_loop.on_empty_batch=wran").stdout)

    assert [
        ("unknown-argument", ["dataset", "pth"], True),
        ("unknown-argument", ["hooks", 0, "StopAfter", "epoch"], False),
        ("unknown-stream", ["main_loop", "extra_streams", 0], False),
        ("wrong-value", ["main_loop", "on_empty_batch"], False),
    ] == [(problem["kind"], problem["keys"], "path" in problem["accepted"]) for problem in found]
    assert ["ignore", "warn", "error"] == found[-1]["accepted"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(["train", "bad.yaml"], ["'pth'", "'epoch'", "'vaild'"], id="train"),
        pytest.param(["train", "bad.yaml", "--dry-run", "1"], ["'pth'", "'epoch'", "'vaild'"], id="dry-run"),
        pytest.param(["resume", "bad.yaml", "."], ["'pth'", "'epoch'", "'vaild'"], id="resume"),
        pytest.param(["eval", "valdi", ".", "--config", "bad.yaml"], ["'pth'", "'epoch'", "'valdi'"], id="eval"),
        pytest.param(["dataset", "stream_info", "bad.yaml"], ["'pth'"], id="dataset"),
    ],
)
def test_commands_that_run_a_config_begin_with_the_check(emloop, tmp_path, command, expected):
    """All mistakes at once, before the classes are imported, which here would fail; nothing is written."""
    done = emloop(*command)

    assert 2 == done.returncode
    assert [word for word in expected if word not in done.stderr] == []
    assert ("'epoch'" in done.stderr) == ("'epoch'" in expected)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "log").exists()


def test_a_file_that_is_not_there_is_one_line(emloop):
    """With the one that was probably meant."""
    done = emloop("check", "bda.yaml")

    assert (2, "bda.yaml: there is no such file\n  did you mean 'bad.yaml'?\n1 mistake\n") == (
        done.returncode,
        done.stderr,
    )


def test_a_config_for_evaluations_only_can_be_checked(emloop, tmp_path):
    """Nothing is asked of a training that it does not describe; what is wrong in the evaluation is found."""
    (tmp_path / "kept.py").write_text(
        "import emloop as el\nclass Kept(el.BaseDataset):\n"
        "    def _configure_dataset(self): ...\n    def test_stream(self): ...\n"
    )
    config = tmp_path / "kept.yaml"
    config.write_text(f"{GOOD.replace('pets.Pets, path: data', 'kept.Kept')}eval: {{test: {{}}, vaild: {{}}}}\n")

    assert "has no method 'train_stream'" in emloop("check", "kept.yaml").stderr
    assert emloop("check", "kept.yaml", "--eval", "test").returncode == 0
    assert "has no method 'vaild_stream'" in emloop("check", "kept.yaml", "--eval", "vaild").stderr
