"""``emloop ls``: every run, however broken, and how it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from emloop._run_dir.run import Run
from emloop._run_dir.summary import list_runs
from emloop._run_dir.trace import read_trace, write_trace
from emloop._state.lock import RunLock
from emloop.cli._runs.details import artifacts, as_data
from emloop.cli._runs.ls import list_train_dirs
from emloop.cli.app import main
from emloop.cli.render import aligned, duration, file_size, grid
from emloop.errors import UsageError


@pytest.fixture
def ls(log, capsys):
    def ls(directory=None, *filters, recursive=False, all_=False, long=False, verbose=False, as_json=False, **options):
        place = str(directory or log.root)
        code = list_train_dirs(place, recursive, all_, long, verbose, as_json, filters=filters, **options)
        assert code == 0
        return capsys.readouterr().out

    return ls


def test_names_are_listed_earliest_first(log, ls):
    """One name a line, for other programs to read."""
    log.run("b", hours=1, epochs_done=1)
    log.run("a", hours=2, epochs_done=1)
    log.run("c", hours=3, epochs_done=1)
    assert ls() == "c\na\nb\n"


def test_evaluations_are_shown_on_demand(log, ls):
    """A training counts before its first epoch has ended, whatever became of it."""
    log.run("failed", hours=5, status="failed")
    log.run("evaluation", hours=4, kind="evaluation")
    live = log.run("live", hours=3, status="running")
    (log.run("broken", hours=2) / "trace.yaml").write_text("")
    log.run("trained", hours=1, epochs_done=2)
    lock = RunLock(live)
    lock.acquire()
    assert ls() == "failed\nlive\nbroken\ntrained\n"
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
    log.old_run("old")
    (log.run("broken", hours=1) / "trace.yaml").write_bytes(b"\0")
    assert ls(long=True, all_=True) == (
        "total 8\n"
        "name     model  dataset  age           duration    epochs_done  status   kind        model.name\n"
        "done     Net    Digits   1 day ago     2 hours     12           done     training    Toy\n"
        "stopped  Net    Digits   20 hours ago  30 minutes  3            stopped  training    Toy\n"
        "failed   Net    N/A      10 hours ago  0 seconds   1            failed   training    N/A\n"
        "lost     Net    Digits   4 hours ago   N/A         7            lost     training    Toy\n"
        "scored   Net    Digits   3 hours ago   4 seconds   0            done     evaluation  Toy\n"
        "live     Net    Digits   2 hours ago   2 hours     0            running  training    Toy\n"
        "broken   Net    Digits   1 hour ago    N/A         0            broken   training    Toy\n"
        "old      Net    Digits   N/A           N/A         8            unknown  training    Toy\n"
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
    assert ls(long=True) == (
        "total 1\n"
        "name  model  dataset  age          duration  epochs_done  status\n"
        "only  Net    Digits   2 hours ago  1 hour    1            done\n"
    )


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
        "name  model  dataset  age          duration  epochs_done  status\n"
        "only  Net    N/A      2 hours ago  1 hour    1            done\n"
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
    log.run("empty/d", hours=1, kind="evaluation")
    assert ls(recursive=True) == f"{log.root}:\na\n\n{log.root}/group:\nb\nc\n\n"
    assert ls(log.root / "a", recursive=True) == "a\n"
    assert ls() == "a\n"


def test_a_listing_for_programs_has_everything_a_person_sees(log, ls):
    """``--json`` gives a list of objects, selected and sorted alike."""
    directory = log.run("one", hours=2, took=1, epochs_done=4, exit_status=0, reason="target reached")
    log.run("none", hours=1)
    (directory / "train.log").touch()
    one = json.loads(ls(as_json=True))[0]
    assert datetime.fromisoformat(one.pop("end")) - datetime.fromisoformat(one.pop("begin")) == timedelta(hours=1)
    assert len(one.pop("run_id")) == 32
    assert one == {
        "name": "one",
        "path": str(directory),
        "kind": "training",
        "nan": None,
        "status": "done",
        "reason": "target reached",
        "exit_status": 0,
        "epochs_done": 4,
        "attempts": 1,
        "seed": 1,
        "duration": 3600.0,
        "metric": None,
        "value": None,
        "model_name": "Toy",
        "model_class": "nets.toy.Net",
        "dataset_class": "data.Digits",
        "problem": None,
    }
    assert [run["name"] for run in json.loads(ls(as_json=True))] == ["one", "none"]


@pytest.mark.parametrize(
    ("written", "now", "expected"),
    [
        pytest.param({"status": "done", "seconds": 90.0}, {}, 90, id="two-attempts-with-a-night-between"),
        pytest.param({"status": "stopped", "seconds": 0.0}, {}, 0, id="no-time-at-all"),
        pytest.param({"status": "running", "seconds": 50.0}, {}, 50, id="killed"),
        pytest.param({"status": "running", "seconds": 50.0}, {"held": True}, 50 + 3600, id="running"),
        pytest.param({"status": "running"}, {}, None, id="killed-in-0.2"),
        pytest.param({"status": "done"}, {}, 7200, id="done-in-0.2"),
    ],
)
def test_the_duration_is_time_spent(log, ls, written, now, expected):
    """Summed over the attempts, with none of the time between them; of a killed one up to its last word."""
    began = datetime.now(UTC).replace(tzinfo=None)
    as_of = began - timedelta(hours=1)
    run = log.run("run", hours=9, took=2 if written["status"] == "done" else None, written=as_of, **written)
    lock = RunLock(run)
    if now:
        lock.acquire()
    try:
        [told] = json.loads(ls(as_json=True))
    finally:
        lock.release()
    assert told["duration"] == (None if expected is None else pytest.approx(expected, abs=120))


def test_an_hour_between_two_attempts_counts_for_nothing(log, ls):
    """Real attempts add up; the time that a run lies around is nobody's."""
    directory = log.train("run", epochs=1)
    trace = read_trace(directory)
    assert 0 < trace.seconds < 600
    hours = timedelta(hours=100)
    write_trace(directory, replace(trace, train_begin=trace.train_begin - hours, train_end=trace.train_end - hours))
    run = Run.reopen(directory, config_text=None, command=[])
    run.end("done", "enough", exit_status=0)

    assert trace.seconds <= json.loads(ls(as_json=True))[0]["duration"] < 600


def lines_at(terminal, log, *words, columns=80):
    """What ``emloop ls`` shows on a terminal."""
    lines = terminal("ls", str(log.root), *words, columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    return lines


def test_on_a_terminal_each_run_has_a_line(log, terminal):
    """Status, epochs, age, the number that it is judged by, and what is different about its config."""
    sweep(log)
    log.kill("killed")
    *lines, killed = lines_at(terminal, log)
    assert re.fullmatch(r"killed  lost    0       \d+s", killed)
    assert lines == [
        "name    status  epochs  age    valid.loss  differs",
        "run0    done    2       3h     2.1         rate=0.1 name=Toy layers=[32, 64] …",
        "run1    done    2       2h     2.3         rate=0.3 name=Toy layers=[32, 64] …",
        "run2    done    2       60min  2.2         rate=0.2 name=Toy layers=[32, 64] …",
    ]


def test_long_names_and_many_differences_share_a_line(log, terminal):
    """Names are cut in the middle, differences between two of them, and numbers nowhere."""
    for number in range(2):
        values = ", ".join(f"key{key}: {number + 0.123456789}" for key in range(9))
        config = f"model: {{class: Net, {values}}}\n"
        metrics = [{"epoch_id": 1, "valid": {"a_rather_long_name_of_a_metric": 0.123456789}}]
        log.run(f"{'x' * 40}{number}{'y' * 40}", hours=900, epochs_done=1000, config=config, metrics=metrics)
    assert lines_at(terminal, log) == [
        "name          status  epochs  age  valid.a_rath…of_a_metric  differs",
        "xxxxxx…yyyyy  done    1000    5w   0.123457                  key0=0.123456789 …",
        "xxxxxx…yyyyy  done    1000    5w   0.123457                  key0=1.123456789 …",
    ]
    assert lines_at(terminal, log, columns=60)[1] == "xxxxxx…yyyyy  done    1000    5w   0.123457"


def test_runs_that_are_judged_by_different_numbers_name_them(log, terminal):
    """The value stands behind its name."""
    for name, streams in {"a": {"valid": {"loss": 0.5}}, "b": {"train": {"loss": 1}}, "c": {}}.items():
        log.run(name, epochs_done=1, hours=10, metrics=[{"epoch_id": 1, **streams}])
    assert lines_at(terminal, log) == [
        "name  status  epochs  age  metric",
        "a     done    1       10h  valid.loss 0.5",
        "b     done    1       10h  train.loss 1",
        "c     done    1       10h",
    ]


def test_nothing_hostile_reaches_the_terminal(log, terminal):
    """Control characters in names, metrics and configs are spelt out and change no width."""
    for value in "12":
        config = f'model: {{class: Net, "k\\e[2J": "\\e[31m{value}"}}\n'
        log.run(f"\x1b[2J{value}", epochs_done=1, config=config, metrics=[{"valid": {"\x1b[1m\n": 1}}])
    text = terminal("ls", str(log.root))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


def test_a_narrow_terminal_shows_names_and_states(log, terminal):
    """Whatever does not fit is left out."""
    sweep(log)
    assert [line.split()[:2] for line in terminal("ls", str(log.root), columns=20).splitlines()][1:] == [
        ["run0", "done"],
        ["run1", "done"],
        ["run2", "done"],
    ]


def test_runs_are_listed_by_name(log, ls, capsys, monkeypatch):
    """The beginning of names, a whole name, ``@`` and ``best:``; a directory comes first."""
    sweep(log)
    log.run("run", hours=9)
    monkeypatch.chdir(log.root.parent)
    for spec, names in {
        "ru": ["run", "run0", "run1", "run2"],
        "run": ["run"],
        "run1": ["run1"],
        "@": ["run2"],
        "@-1": ["run1"],
        "best:valid/loss": ["run0"],
        "scores": ["scores"],
        "log": ["run", "run0", "run1", "run2"],
        "log/run1/config.yaml": ["run1"],
    }.items():
        assert ls(spec).split() == names, spec
    assert list_train_dirs("rum1", False, False, False, False) == 1
    assert capsys.readouterr().err == (
        "'rum1' is neither a run directory nor the beginning of a run's name in log; did you mean 'run1'?; "
        "runs there: run, run0, run1, run2, scores\n"
    )


def sweep(log):
    """Three runs of a sweep, one of them with another hook, and an evaluation."""
    for number, rate in enumerate((0.1, 0.3, 0.2)):
        config = (
            f"model: {{name: Toy, class: nets.Net, rate: {rate}, layers: [32, 64]}}\n"
            f"dataset: {{class: data.Digits}}\nhooks: [LogVariables{', {StopAfter: {epochs: 5}}' if number else ''}]\n"
        )
        metrics = [{"epoch_id": i, "valid": {"loss": {"mean": rate + i}}} for i in range(3)]
        log.run(f"run{number}", hours=3 - number, took=1, epochs_done=2, config=config, metrics=metrics)
    log.run("scores", hours=0.5, took=0.1, kind="evaluation", config=config, metrics=metrics[:1])


def test_of_the_configuration_only_what_differs_is_shown(log, ls):
    """A key that some runs lack differs, too; what all share says nothing."""
    sweep(log)
    lines = ls(long=True).splitlines()
    assert lines[1:5] == [
        (
            "name  model  dataset  age          duration  epochs_done  status  valid.loss  model.rate  "
            "hooks.StopAfter.epochs"
        ),
        "run0  Net    Digits   3 hours ago  1 hour    2            done    2.1         0.1         N/A",
        "run1  Net    Digits   2 hours ago  1 hour    2            done    2.3         0.3         5",
        "run2  Net    Digits   1 hour ago   1 hour    2            done    2.2         0.2         5",
    ]
    assert [run["config"] for run in json.loads(ls(long=True, as_json=True))] == [
        {"model.rate": 0.1},
        {"model.rate": 0.3, "hooks.StopAfter.epochs": 5},
        {"model.rate": 0.2, "hooks.StopAfter.epochs": 5},
    ]


def test_differences_that_fill_the_screen_are_cut_short_and_named(log, ls):
    """The rest can be asked for."""
    for value in (1, 2):
        model = ", ".join(f"k{number}: {value}" for number in range(11))
        log.run(f"run{value}", epochs_done=1, config=f"model: {{class: Net, {model}}}\n")
    lines = ls(long=True).splitlines()
    assert lines[1].endswith("  model.k6  model.k7")
    assert lines[4] == "… and 3 more keys differ, for --columns: model.k8, model.k9, model.k10"


def test_columns_are_chosen_from_everything_known_of_a_run(log, ls):
    """Fields of the run, of its configuration and of its epochs; a long value is cut short."""
    sweep(log)
    log.run("odd", hours=0.1, epochs_done=1, config=f"model: {{class: Net, rate: {'x' * 50}}}\n")
    columns = ["name", "kind", "model.rate", "model.layers", "valid.loss", "min:valid.loss", "exit_status"]
    assert ls(None, all_=True, columns=columns) == (
        "name    kind        model.rate                                model.layers  valid.loss  min:valid.loss"
        "  exit_status\n"
        "run0    training    0.1                                       [32, 64]      2.1         0.1           "
        "  N/A\n"
        "run1    training    0.3                                       [32, 64]      2.3         0.3           "
        "  N/A\n"
        "run2    training    0.2                                       [32, 64]      2.2         0.2           "
        "  N/A\n"
        "scores  evaluation  0.2                                       [32, 64]      0.2         0.2           "
        "  N/A\n"
        f"odd     training    {'x' * 39}…  N/A           N/A         N/A           "
        "  N/A\n"
    )
    assert json.loads(ls(log.root / "run1", as_json=True, columns=["name", "valid.loss", "model.layers"])) == [
        {"name": "run1", "valid.loss": 2.3, "model.layers": [32, 64]}
    ]
    with pytest.raises(UsageError, match=r"none of the 4 runs has 'valid\.los'; did you mean 'valid\.loss'"):
        ls(columns=["name", "valid.los"])


def test_runs_are_sorted_by_any_field(log, ls):
    """Those without it come last, either way."""
    sweep(log)
    log.run("none", hours=9, epochs_done=1)
    assert ls(sort="valid.loss").split() == ["run0", "run2", "run1", "none"]
    assert ls(sort="-valid.loss").split() == ["run1", "run2", "run0", "none"]
    assert ls(sort="valid.loss", reverse=True).split() == ["run1", "run2", "run0", "none"]
    assert ls(sort="name").split() == ["none", "run0", "run1", "run2"]
    assert ls(sort="-begin").split() == ["run2", "run1", "run0", "none"]
    assert ls(reverse=True).split() == ["run2", "run1", "run0", "none"]


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        pytest.param(["-valid.loss"], "run1 run2 run0", id="a-metric-that-begins-as-options-do"),
        pytest.param(["-max:valid.loss", "valid.loss > 2.15"], "run1 run2", id="of-all-epochs-with-a-filter"),
        pytest.param(["--sort", "-valid.loss"], "run1 run2 run0", id="after-the-option"),
        pytest.param(["-model.rate", "--reverse"], "run0 run2 run1", id="a-key-of-the-config"),
        pytest.param(["-begin"], "run2 run1 run0", id="a-field"),
        pytest.param(["-la", "--columns=name"], "name run0 run1 run2 scores", id="options-stay-options"),
    ],
)
def test_a_field_after_a_dash_sorts_largest_first(log, capsys, words, listed):
    """Whatever options its letters would be."""
    sweep(log)

    assert main(["-o", str(log.root), "ls", *words]) == 0

    found = capsys.readouterr().out.partition("\n\n")[0]
    assert re.sub(r"^total .*\n", "", found).split() == listed.split()


def test_what_is_no_field_after_a_dash_is_no_option(log, capsys):
    """Both are told of by their own words."""
    sweep(log)

    assert main(["-o", str(log.root), "ls", "-valid.los"]) == 2
    assert capsys.readouterr().err.startswith("none of the 3 runs has 'valid.los'; did you mean 'valid.loss'")
    assert main(["-o", str(log.root), "ls", "-x"]) == 2
    assert capsys.readouterr().err == "unknown option '-x'\n"


def test_a_filter_looks_at_all_runs(log, ls):
    """Also at those that a plain listing leaves out: who asks for evaluations wants to see them."""
    sweep(log)
    log.run("failed", hours=1, status="failed")
    assert ls(None, "kind == evaluation") == "scores\n"
    assert ls(None, "status == failed") == "failed\n"
    assert ls(None, "model.rate >= 0.2", "valid.loss > 2") == "run1\nrun2\n"
    assert ls(None, "model.rate > 1") == ""
    assert ls(log.root / "run1", "model.rate > 1") == ""


def test_a_real_sweep_is_compared(log, ls):
    """Configuration, metrics and states of runs as emloop makes them."""
    log.train("slow", rate=0.01)
    log.train("fast", rate=0.5, epochs=3)
    log.hold("live", epochs=1)
    log.kill("killed", epochs=1)
    assert ls(None, "status == done", sort="-model.rate") == "fast\nslow\n"
    assert ls(None, "train.loss > 0", "epochs_done >= 3") == "fast\n"
    table = ls(columns=["name", "status", "epochs_done", "model.rate", "main_loop.epochs_count"], sort="name")
    assert table == (
        "name    status   epochs_done  model.rate  main_loop.epochs_count\n"
        "fast    done     3            0.5         3\n"
        "killed  lost     1            N/A         N/A\n"
        "live    running  1            N/A         N/A\n"
        "slow    done     2            0.01        2\n"
    )


BREAKAGES = {
    "empty-trace": lambda run: (run / "trace.yaml").write_text(""),
    "torn-trace": lambda run: (run / "trace.yaml").write_text("train_begin: 2026-"),
    "binary-trace": lambda run: (run / "trace.yaml").write_bytes(bytes(range(256))),
    "bomb-trace": lambda run: (run / "trace.yaml").write_text("[" * 100_000),
    "huge-trace": lambda run: os.truncate(run / "trace.yaml", 1 << 30),
    "no-trace": lambda run: (run / "trace.yaml").unlink(),
    "folder-for-trace": lambda run: ((run / "trace.yaml").unlink(), (run / "trace.yaml").mkdir()),
    "pipe-for-trace": lambda run: ((run / "trace.yaml").unlink(), os.mkfifo(run / "trace.yaml")),
    "link-for-trace": lambda run: ((run / "trace.yaml").unlink(), (run / "trace.yaml").symlink_to("/etc/passwd")),
    "types-in-trace": lambda run: (run / "trace.yaml").write_text("epochs_done: many\ntrain_begin: [1]\nstreams: 3\n"),
    "empty-run.json": lambda run: (run / "run.json").write_text(""),
    "other-run.json": lambda run: (run / "run.json").write_text('{"run": 5}'),
    "newer-run.json": lambda run: (run / "run.json").write_text('{"format": 99}'),
    "no-run.json": lambda run: (run / "run.json").unlink(),
    "no-config": lambda run: (run / "config.yaml").unlink(),
    "folder-for-config": lambda run: ((run / "config.yaml").unlink(), (run / "config.yaml").mkdir()),
    "pipe-for-config": lambda run: ((run / "config.yaml").unlink(), os.mkfifo(run / "config.yaml")),
    "binary-metrics": lambda run: (run / "metrics.jsonl").write_bytes(bytes(range(256))),
    "torn-metrics": lambda run: (run / "metrics.jsonl").write_text('{"epoch_id": 0, "valid": {"lo'),
    "types-in-metrics": lambda run: (run / "metrics.jsonl").write_text('[1]\n{"valid": 3}\n{"valid": {"loss": [1]}}\n'),
    "long-numbers": lambda run: (run / "metrics.jsonl").write_text('{"valid": {"loss": ' + "9" * 5000 + "}}\n"),
    "deep-metrics": lambda run: (run / "metrics.jsonl").write_text('{"valid":' * 50_000 + "\n"),
    "pipe-for-metrics": lambda run: ((run / "metrics.jsonl").unlink(), os.mkfifo(run / "metrics.jsonl")),
    "folder-for-lock": lambda run: (run / ".lock").mkdir(),
    "pipe-for-lock": lambda run: os.mkfifo(run / ".lock"),
}


def break_run(log, name):
    """Make a run and break it, if there is a way of that name."""
    directory = log.run(name, epochs_done=1, took=0.5, metrics=[{"epoch_id": 1, "valid": {"loss": 0.5}}])
    BREAKAGES.get(name, Path.is_dir)(directory)


@pytest.fixture
def broken(log):
    """Runs broken in every way, and a sound one."""
    for name in [*BREAKAGES, "sound"]:
        break_run(log, name)
    (log.root / "nowhere").symlink_to("missing")
    (log.root / "circle").symlink_to("circle")
    (log.root / "notes.txt").write_text("no run")
    return log


@pytest.mark.parametrize("name", BREAKAGES)
def test_no_run_is_too_broken_to_be_listed(log, ls, name):
    """In any form."""
    break_run(log, name)
    for options in ({}, {"long": True}, {"verbose": True}, {"as_json": True, "verbose": True}):
        assert name in ls(log.root / name, **options)


def test_broken_runs_never_spoil_a_listing(broken, ls):
    """Every run has its line, and sound ones theirs as ever."""
    everyone = sorted([*BREAKAGES, "sound"])
    assert ls(all_=True, sort="name").split() == everyone
    rows = ls(all_=True, long=True, sort="name").splitlines()[2 : len(everyone) + 2]
    assert [row.split()[0] for row in rows] == everyone
    assert "sound Net Digits 1 hour ago 30 minutes 1 done" in " ".join(ls(all_=True, long=True).split())
    columns = ["name", "status", "valid.loss", "min:valid.loss", "model.class", "problem"]
    table = ls(all_=True, columns=columns, sort="-valid.loss").splitlines()
    assert sorted(line.split()[0] for line in table[1:]) == everyone
    assert len(json.loads(ls(all_=True, as_json=True, long=True))) == len(everyone)
    assert "sound" in ls(None, "valid.loss == 0.5", "model.class == nets.toy.Net", "status == done").split()


def test_a_run_that_vanishes_while_it_is_listed_hides_nothing(log):
    """Somebody may delete or prune runs at any moment."""
    gone, stays = log.run("gone", hours=2, epochs_done=1), log.run("stays", hours=1, epochs_done=1)
    listed = list_runs(log.root)
    shutil.rmtree(gone)

    assert [run.status for run in listed] == ["done", "done"]
    assert [as_data(run, [])["model_name"] for run in listed] == [None, "Toy"]
    assert artifacts(listed[0]) == []
    assert [run.path for run in listed] == [gone, stays]


def test_a_listing_reads_no_more_than_it_shows(log):
    """Names need the traces; only what is asked for is read beyond that, and nothing to compute with is loaded."""
    for number in range(20):
        log.run(f"run{number}", epochs_done=1, metrics=[{"epoch_id": 0, "valid": {"loss": 0.5}}])
    program = (
        "import collections, os, sys\n"
        "opened = collections.Counter()\n"
        "def audit(event, arguments):\n"
        "    if event == 'open' and isinstance(arguments[0], str):\n"
        "        opened[os.path.basename(arguments[0])] += 1\n"
        "from emloop.cli.app import main\n"
        "sys.addaudithook(audit)\n"
        "main(['ls', *sys.argv[1:]])\n"
        "names = ('trace.yaml', 'run.json', 'config.yaml', 'metrics.jsonl')\n"
        "print({name: opened[name] for name in names if opened[name]}, file=sys.stderr)\n"
        "sys.exit(bool({'numpy', 'yaml', 'rich'} & set(sys.modules)))\n"
    )

    def opened(*arguments):
        command = [sys.executable, "-c", program, str(log.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr.strip()

    assert opened() == "{'trace.yaml': 20}"
    assert opened("valid.loss < 1") == "{'trace.yaml': 20, 'metrics.jsonl': 20}"
    assert opened("model.class == x", "--columns", "name") == "{'trace.yaml': 20, 'config.yaml': 20}"
    assert opened("-l") == "{'trace.yaml': 20, 'run.json': 20, 'config.yaml': 20, 'metrics.jsonl': 20}"


@pytest.mark.parametrize("config", ["", "[", "- 1", "model: 3", "model: {class: [1], name: 2}", "model: !!x {}", "\0"])
def test_a_broken_configuration_hides_nothing(log, ls, config):
    """Model and dataset are N/A; the others are listed all the same."""
    log.run("broken", hours=2, epochs_done=1, config=config)
    log.run("sound", hours=1, epochs_done=1)
    lines = ls(long=True).splitlines()
    assert lines[1].split()[:3] == ["name", "model", "dataset"]
    assert lines[2].split()[:3] == ["broken", "N/A", "N/A"]
    assert lines[3].split()[:3] == ["sound", "Net", "Digits"]


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
        "'nowhere' is neither a run directory nor the beginning of a run's name in log; there are no runs there\n"
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
