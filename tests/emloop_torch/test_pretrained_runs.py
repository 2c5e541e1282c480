"""Lines of text and a pretrained network, by a configuration alone: checked, trained, killed, resumed, loaded.

What made the network need not be there afterwards: neither its directory nor the package.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from emloop import load
from emloop._state.commit import list_commits
from emloop._state.tree import equal_trees

pytest.importorskip("torch")
pytest.importorskip("pyarrow")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.slow

SOURCE = Path(importlib.import_module("emloop").__file__).parents[1]
LETTERS = '''
import os
import signal

import numpy as np

import emloop as el


def tokens(batch, rng, length=12):
    """Each letter is a token; some are dropped, as nobody could foresee."""
    ids = np.zeros((len(batch["text"]), length), np.int64)
    for row, line in zip(ids, batch["text"]):
        row[: len(line)] = np.frombuffer(line.encode(), np.uint8)
    ids[rng.random(ids.shape) < 0.05] = 0
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "labels": batch["label"]}


class Stop(el.AbstractHook):
    """Ends the process in one way or another after a batch."""

    stateless = True

    def __init__(self, **kwargs):
        super().__init__()
        self.batches = 0

    def after_batch(self, stream_name, batch_data):
        self.batches += stream_name == "train"
        number, way = os.environ.get("STOP", "0 none").split()
        if stream_name == "train" and self.batches == int(number):
            os.kill(os.getpid(), getattr(signal, way))
'''
BATCHES = 12  # of an epoch
CONFIG = f"""
dataset:
  class: TextLines
  path: [dull.txt, fine.txt]
  columns:
    text: text
    label: {{name: file, categories: [dull, fine]}}
  split: {{train: 0.8, valid: 0.2, stratify: file}}
  batch_size: 8
  transforms:
    train: [{{class: letters.tokens, per: batch}}]
    valid: [{{class: letters.tokens, per: batch}}]

model:
  name: liked
  class: emloop_torch.Supervised
  net:
    class: transformers.AutoModelForSequenceClassification.from_pretrained
    pretrained_model_name_or_path: bert
    num_labels: 2
  inputs: [input_ids, attention_mask, labels]
  outputs: [predictions, loss, accuracy]
  metrics: [accuracy]
  lora: {{target_modules: [query, value], r: 4, lora_dropout: 0.1, modules_to_save: [classifier]}}
  optimizer: {{class: AdamW, learning_rate: 1e-2, no_decay: true}}
  lr_schedule: {{class: CosineAnnealingLR, T_max: 36, interval: batch}}

hooks:
  - ComputeStats: {{variables: [loss, accuracy]}}
  - WriteCSV: {{variables: [loss, accuracy]}}
  - SaveBest: {{variable: loss}}
  - SaveLatest
  - letters.Stop

main_loop:
  seed: 7
  epochs_count: 3
  extra_streams: [valid]
  commit: {{every: {BATCHES // 2}}}
"""

LOAD = """
import json
import emloop
import numpy as np
lines = {name: np.array(rows) for name, rows in json.load(open("lines.json")).items()}
print(json.dumps(emloop.load("liked").predict(lines)["predictions"].tolist()))
"""


@pytest.fixture
def project(tmp_path):
    """A directory with two files of lines, a network that somebody has trained, and the code that reads letters."""
    rng = np.random.default_rng(0)
    for kind, words in {"dull": ("long", "dull"), "fine": ("fine", "so")}.items():
        lines = (" ".join(rng.choice([*words, "a", "film"], 2)) for _ in range(60))
        (tmp_path / f"{kind}.txt").write_text("".join(f"{line}\n" for line in lines))
    sizes = {"vocab_size": 512, "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=48, max_position_embeddings=16)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    (tmp_path / "letters.py").write_text(LETTERS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def installed(tmp_path):
    """What is installed, less the packages that made the network."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for place in site.getsitepackages():
        for path in Path(place).iterdir():
            if not path.name.startswith(("transformers", "peft", "accelerate", "__")) and path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def emloop(project, processes, installed):
    """Run the command line, or other code, in the project; if asked to, with what is left of the packages."""

    def run(*arguments, cwd=project, stop="0 none", bare=False):
        words = ["-m", "emloop", *arguments] if arguments[0] != "-c" else list(arguments)
        environment = os.environ | {"STOP": stop, "OMP_NUM_THREADS": "1"}
        if bare:
            environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE), str(installed)])
        start = subprocess.run if bare else processes.run
        command = [sys.executable, *(["-P", "-S"] if bare else []), *words]
        done = start(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def state_of(run):
    return list_commits(run / "checkpoints")[0].states()


def ran(done):
    assert done.returncode == 0, done.stderr
    return done


def test_adapters_of_a_network_are_trained_as_if_nobody_had_stopped_it(project, emloop):
    """By ^C amid an epoch, and killed; then trained further, evaluated and loaded where only PyTorch is left."""
    ran(emloop("check", "config.yaml"))
    ran(emloop("train", "config.yaml", "--output_dir", "untouched"))
    stopped = emloop("train", "config.yaml", "--output_dir", "stopped", stop=f"{BATCHES + 3} SIGINT")
    assert stopped.returncode == 75, stopped.stderr
    # It goes on from the batch of the signal.
    assert emloop("resume", "stopped", stop=f"{BATCHES - 1} SIGKILL").returncode == -signal.SIGKILL
    ran(emloop("resume", "stopped"))

    untouched, stopped = project / "log" / "untouched", project / "log" / "stopped"
    ours, theirs = state_of(untouched), state_of(stopped)
    assert all(equal_trees(ours[name], theirs[name]) for name in ("model", "random", "streams/train"))
    assert (untouched / "training.csv").read_bytes() == (stopped / "training.csv").read_bytes()
    for run in (untouched, stopped):
        assert len({path.stat().st_ino for path in run.rglob("frozen-*")}) == 1
    assert [path.name for path in sorted(untouched.glob("model_*"))] == ["model_best", "model_latest"]

    ran(emloop("resume", "stopped", "main_loop.epochs_count=4"))
    ran(emloop("eval", "valid", "log/stopped", "--output_root", "with"))
    shutil.move(project / "bert", project / "gone")
    further = ran(emloop("resume", "untouched", "main_loop.epochs_count=4"))
    assert "emloop_torch.Supervised is restored as emloop_torch" in further.stderr
    parameters = [state_of(run)["model"]["parameters"] for run in (stopped, untouched)]
    assert equal_trees(*parameters)
    assert (untouched / "training.csv").read_bytes() == (stopped / "training.csv").read_bytes()

    (project / "elsewhere").mkdir()
    shutil.copytree(untouched / "model_latest", project / "elsewhere" / "liked")
    evaluated = ran(emloop("eval", "valid", "log/untouched", "--output_root", "without", bare=True))
    assert "is restored as emloop_torch" in evaluated.stderr
    measured = [next((project / root).glob("*/metrics.jsonl")).read_text() for root in ("with", "without")]
    assert measured[0] == measured[1]
    ids = np.zeros((2, 12), int)
    for row, line in zip(ids, ("a fine film", "long dull"), strict=True):
        row[: len(line)] = list(line.encode())
    lines = {"input_ids": ids.tolist(), "attention_mask": (ids > 0).astype(int).tolist()}
    (project / "elsewhere" / "lines.json").write_text(json.dumps(lines))
    loaded = ran(emloop("-c", textwrap.dedent(LOAD), cwd=project / "elsewhere", bare=True))
    arrays = {name: np.array(rows) for name, rows in lines.items()}
    expected = load(stopped / "model_latest").predict(arrays)["predictions"].tolist()
    assert json.loads(loaded.stdout.splitlines()[-1]) == expected
