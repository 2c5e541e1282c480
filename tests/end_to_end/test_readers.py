"""Whoever looks at a run while it trains sees something whole, and disturbs nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

from .conftest import CONFIG, MODULE, SAVING, saved_result, wait_for

COPIES = 4


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


def copied(source, target, between, *, backwards):
    """Copy as ``rsync`` does: first a list, then file by file, without what has vanished meanwhile."""
    listed = sorted(Path(folder, name) for folder, _, names in os.walk(source) for name in names)
    for file in reversed(listed) if backwards else listed:
        between()
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(file, place)


@pytest.mark.torture
def test_a_copy_of_a_live_run_goes_on_or_says_what_is_missing(project):
    """Copied at once or so slowly that there are commits between any two files, whichever of them is copied first."""
    (project.path / "toy.py").write_text(MODULE + SAVING)
    (project.path / "config.yaml").write_text(CONFIG.replace("toy.Stateful", "toy.Saving").replace("1ep", "1"))
    train = ["train", "config.yaml", "model.pause=0.02", "main_loop.epochs_count=30"]
    project.emloop(*train, "model.pause=0", "--output_dir", "untouched")
    process = project.start(*train, "--output_dir", "run")
    run = project.run("run")
    wait_for(process, run / "model_best" / "manifest.json")

    def wait_for_a_commit():
        before = project.commits("run")
        while process.poll() is None and project.commits("run") == before:
            pass

    copies = []
    for number in itertools.count():
        between = wait_for_a_commit if number % 4 > 1 else lambda: None
        copies.append(f"copy-{number}")
        copied(run, project.run(copies[-1]), between, backwards=bool(number % 2))
        wait_for_a_commit()
        if process.poll() is not None or number == COPIES:
            break
    said = process.communicate()
    assert process.returncode == 0, said

    gone_on = 0
    for name in copies:
        resumed = project.start("resume", f"log/{name}")
        out, err = resumed.communicate(timeout=120)
        if resumed.returncode == 0:
            gone_on += 1
            assert saved_result(project.run("untouched")) == saved_result(project.run(name))
        else:
            assert resumed.returncode in (2, 3), out + err
            assert "Traceback" not in out + err
            print(name, resumed.returncode, out, err)
    assert gone_on >= len(copies) / 2
