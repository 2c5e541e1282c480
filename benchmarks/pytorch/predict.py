"""What does a predictor add to the program that it runs?

A network whose forward pass takes some five milliseconds: its exported program called by itself, and through
``emloop.load(…).predict``, in turns; with source and without.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop
import emloop_torch
from emloop._yaml import documents as yaml

from ..figures import Figure, compare, repeated

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


def measure(quick: bool) -> list[Figure]:
    """As many predictions as needed for a median."""
    x = np.random.default_rng(0).normal(size=(EXAMPLES, WIDTH)).astype(np.float32)
    tensor, found = torch.from_numpy(x), list[Figure]()
    with tempfile.TemporaryDirectory() as directory:
        section = {"class": f"{__name__}.Model", "inputs": ["x", "labels"], "outputs": ["y", "loss"], "device": "cpu"}
        model = Model(None, directory, **{key: value for key, value in section.items() if key != "class"})
        model.run({"x": x, "labels": x}, train=True)
        bare = Path(directory, "bare")
        shutil.copytree(model.save("best"), bare)
        Path(directory, "config.yaml").write_text(yaml.dump({"model": section}))
        for name, where in {"with source": Path(directory, "model_best"), "without source": bare}.items():
            if name == "without source":
                Path(directory, "config.yaml").unlink()
            predictor = emloop.load(where)

            def program(module: Any = predictor.model.module) -> Any:
                with torch.no_grad():
                    return module.predict(x=tensor)["y"].numpy()

            predict = partial(predictor.predict, {"x": x})
            group = {"program": repeated(program), f"predictor, {name}": repeated(predict)}
            found += compare([group], 1, 2 if quick else 200, "ms", dict.fromkeys(group, 1.1))
    return found
