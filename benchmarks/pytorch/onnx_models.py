"""What does exporting a PyTorch model to ONNX cost, and how fast does it run there?

For the convolutional network of examples/digits and the three networks of ``torch_programs.py``: seconds to export
(without the comparison), file size, seconds to open it, and milliseconds per evaluated batch by ONNX Runtime, as a
multiple of those of the live module, in turns, for one example and for 32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from examples.digits.digits_torch_model import Net as Digits
from torch import nn

import emloop_torch
from emloop_onnx import OnnxModel

from ..figures import Figure, compare, figure, repeated
from .torch_programs import MODELS, Classifier

NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "digits": (lambda: Digits(32, 0.5), 8),
    **{name: (lambda make=make: Classifier(make()), 28) for name, make in MODELS.items()},
}
SIZES = (1, 32)
wall = partial(repeated, clock=perf_counter)


def network(name: str, turns: int) -> list[Figure]:
    """Export it, open it, and evaluate with it."""
    make, pixels = NETWORKS[name]
    rng = np.random.default_rng(0)
    batch = {"images": rng.normal(size=(32, pixels, pixels)).astype(np.float32)}
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: make()})
    names = {"outputs": ["logits", "predictions"], "device": "cpu"}
    live = model_class(None, None, inputs=["images"], **names)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "exported")
        export = wall(lambda: live.export("onnx", str(path), [batch]))(1)
        size = (path / "model.onnx").stat().st_size
        opened = wall(lambda: OnnxModel(None, None, str(path), threads=1))(1)
        exported = OnnxModel(None, None, str(path), outputs=names["outputs"], threads=1)
        parts = {count: {"images": batch["images"][:count]} for count in SIZES}
        groups = [
            {
                f"the live module, {count}": wall(partial(live.run, part, train=False)),
                f"{name}, ONNX Runtime, batch of {count}": wall(partial(exported.run, part, train=False)),
            }
            for count, part in parts.items()
        ]
        return [
            figure(f"{name}, export", "s", [export]),
            figure(f"{name}, size", "KiB", [size / 1024]),
            figure(f"{name}, opening", "s", [opened]),
            *compare(groups, 1, turns, "ms"),
        ]


def measure(quick: bool) -> list[Figure]:
    """All networks; in the quick form, the smallest."""
    if quick:
        return network("perceptron", 2)
    network("perceptron", 2)  # the imports of the first export do not count for the network
    return [one for name in NETWORKS for one in network(name, 200)]
