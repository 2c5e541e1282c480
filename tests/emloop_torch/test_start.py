"""What nothing needs is not imported: PyTorch's compiler takes as long to import as PyTorch itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

PROGRAM = """
import sys
from pathlib import Path
import torch
from torch.nn import functional
import emloop_torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)
    def forward(self, points, labels):
        return {"loss": functional.cross_entropy(self.layer(points), labels, reduction="none")}

class Model(emloop_torch.BaseModel):
    def create_model(self):
        return Net()

def model(name, **settings):
    torch.manual_seed(0)
    schedule = {"class": "StepLR", "step_size": 1}
    return Model(None, None, inputs=["points", "labels"], outputs=["loss"],
                 optimizer={"class": name}, lr_schedule=schedule, **settings)

BATCH = {"points": [[1.0, 2.0], [3.0, -1.0]], "labels": [0, 2]}
NAMES = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Rprop", "Adafactor"]

def train(models):
    for each in models:
        each.run(BATCH, train=True)
        each.run(BATCH, train=False)
        each.end_epoch()
        each.load_state_dict(each.state_dict())
    return [value for each in models for value in each.module.parameters()]
"""
KEPT_OUT = """
models = [model(name) for name in NAMES]
train(models)
assert {"torch._dynamo", "sympy"}.isdisjoint(sys.modules)
"""
EQUAL = """
deferred = [model(name) for name in NAMES]
train(deferred)
import torch._dynamo
after = train(deferred)
expected = [torch.load(Path(sys.argv[1]))] if Path(sys.argv[1]).exists() else []
torch.save(after, sys.argv[1])
assert all(map(torch.equal, expected[0], after)) if expected else True
"""
COMPILED = """
deferred = model("SGD")
deferred.run(BATCH, train=True)
compiled = model("SGD", compile={"backend": "eager"})
compiled.run(BATCH, train=True)
assert "torch._dynamo" in sys.modules
for one, other in zip(deferred.module.parameters(), compiled.module.parameters()):
    assert torch.equal(one, other)
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.5)
optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
torch.compile(optimizer.step, backend="eager")()
assert optimizer.param_groups[0]["params"][0].tolist() == [0.5, 0.5]
"""


def run(*parts: str, arguments: tuple[str, ...] = ()) -> None:
    """Run a program in a process of its own."""
    subprocess.run([sys.executable, "-c", "\n".join((PROGRAM, *parts)), *arguments], check=True)


def test_a_plain_training_never_imports_the_compiler_nor_sympy():
    """Neither making an optimizer nor a step, an evaluation, a schedule or a state."""
    run(KEPT_OUT)


def test_optimizers_give_the_same_bits_whenever_the_compiler_is_imported(tmp_path: Path):
    """Before the first of them, or between two steps."""
    first = str(tmp_path / "parameters.pt")

    run("import torch._dynamo", EQUAL, arguments=(first,))
    run(EQUAL, arguments=(first,))


def test_a_model_is_compiled_beside_one_that_is_not():
    """Optimizers that did without the compiler tell it what it has to know once it is there."""
    run(COMPILED)
