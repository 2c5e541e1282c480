"""Texts, or images, and a network of others, by a configuration alone: checked, trained, killed, resumed, loaded.

What made the network need not be there afterwards: neither its directory nor the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tests.kills import ENDING

from emloop import create_dataset, load
from emloop._state.commit import list_commits
from emloop._state.tree import equal_trees
from emloop.utils import load_config, yaml_to_file

pytest.importorskip("torch")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow

SOURCE = Path(importlib.import_module("emloop").__file__).parents[1]
BATCHES = 12  # of an epoch
TEXTS = f"""
dataset:
  class: TextLines
  path: [dull.txt, fine.txt]
  columns:
    text: text
    labels: {{name: file, categories: [dull, fine]}}
  split: {{train: 0.8, valid: 0.2, stratify: file}}
  batch_size: 8
  transforms:
    train: &tokens
      - class: transformers.AutoTokenizer.from_pretrained
        pretrained_model_name_or_path: bert
        per: batch
        inputs: [text]
        call: {{padding: max_length, max_length: 8, return_token_type_ids: false, return_tensors: np}}
    valid: *tokens

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
  - ending.Stop

main_loop:
  seed: 7
  epochs_count: 3
  extra_streams: [valid]
  commit: {{every: {BATCHES // 2}}}
  on_unused_sources: ignore

eval:
  predict:
    dataset:
      path: {{train: [dull.txt, fine.txt], new: new.txt}}
      columns: [text]
      transforms: {{new: *tokens}}
    model: {{inputs: [input_ids, attention_mask], outputs: [predictions], metrics: []}}
    stream_names: [new]
    hooks: [{{PredictionsToCsv: {{variables: [predictions], id_variable: text, output_file: predictions.csv}}}}]
"""

IMAGES = f"""
dataset:
  class: Images
  path: digits
  mode: L
  dtype: float32
  layout: CHW
  size: [32, 32]
  split: {{train: 0.8, valid: 0.2, stratify: label}}
  batch_size: 20

model:
  name: digits
  class: emloop_torch.Supervised
  net: {{class: timm.create_model, model_name: test_resnet, in_chans: 1, num_classes: 10, drop_rate: 0.2}}
  inputs: [image, label]
  outputs: [predictions, loss, accuracy]
  metrics: [accuracy]
  optimizer: {{class: SGD, learning_rate: 0.01, momentum: 0.9}}

hooks:
  - ComputeStats: {{variables: [loss, accuracy]}}
  - WriteCSV: {{variables: [loss, accuracy]}}
  - SaveLatest
  - ending.Stop

main_loop:
  seed: 7
  epochs_count: 2
  extra_streams: [valid]
  commit: {{every: {BATCHES // 2}}}

eval:
  predict:
    dataset: {{path: {{new: new}}, columns: [file], split: null}}
    model: {{inputs: [image], outputs: [predictions], metrics: []}}
    stream_names: [new]
    hooks: [{{PredictionsToCsv: {{variables: [predictions], id_variable: file, output_file: predictions.csv}}}}]
"""

LOAD = """
import emloop
import numpy as np
np.save("predictions.npy", emloop.load("model").predict(dict(np.load("inputs.npz")))["predictions"])
"""

OPERATORS = """
import torch

operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


@pytest.fixture
def transformers(tmp_path):
    """The library; two files of lines, and a network that somebody has trained, with its tokenizer."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    rng = np.random.default_rng(0)
    for kind, words in {"dull": ("long", "dull"), "fine": ("fine", "so")}.items():
        lines = (" ".join(rng.choice([*words, "a", "film"], 2)) for _ in range(60))
        (tmp_path / f"{kind}.txt").write_text("".join(f"{line}\n" for line in lines))
    sizes = {"vocab_size": 512, "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=48, max_position_embeddings=16)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "long", "dull", "fine", "so", "a", "film"]
    transformers.BertTokenizer(vocab={word: n for n, word in enumerate(words)}).save_pretrained(tmp_path / "bert")
    (tmp_path / "new.txt").write_text("a fine film\nlong dull\n")
    (tmp_path / "config.yaml").write_text(TEXTS)
    return transformers


@pytest.fixture
def digits(tmp_path):
    """What opens images; digits as images in folders, and some without a class."""
    if not importlib.util.find_spec("timm"):
        pytest.skip("pip install timm torchvision")
    image = pytest.importorskip("PIL.Image")
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:310], digits.target, strict=False)):
        folder = tmp_path / "digits" / str(label) if number < 300 else tmp_path / "new"
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray((pixels * 15).astype("uint8")).save(folder / f"{number}.png")
    (tmp_path / "config.yaml").write_text(IMAGES)
    return image


@pytest.fixture
def installed(tmp_path):
    """What is installed, less the packages that made the networks."""
    folder = tmp_path / "installed"
    folder.mkdir()
    gone = ("transformers", "peft", "accelerate", "timm", "torchvision", "__")
    for path in (path for place in sys.path if place.endswith("site-packages") for path in Path(place).iterdir()):
        if not path.name.startswith(gone) and path.suffix != ".pth" and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def operators(tmp_path):
    """Where to find what torchvision misses beside a PyTorch that it was not built for."""
    if not importlib.util.find_spec("torchvision"):
        return ()
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    if done.returncode == 0:
        return ()
    folder = tmp_path / "operators"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(OPERATORS)
    return (str(folder),)


@pytest.fixture
def emloop(tmp_path, processes, installed, operators):
    """Run the command line, or other code, in the project; if asked to, with what is left of the packages."""
    (tmp_path / "ending.py").write_text(ENDING)

    def run(*arguments, cwd=tmp_path, stop="0 none", bare=False):
        words = ["-m", "emloop", *arguments] if arguments[0] != "-c" else list(arguments)
        path = (str(SOURCE), str(installed)) if bare else (*operators, str(SOURCE))
        environment = os.environ | {"STOP": stop, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}
        start = subprocess.run if bare or operators else processes.run
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


def interrupted(folder, emloop):
    """A run that nobody has stopped, and its twin, which goes on from the batches at which it was."""
    ran(emloop("check", "config.yaml"))
    ran(emloop("train", "config.yaml", "--output_dir", "untouched"))
    stopped = emloop("train", "config.yaml", "--output_dir", "stopped", stop=f"{BATCHES + 3} SIGINT")
    assert stopped.returncode == 75, stopped.stderr
    # It goes on from the batch of the signal.
    assert emloop("resume", "stopped", stop=f"{BATCHES - 1} SIGKILL").returncode == -signal.SIGKILL
    ran(emloop("resume", "stopped"))

    untouched, stopped = folder / "log" / "untouched", folder / "log" / "stopped"
    ours, theirs = state_of(untouched), state_of(stopped)
    assert all(equal_trees(ours[name], theirs[name]) for name in ("model", "random", "streams/train"))
    assert (untouched / "training.csv").read_bytes() == (stopped / "training.csv").read_bytes()
    return untouched, stopped


def loaded(folder, emloop, run, inputs):
    """What a copy of a model predicts in an empty directory where its package is gone."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(run / "model_latest", elsewhere / "model")
    np.savez(elsewhere / "inputs.npz", **inputs)
    ran(emloop("-c", textwrap.dedent(LOAD), cwd=elsewhere, bare=True))
    return np.load(elsewhere / "predictions.npy").tolist()


@pytest.mark.torture
def test_adapters_of_a_network_are_trained_as_if_nobody_had_stopped_it(tmp_path, transformers, emloop, monkeypatch):
    """By ^C amid an epoch, and killed; then trained further, evaluated and loaded where only PyTorch is left."""
    untouched, stopped = interrupted(tmp_path, emloop)
    for run in (untouched, stopped):
        assert len({path.stat().st_ino for path in run.rglob("frozen-*")}) == 1
    assert [path.name for path in sorted(untouched.glob("model_*"))] == ["model_best", "model_latest"]

    ran(emloop("resume", "stopped", "main_loop.epochs_count=4"))
    ran(emloop("eval", "valid", "log/stopped", "--output_root", "with"))
    ran(emloop("eval", "predict", "log/stopped/model_latest", "--output_dir", "predicted"))
    predicted = (tmp_path / "log" / "predicted" / "predictions.csv").read_text().splitlines()
    assert ["text", "a fine film", "long dull"] == [line.rpartition(",")[0] for line in predicted]
    (tmp_path / "bert" / "model.safetensors").unlink()
    further = ran(emloop("resume", "untouched", "main_loop.epochs_count=4"))
    assert "emloop_torch.Supervised is restored as emloop_torch" in further.stderr
    parameters = [state_of(run)["model"]["parameters"] for run in (stopped, untouched)]
    assert equal_trees(*parameters)
    assert (untouched / "training.csv").read_bytes() == (stopped / "training.csv").read_bytes()

    # Where only PyTorch is left, there is no tokenizer: the data are what it made.
    monkeypatch.chdir(tmp_path)
    batches = list(create_dataset(load_config("config.yaml")).valid_stream())
    inputs = ("input_ids", "attention_mask", "labels")
    np.savez("tokens.npz", **{name: np.concatenate([batch[name] for batch in batches]) for name in inputs})
    tokens = {"class": "Arrays", "path": {"valid": "tokens.npz"}, "batch_size": 8}
    yaml_to_file({**load_config("config.yaml"), "dataset": tokens}, str(tmp_path), "tokens.yaml")
    bare = ("--config", "tokens.yaml", "--output_root", "without")
    evaluated = ran(emloop("eval", "valid", "log/untouched", *bare, bare=True))
    assert "is restored as emloop_torch" in evaluated.stderr
    measured = [next((tmp_path / root).glob("*/metrics.jsonl")).read_text() for root in ("with", "without")]
    assert measured[0] == measured[1]

    tokenizer = transformers.AutoTokenizer.from_pretrained("bert")
    lines = tokenizer(["a fine film", "long dull"], padding="max_length", max_length=8, return_tensors="np")
    del lines["token_type_ids"]
    found = loaded(tmp_path, emloop, untouched, dict(lines))
    assert load(stopped / "model_latest").predict(lines)["predictions"].tolist() == found
    assert [line.rpartition(",")[2] for line in predicted[1:]] == list(map(str, found))


def test_a_network_for_images_is_trained_as_if_nobody_had_stopped_it(tmp_path, digits, emloop):
    """By ^C amid an epoch, and killed; then it tells of other images, also where its package is gone."""
    untouched, _ = interrupted(tmp_path, emloop)
    ran(emloop("eval", "valid", "log/stopped"))
    ran(emloop("eval", "predict", "log/stopped/model_latest", "--output_dir", "predicted"))
    _, *predicted = (tmp_path / "log" / "predicted" / "predictions.csv").read_text().splitlines()
    assert [f"{number}.png" for number in range(300, 310)] == [line.partition(",")[0] for line in predicted]

    opened = map(digits.open, sorted((tmp_path / "new").iterdir()))
    images = [np.asarray(image.resize((32, 32), digits.Resampling.BILINEAR)) for image in opened]
    inputs = np.stack(images)[:, None].astype(np.float32) / np.float32(255)
    found = loaded(tmp_path, emloop, untouched, {"image": inputs})
    assert [line.rpartition(",")[2] for line in predicted] == list(map(str, found))
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "image.npy", inputs)
    told = ran(emloop("predict", "elsewhere/model", "arrays", bare=True)).stdout.splitlines()
    assert list(map(str, found)) == [line.split(",")[told[0].split(",").index("predictions")] for line in told[1:]]
