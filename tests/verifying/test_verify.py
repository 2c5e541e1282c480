"""``emloop verify`` proves what is right, and names who is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.relative_to(ROOT / "examples").as_posix() for path in ROOT.glob("examples/*/config*.yaml"))

CONFIG = """
dataset: {class: project.Points}
model: {class: project.Logistic, name: small}
hooks:
  - ComputeStats: {variables: [loss]}
  - WriteCSV
  - ShowProgress
main_loop: {extra_streams: [valid], epochs_count: 20, skip_zeroth_epoch: true}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with a small experiment."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "small.yaml").write_text(CONFIG)
    shutil.copy(Path(__file__).with_name("project.py"), directory)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    yield directory
    assert list((tmp_path / "temporary").glob("emloop-verify-*")) == []


@pytest.fixture
def verify(emloop_in, project):
    """Verify the small experiment, changed, and return all that was said and the certificate."""

    def verify(*words, expect=0, batches=4):
        said = emloop_in(project)("verify", "small.yaml", "--batches", str(batches), *words, expect=expect)
        file = project / "small.verified.json"
        return said, json.loads(file.read_text()) if file.exists() else None

    return verify


def test_a_right_training_is_proven(verify):
    """Every batch and the ends of epochs are resumed from, processes are killed, and the certificate says so."""
    said, certificate = verify("--kills", "2")

    assert "changed nothing" in said
    assert certificate["verdict"] == "proven"
    assert (certificate["batches"], certificate["levels"], certificate["difference"]) == (4, {"train": "replay"}, None)
    # Two epochs of two batches, each with an evaluation of two, the ends of both streams but the last, and its own end.
    assert certificate["commits"] == 2 * (2 + 1 + 2 + 1)
    assert certificate["resumed_from"] == certificate["commits"] - 1
    assert len(certificate["kills"]) == 2
    assert all(1 <= kill["commit"] <= certificate["commits"] for kill in certificate["kills"])
    assert certificate["not_reached"] == certificate["not_exact"] == certificate["not_compared"] == []


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        pytest.param(
            "dataset.class=project.Urandom",
            r"not reproducible even without resuming: after batch 1 of stream 'train' in epoch 2: "
            r"stream 'train', source 'x'\n(.|\n)*os\.urandom",
            id="not-reproducible",
        ),
        pytest.param(
            "dataset.class=project.ReadAhead",
            r"resumed after epoch 1, it differs after .*: stream 'train', source 'x'\n(.|\n)*self\.rng\('train'\)",
            id="global-numbers-in-a-thread",
        ),
        pytest.param(
            "dataset.class=project.ReadLate hooks+=project.Draw",
            r"from batch 1 of stream 'train' in epoch 1: the resume is refused: stream 'train' (.|\n)*"
            r"it gave another batch 0 when read again\. Draw its random numbers from self\.rng\('train'\)",
            id="global-numbers-in-a-slow-thread",
        ),
        pytest.param(
            "dataset.class=project.Race hooks+=project.Draw",
            r"not reproducible even without resuming: (.|\n)*stream 'train' draws from them\n"
            r"(.|\n)*self\.rng\('train'\)",
            id="global-numbers-in-a-thread-that-races",
        ),
        pytest.param(
            "model.class=project.Forgetful",
            r"resumed after batch 1 of stream 'train' in epoch 1, it differs after batch 2 of stream 'train' in epoch "
            r"1: model, w: 3 of 3 numbers differ, by up to .*\n(.|\n)*model\._step is 0 once restored, and 1 where",
            id="forgotten-schedule",
        ),
        pytest.param(
            "model.class=project.Global",
            r"it differs after batch \d of stream 'train' in epoch \d: model, w: 3 of 3 numbers differ",
            id="schedule-in-a-global-variable",
        ),
        pytest.param(
            "hooks+=project.Count",
            r"file metrics\.jsonl, line 1, train/seen: \d, and was \d\n(.|\n)*hook Count\._count is 0 once restored, "
            r"and \d+ where the training went on\n(.|\n)*hook Count does not say what it remembers",
            id="undeclared-counter",
        ),
    ],
)
def test_a_mistake_is_named(verify, mistake, expected):
    """With the stream, the tensor or the hook, the first batch that shows it, and what is behind it."""
    said, certificate = verify(*mistake.split(), "--kills", "0", expect=3, batches=6)

    assert certificate["verdict"] == "failed"
    assert re.search(expected, said), said


def test_rows_that_no_resume_cuts_back_are_found_by_a_kill(verify):
    """A hook that adds rows to its own file has some twice where a process was killed."""
    said, certificate = verify("hooks+=project.AddRows", "--kills", "3", expect=3, batches=8)

    assert certificate["difference"]["name"] == "rows.txt"
    assert "killed after" in said
    assert "rows of a resumed" in said or "adds rows to" in said


def test_what_cannot_be_exact_everywhere_is_said(verify):
    """A model without state_dict, and a stream that cannot be resumed inside a pass, are verified at ends of epochs."""
    said, certificate = verify("model.class=project.Weights", "dataset.class=project.Iterated", "--kills", "1")

    assert certificate["verdict"] == "proven"
    assert certificate["commits"] == certificate["resumed_from"] + 1 == 2
    assert "model Weights has no state_dict: only the ends of epochs were verified" in said
    assert "stream 'train' can be resumed only between its passes" in said


def test_a_training_that_ends_by_itself_is_verified_up_to_there(verify):
    """And what it did not come to is listed."""
    words = ("hooks+=StopAfter: {epochs: 1}", "main_loop.extra_streams=[]", "--kills", "0")
    said, certificate = verify(*words, batches=6)

    assert (certificate["verdict"], certificate["batches"]) == ("proven", 2)
    assert certificate["not_reached"] == ["4 batches, before which the training had ended by itself"]
    assert "Proven: in 2 batches, 2 resumes and 0 kills changed nothing" in said


def test_time_that_is_over_is_no_proof(verify):
    """What was not reached is listed."""
    said, certificate = verify("--minutes", "0.0001", expect=1)

    assert certificate["verdict"] == "nothing"
    assert certificate["not_reached"] == ["two untouched runs", "a resume from every commit", "kills"]
    assert "Nothing is proven" in said


def test_the_certificate_of_a_run_is_kept_in_it(emloop_in, project):
    """The run's seed is used, its files stay as they are, and --json prints the certificate alone."""
    emloop = emloop_in(project)
    emloop("train", "small.yaml", "--output_dir", "night", "main_loop.epochs_count=1")
    run = project / "log" / "night"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    done = subprocess.run(
        [sys.executable, "-m", "emloop", "verify", "night", "--batches", "3", "--kills", "0", "--json"],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    certificate = json.loads(done.stdout)
    assert certificate["seed"] == json.loads((run / "run.json").read_text())["seed"]
    assert certificate == json.loads((run / "verified.json").read_text())
    assert {path: path.read_bytes() for path in before} == before


def test_a_training_that_fails_by_itself_shows_its_own_error(verify):
    """Nothing is certified."""
    said, certificate = verify("model.class=project.Broken", expect=1)

    assert "`emloop train` failed with exit code 1:" in said
    assert "ZeroDivisionError: planted" in said
    assert certificate is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_nothing_behind(project, number):
    """Neither files nor processes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emloop", "verify", "small.yaml"],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert process.stderr.readline() == "Untouched run 1 of 2, and everything it commits\n"
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]

    assert process.returncode == 75
    assert said == "Interrupted: nothing was verified, and nothing is left behind\n"


@pytest.mark.torture
@pytest.mark.parametrize("config", EXAMPLES)
def test_the_examples_are_proven(emloop_in, tmp_path, config):
    """As they are, by the default numbers of batches and kills."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")

    assert "changed nothing" in emloop_in(tmp_path)("verify", f"examples/{config}", timeout=1800)
