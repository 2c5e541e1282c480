"""What does exporting a PyTorch model to ONNX cost, and how fast does it run there?

For the convolutional network of examples/digits and the three networks of ``torch_programs.py``: seconds to export
(without the comparison), file size, seconds to open it, and milliseconds per evaluated batch, live and by ONNX Runtime,
interleaved, for one example and for 32.

    python -m benchmarks onnx_models

Measured on two busy cores, PyTorch 2.13.0 and ONNX Runtime 1.31.1 on the CPU, one thread: see ``RESULTS``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

import emloop_torch
from emloop_onnx import OnnxModel

sys.path.append(str(Path(__file__).parents[1]))

from examples.digits.digits_torch_model import Net as Digits
from torch_programs import MODELS, Classifier

RESULTS = """
                 export     KiB     open  torch/1   onnx/1    ratio  torch/32  onnx/32   ratio
digits             0.71     116    0.002     0.135     0.029     4.6x     1.112     0.343     3.2x
perceptron         0.76     330    0.002     0.047     0.016     2.9x     0.113     0.039     2.9x
convolutional      0.67     811    0.003     0.170     0.036     4.6x     5.454     0.586     9.3x
transformer        2.11     414    0.008     0.427     0.167     2.6x     4.384     3.534     1.2x
"""

NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "digits": (lambda: Digits(32, 0.5), 8),
    **{name: (lambda make=make: Classifier(make()), 28) for name, make in MODELS.items()},
}
SIZES = (1, 32)
ROUNDS = 200


def seconds(call: Callable[[], Any]) -> float:
    """Duration of a call in seconds."""
    started = perf_counter()
    call()
    return perf_counter() - started


def measure(name: str) -> str:
    """One line of the table."""
    make, pixels = NETWORKS[name]
    rng = np.random.default_rng(0)
    batch = {"images": rng.normal(size=(32, pixels, pixels)).astype(np.float32)}
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: make()})
    names = {"outputs": ["logits", "predictions"], "device": "cpu"}
    live = model_class(None, None, inputs=["images"], **names)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "exported")
        export = seconds(lambda: live.export("onnx", str(path), [batch]))
        size = (path / "model.onnx").stat().st_size
        opened = seconds(lambda: OnnxModel(None, None, str(path), threads=1))
        exported = OnnxModel(None, None, str(path), outputs=names["outputs"], threads=1)
        columns = ""
        for count in SIZES:
            part = {"images": batch["images"][:count]}
            times: dict[Any, list[float]] = {live: [], exported: []}
            for _ in range(ROUNDS):
                for model, taken in times.items():
                    taken.append(seconds(lambda model=model, part=part: model.run(part, train=False)))
            one, other = (1000 * statistics.median(taken) for taken in times.values())
            columns += f"{one:10.3f}{other:10.3f}{one / other:8.1f}x"
    return f"{name:14}{export:9.2f}{size / 1024:8.0f}{opened:9.3f}{columns}"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'':14}   export     KiB     open" + "".join(f"  torch/{n:<3} onnx/{n:<4} ratio" for n in SIZES))
    measure("perceptron")  # the imports of the first export do not count for the network
    for name in NETWORKS:
        print(measure(name), flush=True)


if __name__ == "__main__":
    main()
