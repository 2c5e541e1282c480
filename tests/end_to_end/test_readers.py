"""Whoever looks at a run while it trains sees something whole, and disturbs nothing."""

from __future__ import annotations

import json

import pytest

from .conftest import CONFIG, MODULE, SAVING, saved_result, wait_for


@pytest.mark.slow
def test_a_run_is_listed_evaluated_and_kept_while_it_trains(project):
    """Again and again: never torn, never deleted, and it ends as if nobody had looked."""
    (project.path / "toy.py").write_text(MODULE + SAVING)
    (project.path / "config.yaml").write_text(CONFIG.replace("toy.Stateful", "toy.Saving").replace("1ep", "1"))
    train = ["train", "config.yaml", "model.pause=0.1", "main_loop.epochs_count=6"]
    project.emloop(*train, "model.pause=0", "--output_dir", "untouched")
    process = project.start(*train, "--output_dir", "run")
    wait_for(process, project.run("run") / "model_best" / "manifest.json")

    looked = 0
    while process.poll() is None:
        project.emloop("prune", "log", "--yes")
        project.emloop("eval", "valid", "log/run", "--output_dir", f"evaluation-{looked}")
        (found,) = [run for run in json.loads(project.emloop("ls", "log", "--json")) if run["name"] == "run"]
        assert found["status"] in ("running", "done")
        assert not found.get("problem")
        looked += 1

    said = process.communicate()
    assert process.returncode == 0, said
    assert looked >= 2
    assert saved_result(project.run("run")) == saved_result(project.run("untouched"))
