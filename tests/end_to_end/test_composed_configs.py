"""Runs of configurations that are composed of files, references and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from emloop._yaml import documents as yaml

from .conftest import CONFIG

OVER = """\
extends: config.yaml
model:
  rate: ${env:RATE,0.25}
  name: ${main_loop.seed}_$${x}
main_loop: {epochs_count: 1}
"""


@pytest.fixture
def composed(project, monkeypatch):
    """A project with a config that extends its first one."""
    monkeypatch.setenv("RATE", "0.125")
    (project.path / "over.yaml").write_text(OVER)
    return project


def test_a_run_keeps_its_configuration_resolved_and_every_file_as_written(composed):
    """What the environment said is recorded, and the files it was made from are there byte for byte."""
    composed.emloop("train", "over.yaml", "--output_dir", "a")
    run = composed.run("a")
    kept = yaml.load_file(run / "config.yaml")

    assert "extends" not in kept
    assert kept["model"] == {"class": "toy.Stateful", "rate": 0.125, "name": "7_$${x}"}
    assert (run / "config.source.yaml").read_text() == OVER
    assert [path.name for path in (run / "config.source").iterdir()] == ["1-config.yaml"]
    assert (run / "config.source" / "1-config.yaml").read_text() == CONFIG


def test_a_run_goes_on_with_what_it_has_recorded(composed, monkeypatch):
    """Neither a changed environment nor missing base files change a run, and its texts stay as they are."""
    composed.emloop("train", "over.yaml", "--output_dir", "a")
    monkeypatch.setenv("RATE", "9")
    (composed.path / "config.yaml").unlink()
    composed.emloop("resume", "a", "main_loop.epochs_count=2")
    changed = yaml.load_file(composed.run("a") / "config.attempt-2.yaml")

    assert changed["model"] == {"class": "toy.Stateful", "rate": 0.125, "name": "7_$${x}"}
    assert "config.attempt-3.yaml" not in composed.emloop("resume", "a")
    assert not (composed.run("a") / "config.attempt-3.yaml").exists()


def test_two_ways_to_write_a_configuration_make_the_same_run(composed, monkeypatch):
    """Where a value came from changes nothing about what it does."""
    composed.emloop("train", "over.yaml", "--output_dir", "a")
    composed.emloop("train", "config.yaml", "--output_dir", "b", "main_loop.epochs_count=1", "model.rate=0.125")

    assert composed.result("a") == composed.result("b")


def test_a_mistake_in_a_base_is_shown_there(composed):
    """The command names file and line of the base, and creates nothing."""
    base = Path(composed.path, "config.yaml")
    base.write_text(CONFIG.replace("variables: [loss, accuracy]", "variable: [loss]"))

    assert "config.yaml:7:20: hooks[0].ComputeStats: unknown argument 'variable'" in composed.emloop(
        "train", "over.yaml", expect=2
    )
    assert not (composed.path / "log").exists()


def test_a_resumed_run_says_what_is_different_before_it_goes_on(project):
    """Safe changes are named and made."""
    project.emloop("train", "config.yaml", "--output_dir", "a")
    said = project.emloop("resume", "a", "main_loop.epochs_count=4", "model.rate=0.1", "~hooks.SaveBest")

    assert "Changed: main_loop.epochs_count: 3 → 4 (safe)" in said
    assert "Changed: model.rate: nothing → 0.1 (counts from here on; the model's state must fit)" in said
    assert "Changed: hooks.SaveBest: removed (what it remembered is dropped)" in said


def test_a_refused_change_leaves_the_run_as_it_was(project):
    """Exit code 2, one message with the argument, and not a byte is different."""
    project.emloop("train", "config.yaml", "--output_dir", "a")
    before = {path: path.read_bytes() for path in project.run("a").rglob("*") if path.is_file()}
    said = project.emloop("resume", "a", "main_loop.epochs_count=4", "main_loop.seed=8", expect=2)

    assert "argument 2: main_loop.seed: a run cannot go on with another one: 7 → 8" in said
    assert before == {path: path.read_bytes() for path in project.run("a").rglob("*") if path.is_file()}
