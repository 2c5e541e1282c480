"""A run goes on where its project is not: with the source that it took along, if its user says that it may run."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

torch = pytest.importorskip("torch")
from emloop.saved_models import replace_program  # noqa: E402
from emloop_torch._programs.program import Program  # noqa: E402

DATA = '''
import numpy as np
import emloop as el


class Points(el.BaseDataset):
    """Points whose label says on which side of a plane they are."""

    def _configure_dataset(self, **kwargs):
        pass

    def _read(self, stream):
        rng = self.rng(stream)
        for _ in range(3):
            x = rng.normal(size=(8, 3)).astype("float32")
            yield {"x": x, "y": (x.sum(axis=1) > 0).astype("int64")}

    def train_stream(self):
        return self._read("train")

    def valid_stream(self):
        return self._read("valid")
'''

PROJECT = {
    "data.py": DATA,
    "shop/__init__.py": "from .nets import Network\n",
    "shop/nets.py": """
import emloop_torch
from parts.gate import Gate
from .layers import Layers


class Network(emloop_torch.BaseModel):
    def create_model(self):
        import late
        return Layers(Gate(), late.WIDTH)

    def training_step(self, batch):
        outputs = super().training_step(batch)
        return outputs
""",
    "shop/layers.py": """
import torch
from torch import nn
from torch.nn import functional as F
import shop.nets as whole  # in a circle


class Layers(nn.Module):
    def __init__(self, gate, width):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, width), nn.Dropout(0.2), gate, nn.Linear(width, 2))

    def predict(self, x):
        return {"logits": self.net(x)}

    def forward(self, x, y):
        assert whole.Network is not None
        outputs = self.predict(x)
        return {**outputs, "loss": F.cross_entropy(outputs["logits"], y, reduction="none")}
""",
    "parts/gate.py": """
from torch import nn


class Gate(nn.Module):
    def forward(self, x):
        return x.sigmoid() * x
""",
    "late.py": "WIDTH = 5\n",
    "unrelated.py": "raise SystemExit('nobody imports this')\n",
}

CONFIG = """
dataset: {class: data.Points}
model:
  class: shop.Network
  inputs: [x, y]
  outputs: [loss]
  device: cpu
  optimizer: {class: Adam, learning_rate: 0.01}
  saved_model: {source_free: SOURCE_FREE, capsule: on}
hooks: [SaveLatest]
main_loop: {epochs_count: 2, seed: 5, extra_streams: [valid]}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, emloop_in):
    """Makes two runs of a project, of two and four epochs, once for each ``source_free``; the project is gone then."""

    @cache
    def make(source_free):
        project = tmp_path_factory.mktemp("project")
        for name, text in PROJECT.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text)
        (project / "config.yaml").write_text(CONFIG.replace("SOURCE_FREE", source_free))
        emloop = emloop_in(project)
        said = emloop("train", "config.yaml", "--output_dir", "run")
        emloop("resume", "log/run", "--fork", "main_loop.epochs_count=4", "--output_dir", "whole")
        kept = tmp_path_factory.mktemp("kept") / "log"
        (project / "log").rename(kept)
        shutil.rmtree(project)
        return kept, said

    return make


@pytest.fixture
def moved(tmp_path, made, emloop_in):
    """A run, copied to a place where there is its dataset and nothing else of its project; and one of four epochs."""

    def move(source_free="auto"):
        kept, said = made(source_free)
        shutil.copytree(kept, tmp_path / "log")
        (tmp_path / "data.py").write_text(DATA)
        emloop = emloop_in(tmp_path)
        emloop.said, emloop.log = said, tmp_path / "log"
        return emloop

    return move


def capsule_of(directory):
    (path,) = Path(directory).glob("capsule*.json")
    return json.loads(path.read_text())


def weights(run):
    return sorted(path.name for path in Path(run, "model_latest").glob("model-*"))


def test_a_capsule_holds_what_the_model_imports_and_nothing_else(moved):
    """Neither the dataset's module nor one that nobody imports; of packages, the versions."""
    emloop = moved("off")
    found = capsule_of(emloop.log / "run" / "model_latest")

    assert sorted(found["modules"]) == ["late", "parts.gate", "shop", "shop.layers", "shop.nets"]
    assert found["modules"]["shop.layers"]["text"] == PROJECT["shop/layers.py"]
    assert {"torch"} <= found["packages"].keys()
    assert found == capsule_of(emloop.log / "run")


@pytest.mark.parametrize("source_free", ["off", "auto"])
def test_a_run_goes_on_to_the_bit_with_its_source_from_the_capsule(moved, source_free):
    """On the rung ``weights``, from which nothing is restored, and on ``inference``, which cannot be trained."""
    emloop = moved(source_free)

    refused = emloop("resume", "log/run", "main_loop.epochs_count=4", expect=1)
    said = emloop("resume", "log/run", "main_loop.epochs_count=4", "--trust-source")

    assert "its source is in a capsule; --trust-source" in refused
    assert "shop/nets.py  sha256 " in said
    assert said.index("shop/nets.py  sha256 ") < said.index("Run directory:")
    assert weights(emloop.log / "run") == weights(emloop.log / "whole")


def test_with_its_source_a_program_of_another_version_is_made_anew(moved):
    """In the saved model and in the run; the state keeps its bytes, and what the program computes its values."""
    emloop = moved("auto")
    saved, run = emloop.log / "run" / "model_latest", emloop.log / "run"
    age(saved)
    age(run)
    before = json.loads((saved / "manifest.json").read_text())

    warned = emloop("eval", "valid", "log/run/model_latest")
    refused = emloop("upgrade", "log/run", expect=1)
    tried = emloop("upgrade", "log/run", "--trust-source", "--dry-run")
    assert json.loads((saved / "manifest.json").read_text()) == before
    done = emloop("upgrade", "log/run", "--trust-source")

    assert "past its shelf life: it was made with torch 2.0.1 (here: " in warned
    assert "emloop upgrade" in warned
    assert "only the model's source makes its program anew: " in refused
    assert "its source is in a capsule; --trust-source" in refused
    for said in (tried, done):
        assert "model_latest  inference → inference  equal outputs" in said
    after = json.loads((saved / "manifest.json").read_text())
    assert after["extra"]["versions"] == {"torch": torch.__version__}
    assert after["state"] == before["state"]
    assert Program.read(saved / after["program"]) == Program.read(run / "program")
    assert Program.read(run / "program").description["torch"] == torch.__version__
    assert "shelf life" not in emloop("eval", "valid", "log/run/model_latest")


def age(directory):
    """Let a program be one of an older version."""
    folder = directory / "program"
    old = Program.read(folder)
    old = Program({**old.description, "torch": "2.0.1"}, old.graphs)
    if (directory / "manifest.json").exists():
        with TemporaryDirectory() as scratch:
            old.write(Path(scratch))
            replace_program(directory, Path(scratch), rung=old.rung, reason=old.reason, extra=old.summary)
    else:
        old.write(folder)


def test_under_untrusted_no_source_is_trusted(moved):
    """Whoever made the run does not become trusted by what is in it."""
    emloop = moved("off")

    said = emloop("eval", "valid", "log/run", "--trust-source", "--untrusted", expect=4)

    assert "shop/nets.py  sha256" not in said


ENSEMBLE = """
dataset: {class: data.Points}
model: {class: Ensemble, inputs: [x, y], outputs: [loss], aggregation: mean, model_paths: [log/run, log/whole]}
hooks: [ComputeStats: {variables: [loss]}, LogVariables: {variables: [loss]}]
main_loop: {seed: 5}
"""
HOOKS = "hooks=[{ComputeStats: {variables: [loss]}}, {LogVariables: {variables: [loss]}}]"


def test_members_of_an_ensemble_run_by_the_source_in_their_capsules(moved, tmp_path):
    """Each shows its own, and none runs unless the user says so; an ensemble of ensembles passes the word on."""
    emloop = moved("off")
    for name, members in (("both", "log/run, log/whole"), ("nested", "both")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(ENSEMBLE.replace("log/run, log/whole", members))

    refused = emloop("eval", "valid", "both", expect=1)
    said = [emloop("eval", "valid", name, "-v", "--trust-source") for name in ("both", "nested")]
    alone = [emloop("eval", "valid", f"log/{run}", "-v", "--trust-source", HOOKS) for run in ("run", "whole")]

    assert "its source is in a capsule; --trust-source" in refused
    assert "shop/nets.py  sha256" not in refused
    for told in said:
        assert "shop/nets.py  sha256" in told
    losses = [float(re.search(r"valid loss mean: ([\d.]+)", told)[1]) for told in (*alone, *said)]
    assert losses[2:] == pytest.approx([sum(losses[:2]) / 2] * 2, abs=2e-6)
    assert losses[0] != losses[1]


def test_a_model_whose_source_is_in_its_capsule_is_exported(moved, tmp_path):
    """Once its user says that it may run; the export holds no capsule."""
    pytest.importorskip("onnxscript")
    emloop = moved("off")

    refused = emloop("export", "log/run", "--to", "onnx", expect=1)
    said = emloop("export", "log/run", "--to", "onnx", "--trust-source")

    assert "its source is in a capsule; --trust-source" in refused
    assert "shop/nets.py  sha256" in said
    assert not list((tmp_path / "log" / "run" / "onnx_latest").glob("capsule*"))
