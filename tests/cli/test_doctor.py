"""``emloop doctor``: what is wrong is found and named, and what is safe to mend is mended."""

from __future__ import annotations

import json
import os
import shutil
import sys

import numpy as np
import pytest
from tests.end_to_end.conftest import CONFIG, MODULE

from emloop._state.lock import RunLock
from emloop.saved_models import write_saved_model

LIMIT = "main_loop.epochs_count=5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, processes):
    """A project with a run, and the same run with a higher limit."""
    path = tmp_path_factory.mktemp("doctor")
    (path / "toy.py").write_text(MODULE)
    (path / "config.yaml").write_text(CONFIG)
    for words in (["--output_dir", "run"], ["--output_dir", "whole", LIMIT]):
        command = [sys.executable, "-m", "emloop", "train", "config.yaml", *words]
        processes.run(command, cwd=path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
    return path


@pytest.fixture
def project(trained, tmp_path):
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def emloop(emloop_in, project):
    """Runs a command line there."""
    return emloop_in(project)


def test_a_sound_directory_of_runs_gives_no_cause_for_complaint(emloop):
    """Exit code 0."""
    assert emloop("doctor", "log") == "2 runs, nothing is wrong\n"


def cut_in_a_row(path):
    os.truncate(path, path.stat().st_size - 3)


def edit(path):
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))


@pytest.mark.parametrize("name", ["train.log", "training.csv", "metrics.jsonl"])
@pytest.mark.parametrize("harm", [os.unlink, cut_in_a_row, edit], ids=["deleted", "shortened", "edited"])
def test_a_run_goes_on_with_what_is_left_of_a_file(project, emloop, name, harm):
    """Refused until it is mended; then it trains on, with the same state, and keeps the whole rows that were left."""
    run, whole = project / "log" / "run", project / "log" / "whole"
    before = (run / name).read_bytes()
    harm(run / name)
    left = (run / name).read_bytes() if (run / name).exists() else b""
    refused = emloop("resume", "run", LIMIT, expect=1)
    assert f"to go on with what is left: emloop doctor {run} --fix" in refused

    found = emloop("doctor", "run", expect=1)
    assert f"log/run: tampered: log/run/{name}: " in found
    assert "1 runs, 1 findings; --fix mends 1" in found
    mended = emloop("doctor", "run", "--fix")
    assert "log/run: mended: " in mended
    assert emloop("doctor", "run") == "1 runs, nothing is wrong\n"
    emloop("resume", "run", LIMIT)

    now = (run / name).read_bytes()
    kept = left[: left.rfind(b"\n") + 1]
    assert now.startswith(kept)
    assert (run / "model_best.npy").read_bytes() == (whole / "model_best.npy").read_bytes()
    if name != "train.log":
        assert now[len(kept) :].splitlines()[-2:] == (whole / name).read_bytes().splitlines()[-2:]
    if name == "training.csv" and harm is os.unlink:
        assert now.splitlines()[0] == before.splitlines()[0]  # its header


def test_a_mended_run_can_be_forked(project, emloop):
    """The new run takes what is left."""
    (project / "log" / "run" / "training.csv").unlink()
    emloop("doctor", "run", "--fix")

    emloop("resume", "run", "--fork", "--output_dir", "fork", LIMIT)

    assert (project / "log" / "fork" / "training.csv").exists()


def as_lost(run):
    for name in ("trace.yaml", "status.json"):
        (run / name).write_text((run / name).read_text().replace("status: done", "status: running"))
    lines = (run / "attempts.jsonl").read_text().splitlines()
    (run / "attempts.jsonl").write_text(lines[0] + "\n")


def with_damaged_commit(run):
    newest = max((run / "checkpoints").glob("0*"))
    edit(newest / "state.json")


def with_leftovers(run):
    (run / "checkpoints" / ".tmp-00000009-1-abc").mkdir()
    (run / ".tmp-1-abc").write_text("")


def with_link(run):
    (run / "notes").symlink_to("/etc/hostname")


def without_config(run):
    (run / "config.yaml").unlink()


def with_torn_description(run):
    (run / "run.json").write_text('{"format": 1, "kin')


@pytest.mark.parametrize(
    ("harm", "kind", "said"),
    [
        (as_lost, "lost", "what is kept: commit 4, after epoch 3: emloop resume log/run"),
        (with_damaged_commit, "tampered", "commit 3 is sound: emloop resume log/run"),
        (with_leftovers, "orphaned", "a killed process left .tmp-1-abc, checkpoints/.tmp-00000009-1-abc"),
        (with_link, "link", "notes is a link"),
        (without_config, "torn", "config.yaml is gone"),
        (with_torn_description, "torn", "run.json: does not describe a run"),
    ],
)
def test_what_is_wrong_is_found(project, emloop, harm, kind, said):
    """With what can be saved, and how; the same as data."""
    harm(project / "log" / "run")

    text = emloop("doctor", "log", expect=1)
    data = json.loads(emloop("doctor", "log", "--json", expect=1))

    assert said in text
    assert [finding["run"] for finding in data["findings"]] == ["log/run"] * len(data["findings"])
    assert kind in [finding["kind"] for finding in data["findings"]]


def test_leftovers_are_removed_and_nothing_else(project, emloop):
    """What a killed process has left is no part of the run."""
    run = project / "log" / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with_leftovers(run)

    emloop("doctor", "run", "--fix")

    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_live_run_is_left_alone(project, emloop):
    """Only named, with who works on it."""
    run = project / "log" / "run"
    with_leftovers(run)
    lock = RunLock(run)
    lock.acquire()
    try:
        said = emloop("doctor", "log", "--fix", expect=1)
    finally:
        lock.release()

    assert f"log/run: locked: a process works on it: process {os.getpid()}" in said
    assert (run / ".tmp-1-abc").exists()


def test_the_installation_is_described(emloop):
    """Versions, backends, devices and extras, with the line that installs what is missing."""
    said = emloop("doctor")
    data = json.loads(emloop("doctor", "--json"))

    assert said.startswith("emloop ")
    assert data["findings"] == []
    assert {"torch", "sklearn"} <= set(data["backends"])
    assert data["devices"]["cpus"] >= 1
    for extra, lacking in data["extras"].items():
        line = f"pip install 'emloop[{extra}]'"
        assert (line in said) == bool(lacking)


def test_an_old_distribution_that_hides_ours_is_found(project, emloop):
    """With the command that removes it."""
    old = project / "emloop_tensorflow-0.6.0.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: emloop-tensorflow\nVersion: 0.6.0\n")
    broken = project / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[emloop.hooks]\nGone = gone_module:Hook\n")

    said = emloop("doctor", expect=1)

    assert "emloop-tensorflow 0.6.0 is installed" in said
    assert "pip uninstall emloop-tensorflow" in said
    assert "emloop.hooks: 'Gone' of broken leads to gone_module, which is not there" in said


def test_a_program_of_another_version_is_old(project, emloop):
    """Before it is needed, and with the way to make it anew; one without a program has no shelf life."""
    run = project / "log" / "run"
    program = project / "program"
    program.mkdir()
    (program / "program.json").write_text("{}")
    described = {
        "backend": "torch",
        "restore_fallback": None,
        "inputs": {},
        "outputs": {},
        "tree": {},
        "rung": "exported",
    }
    extra = {"versions": {"numpy": "0.1.0"}}
    write_saved_model(run / "model_best", **described, program=program, extra=extra)
    write_saved_model(run / "model_bare", **described, extra=extra)

    said = emloop("doctor", "log/run", expect=1)

    assert f"old: the program of model_best: it was made with numpy 0.1.0 (here: {np.__version__})" in said
    assert "make it anew: emloop upgrade" in said
    assert "model_bare" not in said
