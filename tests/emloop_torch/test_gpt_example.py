"""The example ``gpt`` in small: a transformer learns, and writes where its source is gone."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from emloop.saved_models import find_saved

ROOT = Path(__file__).parents[2]
CONFIG = "examples/gpt/config.yaml"
SMALL = (
    *("dataset.context=32", "dataset.valid_windows=64", "model.width=32", "model.layers=2"),
    *("main_loop.fixed_epoch_size=60", "main_loop.epochs_count=2", "~hooks.ShowProgress"),
)


@pytest.fixture
def emloop(tmp_path, emloop_in):
    """Run the command line beside a copy of the example."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return emloop_in(tmp_path)


def losses(run, stream):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[stream]["loss"]["mean"] for line in lines]


@pytest.mark.torture
def test_the_network_learns_and_everything_works_from_the_run_alone(emloop, tmp_path):
    """eval, predict and resume need no source, and texts are the same without it."""
    log = tmp_path / "log"
    prompted = ("dataset.characters=40", 'dataset.prompts=["class Node:\\n", "#"]')
    emloop("train", CONFIG, "--output_dir", "gpt", *SMALL)
    emloop("eval", "predict", "@", "--output_dir", "with-source", *prompted)
    (tmp_path / "examples" / "gpt" / "gpt_model.py").unlink()
    said = emloop("eval", "predict", "@", "--output_dir", "without-source", *prompted)
    emloop("eval", "valid", "@", "--output_dir", "evaluated")

    assert "GPT is restored as emloop_torch.BaseModel" in said
    manifest = find_saved(log / "gpt").manifest
    assert ("exported", [["characters.weight", "head.weight"]]) == (manifest["rung"], manifest["extra"]["tied"])
    valid = losses(log / "gpt", "valid")
    assert 4.5 > valid[0] > valid[1]
    assert valid[-1:] == losses(log / "evaluated", "valid")
    texts = (log / "without-source" / "texts.txt").read_text()
    assert texts == (log / "with-source" / "texts.txt").read_text()
    first, second = texts.split(f"\n{'-' * 80}\n")
    assert ("class Node:\n", "#") == (first[:-40], second[:-41])

    emloop("resume", "gpt", "main_loop.epochs_count=3")
    assert losses(log / "gpt", "valid")[2] < valid[1]


def test_what_stands_behind_a_character_changes_nothing_there(monkeypatch):
    """The network looks back only, so short texts may be filled up."""
    monkeypatch.syspath_prepend(ROOT)
    torch.manual_seed(1)
    net = import_module("examples.gpt.gpt_model").Net(context=16, layers=2, width=32, heads=4, dropout=0.5).eval()
    text = torch.randint(97, (3, 16))
    other = torch.cat([text[:, :9], torch.randint(97, (3, 7))], 1)

    with torch.no_grad():
        one, two, shorter = (net.predict(text)["logits"] for text in (text, other, text[:, :9]))

    torch.testing.assert_close(one[:, :9], two[:, :9])
    torch.testing.assert_close(one[:, :9], shorter)
    assert not torch.allclose(one[:, 9:], two[:, 9:])


def test_the_loss_of_a_text_is_the_mean_of_its_characters(monkeypatch):
    """In nats, one value for each text: that of guessing at first."""
    monkeypatch.syspath_prepend(ROOT)
    torch.manual_seed(1)
    net = import_module("examples.gpt.gpt_model").Net(context=16, layers=1, width=32, heads=4, dropout=0.0)
    text, targets = torch.randint(97, (2, 5, 16))

    outputs = net(text, targets)

    chances = outputs["logits"].softmax(2).gather(2, targets.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(outputs["loss"], -chances.log().mean(1))
    assert outputs["loss"].tolist() == pytest.approx([4.57] * 5, abs=0.1)
