"""``emloop show``: everything about one run, for people and for programs."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

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
    assert max(len(line) for line in text.splitlines() if not line.startswith(("run ", "command "))) <= 80


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


def test_what_is_no_run_is_an_error(log):
    """The same one as everywhere."""
    with pytest.raises(RunDirError, match="'x' is neither a run directory nor the beginning of a run's name"):
        show("x", str(log.root))


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


def test_a_hole_breaks_the_line():
    """Between two numbers without neighbours nothing is drawn."""
    assert sum(map(sum, map(dots, curve([1.0, None, 1.0], 30)))) == 2
