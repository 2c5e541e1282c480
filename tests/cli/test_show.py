"""``emloop show``: everything about one run, for people and for programs."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from emloop._run_dir.run import Run
from emloop.cli._runs.curve import curve
from emloop.cli._runs.show import show
from emloop.errors import RunDirError, UsageError


@pytest.fixture
def shown(log, capsys):
    def shown(spec, **options):
        assert show(spec, str(log.root), **options) == 0
        return capsys.readouterr().out

    return shown


def test_a_real_run_is_shown_as_a_whole(log, shown):
    """Facts, config against its defaults, metrics with their best, a curve, files."""
    log.train("run", epochs=3, rate=0.5)
    text = shown("ru")
    facts = dict(line.split(None, 1) for line in text.partition("\n\n")[0].splitlines())
    assert facts["status"] == "done: main_loop.epochs_count = 3 is reached"
    assert (facts["epochs"], facts["seed"], facts["kind"]) == ("3", "1", "training")
    assert "  ~  model.rate                    0.1 (default) → 0.5\n" in text
    assert "\ntrain.loss, epoch 0 to 3\n" in text
    assert "  metrics.jsonl" in text
    told = json.loads(shown("run", as_json=True))
    values = [line["train"]["loss"]["mean"] for line in lines(log.root / "run")]
    [metric] = told["metrics"]
    assert metric == {
        "name": "train.loss",
        "last": values[-1],
        "best": min(values),
        "epoch": values.index(min(values)),
    }
    assert told["curve"] == {"variable": "train.loss", "epochs": [0, 1, 2, 3], "values": values}
    assert {"about": "config", "key": "model.rate", "kind": "changed", "old": 0.1, "new": 0.5} in [
        {key: value for key, value in change.items() if key != "defaults"} for change in told["config"]["differences"]
    ]


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_attempt_is_told(log, shown):
    """Which commit it began from and how it ended; one that was killed is lost."""
    directory = log.kill("run", epochs=2)
    Run.reopen(directory, config_text=None, command=[], prepare=lambda: (7, ())).end(
        "stopped", "SIGTERM", exit_status=75
    )
    attempts = json.loads(shown("run", as_json=True))["attempts"]
    assert [(it["attempt"], it["status"], it["commit"], it.get("reason")) for it in attempts] == [
        (1, "lost", None, None),
        (2, "stopped", 7, "SIGTERM"),
    ]
    assert "stopped  from commit 7  SIGTERM\n" in shown("run")


def test_a_fork_is_compared_with_its_parent(log, shown):
    """Only what is different; the parent is known by its id, wherever the directories were moved."""
    parent = log.run("parent", config="model: {class: nets.Net, rate: 1, width: 5}\n")
    child = log.run("child", config="model: {class: nets.Net, rate: 2, width: 5}\n")
    info = json.loads((child / "run.json").read_text())
    origin = {"run_id": json.loads((parent / "run.json").read_text())["run_id"], "path": "/gone/other", "commit": 3}
    (child / "run.json").write_text(json.dumps(info | {"parent": origin}))
    text = shown("child")
    assert "/gone/other, commit 3\n" in text
    assert f"\nconfig, against that of {parent}\n  ~  model.rate  1 → 2\n" in text


def test_the_curve_of_any_metric_can_be_drawn(log, shown):
    """Spelt with a dot or a slash; one that is not there is an error."""
    metrics = [{"epoch_id": n, "train": {"loss": 9 - n}, "valid": {"accuracy": n / 9}} for n in range(5)]
    log.run("run", metrics=metrics)
    assert "\nvalid.accuracy, epoch 0 to 4\n" in shown("run")
    assert "\ntrain.loss, epoch 0 to 4\n" in shown("run", variable="train/loss")
    assert "valid.accuracy  0.444444  0.444444  4\n" in shown("run", variable="train.loss")
    with pytest.raises(UsageError) as caught:
        show("run", str(log.root), variable="valid.acuracy")
    assert str(caught.value) == (
        "the run does not have 'valid.acuracy'; did you mean 'valid.accuracy'?; there are: train.loss, valid.accuracy"
    )


def test_saved_models_tell_their_rung(log, shown):
    """As far as their manifests can be read."""
    run = log.run("run")
    for name, manifest in {"model_best": '{"rung": "exported", "backend": "torch"}', "model_torn": '{"rung'}.items():
        (run / name).mkdir()
        (run / name / "manifest.json").write_text(manifest)
    assert "\nsaved models\n  model_best  exported  40  B\n" in shown("run")
    assert [it["name"] for it in json.loads(shown("run", as_json=True))["saved_models"]] == ["model_best"]


BREAKAGES = {
    "nothing": lambda run: [path.unlink() for path in run.iterdir() if path.name != "run.json"],
    "binary": lambda run: [path.write_bytes(bytes(range(256))) for path in run.iterdir()],
    "config": lambda run: (run / "config.yaml").write_text("[ not yaml"),
    "metrics": lambda run: (run / "metrics.jsonl").write_text('{"valid": {"loss": ' + "9" * 4000 + "}}\n[1]\n{}\n"),
    "words": lambda run: (run / "metrics.jsonl").write_text('{"epoch_id": [1], "valid": {"loss": "x", "n": "nan"}}\n'),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_no_run_is_too_broken_to_be_shown(log, shown, name):
    """What can be read is shown."""
    BREAKAGES[name](log.run("run", metrics=[{"epoch_id": 0, "valid": {"loss": 1}}]))
    assert "run" in shown("run")
    assert json.loads(shown("run", as_json=True))["name"] == "run"


def test_a_hostile_run_is_harmless(log, terminal):
    """Control characters are spelt out, many metrics are counted, and nothing is wider than the terminal."""
    many = {f"\x1b[31mv{number}": {"mean": float(number)} for number in range(100_000)}
    run = log.run("run", config='model: {class: Net, "k\\e[2J": "\\e[31m' + "x" * 500 + '"}\n')
    (run / "metrics.jsonl").write_text(json.dumps({"epoch_id": "\x1b[2J", "valid": many}) + "\n")
    text = terminal("show", str(run))
    assert "\x1b" not in text
    assert "… and 99980 more; --variable METRIC draws one, --json has all\n" in text
    assert max(len(line) for line in text.splitlines() if str(run) not in line) <= 80  # paths stay whole


def test_a_run_that_cannot_be_written_is_shown(log):
    """Reading needs no more."""
    run = log.run("run", metrics=[{"epoch_id": 0, "valid": {"loss": 1}}])
    before = sorted(path.name for path in run.iterdir())
    run.chmod(0o555)
    command = [sys.executable, "-m", "emloop", "show", os.fspath(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    run.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in run.iterdir()) == before


def just_begun(log):
    """A process was killed after ``run.json``, before anything else."""
    run = log.run("begun")
    (run / "trace.yaml").unlink()
    (run / "config.yaml").unlink()
    return run


def linked(log):
    """A link to a run elsewhere."""
    run = log.run("elsewhere/run", metrics=[{"epoch_id": 0, "valid": {"loss": 1}}])
    (log.root / "link").symlink_to(run)
    return log.root / "link"


def behind(log):
    """A run that was killed between two writings of its trace."""
    metrics = [{"epoch_id": epoch, "valid": {"loss": 1.0 / (epoch + 1)}} for epoch in range(4)]
    return log.run("run", status="running", epochs_done=1, metrics=metrics)


OMAP = """\
!!omap
- epochs_done: 8
- exit_status: 0
- train_begin: 2020-01-01 10:00:00
- train_end: 2020-01-01 11:00:00
"""
STATES = {
    "live": (lambda log: log.hold("run", epochs=2), {"status": "running", "epochs": "2"}),
    "lost": (lambda log: log.kill("run", epochs=1), {"status": "lost", "epochs": "1"}),
    "lost-after-its-trace": (behind, {"status": "lost", "epochs": "3"}),
    "just-begun": (just_begun, {"status": "lost", "epochs": "0", "problem": "{run}/trace.yaml: missing"}),
    "of-0.2": (lambda log: log.old_run("run", OMAP), {"status": "done", "epochs": "8", "time spent": "1 hour"}),
    "of-0.2-broken": (
        lambda log: log.old_run("run", None),
        {
            "status": "lost",
            "problem": "{run}/run.json: cannot be read: No such file or directory; {run}/trace.yaml: missing",
        },
    ),
    "a-link": (linked, {"status": "done", "run": "{run}"}),
}


@pytest.mark.parametrize("name", STATES)
def test_a_run_in_any_state_is_shown(log, shown, name):
    """What can be known of it, and nothing that is not."""
    make, expected = STATES[name]
    run = make(log)
    text = shown(str(run))
    facts = dict(re.split("  +", line, maxsplit=1) for line in text.partition("\n\n")[0].splitlines())
    assert {key: facts[key] for key in expected} == {key: value.format(run=run) for key, value in expected.items()}
    assert all(facts.values())
    assert "command" not in facts
    assert json.loads(shown(str(run), as_json=True))["status"] == expected["status"]


def test_files_that_cannot_be_opened_are_named(log, shown):
    """Each by its path and the reason; the rest is shown."""
    run = log.run("run", metrics=[{"epoch_id": 0, "valid": {"loss": 1}}])
    for name in ("run.json", "trace.yaml", "config.yaml"):
        (run / name).unlink()
        os.mkfifo(run / name)
    text = shown("run")
    assert "status   broken\n" in text
    assert (
        f"problem  {run}/run.json: cannot be read: not a regular file; {run}/trace.yaml: cannot be read: not a" in text
    )
    assert "  valid.loss  1     1     0\n" in text


NO_RUNS = {
    "nothing": (lambda place: None, ""),
    "empty": (Path.mkdir, ""),
    "file": (Path.touch, " (Not a directory)"),
    "dangling": (lambda place: place.symlink_to("gone\x1b"), r" (a link to 'gone\x1b': No such file or directory)"),
    "loop": (lambda place: place.symlink_to("x"), " (a link to 'x': Too many levels of symbolic links)"),
}


@pytest.mark.parametrize("name", NO_RUNS)
def test_what_is_no_run_is_an_error_that_says_why(log, name):
    """As far as that is not plain to see."""
    make, why = NO_RUNS[name]
    place = log.root / "x"
    log.root.mkdir()
    make(place)
    with pytest.raises(RunDirError) as caught:
        show(str(place), str(log.root))
    assert str(caught.value) == (
        f"'{place}' is neither a run directory{why} nor the beginning of a run's name in {log.root}; "
        "there are no runs there"
    )


def test_a_part_of_a_run_names_the_run(log):
    """A saved model, or a checkpoint."""
    (model := log.run("run") / "model_best").mkdir()
    with pytest.raises(RunDirError) as caught:
        show(str(model), str(log.root))
    assert str(caught.value).startswith(f"'{model}' is neither a run directory (but a part of '{model.parent}') nor ")


def dots(line):
    """The columns of a drawing, from left to right: how many dots each character has."""
    return [bin(ord(character) - 0x2800).count("1") for character in line.partition("┤")[2]]


def test_a_curve_runs_from_corner_to_corner():
    """A straight line is one: one dot in each of twice as many columns as characters."""
    drawing = curve([float(number) for number in range(200)], 40)
    assert [len(line) <= 40 for line in drawing] == [True] * 8
    assert (drawing[0][:5], drawing[-1][:5]) == ("199 ┤", "  0 ┤")
    assert (drawing[0].rstrip()[-1] != "┤", drawing[-1][5] != "\u2800") == (True, True)
    assert 2 * (40 - 5) <= sum(map(sum, map(dots, drawing))) <= 2 * (40 - 5) + 32


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None],
        [math.nan, math.inf, -math.inf],
    ],
)
def test_without_a_number_there_is_no_curve(values):
    """Nothing is drawn."""
    assert curve(values, 40) == []


@pytest.mark.parametrize(
    "values",
    [[1.0], [3.0] * 9, [1e308, -1e308], [5e-324, 0.0], [None, 1.0, math.nan, 2.0], [0.0] * 100_000 + [1.0]],
)
def test_any_numbers_make_a_curve(values):
    """A single one, equal ones, the largest and smallest there are, holes, very many."""
    drawing = curve(values, 30)
    assert len(drawing) == 8
    assert max(map(len, drawing)) <= 30
    assert any(map(dots, drawing))


def test_equal_values_stand_beside_their_number():
    """In the middle."""
    drawing = curve([0.25] * 9, 30)
    assert [line.partition("┤")[0].strip() for line in drawing if any(dots(line))] == ["0.25"]
    assert [line for line in drawing if "0.25" in line and not any(dots(line))] == []


def test_a_hole_breaks_the_line():
    """Between two numbers without neighbours nothing is drawn."""
    assert sum(map(sum, map(dots, curve([1.0, None, 1.0], 30)))) == 2
