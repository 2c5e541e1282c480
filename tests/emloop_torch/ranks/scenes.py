"""What several processes do in a test, each started with the name of a function of this module; see ``conftest.py``."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import socket
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional

import emloop as el
import emloop_torch
from emloop._state.random import use_seed
from emloop._state.tree import copy_tree
from emloop.errors import ConfigError, RankError
from emloop.ranks import Scene, Share, use_ranks

SIZES = (8, 7, 9, 10, 8, 6)
"""Of the batches of an epoch."""


class Classifier(nn.Module):
    """Two classes of points."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def predict(self, points):
        return {"logits": self.body(points)}

    def forward(self, points, labels):
        logits = self.body(points)
        return {"logits": logits, "loss": functional.cross_entropy(logits, labels, reduction="none")}


class OfMeans(Classifier):
    """Tells the mean of its losses only."""

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        return {**outputs, "loss": outputs["loss"].mean()}


class Weighing(Classifier):
    """Says itself what its losses count."""

    weights = {"loss": "weight"}  # noqa: RUF012

    def forward(self, points, labels):
        return {**super().forward(points, labels), "weight": points[:, 0].abs().round()}


class Attending(nn.Module):
    """A tiny transformer over the coordinates of a point."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(1, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 2)

    def forward(self, points):
        return self.head(self.encoder(self.embed(points[:, :, None])).mean(1))


class TwoHeaded(nn.Module):
    """Two losses, of two parts."""

    def __init__(self):
        super().__init__()
        self.one, self.other = plain(), plain()

    def forward(self, points, labels):
        losses = [functional.cross_entropy(part(points), labels, reduction="none") for part in (self.one, self.other)]
        return {"loss": losses[0], "other_loss": losses[1] + losses[0].detach()}


class Sometimes(nn.Module):
    """Has a part that no loss depends on."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = plain(), nn.Linear(3, 2)

    def forward(self, points):
        return self.used(points)


class Looking(nn.Module):
    """Looks points up in a table, by their rounded coordinates."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(10, 8, sparse=True), nn.Linear(8, 2)

    def forward(self, points):
        return self.head(self.table(points.round().long().clamp(-4, 4) + 5).mean(1))


class Tempered(Classifier):
    """Computes with a number that no program sees change."""

    def __init__(self):
        super().__init__(plain())
        self.config = SimpleNamespace(temperature=2.0)

    def forward(self, points, labels):
        logits = self.body(points) / self.config.temperature
        return {"logits": logits, "loss": functional.cross_entropy(logits, labels, reduction="none")}


class Alone(emloop_torch.BaseModel):
    """Calls its module itself."""

    def compute(self, batch):
        return self.module(**batch)


class Careless(emloop_torch.BaseModel):
    """Takes steps that nobody knows of."""

    def training_step(self, batch):
        outputs = self.compute(batch)
        outputs["loss"].mean().backward()
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.sub_(0.1 * parameter.grad)
                parameter.grad = None
        return outputs


def plain():
    return nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 2))


def normed():
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def dropped():
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 2))


def wide():
    """More than one bucket."""
    return nn.Sequential(nn.Linear(3, 500), nn.Dropout(0.2), nn.GELU(), nn.Linear(500, 700), nn.Linear(700, 2))


MODULES = {
    "plain": lambda: Classifier(plain()),
    "means": lambda: OfMeans(plain()),
    "weighing": lambda: Weighing(plain()),
    "attending": lambda: Classifier(Attending()),
    "normed": lambda: Classifier(normed()),
    "dropped": lambda: Classifier(dropped()),
    "wide": lambda: Classifier(wide()),
    "two heads": TwoHeaded,
    "sparse": lambda: Classifier(Looking()),
    "tempered": Tempered,
    "sometimes": lambda: Classifier(Sometimes()),
}
STEEP = {"optimizer": {"class": "SGD", "learning_rate": 0.3, "momentum": 0.9}}
TRAININGS = {
    "AdamW, clipped by norm": {},
    "the mean of a batch": {"module": "means"},
    "windows of three": {"accumulate": 3, "epoch": 4},
    "weighed by a source": {"weights": {"loss": "weight"}},
    "weighed by an output": {"module": "weighing"},
    "weighed windows": {"module": "weighing", "accumulate": 3, "epoch": 4},
    "a transformer": {"module": "attending", **STEEP},
    "few examples": {"sizes": (3, 1, 2, 4, 1)},
    "few examples, weighed": {"sizes": (3, 1, 2, 4, 1), "weights": {"loss": "weight"}, "accumulate": 2},
    "several optimizers": {
        "module": "two heads",
        "clip_gradient": None,
        "optimizers": [
            {"name": "a", "match": r"one\..*", "class": "SGD", "learning_rate": 0.1},
            {"name": "b", "match": r"other\..*", "class": "AdamW", "loss": "other_loss", "every": 2},
        ],
    },
    "thawed": {"frozen": [{"match": r"body\.0\..*", "until": 1}]},
    "averaged": {"ema": {"decay": 0.9}},
    "equally averaged": {"swa": 1},
    "a schedule": {"lr_schedule": {"class": "CosineAnnealingLR", "T_max": 9, "interval": "batch"}},
    "bf16": {"precision": "bf16", **STEEP},
    "a module called directly": {"cls": Alone},
    "sparse gradients": {
        "module": "sparse",
        "optimizer": {"class": "SGD", "learning_rate": 0.1},
        "clip_gradient": None,
    },
    "parts without gradient": {"module": "sometimes", "distributed": {"find_unused_parameters": True}},
    "views of buckets": {"distributed": {"gradient_as_bucket_view": True, "bucket_cap_mb": 0.001}},
}
"""Trainings that end, but for rounding, as they do in one process."""


def created(module="plain", cls=emloop_torch.BaseModel, log_dir=None, restore_from=None, ranks=None, **config):
    """A model; its module is made anew, unless there is none."""
    for key in ("sizes", "epoch"):
        config.pop(key, None)
    optimizer = {} if "optimizers" in config else {"optimizer": {"class": "AdamW", "learning_rate": 0.01}}
    defaults = {"inputs": ["points", "labels"], "outputs": ["loss"], "device": "cpu", "clip_gradient": {"norm": 0.5}}
    if module is not None:
        cls = type("Model", (cls,), {"create_model": lambda self: MODULES[module]()})
    with use_seed(3), use_ranks(ranks):
        return cls(None, log_dir, restore_from, **{**defaults, **optimizer, **config})


def batches(sizes=SIZES, epochs=2):
    rng = np.random.default_rng(2)
    for number in range(epochs):
        for size in sizes:
            labels = rng.integers(0, 2, size)
            points = rng.normal(size=(size, 3)) + labels[:, None]
            weight = rng.integers(0, 3, size) * (number + 1)
            yield {"points": points.astype(np.float32), "labels": labels, "weight": weight.astype(np.float32)}


def trained(model, ranks=None, sizes=SIZES, epoch=None, change=None, start=0, **_):
    """Let a model learn from all batches; what its losses were, of this process's rows."""
    losses = []
    for number, batch in enumerate(batches(sizes)):
        if number < start:
            continue
        if change is not None:
            change(number)
        part = batch if ranks is None else Share(ranks.rank, ranks.size).of(batch)
        loss = model.run(part, train=True)["loss"]
        losses.append(np.array(loss)[: 0 if ranks is not None and part.is_filler else None])
        if (number + 1) % (epoch or len(sizes)) == 0:
            model.end_epoch()
    return losses


def values(model):
    """All parameters and buffers of a model in evaluation, so those of its average."""
    tensors = [*model.module.parameters(), *model.module.buffers()]
    if model._averages is None:
        return [tensor.detach().clone().numpy() for tensor in tensors]
    with model._averages.in_use():
        return [tensor.detach().clone().numpy() for tensor in tensors]


def digest(model):
    return hashlib.sha256(b"".join(value.tobytes() for value in values(model))).hexdigest()


FSDP = {"strategy": "fsdp", "wrap": ["Linear"]}
NOT_SHARDED = ("several optimizers", "views of buckets", "parts without gradient", "sparse gradients")
SHARDED = {
    **{name: config for name, config in TRAININGS.items() if name not in NOT_SHARDED},
    "a transformer": {**TRAININGS["a transformer"], "distributed": {"wrap": ["TransformerEncoderLayer"]}},
    "parts without gradient": {"module": "sometimes"},
    "clipped by value": {"clip_gradient": {"value": 0.01}},
    "several optimizers": {
        "module": "two heads",
        "clip_gradient": None,
        "optimizers": [
            {"name": "a", "match": r"one\..*", "class": "SGD", "learning_rate": 0.1},
            {"name": "b", "match": r"other\..*", "class": "AdamW"},
        ],
    },
    "Adagrad": {"optimizer": {"class": "Adagrad", "learning_rate": 0.01}},
    "rates by layer": {"optimizer": {"class": "AdamW", "learning_rate": 0.01, "no_decay": True, "layer_decay": 0.5}},
    "adapters": {"lora": {"target_modules": ["body.0", "body.3"], "r": 2}},
    "gathered once": {"distributed": {"reshard_after_forward": False, "wrap": []}},
    "gathered in bf16": {
        "distributed": {"mp_policy": {"param_dtype": "bfloat16", "reduce_dtype": "float32"}},
        "optimizer": {"class": "SGD", "learning_rate": 0.05},
    },
    "compiled": {"compile": {"backend": "aot_eager"}},
}
"""The same of trainings by processes that have a part of the model each."""


# -- what processes do ------------------------------------------------------------------------------------------------


def messages(ranks):
    """Tell and gather messages of many lengths."""
    told = []
    for length in (0, 10, 70_000, 5_000_000):
        message = b"0123456789"[: min(length, 10)] * (length // 10)
        if ranks.rank == 0:
            ranks.tell(message)
        else:
            message = ranks.hear()
        gathered = ranks.gather(message[: (ranks.rank + 1) * length // ranks.size])
        told.append((hashlib.sha256(message).hexdigest(), [len(each) for each in gathered]))
    return told


def all_trainings(ranks):
    """Every training; losses, values and digest."""
    found = {}
    for name, config in TRAININGS.items():
        model = created(**config, ranks=ranks)
        losses = trained(model, ranks, **config)
        found[name] = losses, values(model), digest(model)
    return found


def all_sharded(ranks):
    """Every training; losses, what a state holds, and an evaluation, together with one process's part of all."""
    found = {}
    for name, config in SHARDED.items():
        model = created(**{**config, "distributed": {**FSDP, **config.get("distributed", {})}}, ranks=ranks)
        losses = trained(model, ranks, **config)
        evaluated = model.run(Share(ranks.rank, ranks.size).of(next(batches())), train=False)["loss"]
        found[name] = losses, np.array(evaluated), kept(model), held(model)
    return found


def on_cuda(ranks, directory):
    """By each strategy, and alone: losses, what a state holds, and what goes on from what was saved."""
    found = {}
    for name, ways in {"alone": {}, "ddp": {"strategy": "ddp"}, "fsdp": FSDP}.items():
        own = None if name == "alone" else ranks
        config = {"device": "cuda", "log_dir": directory, **({"distributed": ways} if ways else {})}
        if own is None and ranks.rank:
            continue
        model = created(**config, ranks=own)
        losses = trained(model, own)
        if ranks.rank == 0 or name == "fsdp":
            model.save(name)
        state, path = kept(model), str(Path(directory, f"model_{name}"))
        if own is not None:
            distributed.barrier()
        found[name] = losses, state, trained(created(None, **config, restore_from=path, ranks=own), own)
    return found


def kept(model):
    """What the state of a model holds of its module."""
    state = copy_tree(model.state_dict())
    return {**state["parameters"], **state["buffers"], **state.get("average", {})}


def held(model):
    """How many numbers of parameters, and of what optimizers remember of them, are in this process, and in all."""
    remembered = [of for learner in model._updates.learners for of in learner.optimizer.state.values()]
    tensors = [*model.module.parameters(), *(value for of in remembered for value in of.values() if value.ndim)]
    return sum(tensor.to_local().numel() for tensor in tensors), sum(tensor.numel() for tensor in tensors)


def sharded_states(ranks, directory):
    """Train; go on in every way from a state within a window of batches, and from what was saved there."""
    cut, path = 6, Path(directory, "model_best")
    config = {"module": "dropped", "accumulate": 3, "ranks": ranks, **STEEP}
    ways, states, found = {"fsdp": FSDP, "ddp": {"strategy": "ddp"}}, {}, {}

    def noted(model):
        state = copy_tree(model.state_dict())
        return {**state["parameters"], **state["buffers"], **flat_tree(state["training"]["optimizer"]["state"])}

    for name, way in ways.items():
        model = created(**config, distributed=way)

        def keep(number, model=model, name=name):
            if number == cut:
                states[name] = copy_tree(model.state_dict()), copy_tree(model.rank_state())

        trained(model, ranks, epoch=4, change=keep)
        found[name, "untouched"] = noted(model)
    for name in ways:
        whole = [states[name][0]]
        distributed.broadcast_object_list(whole, 0)
        for other, way in ways.items():
            model = created(**config, distributed=way)
            model.load_state_dict(whole[0])
            model.load_rank_state(states[name][1])
            trained(model, ranks, epoch=4, start=cut)
            found[name, other] = noted(model)
    saved = created(**config, log_dir=directory, distributed=FSDP)

    def save(number):
        if number in (5, cut):
            saved.save("first" if number == 5 else "best")
            distributed.barrier()

    trained(saved, ranks, epoch=4, change=save)
    found["fsdp", "saved"] = noted(saved)
    for module in ("dropped", None):
        again = created(**{**config, "module": module}, restore_from=str(path), distributed=FSDP)
        again.load_rank_state(states["fsdp"][1])
        trained(again, ranks, epoch=4, start=cut)
        found["fsdp", "restored with source" if module else "restored without"] = noted(again)
    return found


def flat_tree(tree):
    return {f"{name} {key}": value for name, of in tree.items() for key, value in (of or {}).items()}


def asked_of_shards(ranks):
    """A hook of rank 0 thaws what was frozen, and a prediction is asked for."""
    model = created(frozen=[r"body\.0\..*"], ranks=ranks, distributed=FSDP)

    def thaw(number):
        if number == len(SIZES) and ranks.rank == 0:
            model.module.body[0].requires_grad_(True)

    before = kept(model)
    trained(model, ranks, change=thaw)
    after, predicted = kept(model), model.predict({"points": next(batches())["points"]})["logits"]

    def freeze(number):
        if number == 2 and ranks.rank == 0:
            model.module.body[0].requires_grad_(False)

    try:
        trained(model, ranks, change=freeze)
    except ConfigError as error:
        ranks.fail(str(error))
        said = error
    except RankError as error:
        said = error
    return before, after, np.array(predicted), str(said)


class Numbered(Classifier):
    """With a number that is learned."""

    def __init__(self):
        super().__init__(plain())
        self.scale = nn.Parameter(torch.tensor(1.0))


class Tied(nn.Module):
    """Two layers that share their weights."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.layers[1].weight = self.layers[0].weight


class Impatient(emloop_torch.BaseModel):
    """Makes an optimizer before its time."""

    def create_model(self):
        made = Classifier(plain())
        self.other = torch.optim.SGD(made.parameters(), 0.1)
        return made


REFUSED = {
    "wrap": {"distributed": {"strategy": "fsdp", "wrap": ["Lineal"]}},
    "offload": {"distributed": {"strategy": "fsdp", "offload": True}},
    "sync_batch_norm": {"distributed": {"sync_batch_norm": True}},
    "a number": {"module": "numbered"},
    "tied": {"module": "tied", "distributed": {"strategy": "fsdp"}},
    "sparse": {"module": "embedded", "distributed": {"strategy": "fsdp"}},
    "Adafactor": {"optimizer": {"class": "Adafactor"}},
    "two losses": {**TRAININGS["several optimizers"]},
    "before its time": {"module": None, "cls": Impatient},
}
MODULES |= {
    "numbered": Numbered,
    "tied": lambda: Classifier(Tied()),
    "embedded": lambda: Classifier(nn.Embedding(3, 2, sparse=True)),
}


def refusals(ranks):
    """What cannot be sharded."""
    said = {}
    for name, config in REFUSED.items():
        try:
            created(**{"distributed": FSDP, **config}, ranks=ranks)
        except ConfigError as error:
            said[name] = str(error)
    return said


def exactness(ranks, module, accumulate, cut, directory):
    """Train, and keep the state before a batch."""
    model = created(module, accumulate=accumulate, ranks=ranks)

    def keep(number):
        if number == cut:
            state = copy_tree(model.state_dict()) if ranks.rank == 0 else None
            Path(directory, f"{ranks.rank}.pickle").write_bytes(pickle.dumps((state, copy_tree(model.rank_state()))))

    trained(model, ranks, change=keep)
    return digest(model)


def continuation(ranks, module, accumulate, cut, directory):
    """Go on from there."""
    model = created(module, accumulate=accumulate, ranks=ranks)
    model.load_state_dict(pickle.loads(Path(directory, "0.pickle").read_bytes())[0])
    model.load_rank_state(pickle.loads(Path(directory, f"{ranks.rank}.pickle").read_bytes())[1])
    trained(model, ranks, start=cut)
    return digest(model)


def saving(ranks, directory):
    """Train; once while rank 0 saves in the middle, and twice on from what it has saved, with source and without."""
    digests = []
    untouched = created("dropped", accumulate=2, ranks=ranks)
    trained(untouched, ranks)
    digests.append(digest(untouched))
    saved = created("dropped", accumulate=2, log_dir=directory, ranks=ranks)
    path = Path(directory, "model_best")
    states = []

    def save(number):
        if number in (5, 6) and ranks.rank == 0:
            saved.save("best" if number == 6 else "first")
        if number == 6:
            states.append(copy_tree(saved.rank_state()))
            distributed.barrier()

    trained(saved, ranks, change=save)
    digests.append(digest(saved))
    for module in ("dropped", None):
        again = created(module, accumulate=2, restore_from=str(path), ranks=ranks)
        again.load_rank_state(states[0])
        trained(again, ranks, start=6)
        digests.append(digest(again))
    return digests


def compiled(ranks):
    """A module that is compiled, and windows of batches."""
    model = created(accumulate=2, compile={"backend": "eager"}, ranks=ranks)
    trained(model, ranks)
    return values(model)


def other_numbers(ranks, directory):
    """Train inside of a window; what others than those processes go on from."""
    model = created("weighing", accumulate=3, ranks=ranks)

    def keep(number):
        if number == 8:
            state = copy_tree(model.state_dict()) if ranks.rank == 0 else None
            Path(directory, f"{ranks.rank}.pickle").write_bytes(pickle.dumps((state, copy_tree(model.rank_state()))))

    trained(model, ranks, change=keep)
    return values(model)


def going_on(ranks, count, directory):
    """Go on from what so many processes have left."""
    model = created("weighing", accumulate=3, ranks=ranks)
    kept = [pickle.loads(Path(directory, f"{rank}.pickle").read_bytes()) for rank in range(count)]
    model.load_state_dict(kept[0][0])
    model.load_rank_state(model.merged_rank_states([own for _, own in kept]))
    trained(model, ranks, start=8)
    return values(model)


def comparing(ranks, directory):
    """Save on rank 0 after every batch, each of which is compared with the program; in the end it parts from it."""
    told = []
    for module in ("weighing", "tempered"):
        path = Path(directory, f"{module}.{ranks.rank}")
        path.mkdir()
        config = {"accumulate": 2, "saved_model": {"shadow": 1.0, "cache": "off"}}
        model = created(module, log_dir=str(path), ranks=ranks, **config)

        def save(number, model=model, module=module):
            if ranks.rank == 0 and number in (2, 3, 5):
                model.save("best")
            if module == "tempered" and number == 6:
                model.module.config.temperature = 0.5

        trained(model, ranks, change=save)
        manifest = path / "model_best" / "manifest.json"
        told.append(json.loads(manifest.read_text())["rung"] if ranks.rank == 0 else digest(model))
    return told


def thawing_on_rank_0(ranks):
    """A hook of rank 0 thaws what was frozen."""
    model = created(frozen=[r"body\.0\..*"], ranks=ranks)

    def thaw(number):
        if number == len(SIZES) and ranks.rank == 0:
            model.module.body[0].requires_grad_(True)

    before = values(model)[0]
    trained(model, ranks, change=thaw)
    return digest(model), bool((values(model)[0] != before).any())


def carelessness(ranks):
    """Steps that nobody knows of."""
    trained(created(cls=Careless, clip_gradient=None, ranks=ranks), ranks)


def unused(ranks):
    """A part that no loss depends on."""
    trained(created("sometimes", ranks=ranks), ranks)


def other_shape(ranks):
    """A module that is another one in each process."""
    MODULES["other"] = lambda: Classifier(nn.Sequential(nn.Linear(3, 4 + ranks.rank), nn.Linear(4 + ranks.rank, 2)))
    trained(created("other", ranks=ranks), ranks)


def loading(ranks, directory):
    """Rank 0 loads a saved model, as a hook may, and predicts, while the others do something else."""
    model = created(log_dir=directory, ranks=ranks, distributed=FSDP, outputs=["logits", "loss"])
    trained(model, ranks)
    path = model.save("it")
    with use_ranks(ranks):
        return el.load(path).predict({"points": np.ones((2, 3), np.float32)})["logits"] if ranks.rank == 0 else None


def wrong_batch(ranks):
    """A batch of which nobody knows whose rows it has."""
    created(ranks=ranks).run(next(batches()), train=True)


def signals(ranks):
    """Another process gets a signal while it waits for what rank 0 tells, which is nothing."""
    if ranks.rank == 0:
        ranks.gather(b"")
        while (number := ranks.asked_to_stop()) is None:
            threading.Event().wait(0.01)
        ranks.tell(b"end")
        return number
    signal.signal(signal.SIGTERM, lambda number, _: ranks.ask_to_stop(number))
    ranks.gather(b"")
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    return ranks.hear()


def restarted(ranks, port):
    """The processes come together twice by one store; the second time, rank 0 comes when the other is there already."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": ranks.rank, "WORLD_SIZE": ranks.size}
    of_torchrun = {"TORCHELASTIC_RUN_ID": "run", "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({name: str(value) for name, value in {**place, **of_torchrun}.items()})
    scene = Scene(ranks.rank, ranks.size, ranks.rank, ranks.size, "127.0.0.1", port, "torchrun")
    heard = []
    for number in range(2):
        ranks.close()
        if number and scene.rank == 0:
            with socket.create_server(("127.0.0.1", 0)) as before:
                told = {"hosts": ["127.0.0.1"], "port": before.getsockname()[1], "token": "00"}
                store = distributed.TCPStore("127.0.0.1", port, None, False)
                # The other may have read already where rank 0 was the first time.
                first = json.loads(store.get("emloop/rank 0"))
                store.set("emloop/rank 0", json.dumps(told))
                store.set(f"emloop/after {first['token']}", json.dumps(told))
                before.accept()[0].close()
        ranks = emloop_torch.BaseModel.join_ranks(scene, 20.0)
        total = torch.tensor(number)
        with ranks.together("sums up"):
            distributed.all_reduce(total)
        heard.append((ranks.tell(b"attempt %d" % number) if ranks.rank == 0 else ranks.hear(), int(total)))
    ranks.close()
    return heard


def failure(ranks, who, how, where):
    """A process fails where others need it."""
    model = created(ranks=ranks, distributed=FSDP if where == "state" else {})
    for number, batch in enumerate(batches()):
        if number == 3 and ranks.rank == who:
            if how == "raises":
                raise ValueError("a bad label")
            os.kill(os.getpid(), getattr(signal, how))
        if number == 3 and where == "hear":
            _ = ranks.tell(b"go on") if ranks.rank == 0 else ranks.hear()
        elif number == 3 and where == "gather":
            ranks.gather(b"value")
        elif number == 3 and where == "state":
            model.state_dict()
        model.run(Share(ranks.rank, ranks.size).of(batch), train=True)
        if number == 3:
            raise AssertionError("nobody has noticed")


def main(name, rank, size, port, timeout, directory, *arguments):
    scene = Scene(int(rank), int(size), int(rank), int(size), "127.0.0.1", int(port), "srun")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Guards may run slower", RuntimeWarning)  # of PyTorch's compiler on Python 3.13.0
    ranks = emloop_torch.BaseModel.join_ranks(scene, float(timeout))
    try:
        result = globals()[name](ranks, *map(eval, arguments))
    except RankError as error:
        sys.exit(str(error))
    except Exception as error:
        ranks.fail(f"{type(error).__name__}: {error}")
        raise
    finally:
        ranks.close()
    Path(directory, f"{name}.{rank}").write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
