"""What does a training step of a PyTorch model cost beside the same step in a bare loop?

A small perceptron, batches of 32, SGD; CPU time, one thread, steps of all variants in turn. The bare loops keep the
same contract: the losses are reduced in the same way, and the outputs are arrays. Of ``Supervised``, that includes the
weights of its means. Then an evaluation; the step of a model that goes on without its source, beside that of the model
it comes from; and the share of the time in which a program is compared with the training. Ratios are medians over
blocks of steps, with quartiles.

    python benchmarks/torch_steps.py [--blocks 60]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop_torch
from emloop.models.abstract_model import AbstractModel

STEPS = 25
RATE = 1e-4
"""So low that nothing is learned: gradients that vanish are computed slowly."""
CONFIG: Mapping[str, Any] = {
    "inputs": ["points", "labels"],
    "outputs": ["loss"],
    "device": "cpu",
    "optimizer": {"class": "SGD", "learning_rate": RATE},
    "saved_model": {"source_free": "off"},
}


def batch() -> dict[str, Any]:
    """32 points in ten classes."""
    rng = np.random.default_rng(0)
    return {"points": rng.normal(size=(32, 64)).astype(np.float32), "labels": rng.integers(0, 10, 32)}


def layers() -> nn.Sequential:
    """10k parameters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


class Classifier(nn.Module):
    """A perceptron with its loss, for every example or as their mean."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.layers = layers()
        self.reduction = reduction

    def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores and loss."""
        logits = self.layers(points)
        return {"logits": logits, "loss": functional.cross_entropy(logits, labels, reduction=self.reduction)}


class HandWritten(AbstractModel):
    """The bare loop's step behind the contract of a model."""

    def __init__(self, reduction: str) -> None:
        super().__init__(None, None)
        self._step = bare(reduction)

    @property
    def input_names(self) -> list[str]:
        """Sources."""
        return ["points", "labels"]

    @property
    def output_names(self) -> list[str]:
        """Variables."""
        return ["loss"]

    def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
        """One step."""
        return self._step(batch)

    def save(self, name_suffix: str) -> str:
        """Nothing is saved."""
        raise NotImplementedError


def bare(reduction: str) -> Callable[[Mapping[str, Any]], Any]:
    """A step as one would write it."""
    module = Classifier(reduction)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    module.train()

    def step(batch: Mapping[str, Any]) -> dict[str, Any]:
        outputs = module(**{name: torch.from_numpy(values) for name, values in batch.items()})
        loss = outputs["loss"]
        loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        loss = loss.detach()
        return {"loss": (loss if loss.ndim else loss.expand(len(batch["labels"]))).numpy()}

    return step


def bare_evaluation() -> Callable[[Mapping[str, Any]], Any]:
    """An evaluation as one would write it."""
    module = Classifier("none").eval()

    def evaluate(batch: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            outputs = module(**{name: torch.from_numpy(values) for name, values in batch.items()})
        return {"loss": outputs["loss"].numpy()}

    return evaluate


def bare_weighted() -> Callable[[Mapping[str, Any]], Any]:
    """The same, of labels that may be ignored, as ``Supervised`` reduces its losses."""
    module, criterion = layers(), nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    module.train()

    def step(batch: Mapping[str, Any]) -> dict[str, Any]:
        labels = torch.from_numpy(batch["labels"])
        loss = criterion(module(torch.from_numpy(batch["points"])), labels)
        counts = labels != -100
        weight = counts.to(loss.dtype)
        share = weight / weight.sum().clamp_min(torch.finfo(loss.dtype).tiny)
        (loss.masked_fill(~counts, 0.0) * share).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": loss.detach().numpy(), "loss_weight": counts.numpy()}

    return step


def base_model(reduction: str) -> emloop_torch.BaseModel:
    """The module behind ``BaseModel``."""
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: Classifier(reduction)})
    model: emloop_torch.BaseModel = model_class(None, None, **CONFIG)
    return model


def supervised() -> emloop_torch.Supervised:
    """The same by configuration."""
    net = [
        {"class": "Linear", "in_features": 64, "out_features": 128},
        "ReLU",
        {"class": "Linear", "in_features": 128, "out_features": 10},
    ]
    return emloop_torch.Supervised(None, None, net=net, **CONFIG)


class Turned(torch.autograd.Function):
    """A backward pass of its own, which only a traced graph holds."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        """The values."""
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient, turned around."""
        return -gradient


class Adversarial(Classifier):
    """A perceptron that is saved as a traced graph."""

    def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores and loss."""
        logits = Turned.apply(self.layers(points))  # type: ignore[no-untyped-call]
        return {"logits": logits, "loss": functional.cross_entropy(logits, labels, reduction=self.reduction)}


def saved(module: type[Classifier], directory: str, shadow: float) -> tuple[Any, str]:
    """A model that has been saved once, and where."""
    config = {**CONFIG, "saved_model": {"shadow": shadow}}
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: module("none")})
    model = model_class(None, directory, **config)
    model.run(batch(), train=True)
    return model, model.save("best")


def shadow_share(steps: int) -> float:
    """The part of the time after a save in which the program is compared with the training."""
    with tempfile.TemporaryDirectory() as directory:
        model, _ = saved(Classifier, directory, 0.01)
        data, taken = batch(), []
        for _ in range(steps):
            started = process_time()
            model.run(data, train=True)
            taken.append(process_time() - started)
    compared = {number - 1 for number in (1, 2, 4, 8, 16, 32, 64, 128, 256, *range(512, steps, 400))}
    usual = statistics.mean(seconds for number, seconds in enumerate(taken) if number not in compared)
    return float(sum(taken[number] - usual for number in compared) / sum(taken))


def run(model: Any, *, train: bool = True) -> Callable[[Mapping[str, Any]], Any]:
    """A model as the main loop runs it."""
    return lambda batch: model.run(batch=batch, train=train, stream=None)


def compare(variants: Mapping[str, Callable[[Mapping[str, Any]], Any]], blocks: int) -> dict[str, list[float]]:
    """CPU seconds of blocks of steps, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    data = batch()
    for step in variants.values():
        for _ in range(STEPS):
            step(data)
    for _ in range(blocks):
        for name, step in variants.items():
            started = process_time()
            for _ in range(STEPS):
                step(data)
            times[name].append(process_time() - started)
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=60, help=f"blocks of {STEPS} steps to take the median of")
    blocks = parser.parse_args().blocks
    torch.set_num_threads(1)
    tables: dict[str, dict[str, Callable[[Mapping[str, Any]], Any]]] = {
        f"loss per example, by {name}": variants
        for name, variants in {
            "one's own code": {
                "bare": bare("none"),
                "hand-written": run(HandWritten("none")),
                "BaseModel": run(base_model("none")),
            },
            "configuration": {"bare": bare_weighted(), "Supervised": run(supervised())},
        }.items()
    }
    tables["mean loss"] = {
        "bare": bare("mean"),
        "hand-written": run(HandWritten("mean")),
        "BaseModel": run(base_model("mean")),
    }
    tables["evaluation, loss per example"] = {
        "bare": bare_evaluation(),
        "BaseModel": run(base_model("none"), train=False),
    }
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for module, directory in ((Classifier, first), (Adversarial, second)):
            live, path = saved(module, directory, 0)
            restored = emloop_torch.BaseModel(None, None, path, **CONFIG)
            title = f"without source, {'exported' if module is Classifier else 'traced'}"
            tables[title] = {"live": run(live), "restored": run(restored)}
        for title, variants in tables.items():
            times = compare(variants, blocks)
            base = next(iter(variants))
            print(f"{title}: {base} {1e6 * statistics.median(times[base]) / STEPS:.0f} µs")
            for name in [name for name in variants if name != base]:
                ratios = [taken / raw for taken, raw in zip(times[name], times[base], strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                print(f"  {name:14}{middle:5.2f} ({low:.2f}-{high:.2f})", flush=True)
    print(f"shadow check: {100 * shadow_share(3000):.2f} % of 3,000 steps after the first save")


if __name__ == "__main__":
    main()
