"""What does a predictor add to the program that it runs?

A network whose forward pass takes some five milliseconds: its exported program called by itself, and through
``emloop.load(…).predict``, interleaved; with source and without. The target is a ratio of at most 1.1.

    python -m benchmarks predict

Measured on two busy cores, PyTorch 2.13.0 on the CPU, one thread: see ``RESULTS``.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop
import emloop_torch
from emloop._yaml import documents as yaml

RESULTS = """
                  program  predictor  ratio
with source         8.437      8.916  1.057
without source      8.074      8.171  1.012
"""

ROUNDS = 200
WIDTH = 1024
EXAMPLES = 32


class Net(nn.Module):
    """Layers that take about five milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(part for _ in range(4) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))

    def predict(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """What it says without labels."""
        return {"y": self.layers(x)}

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same with the loss."""
        outputs = self.predict(x)
        return {**outputs, "loss": functional.mse_loss(outputs["y"], labels, reduction="none").mean(1)}


class Model(emloop_torch.BaseModel):
    """The model."""

    def create_model(self) -> nn.Module:
        """The module."""
        return Net()


def milliseconds(call: Callable[[], Any]) -> float:
    """CPU time of a call."""
    started = process_time()
    call()
    return 1000 * (process_time() - started)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    x = np.random.default_rng(0).normal(size=(EXAMPLES, WIDTH)).astype(np.float32)
    with tempfile.TemporaryDirectory() as directory:
        section = {"class": f"{__name__}.Model", "inputs": ["x", "labels"], "outputs": ["y", "loss"], "device": "cpu"}
        model = Model(None, directory, **{key: value for key, value in section.items() if key != "class"})
        model.run({"x": x, "labels": x}, train=True)
        bare = Path(directory, "bare")
        shutil.copytree(model.save("best"), bare)
        Path(directory, "config.yaml").write_text(yaml.dump({"model": section}))
        print(f"{'':16}  program  predictor  ratio")
        for name, where in {"with source": Path(directory, "model_best"), "without source": bare}.items():
            if name == "without source":
                Path(directory, "config.yaml").unlink()
            predictor = emloop.load(where)
            module, tensor = predictor.model.module, torch.from_numpy(x)

            def program(module: Any = module, tensor: torch.Tensor = tensor) -> Any:
                with torch.no_grad():
                    return module.predict(x=tensor)["y"].numpy()

            def predict(predictor: emloop.Predictor = predictor) -> Any:
                return predictor.predict({"x": x})

            times: dict[Any, list[float]] = {program: [], predict: []}
            for _ in range(ROUNDS):
                for call, taken in times.items():
                    taken.append(milliseconds(call))
            one, other = (statistics.median(taken) for taken in times.values())
            print(f"{name:16}{one:9.3f}{other:11.3f}{other / one:7.3f}", flush=True)


if __name__ == "__main__":
    main()
