"""``emloop ls``: every run, however broken, and how it stands."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from emloop._run_dir.info import RunInfo, write_info
from emloop._run_dir.trace import Trace, write_trace
from emloop._state.lock import RunLock
from emloop.cli.ls import list_train_dirs
from emloop.cli.render import aligned, duration, file_size, grid

CONFIG = "model: {name: Toy, class: nets.toy.Net}\ndataset: {class: data.Digits}\n"


@pytest.fixture
def log(tmp_path):
    """Make runs that began some hours ago."""

    class Log:
        root = tmp_path / "log"

        def run(self, name, *, hours, took=None, status="done", kind="training", config=CONFIG, **trace):
            directory = self.root / name
            directory.mkdir(parents=True)
            begin = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
            write_info(directory, RunInfo(kind, seed=1, created=begin.replace(tzinfo=UTC)))
            end = None if took is None else begin + timedelta(hours=took)
            write_trace(directory, Trace(begin, end, status=status, timezone="+00:00", attempts=1, **trace))
            (directory / "config.yaml").write_text(config)
            return directory

    return Log()


@pytest.fixture
def ls(log, capsys):
    def ls(directory=None, *, recursive=False, all_=False, long=False, verbose=False, as_json=False):
        code = list_train_dirs(str(directory or log.root), recursive, all_, long, verbose, as_json)
        assert code == 0
        return capsys.readouterr().out

    return ls


def test_names_are_listed_earliest_first(log, ls):
    """One name a line, for other programs to read."""
    log.run("b", hours=1, epochs_done=1)
    log.run("a", hours=2, epochs_done=1)
    log.run("c", hours=3, epochs_done=1)
    assert ls() == "c\na\nb\n"


def test_runs_without_a_finished_epoch_are_shown_on_demand(log, ls):
    """Unless they are running, or too broken to say."""
    log.run("failed", hours=5, status="failed")
    log.run("evaluation", hours=4, kind="evaluation")
    live = log.run("live", hours=3, status="running")
    (log.run("broken", hours=2) / "trace.yaml").write_text("")
    log.run("trained", hours=1, epochs_done=2)
    lock = RunLock(live)
    lock.acquire()
    assert ls() == "live\nbroken\ntrained\n"
    assert ls(all_=True) == "failed\nevaluation\nlive\nbroken\ntrained\n"
    assert ls(log.root / "failed") == "failed\n"
    lock.release()


def test_the_long_form_tells_how_every_run_stands(log, ls):
    """Name, model, dataset, age, duration, epochs and state; then what was trained how often."""
    log.run("done", hours=30, took=2, epochs_done=12)
    log.run("stopped", hours=20, took=0.5, status="stopped", epochs_done=3)
    log.run("failed", hours=10, took=0, status="failed", epochs_done=1, config="model: {class: Net}\n")
    log.run("lost", hours=4, status="running", epochs_done=7)
    log.run("scored", hours=3, took=0.001, kind="evaluation")
    live = log.run("live", hours=2, status="stopped", took=0.1)
    lock = RunLock(live)
    lock.acquire()
    (log.root / "old").mkdir()
    (log.root / "old" / "config.yaml").write_text(CONFIG)
    (log.root / "old" / "trace.yaml").write_text("epochs_done: 8\n")
    (log.run("broken", hours=1) / "trace.yaml").write_bytes(b"\0")
    assert ls(long=True, all_=True) == (
        "total 8\n"
        "done     Net  Digits  1 day ago     2 hours     12  done\n"
        "stopped  Net  Digits  20 hours ago  30 minutes  3   stopped\n"
        "failed   Net  N/A     10 hours ago  0 seconds   1   failed\n"
        "lost     Net  Digits  4 hours ago   N/A         7   lost\n"
        "scored   Net  Digits  3 hours ago   4 seconds   0   done evaluation\n"
        "live     Net  Digits  2 hours ago   2 hours     0   running\n"
        "broken   Net  Digits  1 hour ago    N/A         0   broken\n"
        "old      Net  Digits  N/A           N/A         8   N/A\n"
        "\n"
        "+---------+\n"
        "| summary |\n"
        "+---------+\n"
        "+------------+-------+\n"
        "| model.name | count |\n"
        "+============+=======+\n"
        "| Toy        | 7     |\n"
        "+------------+-------+\n"
        "| Unnamed    | 1     |\n"
        "+------------+-------+\n"
        "\n"
        "+--------------+---------------+-------+\n"
        "| model.class  | dataset.class | count |\n"
        "+==============+===============+=======+\n"
        "| Net          | N/A           | 1     |\n"
        "+--------------+---------------+-------+\n"
        "| nets.toy.Net | data.Digits   | 7     |\n"
        "+--------------+---------------+-------+\n"
    )
    lock.release()


def test_one_run_has_no_summary(log, ls):
    """There is nothing to sum up."""
    log.run("only", hours=2, took=1, epochs_done=1)
    assert ls(long=True) == "total 1\nonly  Net  Digits  2 hours ago  1 hour  1  done\n"


def test_an_empty_directory_has_no_runs(log, ls):
    """That is no error."""
    log.root.mkdir()
    assert ls() == ""
    assert ls(long=True) == "total 0\n"
    assert ls(recursive=True) == ""
    assert ls(as_json=True) == "[]\n"


def test_the_verbose_form_shows_configuration_and_artifacts_of_one_run(log, ls):
    """The newest configuration, and what the run has produced; links are not followed."""
    directory = log.run("only", hours=2, took=1, epochs_done=1)
    (directory / "config.attempt-2.yaml").write_text("model: {class: Net, lr: 1e-3}\n")
    (directory / "model_best").mkdir()
    (directory / "model_best" / "model.safetensors").write_bytes(bytes(3 * 1024 * 1024))
    (directory / "model_best" / "outside").symlink_to("/usr")
    (directory / "training.csv").write_text("epoch_id\n")
    assert ls(verbose=True) == (
        "total 1\n"
        "only  Net  N/A  2 hours ago  1 hour  1  done\n"
        "\n"
        "+--------+\n"
        "| config |\n"
        "+--------+\n"
        "model: {class: Net, lr: 1e-3}\n"
        "\n"
        "+-----------+\n"
        "| artifacts |\n"
        "+-----------+\n"
        "d  model_best    3.0  MB\n"
        "-  training.csv  9    B\n"
    )


def test_the_verbose_form_tells_what_is_broken(log, ls):
    """File and cause are named."""
    directory = log.run("broken", hours=2)
    (directory / "trace.yaml").write_text("")
    (directory / "config.yaml").unlink()
    output = ls(verbose=True)
    assert f"problem: {directory}/trace.yaml: is damaged: it is not a mapping\n" in output
    assert "+--------+\n| config |\n+--------+\ncannot be read: No such file or directory\n" in output


def test_a_recursive_listing_has_a_heading_for_every_directory_with_runs(log, ls):
    """And none for others, nor for a run given directly."""
    log.run("a", hours=3, epochs_done=1)
    log.run("group/b", hours=2, epochs_done=1)
    log.run("group/c", hours=1, epochs_done=1)
    log.run("empty/d", hours=1, epochs_done=0)
    assert ls(recursive=True) == f"{log.root}:\na\n\n{log.root}/group:\nb\nc\n\n"
    assert ls(log.root / "a", recursive=True) == "a\n"
    assert ls() == "a\n"


def test_a_listing_for_programs_has_everything_a_person_sees(log, ls):
    """``--json`` gives a list of objects, selected and sorted alike."""
    directory = log.run("one", hours=2, took=1, epochs_done=4, exit_status=0, reason="target reached")
    log.run("none", hours=1)
    (directory / "train.log").touch()
    [one] = json.loads(ls(as_json=True))
    assert datetime.fromisoformat(one.pop("end")) - datetime.fromisoformat(one.pop("begin")) == timedelta(hours=1)
    assert len(one.pop("run_id")) == 32
    assert one == {
        "name": "one",
        "path": str(directory),
        "kind": "training",
        "status": "done",
        "reason": "target reached",
        "exit_status": 0,
        "epochs_done": 4,
        "attempts": 1,
        "model_name": "Toy",
        "model_class": "nets.toy.Net",
        "dataset_class": "data.Digits",
        "problem": None,
    }
    assert [run["name"] for run in json.loads(ls(as_json=True, all_=True))] == ["one", "none"]


@pytest.mark.parametrize("config", ["", "[", "- 1", "model: 3", "model: {class: [1], name: 2}", "model: !!x {}", "\0"])
def test_a_broken_configuration_hides_nothing(log, ls, config):
    """Model and dataset are N/A; the others are listed all the same."""
    log.run("broken", hours=2, epochs_done=1, config=config)
    log.run("sound", hours=1, epochs_done=1)
    lines = ls(long=True).splitlines()
    assert lines[1].split()[:3] == ["broken", "N/A", "N/A"]
    assert lines[2].split()[:3] == ["sound", "Net", "Digits"]


def test_names_and_configurations_cannot_steer_the_terminal(log, ls):
    """Control characters of a copied run are spelt out."""
    log.run("a\x1b[2J\nb", hours=1, epochs_done=1, config='model: {class: "x\\e[31m"}\n')
    assert ls() == "a\\x1b[2J\\nb\n"
    assert "\x1b" not in ls(verbose=True)


def test_a_missing_directory_is_an_error(log, capsys, monkeypatch, tmp_path):
    """The default one is a friendlier one; nothing goes to standard output."""
    monkeypatch.chdir(tmp_path)
    assert list_train_dirs("nowhere", False, False, False, False) == 1
    assert list_train_dirs("./log", False, False, False, False) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "nowhere: cannot look for runs there: No such file or directory\n"
        "There are no runs yet: ./log does not exist. Give another directory, or train something.\n"
    )


def test_the_command_line_lists_runs(log):
    """``emloop ls`` takes the documented options."""
    log.run("a", hours=1, epochs_done=1)
    command = [sys.executable, "-m", "emloop", "ls", str(log.root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [run["name"] for run in json.loads(done.stdout)] == ["a"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 seconds"),
        (0.4, "0 seconds"),
        (1, "1 second"),
        (16, "16 seconds"),
        (59, "1 minute"),
        (90, "2 minutes"),
        (3500, "1 hour"),
        (7200, "2 hours"),
        (86400 * 3, "3 days"),
        (86400 * 14, "2 weeks"),
        (86400 * 60, "2 months"),
        (86400 * 365 * 7, "7 years"),
    ],
)
def test_durations_read_like_speech(seconds, text):
    """In English everywhere, in the largest unit that fits."""
    assert text == duration(seconds)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (1536, "1.5 KB"), (5 * 1024**3, "5.0 GB"), (1024**5, "1.0 PB")],
)
def test_sizes_have_a_unit(size, text):
    """Powers of 1024, one decimal."""
    assert text == " ".join(file_size(size))


def test_tables_align_letters_of_any_width():
    """Wide and combining characters take the columns that a terminal gives them."""
    assert aligned([["漢字", "x"], ["e\u0301", "y"], ["abcd", "z"]]) == "漢字  x\ne\u0301     y\nabcd  z"
    assert grid(["a"], []) == "+---+\n| a |\n+===+"
    assert aligned([]) == ""
