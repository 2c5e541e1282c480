"""Whatever is wrong: one clear message, the right exit code, nothing that existed lost."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from emloop.cli.app import main

from .conftest import wait_for


@pytest.fixture
def emloop(project, monkeypatch, capsys):
    """Runs a command in this process; returns its exit code and what it said."""
    monkeypatch.chdir(project.path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def run(*arguments: str) -> tuple[int, str]:
        sys.modules.pop("toy", None)
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    yield run
    root.handlers[:], root.level = before
    sys.modules.pop("toy", None)


GOOD = "dataset: {class: toy.Data}\nmodel: {class: toy.Stateful}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", ["config.yaml", "empty"], id="empty-file"),
        pytest.param("dataset: {class: toy.Data\nmodel: 3", ["config.yaml:2"], id="broken-yaml"),
        pytest.param("- a\n- b", ["config.yaml:1:1", "expected sections at the top"], id="a-list"),
        pytest.param("dataset: {class: toy.Data}", ["model"], id="no-model"),
        pytest.param(GOOD + "hook: [SaveBest]", ["unknown", "'hook'", "did you mean 'hooks'?"], id="misspelt-section"),
        pytest.param(
            "dataset: {class: toy.Dta}\nmodel: {class: toy.Stateful}",
            ["config.yaml:1:18", "toy has no 'Dta'", "did you mean 'Data'?"],
            id="unknown-class",
        ),
        pytest.param(
            "dataset: {class: tooy.Data}\nmodel: {class: toy.Stateful}",
            ["there is no module 'tooy'"],
            id="unknown-module",
        ),
        pytest.param(GOOD + "hooks: [SaveBst]", ["hooks[0].SaveBst", "did you mean 'SaveBest'?"], id="unknown-hook"),
        pytest.param(
            GOOD + "hooks: [StopAfter: {epochs: ten}]", ["hooks[0].StopAfter.epochs", "got 'ten'"], id="wrong-type"
        ),
        pytest.param(GOOD + "hooks: [StopAfter]", ["hooks[0].StopAfter", "at least one of"], id="missing-argument"),
        pytest.param(
            GOOD + "main_loop: {extra_streams: [vaild]}",
            ["no stream 'vaild'", "did you mean 'valid'?", "its streams: train, valid"],
            id="unknown-stream",
        ),
        pytest.param(GOOD + "main_loop: {buffer: many}", ["main_loop.buffer", "got 'many'"], id="wrong-type-main-loop"),
        pytest.param(GOOD + "main_loop: {seed: -1}", ["seed", "-1"], id="impossible-seed"),
        pytest.param(GOOD + "main_loop: {commit: {every: often}}", ["often"], id="impossible-interval"),
        pytest.param(GOOD + "model: {class: toy.Stateful}", ["config.yaml:3:1", "model"], id="duplicate-key"),
        pytest.param(
            GOOD + "x: !!python/object/apply:os.system ['touch hacked']", ["config.yaml:3", "tag"], id="unknown-tag"
        ),
    ],
)
def test_a_wrong_config_is_one_clear_message(emloop, project, text, expected):
    """Exit code 2, no traceback; the run directory, if one was needed to find out, says what happened."""
    (project.path / "config.yaml").write_text(text)

    code, said = emloop("train", "config.yaml")

    assert 2 == code
    for part in expected:
        assert part in said
    assert "Traceback" not in said
    assert not (project.path / "hacked").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ((), 2, "usage: emloop"),
        (("trian", "config.yaml"), 2, "unknown command 'trian'; did you mean 'train'?"),
        (("train",), 2, "the following arguments are required: CONFIG"),
        (("train", "nowhere.yaml"), 2, "nowhere.yaml"),
        (("train", "log"), 2, "log"),
        (("train", "config.yaml", "--verbos3"), 2, "unknown option '--verbos3'; did you mean '--verbose'?"),
        (("train", "config.yaml", "epochs"), 2, "'epochs' is no override; write KEY=VALUE"),
        (("train", "config.yaml", "mdl.rate=3"), 2, "argument 1: mdl.rate=3"),
        (("train", "config.yaml", "model.rate=[1"), 2, "argument 1: did not find expected ',' or ']'"),
        (("train", "config.yaml", "--auto-resume"), 2, "--auto-resume needs --output_dir"),
        (("train", "config.yaml", "--dry-run", "0"), 2, "--dry-run"),
        (("verify", "config.yaml", "--batches", "0"), 2, "--batches: expected a whole number of at least 1, got '0'"),
        (
            ("verify", "config.yaml", "--minutes", "inf"),
            2,
            "expected a number of minutes above 0, got 'inf'",
        ),
        (("train", "config.yaml", "--output_dir", "../out"), 1, "use --output_root"),
        (("resume", "nothing"), 1, "neither a run directory nor the beginning of a run's name"),
        (("resume", "@"), 1, "log"),
        (("eval", "valid", "nothing"), 1, "neither a run directory nor the beginning of a run's name"),
        (("dataset", "stream_inof", "config.yaml"), 2, "did you mean 'stream_info'?"),
    ],
)
def test_a_wrong_command_is_one_clear_message(emloop, project, arguments, code, expected):
    """Nothing is written."""
    before = sorted(project.path.rglob("*"))

    found, said = emloop(*arguments)

    assert (code, True) == (found, expected in said), said
    assert "Traceback" not in said
    assert [path for path in before if "__pycache__" not in path.parts] == [
        path for path in sorted(project.path.rglob("*")) if "__pycache__" not in path.parts
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(("range(self._batches)", "range(0)"), "Stream `train` appears to be empty", id="empty-stream"),
        pytest.param(('"y": (x', '"y": (x[1:]'), "different lengths", id="unequal-lengths"),
        pytest.param(('"accuracy": ((', '"x": (('), "are named like sources of the batch", id="colliding-outputs"),
        pytest.param(('yield {"x": x', 'yield {"z": x'), "does not provide 'x'", id="missing-source"),
    ],
)
def test_data_that_breaks_the_contract_is_one_clear_message(emloop, project, change, expected):
    """Exit code 1, no traceback of ours; the message is in the run's log, too."""
    source = (project.path / "toy.py").read_text()
    assert change[0] in source
    (project.path / "toy.py").write_text(source.replace(*change))

    code, said = emloop("train", "config.yaml", "--output_dir", "a")

    assert 1 == code
    assert expected in said
    assert "Traceback" not in said
    assert expected in (project.run("a") / "train.log").read_text()
    assert "status: failed" in (project.run("a") / "trace.yaml").read_text()


def test_an_error_of_the_users_own_code_keeps_its_traceback(emloop, project):
    """On the terminal and in the log."""
    code, said = emloop("train", "config.yaml", "--output_dir", "a", "model.fail_at=3")

    assert 1 == code
    for text in (said, (project.run("a") / "train.log").read_text()):
        assert 'raise ZeroDivisionError("the model is broken")' in text
    assert "ZeroDivisionError: the model is broken" in (project.run("a") / "trace.yaml").read_text()


@pytest.mark.parametrize("buffer", [0, 4])
def test_an_error_in_a_stream_shows_the_users_line(emloop, project, buffer):
    """Also when the stream was read ahead in a thread."""
    source = (project.path / "toy.py").read_text()
    (project.path / "toy.py").write_text(source.replace("x = rng.normal(", "x = 1 / 0 * rng.normal("))

    code, said = emloop("train", "config.yaml", f"main_loop.buffer={buffer}")

    assert 1 == code
    assert "x = 1 / 0 * rng.normal(" in said
    assert "ZeroDivisionError" in said


def test_a_hook_that_nothing_feeds_is_told_before_anything_begins(emloop, project):
    """With the variables that are there instead, and how to compute the one that is not."""
    code, said = emloop(
        "train",
        "config.yaml",
        "hooks=[ComputeStats: {variables: [loss]}, SaveBest: {variable: lss, stream: train}]",
    )

    assert 2 == code
    assert "hooks[1].SaveBest.variable: no hook computes 'lss' of stream 'train'" in said
    assert "did you mean 'loss'?" in said
    assert not (project.path / "log").exists()


def test_a_hook_that_found_nothing_to_read_names_hook_and_variable(emloop, project):
    """Where a hook of the user's stands before it, which might have written anything."""
    (project.path / "silent.py").write_text(
        "import emloop as el\nclass Silent(el.AbstractHook):\n    stateless = True\n"
        "    def after_epoch(self, epoch_id, epoch_data): pass\n"
    )

    code, said = emloop("train", "config.yaml", "hooks=[silent.Silent, SaveBest: {variable: lss, stream: train}]")

    assert 1 == code
    assert "Traceback" not in said
    assert "lss" in said
    assert "raised by hook SaveBest in after_epoch of epoch 0" in said


def test_an_output_directory_that_is_not_empty_is_refused(emloop, project):
    """What is in it stays as it is."""
    project.run("a").mkdir(parents=True)
    (project.run("a") / "thesis.txt").write_text("years of work")

    code, said = emloop("train", "config.yaml", "--output_dir", "a", "--rm")

    assert 1 == code
    assert "exists and is not empty" in said
    assert [project.run("a") / "thesis.txt"] == list(project.run("a").iterdir())


def test_rm_deletes_what_the_run_has_created(emloop, project):
    """After success and after failure; a directory that was there before stays, empty."""
    assert 0 == emloop("train", "config.yaml", "--rm")[0]
    assert 1 == emloop("train", "config.yaml", "--rm", "model.fail_at=1")[0]
    assert 2 == emloop("train", "config.yaml", "--rm", "main_loop.extra_streams=[no]")[0]
    project.run("mine").mkdir()
    assert 0 == emloop("train", "config.yaml", "--rm", "--output_dir", "mine")[0]

    assert [project.run("mine")] == list((project.path / "log").iterdir())
    assert [] == list(project.run("mine").iterdir())


def test_a_dry_run_writes_nothing(emloop, project):
    """It runs the batches it was asked for and leaves no trace."""
    code, said = emloop("train", "config.yaml", "--dry-run", "2")

    assert 0 == code
    assert "Dry run done: 2 batches of every stream" in said
    assert not (project.path / "log").exists()


def test_a_dry_run_shows_what_it_has_seen(emloop):
    """Two of six batches of every stream, with 32 examples each; the loss of weights that are zero is ln 2."""
    code, said = emloop("train", "config.yaml", "--dry-run", "2", "main_loop.fixed_epoch_size=500")

    rows = [line.split(maxsplit=3) for line in said.splitlines()]
    assert 0 == code
    assert ["train", "2", "64"] == next(row for row in rows if row[:1] == ["train"])[:3]
    assert "0.6931 " in said
    assert ["train", "x", "float64", "[32, 3]"] in rows
    assert ["valid", "loss", "float64", "[32]"] in rows


def test_a_run_that_somebody_works_on_is_left_alone(project):
    """The second process says who holds it, at once, with exit code 1."""
    process = project.start("train", "config.yaml", "--output_dir", "a", "model.stop_at=8")
    wait_for(process, project.run("a") / "reached")

    said = project.emloop("resume", "a", expect=1)

    process.kill()
    process.communicate()
    assert f"another process works on it: process {process.pid} on " in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_directory_without_permission_is_one_clear_message(project):
    """As an ordinary user in somebody else's directory."""
    project.path.chmod(0o755)
    for parent in list(project.path.parents)[:3]:
        parent.chmod(0o755)

    process = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            sys.executable,
            "-m",
            "emloop",
            "train",
            "config.yaml",
        ],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    if any(words in process.stderr for words in ("No module named", "can't open file", "loading shared libraries")):
        pytest.skip("the interpreter itself is not readable for other users here")
    assert 1 == process.returncode
    assert "Permission denied" in process.stderr
    assert "Traceback" not in process.stderr


def test_no_space_is_one_clear_message_and_the_run_can_go_on(project):
    """With a limit on the size of files: the cause and the file are named, the last commit stands."""
    project.emloop("train", "config.yaml", "--output_dir", "whole")
    log = project.path / "log"
    log.mkdir(exist_ok=True)
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)); "
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{limited}from emloop.cli.app import main; sys.exit(main(sys.argv[1:]))",
            "train",
            "config.yaml",
            "--output_dir",
            "cut",
            "main_loop.epochs_count=30",
        ],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert 1 == process.returncode
    assert "File too large" in process.stderr
    project.emloop("resume", "cut", "main_loop.epochs_count=3")
    assert project.result("whole") == project.result("cut")
