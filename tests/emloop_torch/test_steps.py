"""A batch gives the bits of a loop that one would write by hand, whatever surrounds it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import equal_trees  # noqa: E402
from emloop.errors import BatchError, MissingVariableError  # noqa: E402


class Net(nn.Module):
    """Draws random numbers, has statistics, and outputs of several kinds."""

    def __init__(self, reduction="none"):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Linear(8, 3))
        self.reduction = reduction

    def forward(self, points, labels):
        scores = self.layers(points)
        loss = functional.cross_entropy(scores, labels, reduction=self.reduction)
        return {"scores": scores, "best": scores.argmax(1), "loss": loss, "loss_weight": labels + 0.5}


class Masked(Net):
    weights = {"loss": "loss_weight"}  # noqa: RUF012


def model(net=Net, arguments=("none",), directory=None, **config):
    class Model(emloop_torch.BaseModel):
        def create_model(self):
            return net(*arguments)

    torch.manual_seed(3)
    config = {"inputs": ["points", "labels"], "outputs": ["loss", "scores", "best"], "device": "cpu", **config}
    return Model(None, directory, **config)


def network(**config):
    torch.manual_seed(3)
    first, last = ({"class": "Linear", "in_features": i, "out_features": o} for i, o in ((4, 6), (6, 3)))
    net = [first, "ReLU", "Dropout", last]
    config = {"inputs": ["points", "labels"], "outputs": ["loss", "accuracy", "predictions"], "device": "cpu", **config}
    return emloop_torch.Supervised(None, None, net=net, metrics=["accuracy"], **config)


def batches(number=7):
    """Of several sizes and types, one of which needs to be converted."""
    rng = np.random.default_rng(1)
    for index in range(number):
        size = 5 if index != 3 else 2
        points, labels = rng.normal(size=(size, 4)), rng.integers(0, 3, size)
        yield {"points": points if index == 4 else points.astype(np.float32), "labels": labels}


def trained(made):
    """All outputs and parameters of two epochs, with evaluations and strangers' draws in between."""
    found = []
    torch.manual_seed(9)
    for _ in range(2):
        for batch in batches():
            kept = {name: values.copy() for name, values in batch.items()}
            found.append({name: np.array(values) for name, values in made.run(batch, train=True).items()})
            found.append(float(torch.rand(())))
            assert all(np.array_equal(values, kept[name]) for name, values in batch.items())
        found += [{n: np.array(v) for n, v in made.run(batch, train=False).items()} for batch in batches(2)]
        made.end_epoch()
    return [*found, {name: values.detach().numpy() for name, values in made.module.state_dict().items()}]


class ByHand:
    """What the configuration describes, as plain code; random numbers of its own for training and for evaluation.

    Args:
        net: Makes the module.
        optimizer: Makes the optimizer.
        mean: The mean that is followed, of outputs and labels.
        clip: Clips the gradients.
        warmup: Steps until the rate is reached.
        bf16: Whether the forward pass computes with 16 bits.
    """

    def __init__(self, net, optimizer, mean=None, *, clip=None, warmup=1, bf16=False, names=None):
        torch.manual_seed(3)
        seed = int(torch.randint(2**62, ()))
        self.states = [torch.Generator().manual_seed(each).get_state() for each in (seed, seed ^ 1 << 63)]
        with self.drawing(0):
            self.module = net()
        self.optimizer = optimizer(self.module.parameters())
        self.mean = mean or (lambda outputs, _: outputs["loss"].mean())
        self.clip = clip or (lambda _: None)
        self.warmup, self.bf16 = warmup, bf16
        self.names = names or ["loss", "scores", "best"]
        self.steps = 0

    @contextmanager
    def drawing(self, number):
        outer = torch.get_rng_state()
        torch.set_rng_state(self.states[number])
        yield
        self.states[number] = torch.get_rng_state()
        torch.set_rng_state(outer)

    def run(self, batch, train):
        given = {
            name: torch.tensor(values.astype(np.float32, copy=False) if name == "points" else values)
            for name, values in batch.items()
        }
        self.module.train(train)
        with self.drawing(0 if train else 1), torch.set_grad_enabled(train):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                outputs = self.module(**given)
            if train:
                self.mean(outputs, given["labels"]).backward()
                self.step()
        loss = outputs["loss"] if outputs["loss"].ndim else outputs["loss"].expand(len(given["labels"]))
        outputs = {**outputs, "loss": loss}
        return {
            name: (values.float() if (values := outputs[name].detach()).dtype is torch.bfloat16 else values).numpy()
            for name in self.names
        }

    def step(self):
        self.clip(self.module.parameters())
        self.steps += 1
        (group,) = self.optimizer.param_groups
        rate, group["lr"] = group["lr"], group["lr"] * min(self.steps / self.warmup, 1.0)
        self.optimizer.step()
        group["lr"] = rate
        self.optimizer.zero_grad()

    def end_epoch(self):
        """Nothing is left over."""


def weighted(outputs, labels):
    weight = labels + 0.5
    return (outputs["loss"] * (weight / weight.sum())).sum()


def counted(outputs, _):
    return (outputs["loss"] * torch.full_like(outputs["loss"], 1 / len(outputs["loss"]))).sum()


class Described(nn.Module):
    """What ``network`` describes."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3))

    def forward(self, points, labels):
        scores = self.net(points)
        best = scores.argmax(1)
        loss = functional.cross_entropy(scores, labels, reduction="none")
        return {"loss": loss, "predictions": best, "accuracy": (best == labels).float()}


AdamW, SGD = torch.optim.AdamW, partial(torch.optim.SGD, lr=0.1, momentum=0.9)
MOMENTUM = {"class": "SGD", "learning_rate": 0.1, "momentum": 0.9}
MADE = {
    "plain": (model, lambda: ByHand(Net, AdamW)),
    "mean-loss": (lambda: model(arguments=("mean",)), lambda: ByHand(partial(Net, "mean"), AdamW)),
    "clipped": (
        lambda: model(optimizer=MOMENTUM, clip_gradient=0.01),
        lambda: ByHand(Net, SGD, clip=partial(nn.utils.clip_grad_value_, clip_value=0.01)),
    ),
    "clipped-by-norm": (
        lambda: model(optimizer=MOMENTUM, clip_gradient={"norm": 0.1}),
        lambda: ByHand(Net, SGD, clip=partial(nn.utils.clip_grad_norm_, max_norm=0.1)),
    ),
    "warm-up": (lambda: model(lr_schedule={"warmup_steps": 5}), lambda: ByHand(Net, AdamW, warmup=5)),
    "weighted": (lambda: model(Masked), lambda: ByHand(Net, AdamW, weighted)),
    "supervised": (
        network,
        lambda: ByHand(Described, AdamW, counted, names=["loss", "predictions", "accuracy"]),
    ),
    "16-bit": (lambda: model(precision="bf16"), lambda: ByHand(Net, AdamW, bf16=True)),
}


@pytest.mark.parametrize("name", MADE)
def test_a_training_gives_the_bits_of_one_written_by_hand(name):
    """Outputs, parameters and statistics, of training and evaluation; and random numbers of others are left alone."""
    made, by_hand = (make() for make in MADE[name])
    found, expected = trained(made), trained(by_hand)
    # Of Supervised there are also the weights of the means.
    found = [
        {n: part[n] for n in by_hand.names} if isinstance(part, dict) and "loss" in part else part for part in found
    ]

    assert all(map(equal_trees, expected, found))


def test_it_goes_on_from_a_state_to_the_bit():
    """Into a model that has built its step, and into one that has not."""
    made, fresh, used = model(), model(), model()
    first, *rest = batches(5)
    made.run(first, train=True)
    used.run(rest[0], train=True)
    used.run(rest[1], train=True)
    state = made.state_dict()
    fresh.load_state_dict(state)
    used.load_state_dict(state)

    ends = []
    for each in (made, fresh, used):
        for batch in rest:
            each.run(batch, train=True)
        ends.append(each.state_dict())

    assert equal_trees(ends[0], ends[1])
    assert equal_trees(ends[0], ends[2])


def test_a_class_with_a_step_of_its_own_keeps_it():
    """However often it has been run."""
    calls = []

    class Own(emloop_torch.BaseModel):
        def create_model(self):
            return Net()

        def update(self, loss, weight=None):
            calls.append(len(calls))
            super().update(2 * loss, weight)

    made = Own(None, None, inputs=["points", "labels"], outputs=["loss"])
    for batch in batches(4):
        made.run(batch, train=True)

    assert calls == [0, 1, 2, 3]


class Fickle(Net):
    """Returns what it is told to."""

    wrong = None

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        if self.wrong == "no mapping":
            return outputs["loss"]
        if isinstance(self.wrong, dict):
            return outputs | self.wrong
        if self.wrong is not None:
            outputs[self.wrong] = outputs[self.wrong][:, None].expand(-1, len(labels))
        return outputs


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("no mapping", BatchError, "forward of the module: expected a mapping such as {'loss': …}, got a Tensor"),
        ("loss", BatchError, "[B, 1] and [B] broadcast to [B, B]"),
        ({"loss": {"first": torch.ones(5)}}, BatchError, "loss: expected a tensor, got dict"),
        ({"loss": {"loss": {}}}, BatchError, "loss: expected a tensor, got dict"),
        ({"loss": [0.5] * 5}, BatchError, "loss: expected a tensor, got list"),
        ({"loss": 0.5}, BatchError, "loss: expected a tensor, got float"),
        ({"loss": None}, BatchError, "loss: expected a tensor, got NoneType"),
    ],
)
def test_what_a_module_returns_later_is_checked_as_in_the_first_batch(wrong, error, message):
    """And leaves the random numbers of others where they were."""
    made = model(Fickle)
    first, second, *_ = batches()
    made.run(first, train=True)
    made.run(second, train=True)
    made.module.wrong = wrong
    before = torch.get_rng_state()

    with pytest.raises(error) as raised:
        made.run(first, train=True)

    assert message in str(raised.value)
    assert torch.equal(before, torch.get_rng_state())


def test_a_missing_source_or_weight_is_named_later_too():
    """As in the first batch."""
    made = model(Masked)
    first, second, *_ = batches()
    made.run(first, train=True)
    made.run(second, train=True)
    forward = made.module.forward
    made.module.forward = lambda **given: {n: v for n, v in forward(**given).items() if n != "loss_weight"}

    with pytest.raises(MissingVariableError, match="neither module nor batch has 'loss_weight', which weighs the loss"):
        made.run(first, train=True)


def test_a_program_is_compared_on_the_same_batches(tmp_path):
    """Batches 1, 2, 4, 8 after the save."""
    made = model(directory=str(tmp_path), saved_model={"shadow": 0.5})
    for batch in batches(3):
        made.run(batch, train=True)
    made.save("best")
    compared, begin = [], made._source_free._shadow.begin

    def noting(inputs, train):
        compared.append(made._source_free._shadow.batches[train])
        return begin(inputs, train)

    made._source_free._shadow.begin = noting
    for batch in [*batches(), *batches()]:
        made.run(batch, train=True)

    assert compared[:3] == [1, 2, 4]
    assert made._source_free._shadow.batches[True] == 14


def test_a_step_that_is_replaced_in_a_running_training_is_taken():
    """As a hook may do at any time; and given back, the model's own is."""
    made = model()
    first, *rest = batches(4)
    made.run(first, train=True)
    before = {name: values.clone() for name, values in made.module.named_parameters()}
    made.update = lambda *args, **kwargs: None

    for batch in rest:
        made.run(batch, train=True)
    assert all(torch.equal(values, before[name]) for name, values in made.module.named_parameters())

    del made.update
    made.run(first, train=True)
    assert not all(torch.equal(values, before[name]) for name, values in made.module.named_parameters())


def test_a_step_that_a_class_is_given_in_a_running_training_is_taken(monkeypatch):
    """As by a patch of the class, which all its models follow."""
    made = model()
    first, *rest = batches(4)
    made.run(first, train=True)
    before = {name: values.clone() for name, values in made.module.named_parameters()}
    monkeypatch.setattr(type(made), "update", lambda *args, **kwargs: None, raising=False)

    for batch in rest:
        made.run(batch, train=True)

    assert all(torch.equal(values, before[name]) for name, values in made.module.named_parameters())
