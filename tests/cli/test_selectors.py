"""Every command that takes a run understands every way of naming one."""

from __future__ import annotations

import numpy as np
import pytest

import emloop as el
from emloop._run_dir.summary import RunSummary, list_runs
from emloop.cli.app import main

COMMANDS = {
    "resume": ["resume"],
    "eval": ["eval", "train"],
    "predict": ["predict"],
    "show": ["show"],
    "export": ["export", "--to", "onnx"],
    "verify": ["verify"],
    "doctor": ["doctor"],
    "diff": ["diff", "log/second"],
    "check": ["check"],
    "config": ["config", "show"],
    "schema": ["schema"],
    "ls": ["ls"],
}
SELECTORS = ("@-1", "best:train/loss", "best:max:train.loss", "fir")


@pytest.fixture
def trainings(log, tmp_path, monkeypatch):
    """Two, of which the first is the better one and, by its largest loss, the worse one."""
    monkeypatch.chdir(tmp_path)
    log.train("first", epochs=3, rate=1.9, hooks=["SaveLatest"])
    log.train("second", epochs=1, rate=0.0, hooks=["SaveLatest"])
    np.savez("data.npz", x=np.zeros((3, 4)))
    return log.root


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_selector_that_finds_nothing_is_told_alike(log, monkeypatch, tmp_path, capsys, command):
    """One function resolves them all, before anything is built."""
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=np.zeros((3, 4)))
    for name in ("first", "second"):
        log.run(name, metrics=[{"epoch_id": 1, "train": {"loss": 1}}])
    for selector, told in {
        "@-7": "'@-7': there are only 2 trainings in log, so the first of them is '@-1'\n",
        "best:train/los": "no training in log has 'train/los'; did you mean 'train.loss'?; there are: train.loss\n",
    }.items():
        assert main([*command, selector, *(["data.npz", "-o", "found.npz"] if command == ["predict"] else [])]) != 0
        shown = capsys.readouterr()
        assert told in shown.out + shown.err
        assert "Traceback" not in shown.err


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_selector_finds_the_run(trainings, capsys, selector):
    """It is shown, listed, examined, loaded, evaluated, fed and gone on with, by the same word."""
    for words, told in {
        ("show", selector): "log/first",
        ("ls", selector): "first\n",
        ("doctor", selector): "1 runs, nothing is wrong",
        ("config", "show", selector): "rate: 1.9",
        ("resume", selector): "first",
    }.items():
        assert main(words) == 0, words
        shown = capsys.readouterr()
        assert told in shown.out + shown.err, words
    assert el.load(selector).path == el.load("log/first").path
    assert main(["predict", selector, "data.npz", "-o", "found.npz"]) == 0
    assert main(["eval", "train", selector]) == 0
    [evaluation] = [run for run in list_runs("log") if run.kind == "evaluation"]
    assert evaluation.info.parent["run_id"] == RunSummary("log/first").info.run_id
