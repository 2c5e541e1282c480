"""A run knows where its code is: every command works from any directory."""

from __future__ import annotations

import json
import os
import sys

import pytest

from emloop._config import load_config
from emloop._config.home import shadows
from emloop.api import resume_emloop_training

from .conftest import CONFIG, MODULE


@pytest.fixture
def moved(tmp_path, processes):
    """A project with its config in a directory and a module in each, a run of it, and ``emloop`` started elsewhere."""
    home, elsewhere = tmp_path / "my projéct", tmp_path / "elsewhere"
    (home / "configs").mkdir(parents=True)
    elsewhere.mkdir()
    data, model = MODULE.split("class Noisy")
    (home / "points.py").write_text(data)
    (home / "configs" / "nets.py").write_text(
        "import time\nfrom pathlib import Path\nimport numpy as np\nimport emloop as el\n\nclass Noisy" + model
    )
    text = CONFIG.replace("toy.Data", "points.Data").replace("toy.Stateful", "nets.Stateful")
    (home / "configs" / "config.yaml").write_text(text)

    def emloop(*arguments, cwd=elsewhere, expect=0):
        done = processes.run(
            [sys.executable, "-P", "-m", "emloop", *arguments],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    emloop.home, emloop.run = home, home / "log" / "můj běh"
    emloop("train", "configs/config.yaml", "--output_dir", "můj běh", cwd=home)
    return emloop


def test_a_run_records_its_home(moved):
    """The working directory of its start, and from there the directory of the config."""
    assert {"directory": str(moved.home), "config": "configs"} == json.loads((moved.run / "run.json").read_text())[
        "home"
    ]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("resume", "RUN", "main_loop.epochs_count=4"), id="resume"),
        pytest.param(("resume", "RUN", "--fork", "main_loop.epochs_count=4"), id="fork"),
        pytest.param(("resume", "RUN/checkpoints/00000003", "--fork", "main_loop.epochs_count=4"), id="commit"),
        pytest.param(("eval", "valid", "RUN"), id="eval"),
        pytest.param(("eval", "valid", "RUN/model_best.npy"), id="saved-model"),
        pytest.param(("check", "RUN"), id="check-run"),
        pytest.param(("check", "RUN/config.yaml"), id="check-config-of-run"),
        pytest.param(("config", "show", "RUN", "--defaults"), id="defaults"),
        pytest.param(("schema", "RUN"), id="schema"),
    ],
)
@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_command_on_a_run_works_from_any_directory(moved, command, through_a_link):
    """Also where the run is named by a link."""
    run = moved.run
    if through_a_link:
        run = moved.home / "lnk"
        run.symlink_to("log/můj běh")

    said = moved(*(word.replace("RUN", str(run)) for word in command))

    assert "Rate of" in said or "there is no module" not in said


@pytest.mark.parametrize(
    "command", [("check",), ("train", "--output_dir", "b"), ("train", "--dry-run", "1"), ("dataset", "stream_info")]
)
def test_a_config_is_found_with_the_modules_beside_it(moved, command):
    """Those of the project's own directory are found through ``--home``."""
    config = str(moved.home / "configs" / "config.yaml")

    said = moved(*command, config, expect=2)
    moved(*command, config, "--home", str(moved.home))

    assert "dataset: points.Data leads nowhere: there is no module 'points'" in said
    assert "nets" not in said


@pytest.mark.parametrize("command", [("check", "RUN"), ("resume", "RUN"), ("eval", "valid", "RUN")])
def test_a_home_that_is_not_there_is_one_line(moved, command):
    """Not a search in vain for modules, and nothing is written."""
    before = sorted(moved.run.rglob("*"))

    said = moved(*(word.replace("RUN", str(moved.run)) for word in command), "--home", "/nowhere", expect=2)

    assert "--home or EMLOOP_HOME: there is no directory '/nowhere'; name that of the project" in said
    assert "Traceback" not in said
    assert before == sorted(moved.run.rglob("*"))


def test_an_old_project_that_has_moved_is_named_and_found_once_and_for_all(moved):
    """The error says where the code was; the place given is kept for the commands that follow."""
    new = moved.home.with_name("new")
    moved.home.rename(new)
    run = str(new / "log" / "můj běh")

    said = moved("resume", run, "main_loop.epochs_count=4", expect=2)
    moved("resume", run, "main_loop.epochs_count=4", "--home", str(new))
    moved("eval", "valid", run)
    moved("resume", run, "main_loop.epochs_count=5")

    assert f"the code was in {moved.home}, which is gone; where it is now: --home DIR" in said


def test_the_home_of_an_evaluation_is_that_of_its_run(moved):
    """So that it can be looked into from anywhere, too."""
    moved("eval", "valid", str(moved.run), "--output_dir", "e")

    assert (
        str(moved.home) == json.loads((moved.home.parent / "elsewhere/log/e/run.json").read_text())["home"]["directory"]
    )


def test_from_python_a_run_goes_on_anywhere(moved, monkeypatch):
    """Without the command line."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(moved.home.parent)
    config = load_config(moved.run / "config.yaml", ["main_loop.epochs_count=4"])

    training = resume_emloop_training(config, moved.run)
    training.main_loop.run_training()
    for name in ("nets", "points"):
        del sys.modules[name]

    assert training.main_loop.training_epochs_done == 4


def test_code_that_came_with_a_run_or_a_model_is_not_found(moved):
    """What is shipped is data, whatever its description says."""
    for name in ("points.py", "configs/nets.py"):
        (moved.run / name.rpartition("/")[2]).write_text((moved.home / name).read_text())
        (moved.home / name).unlink()
    described = json.loads((moved.run / "run.json").read_text())
    for directory in (moved.run, moved.run / "checkpoints"):
        described["home"] = {"directory": str(directory), "config": "."}
        (moved.run / "run.json").write_text(json.dumps(described))

        assert "there is no module 'points'" in moved("check", str(moved.run), expect=2)


def test_a_module_of_the_project_that_another_one_hides_is_named(moved):
    """By the file that is read, and the one that is not."""
    (moved.home / "queue.py").write_text((moved.home / "points.py").read_text())

    said = moved("check", "configs/config.yaml", "dataset.class=queue.Data", cwd=moved.home, expect=2)
    trained = moved(
        *("train", "configs/config.yaml", "model.class=nets.Stateful", "--output_dir", "b"),
        cwd=moved.home,
    )
    (moved.home / "nets.py").write_text("")
    warned = moved("train", "configs/config.yaml", "--output_dir", "c", cwd=moved.home)

    assert "queue is a module of the standard library, which hides queue.py: rename the file" in said
    assert "which hides" not in trained
    inner, outer = moved.home / "configs" / "nets.py", moved.home / "nets.py"
    assert f"Module nets is read from {inner}, which hides {outer}" in warned
    assert "which hides" in (moved.home / "log" / "c" / "train.log").read_text()


def test_builtins_and_namespaces_hide_nothing():
    """Modules without a file are left out."""
    assert list(shadows(["sys", "builtins", "not_imported", "emloop.hooks"])) == []
