"""Attempts that failed at their very beginning change nothing about where a run stands."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest

BREAKS = """
import os
import signal

import emloop as el


class Break(el.AbstractHook):
    stateless = True

    def before_training(self):
        if os.path.exists("stop"):
            os.kill(os.getpid(), signal.SIGTERM)
        if os.path.exists("break"):
            raise RuntimeError("before anything was committed")
"""


@pytest.fixture
def breaking(project):
    """A project whose runs fail at their start as long as there is a file ``break``."""
    (project.path / "breaks.py").write_text(BREAKS)
    config = project.path / "config.yaml"
    config.write_text(config.read_text().replace("hooks:\n", "hooks:\n  - breaks.Break\n"))
    return project


def test_a_raised_limit_is_remembered_by_a_resume_that_failed(breaking):
    """The next resume, without the override, trains on; it does not take the run for finished."""
    breaking.emloop("train", "config.yaml", "--output_dir", "long", "main_loop.epochs_count=4")
    breaking.emloop("train", "config.yaml", "--output_dir", "run")
    (breaking.path / "break").touch()
    breaking.emloop("resume", "run", "main_loop.epochs_count=4", expect=1)
    (breaking.path / "break").unlink()
    breaking.emloop("resume", "run")

    assert breaking.result("run") == breaking.result("long")
    assert "is finished, after epoch 4" in breaking.emloop("resume", "run")


def test_a_fork_of_a_finished_run_that_failed_at_its_start_goes_on(breaking):
    """What it has copied was the end of another run, not its own."""
    breaking.emloop("train", "config.yaml", "--output_dir", "long", "main_loop.epochs_count=4")
    breaking.emloop("train", "config.yaml", "--output_dir", "run")
    (breaking.path / "break").touch()
    breaking.emloop("resume", "run", "--fork", "--output_dir", "fork", "main_loop.epochs_count=4", expect=1)
    (breaking.path / "break").unlink()
    breaking.emloop("resume", "fork")

    assert breaking.result("fork") == breaking.result("long")


def test_a_fork_of_a_model_without_state_takes_along_what_the_model_had_saved(project):
    """Its own files, whatever they are called."""
    train = ["train", "config.yaml", "model.class=toy.Noisy", "~hooks.SaveBest"]
    project.emloop(*train, "--output_dir", "long", "main_loop.epochs_count=4")
    project.emloop(*train, "--output_dir", "run")
    project.emloop("resume", "run", "--fork", "--output_dir", "fork", "main_loop.epochs_count=4")

    assert (project.run("fork") / "training.csv").read_text() == (project.run("long") / "training.csv").read_text()


@pytest.mark.parametrize("options", [[], ["--auto-resume"]], ids=["plain", "auto-resume"])
def test_a_directory_with_nothing_but_a_lock_is_as_good_as_a_new_one(project, options):
    """A process was killed there before it could write a single file of the run."""
    project.run("run").mkdir(parents=True)
    (project.run("run") / ".lock").touch()
    project.emloop("train", "config.yaml", "--output_dir", "run", *options)

    assert "done" in project.emloop("ls", "-l")


def test_a_model_that_was_restored_is_not_forgotten_before_the_first_commit(breaking):
    """No resume begins without it; the line that is given restores it again."""
    breaking.emloop("train", "config.yaml", "--output_dir", "run")
    warm = ("resume", "config.yaml", "log/run", "main_loop.skip_zeroth_epoch=true", "--output_dir")
    breaking.emloop(*warm, "long")
    (breaking.path / "stop").touch()
    stopped = breaking.emloop(*warm, "warm", expect=75)
    (breaking.path / "stop").unlink()

    said = breaking.emloop("resume", "warm", expect=3)

    lost = "its model was restored from log/run, which no commit of its own holds; restore it again: emloop resume "
    assert f"Stopped before the first commit; {lost}{breaking.run('warm')}/config.yaml log/run\n" in stopped
    assert said == f"log/warm has no commit: {lost}log/warm/config.yaml log/run\n"
    breaking.emloop("resume", "log/warm/config.yaml", "log/run", "--output_dir", "again")
    assert breaking.result("again") == breaking.result("long")


KILLED = """
import os, signal, sys
import emloop.api
emloop.api.write_commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from emloop.cli.app import main
main(sys.argv[1:])
"""


def test_a_fork_that_was_killed_while_it_copied_does_not_begin_anew(project, processes):
    """A resume and the doctor name what it was to go on from; the fork can be made again."""
    project.emloop("train", "config.yaml", "--output_dir", "run")
    fork = ["resume", "run", "--fork", "--output_dir", "fork", "main_loop.epochs_count=4"]
    killed = processes.run([sys.executable, "-c", KILLED, *fork], cwd=project.path, env=os.environ)
    assert killed.returncode == -signal.SIGKILL

    why = "it was to go on from commit 4 of log/run, which it has no copy of; fork again: "
    assert why in project.emloop("resume", "fork", expect=3)
    assert f"what is kept: nothing: {why}" in project.emloop("doctor", "fork", expect=1)
    assert not (project.run("fork") / "checkpoints").exists()
    fork[4] = "another"
    project.emloop(*fork)
    assert "is finished, after epoch 4" in project.emloop("resume", "another")


def test_a_run_whose_commits_were_deleted_is_not_written_over(project):
    """Neither if it was done, nor with a raised limit; its model is where a new run begins."""
    project.emloop("train", "config.yaml", "--output_dir", "run")
    shutil.rmtree(project.run("run") / "checkpoints")
    results = [project.run("run") / name for name in ("model_best.npy", "training.csv", "metrics.jsonl", "trace.yaml")]
    before = [path.read_bytes() for path in results]

    for more in ([], ["main_loop.epochs_count=5"]):
        said = project.emloop("resume", "run", *more, expect=3)
        assert "log/run has no commit: those that it had are gone, and its results would be written over; " in said
        assert "or with its model: emloop resume log/run/config.yaml log/run\n" in said

    assert [path.read_bytes() for path in results] == before
    project.emloop("resume", "log/run/config.yaml", "log/run", "--output_dir", "new")
    project.emloop("train", "log/run/config.yaml", "--output_dir", "anew")
