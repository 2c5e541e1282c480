"""Attempts that failed at their very beginning change nothing about where a run stands."""

from __future__ import annotations

import pytest

BREAKS = """
import os

import emloop as el


class Break(el.AbstractHook):
    stateless = True

    def before_training(self):
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
