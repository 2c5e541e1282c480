"""One peer, or ourselves, in the interpreter of its own environment: ``_peer.py NAME STEPS``; ``peers.py`` starts it.

Says its version, and then, for every line that it reads, the CPU seconds of a block of steps in the raw loop and of the
same block in the peer's.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

STEPS = int(sys.argv[2])
"""In a block."""
RATE = 1e-4
"""So low that nothing is learned: gradients that vanish are computed slowly."""
Block = Callable[[], object]
Contract = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Any]]
"""Scores and labels → what is learned from, and what a step returns."""


def arrays() -> list[tuple[Any, Any]]:
    """Batches of 32 points in ten classes."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(32, 64)).astype(np.float32), rng.integers(0, 10, 32)
    return [made] * STEPS


def tensors() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same as tensors."""
    return [(torch.from_numpy(points), torch.from_numpy(labels)) for points, labels in arrays()]


def network() -> nn.Sequential:
    """10k parameters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    """Its optimizer."""
    return torch.optim.SGD(module.parameters(), lr=RATE)


def raw() -> Block:
    """The loop as one would write it."""
    module, data = network(), tensors()
    optimizer = sgd(module)

    def block() -> None:
        for points, labels in data:
            optimizer.zero_grad()
            functional.cross_entropy(module(points), labels).backward()
            optimizer.step()

    return block


def nothing(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """As the raw loop."""
    return functional.cross_entropy(scores, labels), None


def mean(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """The mean loss, a number."""
    loss = functional.cross_entropy(scores, labels)
    return loss, {"loss": loss.item()}


def per_example(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """The losses, an array."""
    loss = functional.cross_entropy(scores, labels, reduction="none")
    return loss.mean(), {"loss": loss.detach().numpy()}


def weighted(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """The losses and what they count, arrays: labels may be ignored."""
    loss = functional.cross_entropy(scores, labels, reduction="none")
    counts = labels != -100
    return loss.sum() / counts.sum(), {"loss": loss.detach().numpy(), "loss_weight": counts.numpy()}


CONTRACTS: dict[str, Contract] = {f.__name__.replace("_", " "): f for f in (nothing, mean, per_example, weighted)}


def emloop_(form: str) -> Block:
    """The main loop, with a model of the form ``KIND, CONTRACT``."""
    import emloop as el
    import emloop_torch

    kind, _, contract = form.partition(", ")
    names, reduction = ["points", "labels"], "mean" if contract == "mean" else "none"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network()

        def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": functional.cross_entropy(self.layers(points), labels, reduction=reduction)}

    class Model(emloop_torch.BaseModel):
        def create_model(self) -> nn.Module:
            return Net()

    class HandWritten(el.AbstractModel):
        input_names, output_names = names, ["loss"]

        def __init__(self) -> None:
            super().__init__(None, None)
            self._module = network()
            self._optimizer = sgd(self._module)
            self._told = CONTRACTS[contract]

        def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
            self._module.train()
            self._optimizer.zero_grad()
            loss, outputs = self._told(self._module(batch["points"]), batch["labels"])
            loss.backward()
            self._optimizer.step()
            return outputs

        def save(self, name_suffix: str) -> str:
            raise NotImplementedError

    settings: dict[str, Any] = {
        "inputs": names,
        "outputs": [] if contract == "nothing" else ["loss"],
        "device": "cpu",
        "optimizer": {"class": "SGD", "learning_rate": RATE},
        "saved_model": {"source_free": "off"},
    }
    first, last = ({"class": "Linear", "in_features": i, "out_features": o} for i, o in ((64, 128), (128, 10)))
    if kind == "hand-written":
        model: Any = HandWritten()
    elif kind == "Supervised":
        model = emloop_torch.Supervised(None, None, net=[first, "ReLU", last], **settings)
    else:
        model = Model(None, None, **settings)
    loop = el.MainLoop(model=model, dataset=None, hooks=[])
    read = tensors() if kind == "hand-written" else arrays()
    data = [dict(zip(names, batch, strict=True)) for batch in read]
    return lambda: loop.epoch(train_streams=[data])


def ignite_(contract: str) -> Block:
    """An engine with the step as its documentation writes it."""
    from ignite.engine import Engine

    module, data, told = network(), tensors(), CONTRACTS[contract]
    optimizer = sgd(module)

    def step(_: Any, batch: Any) -> Any:
        module.train()
        optimizer.zero_grad()
        loss, outputs = told(module(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return outputs

    engine = Engine(step)
    return lambda: engine.run(data, max_epochs=1)


def skorch_() -> Block:
    """One epoch of its inner loop."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        network(), criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, lr=RATE, callbacks=None, verbose=0
    )
    net.initialize()
    net.notify("on_train_begin", X=None, y=None)
    data = tensors()

    def block() -> None:
        net.history.new_epoch()
        net.run_single_epoch(data, training=True, prefix="train", step_fn=net.train_step)

    return block


def accelerate_() -> Block:
    """The raw loop, prepared."""
    from accelerate import Accelerator

    accelerator, module, data = Accelerator(cpu=True), network(), tensors()
    module, optimizer = accelerator.prepare(module, sgd(module))

    def block() -> None:
        for points, labels in data:
            optimizer.zero_grad()
            accelerator.backward(functional.cross_entropy(module(points), labels))
            optimizer.step()

    return block


def transformers_() -> Block:
    """The trainer, without what it logs, saves and draws."""
    import tempfile

    from transformers import Trainer, TrainingArguments

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network()

        def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": functional.cross_entropy(self.layers(points), labels)}

    module, data = Net(), [dict(zip(("points", "labels"), batch, strict=True)) for batch in tensors()]
    optimizer = sgd(module)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    never: dict[str, Any] = {"save_strategy": "no", "logging_strategy": "no", "report_to": "none"}
    arguments = TrainingArguments(
        tempfile.mkdtemp(), use_cpu=True, per_device_train_batch_size=1, max_steps=STEPS, disable_tqdm=True, **never
    )
    trainer = Trainer(
        module,
        arguments,
        data_collator=lambda batches: batches[0],
        train_dataset=data,  # type: ignore[arg-type]
        optimizers=(optimizer, constant),
    )
    return trainer.train


def fabric_(contract: str) -> Block:
    """The raw loop, set up; what a step returns, somebody would look at."""
    from lightning.fabric import Fabric

    fabric, module, data = Fabric(accelerator="cpu", devices=1), network(), tensors()
    module, optimizer = fabric.setup(module, sgd(module))
    told, last = CONTRACTS[contract], None

    def block() -> None:
        nonlocal last
        for points, labels in data:
            optimizer.zero_grad()
            loss, last = told(module(points), labels)
            fabric.backward(loss)
            optimizer.step()

    return block


def lightning_() -> Block:
    """The trainer, without what it logs, saves and draws."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network()

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return functional.cross_entropy(self.layers(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self)

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer, module = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=0, **quiet), Module()
    data = torch.utils.data.DataLoader(tensors(), batch_size=None)  # type: ignore[arg-type]

    def block() -> None:
        trainer.fit_loop.max_epochs += 1
        trainer.fit(module, data)

    return block


def keras_() -> Block:
    """``fit`` over batches, with the PyTorch backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    model = keras.Sequential([keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(RATE), loss=loss)
    data = arrays()

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return STEPS

        def __getitem__(self, index: int) -> Any:
            return data[index]

    batches = Batches()
    return lambda: model.fit(batches, verbose=0, shuffle=False)


PEERS: dict[str, tuple[str, Callable[..., Block]]] = {
    "emloop": ("emloop", emloop_),
    "Ignite": ("pytorch-ignite", ignite_),
    "skorch": ("skorch", skorch_),
    "Accelerate": ("accelerate", accelerate_),
    "HF Trainer": ("transformers", transformers_),
    "Fabric": ("lightning", fabric_),
    "Lightning": ("lightning", lightning_),
    "Keras": ("keras", keras_),
}
"""Name → its distribution, and what makes a block of steps, of some for a contract."""


def main(name: str) -> None:
    """Answer until there are no more lines."""
    # What peers print goes elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    peer, _, form = name.partition(", ")
    distribution, make = PEERS[peer]
    blocks = raw(), make(*filter(None, [form]))
    for block in blocks:
        block()
    print(json.dumps({"version": version(distribution), "torch": torch.__version__}), file=answers, flush=True)
    for _ in sys.stdin:
        taken = []
        for block in blocks:
            began = process_time()
            block()
            taken.append(process_time() - began)
        print(json.dumps(taken), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
