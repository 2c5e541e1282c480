"""What does a training step of a PyTorch model cost beside the same step in a bare loop?

A small perceptron, batches of 32, SGD; CPU time, one thread, steps of all variants in turn. The bare loops keep the
same contract: the losses are reduced in the same way, and the outputs are arrays. Of ``Supervised``, that includes the
weights of its means. Then whole epochs of the main loop with the *typical set* of hooks (means of loss and accuracy,
progress, CSV, the best model, stop at NaN), beside a loop that has the same duties in plain code; an evaluation; the
step of a model that goes on without its source, beside that of the model it comes from; and the share of the time in
which a program is compared with the training.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import emloop_torch
from emloop import AbstractModel, MainLoop
from emloop.hooks import ComputeStats, SaveBest, ShowProgress, StopOnNaN, WriteCSV

from ..figures import Figure, Measure, compare, figure, repeated

Step = Callable[[Mapping[str, Any]], Mapping[str, Any]]

RATE = 1e-7
"""So low that nothing is learned: gradients that vanish are computed slowly, and no later model is the best."""
LOSS, BOTH = ["loss"], ["loss", "accuracy"]
CONFIG: Mapping[str, Any] = {
    "inputs": ["points", "labels"],
    "outputs": LOSS,
    "device": "cpu",
    "optimizer": {"class": "SGD", "learning_rate": RATE},
    "saved_model": {"source_free": "off"},
}
_RNG = np.random.default_rng(0)
BATCH: dict[str, Any] = {"points": _RNG.normal(size=(32, 64)).astype(np.float32), "labels": _RNG.integers(0, 10, 32)}
"""32 points in ten classes."""


def layers() -> nn.Sequential:
    """10k parameters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


class Classifier(nn.Module):
    """A perceptron with its loss, for every example or as their mean, and its accuracy if that is asked for."""

    def __init__(self, reduction: str = "none", outputs: Sequence[str] = LOSS) -> None:
        super().__init__()
        self.layers = layers()
        self.reduction, self.is_rated = reduction, "accuracy" in outputs

    def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores and loss."""
        logits = self.score(points)
        outputs = {"logits": logits, "loss": functional.cross_entropy(logits, labels, reduction=self.reduction)}
        return {**outputs, "accuracy": (logits.argmax(1) == labels).float()} if self.is_rated else outputs

    def score(self, points: torch.Tensor) -> torch.Tensor:
        """Scores."""
        scores: torch.Tensor = self.layers(points)
        return scores


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

    def score(self, points: torch.Tensor) -> torch.Tensor:
        """Scores, from which the gradient is turned around."""
        scores: torch.Tensor = Turned.apply(self.layers(points))  # type: ignore[no-untyped-call]
        return scores


# -- steps ------------------------------------------------------------------------------------------------------------


def bare(module: nn.Module, names: Sequence[str] = LOSS) -> Step:
    """A step as one would write it."""
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    module.train()

    def step(batch: Mapping[str, Any]) -> Mapping[str, Any]:
        outputs = module(**{name: torch.from_numpy(values) for name, values in batch.items()})
        loss = outputs["loss"]
        loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        outputs["loss"] = loss if loss.ndim else loss.expand(len(batch["labels"]))
        return {name: outputs[name].detach().numpy() for name in names}

    return step


def bare_weighted(names: Sequence[str] = LOSS) -> Step:
    """The same, of labels that may be ignored, as ``Supervised`` reduces its losses."""
    module, criterion = layers(), nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    module.train()

    def step(batch: Mapping[str, Any]) -> Mapping[str, Any]:
        labels = torch.from_numpy(batch["labels"])
        scores = module(torch.from_numpy(batch["points"]))
        loss = criterion(scores, labels)
        counts = labels != -100
        weight = counts.to(loss.dtype)
        share = weight / weight.sum().clamp_min(torch.finfo(loss.dtype).tiny)
        (loss.masked_fill(~counts, 0.0) * share).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        outputs = {"loss": loss.detach().numpy(), "loss_weight": counts.numpy()}
        if "accuracy" in names:
            right = (scores.argmax(1) == labels).float()
            outputs |= {"accuracy": right.numpy(), "accuracy_weight": counts.numpy()}
        return outputs

    return step


def bare_evaluation() -> Step:
    """An evaluation as one would write it."""
    module = Classifier().eval()

    def evaluate(batch: Mapping[str, Any]) -> Mapping[str, Any]:
        with torch.no_grad():
            outputs = module(**{name: torch.from_numpy(values) for name, values in batch.items()})
        return {"loss": outputs["loss"].numpy()}

    return evaluate


class HandWritten(AbstractModel):
    """The bare loop's step behind the contract of a model."""

    input_names, output_names = ["points", "labels"], LOSS

    def __init__(self, reduction: str = "none", outputs: Sequence[str] = LOSS, path: Path | None = None) -> None:
        super().__init__(None, None)
        self.output_names = list(outputs)
        self._module, self._path = Classifier(reduction, outputs), path
        self._step = bare(self._module, outputs)

    def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
        """One step."""
        return self._step(batch)

    def save(self, name_suffix: str) -> str:
        """As one would write it."""
        torch.save(self._module.state_dict(), str(self._path))
        return str(self._path)


def base_model(
    make: Callable[[], nn.Module] = Classifier, directory: str | None = None, **config: Any
) -> emloop_torch.BaseModel:
    """A module behind ``BaseModel``."""
    model_class = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: make()})
    model: emloop_torch.BaseModel = model_class(None, directory, **{**CONFIG, **config})
    return model


def supervised(directory: str | None = None, outputs: Sequence[str] = LOSS) -> emloop_torch.Supervised:
    """The same by configuration."""
    net = [
        {"class": "Linear", "in_features": 64, "out_features": 128},
        "ReLU",
        {"class": "Linear", "in_features": 128, "out_features": 10},
    ]
    config = {**CONFIG, "outputs": outputs, "metrics": outputs[1:]}
    return emloop_torch.Supervised(None, directory, net=net, **config)


def stepping(step: Step) -> Measure:
    """Steps, one after the other."""
    return repeated(lambda: step(BATCH))


def running(model: Any, *, train: bool = True) -> Measure:
    """Batches, as the main loop runs them."""
    return repeated(lambda: model.run(batch=BATCH, train=train, stream=None))


# -- the typical set --------------------------------------------------------------------------------------------------


def bare_epochs(step: Step, directory: str, suffix: str = "") -> Measure:
    """Epochs with the duties of the typical set in plain code.

    Args:
        step: What is done with a batch.
        directory: Where the table is.
        suffix: Of the outputs that weigh the means, if any do.
    """
    path, shown, best = Path(directory, "training.csv"), io.StringIO(), -math.inf
    module = Classifier()

    def epoch(count: int) -> None:
        nonlocal best
        sums, weights, noted = dict.fromkeys(BOTH, 0.0), dict.fromkeys(BOTH, 0.0), monotonic()
        for done, batch in enumerate([BATCH] * count, 1):
            outputs = step(batch)
            for name in BOTH:
                values = outputs[name]
                weight = outputs[name + suffix] if suffix else None
                sums[name] += (values if weight is None else values * weight).sum(dtype=np.float64).item()
                weights[name] += len(values) if weight is None else weight.sum().item()
            if (now := monotonic()) - noted >= 30:
                noted = now
                shown.write(f"train: {done}/{count}\n")
        means = {name: sums[name] / weights[name] for name in BOTH}
        with path.open("a") as file:
            csv.writer(file).writerow(means.values())
        if means["accuracy"] > best:
            best = means["accuracy"]
            torch.save(module.state_dict(), path.with_suffix(".pt"))
        if any(map(math.isnan, means.values())):
            raise ValueError(means)

    return lambda count: repeated(lambda: epoch(count))(1)


def epochs(model: Any, directory: str, entered: ExitStack) -> Measure:
    """Epochs of the main loop with the hooks of the typical set."""
    hooks = [
        ComputeStats(BOTH),
        ShowProgress(output=io.StringIO()),
        WriteCSV(directory),
        SaveBest(model, variable="accuracy", condition="max", stream="unnamed_train_0"),
        StopOnNaN(BOTH),
    ]
    loop = entered.enter_context(MainLoop(model, None, hooks))
    return lambda count: repeated(lambda: loop.epoch([[BATCH] * count]))(1)


def typical(entered: ExitStack) -> list[dict[str, Measure]]:
    """All kinds of models, each in a directory of its own."""
    room = (entered.enter_context(TemporaryDirectory()) for _ in repeat(None))
    own, by_configuration = next(room), next(room)
    hand_written = HandWritten(outputs=BOTH, path=Path(next(room), "best.pt"))
    with_module = base_model(partial(Classifier, outputs=BOTH), next(room), outputs=BOTH)
    configured = supervised(next(room), BOTH)
    return [
        {
            "bare loop, typical set": bare_epochs(bare(Classifier(outputs=BOTH), BOTH), own),
            "hand-written, typical set": epochs(hand_written, next(room), entered),
            "BaseModel, typical set": epochs(with_module, next(room), entered),
        },
        {
            "bare loop, typical set, weighted": bare_epochs(bare_weighted(BOTH), by_configuration, "_weight"),
            "Supervised, typical set": epochs(configured, next(room), entered),
        },
    ]


# -- without source ---------------------------------------------------------------------------------------------------


def shadow_share(steps: int) -> float:
    """The part of the time after a save in which the program is compared with the training."""
    with TemporaryDirectory() as directory:
        model = base_model(directory=directory, saved_model={"shadow": 0.01})
        run = running(model)
        run(1)
        model.save("best")
        taken = [run(1) for _ in range(steps)]
    compared = {number - 1 for number in (1, 2, 4, 8, 16, 32, 64, 128, 256, *range(512, steps, 400)) if number <= steps}
    usual = statistics.mean(seconds for number, seconds in enumerate(taken) if number not in compared)
    return float(sum(taken[number] - usual for number in compared) / sum(taken))


def without_source(entered: ExitStack) -> dict[str, dict[str, Measure]]:
    """A model that has been saved, and what is restored from there, by rung."""
    groups = {}
    for rung, module in {"exported": Classifier, "traced": Adversarial}.items():
        directory = entered.enter_context(TemporaryDirectory())
        live = base_model(module, directory, saved_model={"shadow": 0})
        live.run(BATCH, train=True)
        restored = emloop_torch.BaseModel(None, None, live.save("best"), **CONFIG)
        groups[rung] = {f"live, {rung}": running(live), f"without source, {rung}": running(restored)}
    return groups


# -- what is compared -------------------------------------------------------------------------------------------------


def measure(quick: bool) -> list[Figure]:
    """Blocks of steps, and whole epochs, since an epoch has a cost of its own."""
    torch.set_num_threads(1)
    steps: list[dict[str, Measure]] = [
        {
            f"bare step, {what}": stepping(bare(Classifier(reduction))),
            f"hand-written, {what}": running(HandWritten(reduction)),
            f"BaseModel, {what}": running(base_model(partial(Classifier, reduction))),
        }
        for reduction, what in {"none": "loss per example", "mean": "mean loss"}.items()
    ]
    steps += [
        {"bare step, weighted": stepping(bare_weighted()), "Supervised, loss per example": running(supervised())},
        {
            "bare evaluation": stepping(bare_evaluation()),
            "BaseModel, evaluation": running(base_model(), train=False),
            "Supervised, evaluation": running(supervised(), train=False),
        },
    ]
    asked = {name: 1.05 if name.startswith("hand") else 1.10 for group in steps[:2] for name in list(group)[1:]}
    asked |= {"Supervised, loss per example": 1.12, "Supervised, typical set": 1.16}
    asked |= {"hand-written, typical set": 1.10, "BaseModel, typical set": 1.13}
    with ExitStack() as entered:
        steps += without_source(entered).values()
        sets = typical(entered)
        for group in (*steps, *sets):
            for warm in group.values():
                warm(10)
        found = [
            *compare(steps, *((2, 2) if quick else (25, 60)), most=asked),
            *compare(sets, *((2, 2) if quick else (250, 30)), most=asked),
        ]
    return [*found, figure("comparing with the program", "%", [100 * shadow_share(10 if quick else 3000)])]
