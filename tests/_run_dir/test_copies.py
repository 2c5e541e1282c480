"""The JSON copies that listings read say what the YAML files say, or nothing, whatever was killed or edited."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir import info as records
from emloop._run_dir.config import read_config, write_config
from emloop._run_dir.info import read_attempts, read_yaml, write_info
from emloop._run_dir.run import Run
from emloop._run_dir.summary import RunSummary
from emloop._run_dir.trace import Trace, read_trace, write_trace
from emloop._yaml import documents as yaml

CONFIG = "model: {class: nets.Net, rate: 0.1}\nhooks: [StopAfter: {epochs: 2}]\n"
COPIES = ("config.json", "status.json")


@pytest.fixture
def run(tmp_path):
    """A run that this process works on."""
    (tmp_path / "run").mkdir()
    run = Run.create(tmp_path / "run", kind="training", config_text=CONFIG, source=None, seed=7, command=[])
    yield run
    run.end("failed", "the test is over", exit_status=1)


def told(directory):
    """What a listing tells of a run."""
    summary = RunSummary(directory)
    return summary.status, summary.trace, summary.config


def without_copies(directory):
    copy = directory.with_name(f"{directory.name}-plain")
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns(*COPIES))
    return copy


def stages(values):
    return [value for value, _ in itertools.groupby(values)]


def test_a_program_reads_a_run_without_a_yaml_parser(run):
    """Status and configuration stand in JSON, too, with the hash of the file that they were taken from."""
    run.update_trace(epochs_done=3)
    config, status = (json.loads((run.directory / name).read_text()) for name in COPIES)

    assert (config["of"], config["data"]) == ("config.yaml", yaml.load(CONFIG))
    assert (status["of"], status["data"]["epochs_done"], status["data"]["status"]) == ("trace.yaml", 3, "running")
    assert datetime.fromisoformat(status["data"]["train_begin"]) == run.trace.train_begin
    code = (
        "import sys\nfrom pathlib import Path\nfrom emloop._run_dir.summary import RunSummary\n"
        "summary = RunSummary(Path(sys.argv[1]))\nprint(summary.config['model.rate'], summary.trace.epochs_done)\n"
        "sys.exit(bool({'yaml', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, run.directory], capture_output=True, text=True, check=True)
    assert done.stdout == "0.1 3\n"


@pytest.mark.parametrize("name", ["trace.yaml", "config.yaml"])
def test_an_edited_file_counts_at_once(run, name):
    """A copy of what the file was before is no longer looked at."""
    path = run.directory / name
    path.write_text(path.read_text().replace("0.1", "0.5").replace("epochs_done: 0", "epochs_done: 41"))

    summary = RunSummary(run.directory)
    assert (summary.config["model.rate"], summary.epochs_done) in [(0.5, 0), (0.1, 41)]


def test_a_configuration_of_a_later_attempt_has_the_copy(run):
    """The copy is that of the newest configuration; that of an attempt which did not come to be is not looked at."""
    run.end("stopped", "", exit_status=75)
    Run.reopen(run.directory, config_text="model: {rate: 0.2}\n", command=[]).end("stopped", "", exit_status=75)
    assert json.loads((run.directory / "config.json").read_text())["of"] == "config.attempt-2.yaml"
    assert read_config(run.directory).flat == {"model.rate": 0.2}

    (run.directory / "config.attempt-2.yaml").unlink()
    assert read_config(run.directory).flat["model.rate"] == 0.1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("model: {1: one}\n", id="key-is-a-number"),
        pytest.param("model: {since: 2026-01-31}\n", id="date"),
        pytest.param("model: {rate: .nan, most: .inf}\n", id="no-finite-number"),
        pytest.param("model: {of: !!set {a: null}}\n", id="set"),
    ],
)
def test_what_json_cannot_hold_exactly_has_no_copy(run, text):
    """A copy is the same as the file, or it is not there."""
    assert (run.directory / "config.json").exists()
    write_config(run.directory / "config.yaml", text)

    assert not (run.directory / "config.json").exists()
    assert repr(read_yaml(run.directory, "config.yaml", "config.json")) == repr(yaml.load(text))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"1", b'{"sha256": 1}', b"\xff\xfe", b"[" * 100_000, None],
    ids=["empty", "torn", "list", "number", "no-hash", "binary", "bomb", "link"],
)
@pytest.mark.parametrize("name", COPIES)
def test_a_damaged_copy_is_not_looked_at(run, tmp_path, name, content):
    """Whatever it is, the file itself is read."""
    before = told(run.directory)
    (run.directory / name).unlink()
    if content is None:
        (run.directory / name).symlink_to(tmp_path / "other")
    else:
        (run.directory / name).write_bytes(content)

    assert told(run.directory) == before


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists))
def test_a_forged_status_is_harmless(tmp_path_factory, value):
    """A copy with the right hash may hold anything; a value of the wrong type counts as absent."""
    directory = tmp_path_factory.mktemp("run")
    write_info(directory, records.RunInfo("training", 1))
    write_trace(directory, Trace(status="done"))
    forged = json.loads((directory / "status.json").read_text())
    forged["data"] = dict.fromkeys(forged["data"], value)
    (directory / "status.json").write_text(json.dumps(forged))

    assert isinstance(read_trace(directory), Trace)
    assert isinstance(RunSummary(directory).status, str)


def test_only_a_run_gets_a_status(tmp_path):
    """Where there is no ``run.json``, the directory is the user's own, and nothing but the trace is written."""
    write_trace(tmp_path, Trace(status="done"))

    assert [path.name for path in tmp_path.iterdir()] == ["trace.yaml"]


def test_a_kill_between_any_two_writes_gives_no_wrong_answer(tmp_path, monkeypatch):
    """At every moment listings tell the state of affairs, and the same with the copies as without them."""
    directory = tmp_path / "run"
    directory.mkdir()
    numbers = itertools.count()
    replace, write_all = Path.replace, records.write_all

    def keep():
        # What is on the disk now is what a kill at this moment leaves; the copy of the lock is held by nobody.
        shutil.copytree(directory, tmp_path / f"kept-{next(numbers):03}")

    def replaced(self, target):
        keep()
        done = replace(self, target)
        keep()
        return done

    def written(descriptor, data):
        keep()
        write_all(descriptor, data[: len(data) // 2])
        keep()
        write_all(descriptor, data[len(data) // 2 :])
        keep()

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(records, "write_all", written)
    run = Run.create(directory, kind="training", config_text=CONFIG, source=None, seed=7, command=[])
    run.update_trace(epochs_done=1)
    run.end("done", "target reached", exit_status=0)
    run = Run.reopen(directory, config_text=CONFIG.replace("0.1", "0.2"), command=[])
    run.update_trace(epochs_done=2)
    run.end("stopped", "SIGTERM", exit_status=75)
    monkeypatch.undo()

    kept = sorted(tmp_path.glob("kept-*"))
    answers = [told(moment) for moment in kept]
    assert answers == [told(without_copies(moment)) for moment in kept]
    assert stages(status for status, _, _ in answers) == ["lost", "done", "lost", "stopped"]
    assert stages(trace.epochs_done for _, trace, _ in answers) == [0, 1, 2]
    assert stages(config.get("model.rate") for _, _, config in answers) == [None, 0.1, 0.2]
    for moment, (status, trace, _) in zip(kept, answers, strict=True):
        started = {line["attempt"] for line in read_attempts(moment)}
        # Whoever has a line in the history is in the status, too.
        assert max(started, default=0) <= trace.attempts
        if status in ("done", "stopped"):
            assert (trace.reason, trace.exit_status) == {1: ("target reached", 0), 2: ("SIGTERM", 75)}[trace.attempts]
            assert trace.train_end is not None
