"""The life of a run directory, also when it is cut short."""

import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from emloop import __version__
from emloop._run_dir.append import open_append
from emloop._run_dir.finding import find_run
from emloop._run_dir.info import append_attempt, read_attempts, read_info
from emloop._run_dir.layout import create_run_dir, is_run_dir
from emloop._run_dir.run import Run, delete_run
from emloop._run_dir.summary import RunSummary, list_runs
from emloop._run_dir.trace import read_trace
from emloop._state.lock import RunLock, is_held
from emloop.errors import CheckpointError, RunDirError, RunLockedError

NOBODY = 65534

CHILD = """
import sys
from emloop._run_dir.layout import create_run_dir
from emloop._run_dir.run import Run

def create(root):
    return Run.create(
        create_run_dir(root, name=None, model_name="Toy"),
        kind="training", config_text="model: {name: Toy}\\n", source=b"x: 1", seed=1, command=["emloop", "train"],
    )
"""


@pytest.fixture
def directory(tmp_path):
    return create_run_dir(tmp_path / "log", name="run", model_name="Toy")


@pytest.fixture
def create(directory):
    """Create runs that are ended with the test."""
    runs = []

    def create(path=directory, **changes):
        arguments = {
            "kind": "training",
            "config_text": "model: {name: Toy}\n",
            "source": b"model: &m {name: Toy}  # m\xc3\xafne\r\n",
            "seed": 7,
            "command": ["emloop", "train", "toy.yaml"],
        }
        runs.append(Run.create(path, **arguments | changes))
        return runs[-1]

    def reopen(path=directory, **arguments):
        runs.append(Run.reopen(path, **{"config_text": None, "command": ["emloop", "resume", "run"]} | arguments))
        return runs[-1]

    create.reopen = reopen
    yield create
    for run in runs:
        run.end("failed", "the test is over", exit_status=1)


def log_of(run):
    return (run.directory / "train.log").read_text()


# --- creating -------------------------------------------------------------------------------------------------------


def test_a_new_run_holds_all_that_describes_it(create, directory):
    """Configuration, origin, environment, first attempt and trace are there before anything is built."""
    run = create(parent={"run_id": "abc", "path": "log/parent", "commit": 3})
    assert sorted(path.name for path in directory.iterdir() if path.name != "code.patch") == [
        ".lock",
        "attempts.jsonl",
        "config.json",
        "config.source.yaml",
        "config.yaml",
        "environment.txt",
        "holder.json",
        "run.json",
        "status.json",
        "trace.yaml",
        "train.log",
    ]
    assert run.info == read_info(directory)
    assert (run.info.kind, run.info.seed, run.info.emloop) == ("training", 7, __version__)
    assert run.info.parent == {"run_id": "abc", "path": "log/parent", "commit": 3}
    assert (directory / "config.yaml").read_text() == "model: {name: Toy}\n"
    assert (directory / run.info.config_source).read_bytes() == b"model: &m {name: Toy}  # m\xc3\xafne\r\n"
    assert f"numpy=={np.__version__}\n" in (directory / "environment.txt").read_text()

    [start] = read_attempts(directory)
    assert (start["attempt"], start["event"], start["pid"], start["commit"]) == (1, "start", os.getpid(), None)
    assert start["command"] == ["emloop", "train", "toy.yaml"]
    assert start["environment"]["versions"]["numpy"] == np.__version__

    trace = read_trace(directory)
    assert trace == run.trace
    assert (trace.status, trace.attempts, trace.epochs_done, trace.train_end) == ("running", 1, 0, None)
    assert abs(trace.begin - datetime.now(UTC)).total_seconds() < 60


def test_a_run_without_a_config_file_has_no_source(create, directory):
    """A configuration made in Python has only its resolved form."""
    run = create(source=None)
    assert run.info.config_source is None
    assert not (directory / "config.source.yaml").exists()


def test_a_run_is_created_only_in_an_empty_directory(create, directory):
    """Whatever lies in a directory, a run does not mix with it; nothing is left in it."""
    (directory / "notes.txt").touch()
    with pytest.raises(RunDirError, match="cannot create a run in a directory that is not empty"):
        create()
    assert (directory / "notes.txt").exists()
    assert not is_held(directory)
    assert not (directory / "run.json").exists()


def test_a_second_creation_in_the_same_directory_is_refused(create, directory):
    """Neither while the first run works, nor when it is over."""
    run = create()
    with pytest.raises(RunLockedError, match=f"another process works on it: process {os.getpid()}"):
        create()
    run.end("done", "", exit_status=0)
    with pytest.raises(RunDirError, match="not empty"):
        create()


def test_a_missing_directory_is_explained(create, tmp_path):
    """The message names the directory."""
    with pytest.raises(RunDirError, match="missing: cannot be locked"):
        create(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_directory_without_the_right_to_write_is_explained():
    """Creating says why it fails; listing and finding a finished run need no such right."""
    program = (
        CHILD + "import os\nfrom emloop._run_dir.summary import list_runs\nfrom pathlib import Path\n"
        # Once as root, so that nothing is left to import from a Python that may be root's alone.
        "list_runs(sys.argv[1])\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "print([run.status for run in list_runs(sys.argv[1])])\n"
        "try: create(sys.argv[1])\n"
        "except OSError as error: print(type(error).__name__, error)\n"
        "try: Run.reopen(Path(sys.argv[1], 'run'), config_text=None, command=[])\n"
        "except OSError as error: print(type(error).__name__, error)\n"
    )
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        run = Run.create(
            create_run_dir(root, name="run", model_name=""),
            kind="training",
            config_text="",
            source=None,
            seed=1,
            command=[],
        )
        run.end("done", "", exit_status=0)
        done = subprocess.run([sys.executable, "-c", program, root], check=False, capture_output=True, text=True)
    assert done.stderr == ""
    states, cannot_create, cannot_reopen = done.stdout.splitlines()
    assert states == "['done']"
    assert re.match(r"RunDirError .*/Toy_[a-z-]*: cannot make this run directory: .*Permission denied", cannot_create)
    assert re.match(r"RunDirError .*/run: cannot be written: Permission denied; to go on elsewhere: ", cannot_reopen)


def test_a_failed_creation_gives_everything_back(create, directory):
    """After an error in the middle no lock, no handler and no level is left."""
    before = logging.getLogger().handlers[:], logging.getLogger("emloop").level

    def fail():
        (directory / "train.log").mkdir()
        return None, ()

    with pytest.raises(RunDirError, match=r"train\.log"):
        create(prepare=fail)
    assert not is_held(directory)
    assert (logging.getLogger().handlers, logging.getLogger("emloop").level) == before
    assert RunSummary(directory).status == "lost"


# --- kills and races ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kill_at_any_moment_of_creation_leaves_no_trap(tmp_path):
    """Whatever a killed creation leaves, it is empty or known as ours, not running, and in nobody's way."""
    program = CHILD + "print('go', flush=True)\nwhile True: create(sys.argv[1]).end('done', '', exit_status=0)"
    chance = random.Random(20260101)
    stages = set()
    for number in range(12):
        root = tmp_path / str(number)
        process = subprocess.Popen([sys.executable, "-c", program, root], stdout=subprocess.PIPE)
        process.stdout.readline()
        try:
            process.wait(chance.uniform(0, 0.25))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        if not root.exists():
            continue
        directories = sorted(root.iterdir())
        states = {run.path: run.status for run in list_runs(root)}
        for directory in directories:
            files = {path.name for path in directory.iterdir() if not path.name.startswith(".tmp-")}
            stages.add(frozenset(files))
            assert is_run_dir(directory) or not files
            assert states.get(directory, "lost") in ("lost", "done")
            if "config.yaml" in files:
                Run.reopen(directory, config_text=None, command=[]).end("done", "", exit_status=0)
                assert RunSummary(directory).status == "done"
        assert sum(status == "lost" for status in states.values()) <= 1
    assert len(stages) > 2, "the kills all came at the same moment"


@pytest.mark.slow
def test_runs_created_at_once_by_many_processes_do_not_meet(tmp_path):
    """Each gets its own directory, id and lock."""
    program = CHILD + "for _ in range(8): run = create(sys.argv[1]); run.end('done', '', exit_status=0)"
    environment = {**os.environ, "EMLOOP_OUTPUT_DIR_FORMAT": "run"}
    processes = [subprocess.Popen([sys.executable, "-c", program, tmp_path], env=environment) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    runs = list_runs(tmp_path)
    assert len({run.info.run_id for run in runs}) == 32
    assert {run.status for run in runs} == {"done"}
    assert {run.name for run in runs} == {"run", *(f"run_{number}" for number in range(1, 32))}


def test_a_run_that_another_process_works_on_is_not_reopened(create, directory):
    """The refusal names the holder; when it is killed, the run is lost and can be taken up."""
    program = CHILD + "run = create(sys.argv[1]); print(run.directory, flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, directory.parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    other = Path(process.stdout.readline().strip())
    assert RunSummary(other).status == "running"
    before = sorted(other.iterdir())
    with pytest.raises(RunLockedError, match=f"another process works on it: process {process.pid} on .* since 20"):
        create.reopen(other)
    assert sorted(other.iterdir()) == before
    process.kill()
    process.communicate()

    assert RunSummary(other).status == "lost"
    assert create.reopen(other).attempt == 2
    assert RunSummary(other).status == "running"


# --- going on -------------------------------------------------------------------------------------------------------


def test_every_attempt_is_on_record(create, directory):
    """Attempts count on; the trace shows the newest, attempts.jsonl all."""
    first = create()
    began = first.trace.train_begin
    first.update_trace(epochs_done=3, streams={"train": "exact"})
    first.end("stopped", "SIGTERM", exit_status=75)
    trace = read_trace(directory)
    assert (trace.status, trace.reason, trace.exit_status, trace.epochs_done) == ("stopped", "SIGTERM", 75, 3)
    assert trace.train_end is not None

    second = create.reopen(prepare=lambda: (12, ()))
    trace = read_trace(directory)
    assert (trace.status, trace.reason, trace.exit_status, trace.train_end) == ("running", None, None, None)
    assert (trace.attempts, trace.epochs_done, trace.train_begin) == (2, 3, began)
    assert trace.streams == {"train": "exact"}
    second.end("failed", "ValueError: x", exit_status=1)

    records = read_attempts(directory)
    assert [(record["attempt"], record["event"]) for record in records] == [
        (1, "start"),
        (1, "end"),
        (2, "start"),
        (2, "end"),
    ]
    assert [record.get("commit") for record in records] == [None, None, 12, None]
    assert records[1]["reason"] == "SIGTERM"
    assert (records[3]["status"], records[3]["exit_status"]) == ("failed", 1)


def test_a_changed_configuration_is_kept_beside_the_first(create, directory):
    """An unchanged one is not written again, also if it was changed before."""
    create().end("stopped", "", exit_status=75)
    for attempt, text in enumerate(["model: {name: Toy}\n", "changed: 1\n", "changed: 1\n", None], start=2):
        create.reopen(config_text=text).end("stopped", "", exit_status=75)
        assert read_attempts(directory)[-1]["attempt"] == attempt
    assert sorted(path.name for path in directory.glob("config*")) == [
        "config.attempt-3.yaml",
        "config.json",
        "config.source.yaml",
        "config.yaml",
    ]
    assert (directory / "config.attempt-3.yaml").read_text() == "changed: 1\n"


def test_files_that_grow_are_cut_back_to_the_commit(create, directory):
    """Rows after the commit are undone, log lines too, and kept aside."""
    first = create()
    first.log_metrics({"epoch": 1})
    logging.getLogger("emloop.test").info("before the commit")
    committed = first.appends.committed()
    first.log_metrics({"epoch": 2})
    logging.getLogger("emloop.test").info("after the commit")
    first.end("stopped", "", exit_status=75)

    second = create.reopen(prepare=lambda: (1, committed))
    logging.getLogger("emloop.test").info("of the second attempt")
    second.log_metrics({"epoch": 2})
    second.end("done", "", exit_status=0)
    assert (directory / "metrics.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    assert re.findall("before|after|second", log_of(second)) == ["before", "second"]
    kept = "".join(path.read_text() for path in (directory / "discarded").rglob("*") if path.is_file())
    assert "after the commit" in kept
    assert '{"epoch": 2}' in kept


def test_files_stay_as_they_are_where_no_commit_is_named(create, directory):
    """A further attempt without a commit goes on with all rows."""
    first = create()
    first.log_metrics({"epoch": 1})
    first.end("done", "", exit_status=0)
    second = create.reopen()
    second.log_metrics({"epoch": 2})
    assert (directory / "metrics.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_a_resume_that_fails_leaves_the_run_as_it_was(create, directory):
    """If a file does not hold what was committed, neither trace nor attempts change, and the lock is free."""
    first = create()
    first.log_metrics({"epoch": 1})
    committed = first.appends.committed()
    first.end("stopped", "", exit_status=75)
    (directory / "metrics.jsonl").write_text("")
    before = read_trace(directory), read_attempts(directory)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        create.reopen(prepare=lambda: (1, committed))
    assert (read_trace(directory), read_attempts(directory)) == before
    assert not is_held(directory)


def test_what_is_no_run_is_not_reopened(create, directory, tmp_path):
    """The message says what is missing or wrong; other people's directories stay as they are."""
    with pytest.raises(RunDirError, match=r"run\.json: cannot be read: No such file or directory"):
        create.reopen(directory)
    (directory / "run.json").write_text("{}")
    with pytest.raises(RunDirError, match=r"run\.json: does not describe a run: 'format' is None"):
        create.reopen(directory)
    assert not is_held(directory)


def test_leftovers_of_a_killed_attempt_are_removed(create, directory):
    """Half-written files do not pile up."""
    create().end("stopped", "", exit_status=75)
    (directory / ".tmp-123-abc").write_text("half")
    create.reopen()
    assert not (directory / ".tmp-123-abc").exists()


def test_attempt_numbers_survive_a_torn_history(create, directory):
    """A torn last line neither hides others nor swallows the next; a lost file does not turn numbers back."""
    create().end("stopped", "", exit_status=75)
    path = directory / "attempts.jsonl"
    path.write_bytes(path.read_bytes() + b'{"attempt": 2, "eve')
    assert [record["attempt"] for record in read_attempts(directory)] == [1, 1]
    append_attempt(directory, {"attempt": 2, "event": "start"})
    assert [record["attempt"] for record in read_attempts(directory)] == [1, 1, 2]
    path.unlink()
    assert create.reopen().attempt == 2
    assert read_attempts(directory / "nowhere") == []


def test_a_copied_run_goes_on_where_it_lies(create, directory, tmp_path):
    """Nothing in a run depends on its place."""
    create().end("stopped", "", exit_status=75)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(directory, copy)
    shutil.rmtree(directory.parent)
    assert find_run("copy", copy.parent) == copy
    assert RunSummary(copy).status == "stopped"
    run = create.reopen(copy)
    run.log_metrics({"epoch": 1})
    assert (copy / "metrics.jsonl").exists()
    assert not directory.exists()


def test_a_change_of_the_working_directory_does_no_harm(create, tmp_path, monkeypatch):
    """A relative run directory stays where it was."""
    monkeypatch.chdir(tmp_path)
    run = create(create_run_dir("log", name="relative", model_name="Toy"))
    monkeypatch.chdir("/")
    run.log_metrics({"epoch": 1})
    run.end("done", "", exit_status=0)
    assert RunSummary(tmp_path / "log" / "relative").status == "done"
    assert (tmp_path / "log" / "relative" / "metrics.jsonl").exists()


# --- ending ---------------------------------------------------------------------------------------------------------


def test_a_second_end_does_nothing(create, directory):
    """The first word is the last."""
    run = create()
    run.end("done", "target reached", exit_status=0)
    run.end("failed", "again", exit_status=1)
    assert read_trace(directory).reason == "target reached"
    assert len(read_attempts(directory)) == 2
    assert not is_held(directory)


def test_a_full_disk_does_not_hide_why_a_run_ends(create, directory, caplog):
    """If the end cannot be recorded, that is logged, and the lock is free all the same."""
    run = create()
    (directory / "trace.yaml").unlink()
    (directory / "trace.yaml").mkdir()
    (directory / "attempts.jsonl").unlink()
    (directory / "attempts.jsonl").mkdir()
    run.end("failed", "ValueError: the real reason", exit_status=1)
    messages = [record.getMessage() for record in caplog.records]
    assert any(re.match(r".*/attempts\.jsonl could not be written: .*Is a directory", message) for message in messages)
    assert any(re.match(r".*/trace\.yaml could not be written: .*Is a directory", message) for message in messages)
    assert not is_held(directory)
    assert open_append(directory.parent / "other").close() is None


def test_a_trace_that_cannot_be_written_stops_no_run(create, directory, caplog):
    """The trace is for readers."""
    run = create()
    (directory / "trace.yaml").unlink()
    (directory / "trace.yaml").mkdir()
    run.update_trace(epochs_done=4)
    assert "trace.yaml could not be written" in caplog.text
    (directory / "trace.yaml").rmdir()
    run.update_trace()
    assert read_trace(directory).epochs_done == 4


def test_a_vanished_directory_does_not_keep_a_run_from_ending(create, directory, caplog):
    """Even then the handler goes and the process can go on; whoever ends the run says so, and nobody else."""
    run = create()
    shutil.rmtree(directory)
    logging.getLogger("emloop.test").info("into the void")
    run.end("failed", "", exit_status=1)
    assert run.ended
    assert not directory.exists()
    assert run.is_gone
    assert caplog.messages == ["into the void"]


# --- deleting -------------------------------------------------------------------------------------------------------


def test_a_run_deletes_only_what_it_created(create, directory, tmp_path):
    """Its own directory goes with it, one that was there before stays, empty; so do all others."""
    run = create()
    with pytest.raises(RunDirError, match="not deleted, because the run has not ended"):
        delete_run(run)
    run.end("done", "", exit_status=0)
    delete_run(run)
    assert not directory.exists()
    assert directory.parent.exists()

    (tmp_path / "mine").mkdir()
    run = create(create_run_dir(tmp_path, name="mine", model_name="Toy"))
    (run.directory / "sub").mkdir()
    (run.directory / "link").symlink_to(tmp_path)
    run.end("done", "", exit_status=0)
    delete_run(run)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_run_that_was_there_before_is_not_deleted(create, directory):
    """Neither one that this process only resumed, nor one that has taken the place of its own."""
    first = create()
    first.end("stopped", "", exit_status=75)
    second = create.reopen()
    second.end("done", "", exit_status=0)
    with pytest.raises(RunDirError, match="not deleted, because an earlier command has created this run"):
        delete_run(second)

    with_other_id = json.loads((directory / "run.json").read_text()) | {"run_id": "other"}
    (directory / "run.json").write_text(json.dumps(with_other_id))
    with pytest.raises(RunDirError, match="not deleted, because it holds another run now"):
        delete_run(first)


def test_a_run_that_is_taken_up_again_is_not_deleted(create, directory):
    """Somebody may resume a run before it is deleted."""
    run = create()
    run.end("done", "", exit_status=0)
    lock = RunLock(directory)
    lock.acquire()
    with pytest.raises(RunLockedError):
        delete_run(run)
    lock.release()
    assert (directory / "config.yaml").exists()


# --- the log --------------------------------------------------------------------------------------------------------


def test_records_of_every_logger_reach_the_log(create):
    """Lines have the format of emloop 0.2; emloop's own loggers speak at INFO, user code as its logger is set."""
    run = create()
    logging.getLogger("emloop.somewhere").info("a %s", "line")
    logging.getLogger("their.code").warning("two\nlines")
    logging.getLogger("their.code").info("unheard")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}: INFO    @test_run    : a line\n"
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}: WARNING @test_run    : two\nlines\n",
        log_of(run),
    )


def test_nothing_in_a_message_breaks_a_line_or_the_log(create):
    """Control characters are spelt out, odd text is written."""
    run = create()
    logging.getLogger("emloop.test").info("progress\r\x1b[2J100%%\x00\u2028 漢 \udcff\there")
    assert log_of(run).endswith(": progress\\r\\x1b[2J100%%\\x00\\u2028 漢 \\udcff\there\n")


def test_a_run_does_not_log_after_its_end(create, tmp_path):
    """A later run in the process writes its own log only; loggers are as before."""
    before = logging.getLogger("emloop").level, logging.getLogger().handlers[:]
    first = create()
    assert logging.getLogger("emloop").isEnabledFor(logging.INFO)
    second = create(create_run_dir(tmp_path, name="second", model_name="Toy"))
    logging.getLogger("emloop.test").info("for both")
    first.end("done", "", exit_status=0)
    logging.getLogger("emloop.test").info("for one")
    second.end("done", "", exit_status=0)
    logging.getLogger("emloop.test").info("for none")
    assert re.findall("for .*", log_of(first)) == ["for both"]
    assert re.findall("for .*", log_of(second)) == ["for both", "for one"]
    assert (logging.getLogger("emloop").level, logging.getLogger().handlers) == before


def test_a_chattier_level_is_left_alone(create):
    """Who asked for DEBUG gets DEBUG."""
    emloop = logging.getLogger("emloop")
    emloop.setLevel(logging.DEBUG)
    try:
        run = create()
        logging.getLogger("emloop.test").debug("detail")
        run.end("done", "", exit_status=0)
        assert "DEBUG   @test_run    : detail\n" in log_of(run)
        assert emloop.level == logging.DEBUG
    finally:
        emloop.setLevel(logging.NOTSET)


def test_warnings_are_still_shown_where_nobody_has_set_up_logging(tmp_path):
    """A run's log does not swallow what Python would have shown in a notebook or a script."""
    program = CHILD + (
        "import logging\nrun = create(sys.argv[1])\n"
        "logging.getLogger('their.code').warning('look here')\nlogging.getLogger('emloop.x').info('not here')\n"
        "run.end('done', '', exit_status=0)\nlogging.getLogger('their.code').warning('and here')"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stderr == "look here\nand here\n"


def test_a_log_that_cannot_be_written_stops_no_run_and_tells_what_is_missing(tmp_path):
    """On a full disk the run goes on; the log says how many records it lost when there is room again."""
    program = CHILD + (
        "import logging, resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "run = create(sys.argv[1])\n"
        "log = logging.getLogger('emloop.test')\n"
        "log.info('first')\n"
        "size = (run.directory / 'train.log').stat().st_size\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, hard))\n"
        "log.info('lost'); log.info('lost')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "log.info('second'); log.info('third')\n"
        "run.end('done', '', exit_status=0)\n"
        "print(open(run.directory / 'train.log').read())"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert [line.split(": ")[-1] for line in done.stdout.splitlines() if line] == [
        "first",
        "they could not be written)",
        "second",
        "third",
    ]
    assert "(3 records are missing here" in done.stdout
    assert done.stderr.count("train.log cannot be written, records will be missing in it") == 1
    assert "Traceback" not in done.stderr


# --- metrics --------------------------------------------------------------------------------------------------------


def test_metrics_are_strict_json_to_the_last_bit(create, directory):
    """Numbers come back as they were; what JSON cannot say is text that ``float`` reads."""
    run = create()
    line = {"epoch": 1, "valid": {"loss": 0.1 + 0.2, "bad": float("nan"), "far": [-np.inf]}, "n": np.int64(2**53 + 1)}
    run.log_metrics(line | {"f": np.float32(0.1), "ok": np.bool_(True), "text": "é\n", "none": None})
    [text] = (directory / "metrics.jsonl").read_text().splitlines()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "epoch": 1,
        "valid": {"loss": 0.1 + 0.2, "bad": "nan", "far": ["-inf"]},
        "n": 2**53 + 1,
        "f": float(np.float32(0.1)),
        "ok": True,
        "text": "é\n",
        "none": None,
    }
    with pytest.raises(TypeError, match="a line of JSON cannot hold <object object"):
        run.log_metrics({"x": object()})
