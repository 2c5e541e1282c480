"""A run directory from a stranger: nothing outside of it is read, shown, run, changed or waited for."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emloop._run_dir.summary import RunSummary, metrics_of
from emloop.saved_models import write_saved_model

from .conftest import CONFIG, MODULE, wait_for

SECRET = "the secret: 7f3c9a"

PARTS = {
    *("run.json", "attempts.jsonl", "config.yaml", "config.json", "trace.yaml", "status.json", "train.log"),
    *("training.csv", "metrics.jsonl", "data.json", "environment.txt", ".lock", "holder.json"),
    *("checkpoints", "checkpoints/00000003", "checkpoints/00000003/manifest.json", "checkpoints/00000003/state.json"),
}
"""What a run holds, and what may stand in the place of it."""

COMMANDS = {
    "ls": ("ls", "-v", "run"),
    "check": ("check", "run"),
    "show": ("config", "show", "run"),
    "diff": ("diff", "run", "other"),
    "eval": ("eval", "valid", "run", "--output_dir", "evaluated"),
    "resume": ("resume", "run", "main_loop.epochs_count=4"),
    "fork": ("resume", "run", "--fork", "--output_dir", "forked", "main_loop.epochs_count=4"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, processes):
    """A project with two runs."""
    path = tmp_path_factory.mktemp("hostile")
    (path / "toy.py").write_text(MODULE)
    (path / "config.yaml").write_text(CONFIG)
    for name in ("run", "other"):
        command = [sys.executable, "-m", "emloop", "train", "config.yaml", "--output_dir", name, "-o", "."]
        processes.run(command, cwd=path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
    return path


@pytest.fixture
def place(trained, tmp_path):
    """A copy of the project to be spoilt, beside a directory and a file that are nobody's business."""
    shutil.copytree(trained, tmp_path / "project")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "elsewhere" / ".tmp-mine").write_text("mine")
    shutil.copytree(trained / "run" / "checkpoints", tmp_path / "elsewhere" / "checkpoints")
    return tmp_path / "project"


@pytest.fixture
def emloop(processes, place):
    """Runs a command line in the project and returns its exit code and all that it said."""

    def run(*words):
        done = processes.run(
            [sys.executable, "-m", "emloop", "-o", ".", *words],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        # The whole path may be longer than a socket's may be.
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


def put_link(path: Path) -> None:
    path.symlink_to(path.parents[len(path.parts) - path.parts.index("project") - 1].parent / "elsewhere" / "secret")


def put_link_to_folder(path: Path) -> None:
    path.symlink_to(path.parents[len(path.parts) - path.parts.index("project") - 1].parent / "elsewhere")


def put_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


INSTEAD = {
    "pipe": put_pipe,
    "socket": put_socket,
    "link": put_link,
    "link-to-folder": put_link_to_folder,
    "endless": put_endless,
}
EVERYDAY = {("config.yaml", "pipe"), ("config.yaml", "link"), ("checkpoints", "link-to-folder"), ("train.log", "pipe")}


@pytest.mark.parametrize("part", sorted(PARTS))
@pytest.mark.parametrize("instead", INSTEAD)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.torture
def test_whatever_stands_in_the_place_of_a_file_harms_nothing(place, emloop, command, part, instead):
    """No command waits for it, follows it, or quotes what it leads to; at most one line says what is wrong."""
    harmless(place, emloop, command, part, instead)


@pytest.mark.parametrize(("part", "instead"), sorted(EVERYDAY))
def test_no_command_follows_or_waits(place, emloop, part, instead):
    """A sample of what `make torture` tries for every file."""
    for command in ("check", "diff", "eval", "resume"):
        harmless(place, emloop, command, part, instead)


def harmless(place, emloop, command, part, instead):
    target = place / "run" / part
    if not os.path.lexists(target) and "/" in part:
        return  # gone with an earlier command
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    INSTEAD[instead](target)
    before = contents(place.parent / "elsewhere")

    code, said = emloop(*COMMANDS[command])

    assert SECRET not in said
    assert "Traceback" not in said
    assert code in (0, 1, 2, 3), said
    assert contents(place.parent / "elsewhere") == before
    for made in ("evaluated", "forked"):
        assert not any(SECRET.encode() in data for data in contents(place / made).values())
        shutil.rmtree(place / made, ignore_errors=True)


# What a configuration may name


def test_a_dataset_that_is_none_is_not_even_made(place, emloop):
    """A class of the standard library that makes up names is no dataset, and its constructor is not called."""
    code, said = emloop("train", "config.yaml", "dataset.class=ctypes.CDLL", "--output_dir", "new")

    assert code == 2
    assert "dataset: ctypes.CDLL is no dataset: it has no method '<name>_stream'" in said
    assert not (place / "new").exists()


def test_a_class_is_looked_at_before_it_is_made(place, emloop):
    """Neither is one that the check cannot read."""
    code, said = emloop("eval", "valid", "run", "dataset.class=_ctypes.Structure")

    assert code == 2
    assert "is no dataset" in said


MARKING = "import pathlib\npathlib.Path('{marker}').touch()\nclass Data:\n    def train_stream(self): ...\n"


@pytest.mark.parametrize("name", ["run.evil.Data", "run.inner.evil.Data", "evil.Data"])
@pytest.mark.parametrize("stands_in_run", [False, True])
def test_a_module_in_a_run_is_never_imported(place, processes, name, stands_in_run):
    """Neither by a path through folders below the working directory, nor by who stands in the run."""
    marker = place / "marker"
    for folder in ("run", "run/inner"):
        (place / folder).mkdir(exist_ok=True)
        (place / folder / "evil.py").write_text(MARKING.format(marker=marker))
    where, run = (place / "run", ".") if stands_in_run else (place, "run")

    for words in (["eval", "valid", run], ["check", run], ["resume", run]):
        done = processes.run(
            [sys.executable, "-m", "emloop", "-o", str(place), *words, f"dataset.class={name}"],
            cwd=where,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert "lies in a run" in done.stderr or "leads nowhere" in done.stderr
    assert not marker.exists()


@pytest.mark.parametrize(
    "hook",
    [
        "WriteCSV: {output_file: ../../x.csv}",
        "WriteCSV: {output_file: linked/x.csv}",
        "PredictionsToCsv: {variables: [loss], id_variable: y, output_file: ../x.csv}",
        "SequenceToCsv: {variables: [x], id_variable: y, output_file: ../x.csv}",
    ],
)
def test_a_hook_writes_nothing_outside_of_the_run(place, emloop, hook):
    """A relative path that leads out, be it by a link, is refused before the first batch."""
    (place / "run" / "linked").symlink_to(place.parent / "elsewhere")
    before = contents(place.parent)

    code, said = emloop("resume", "run", f"hooks+={hook}", "main_loop.epochs_count=4")

    assert code == 2, said
    assert "leads out of the run directory" in said
    assert not [path for path in set(contents(place.parent)) - set(before) if path.endswith("x.csv")]


def test_an_absolute_path_is_the_users_own_word(place, emloop):
    """Who wants a file elsewhere names the place."""
    file = place.parent / "elsewhere" / "loss.csv"

    code, said = emloop("train", "config.yaml", f"hooks+=WriteCSV: {{name: W, output_file: {file}}}")

    assert code == 0, said
    assert file.read_text().startswith('"epoch_id",')


@pytest.mark.parametrize("part", ["model_best", "model_best/program"])
def test_a_linked_saved_model_is_not_written_through(tmp_path, part):
    """Neither its directory nor one in it leads a save elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("mine", "model-00000000.json", ".tmp-mine"):
        (elsewhere / name).write_text("mine")
    program = tmp_path / "program"
    program.mkdir()
    (program / "graph.json").write_text("{}")
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).symlink_to(elsewhere)

    with pytest.raises(OSError, match="is a link"):
        write_saved_model(
            tmp_path / "model_best",
            backend="none",
            restore_fallback=None,
            inputs={},
            outputs={},
            tree={"w": 1},
            program=program,
            rung="exported",
        )

    assert {path.name: path.read_text() for path in elsewhere.iterdir()} == {
        "mine": "mine",
        "model-00000000.json": "mine",
        ".tmp-mine": "mine",
    }


# What is shown


def test_names_carry_no_control_characters(place, emloop):
    """Neither in a listing, nor in a log line, nor in an error."""
    escape = "\x1b]0;owned\x07"
    evil = place / f"run{escape}"
    (place / "run").rename(evil)
    config = (evil / "config.yaml").read_text().replace("name: toy", 'name: "toy\\e[31m"')
    (evil / "config.yaml").write_text(config + '"\\e[2J": 1\n')
    (evil / "config.json").unlink()

    for words in (
        ["ls", "-l", "."],
        ["ls", "-v", "run"],
        ["check", "run"],
        ["eval", "valid", "run"],
        ["diff", "run", "other"],
    ):
        _, said = emloop(*words)
        assert not {"\x1b", "\x07"} & set(said), words


def test_half_a_million_metrics_are_compared_in_moderate_time(place, emloop):
    """As fast as they are read: it took the square of their number."""
    many = {f"name{number}.part.part": number for number in range(500_000)}
    for run in ("run", "other"):
        (place / run / "metrics.jsonl").write_text(json.dumps({"epoch_id": 1, "valid": many}) + "\n")

    started = time.process_time()
    found = dict(metrics_of(RunSummary(place / "run").metrics))
    spent = time.process_time() - started

    assert found["valid.name7.part.part"] == 7
    assert len(found) == 500_000
    started = time.process_time()
    json.loads((place / "run" / "metrics.jsonl").read_text())
    assert spent < 20 * (time.process_time() - started)


def test_an_endless_line_is_no_epoch(place, emloop):
    """A file of metrics without a line end costs no more memory than is allowed for an epoch."""
    with (place / "run" / "metrics.jsonl").open("wb") as file:
        file.truncate(10 << 30)

    code, said = emloop("ls", "run", "--columns", "name,epochs_done")

    assert code == 0
    assert RunSummary(place / "run").metrics == {}
    assert "run" in said


def test_a_training_killed_in_its_first_epoch_is_listed_as_lost(place, emloop):
    """It has finished no epoch, and is no less worth knowing of."""
    run = place / "run"
    trace = (run / "trace.yaml").read_text()
    for name, value in (("status", "running"), ("epochs_done", "0")):
        trace = re.sub(f"^{name}: .*$", f"{name}: {value}", trace, flags=re.MULTILINE)
    (run / "trace.yaml").write_text(trace)
    attempts = (run / "attempts.jsonl").read_text().splitlines()
    (run / "attempts.jsonl").write_text(attempts[0] + "\n")

    _, said = emloop("ls", "--columns", "name,status")

    assert ["run", "lost"] in [line.split() for line in said.splitlines()]


@pytest.mark.parametrize("fate", ["moved", "deleted"])
def test_a_run_taken_away_ends_in_one_line(place, processes, fate):
    """A live process says what happened, and nothing of all that it can no longer write."""
    words = ["train", "config.yaml", "-o", ".", "--output_dir", "live", "model.pause=0.05"]
    process = processes.Popen(
        [sys.executable, "-m", "emloop", *words],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    live = place / "live"
    wait_for(process, live / "checkpoints" / "00000001")
    live.rename(place / "gone")
    if fate == "deleted":
        shutil.rmtree(place / "gone")

    _, said = process.communicate(timeout=60)

    # The header, and a line an epoch, have come before.
    lines = re.sub(r"^(Run directory: |  |epoch \d+ ).*\n", "", said, flags=re.MULTILINE).splitlines()
    assert process.returncode == 1
    assert len(lines) == 1
    assert f"{live} was moved or deleted while this process worked on it" in lines[0]


@pytest.mark.parametrize(
    "data",
    [
        {"streams": {"valid": {"evaluation": "x"}}},
        {"streams": {"train": {"training": {"first": "x"}}}},
        {"streams": {"train": 5}},
        {"files": {"a": 1}},
        {"accepted": [{"digests": [1]}]},
        {"source": []},
    ],
)
def test_a_fingerprint_of_another_form_counts_as_none(place, emloop, data):
    """Its parts are looked at before they are used."""
    known = json.loads((place / "run" / "data.json").read_text())
    (place / "run" / "data.json").write_text(json.dumps({**known, **data}))

    for command in ("eval", "resume"):
        code, said = emloop(*COMMANDS[command])
        assert code == 0, said
