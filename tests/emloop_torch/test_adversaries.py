"""Modules made to deceive the ladder: what is said of them is true, or taken back."""

from __future__ import annotations

import array
import contextvars
import functools
import itertools
import os
import random
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from emloop._state.tree import copy_tree, equal_trees  # noqa: E402

FIRST_SAVE, BATCHES, SEED = 10, 90, 24
"""What switches does so after the first save, most of it after batch 60."""


class Base(nn.Module):
    """Tells two classes of points apart; what is between the layers is up to others."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 2)

    def between(self, values):
        return values

    def weigh(self, loss):
        return loss

    def forward(self, points, labels):
        logits = self.two(self.between(self.one(points)))
        return {"logits": logits, "loss": self.weigh(functional.cross_entropy(logits, labels, reduction="none"))}


# ------------------------------------------------------------------------------------------------ gradients


def is_outlier(values):
    return values.detach().abs().max() > 15


class Clipped(torch.autograd.Function):
    """Acts on the gradients of outliers, which few are."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 0.1 if is_outlier(ctx.saved_tensors[0]) else gradient


class CustomBackward(Base):
    def between(self, values):
        return Clipped.apply(values)


class TensorHook(Base):
    def between(self, values):
        if values.requires_grad:
            values.register_hook(lambda gradient: gradient * 0.1 if is_outlier(values) else None)
        return values


class ModuleHook(Base):
    def __init__(self):
        super().__init__()
        self.two.register_full_backward_hook(self.clip)

    def between(self, values):
        self.last = values
        return values

    def clip(self, _module, into, _out):
        return tuple(gradient * 0.1 if is_outlier(self.last) else gradient for gradient in into)


# ------------------------------------------------------------------------------------------- random numbers


class DroppedByRandom(Base):
    def between(self, values):
        return values * 0 if self.training and random.random() < 0.1 else values


class DetachedByNumPy(Base):
    def between(self, values):
        return values.detach() if self.training and np.random.rand() < 0.1 else values


class OwnGenerator(Base):
    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(8)

    def between(self, values):
        return values.detach() if self.training and self.generator.random() < 0.1 else values


class DroppedByTheSystem(Base):
    """Random numbers that nobody can put back."""

    def between(self, values):
        if not self.training:
            return values
        kept = np.frombuffer(os.urandom(values.numel()), np.uint8) < 128
        return values * torch.from_numpy(kept.reshape(values.shape))


# ------------------------------------------------------------------------------------------------- counters

COUNTS = {"batches": 0}
COUNT = 0


class Counting(Base):
    """Doubles the loss after 60 batches; how it counts is up to others."""

    def count(self):
        raise NotImplementedError

    def weigh(self, loss):
        return loss * (2 if self.training and self.count() > 60 else 1)


class CountsInDict(Counting):
    def __init__(self):
        super().__init__()
        self.state = {"nested": {"batches": 0}}

    def count(self):
        self.state["nested"]["batches"] += 1
        return self.state["nested"]["batches"]


class CountsInGlobalDict(Counting):
    def __init__(self):
        super().__init__()
        COUNTS["batches"] = 0

    def count(self):
        COUNTS["batches"] += 1
        return COUNTS["batches"]


class CountsInGlobal(Counting):
    def __init__(self):
        super().__init__()
        globals()["COUNT"] = 0

    def count(self):
        global COUNT  # noqa: PLW0603 - the point of it
        COUNT += 1
        return COUNT


class CountsInList(Counting):
    def __init__(self):
        super().__init__()
        self.seen = []

    def count(self):
        self.seen.append(1)
        return len(self.seen)


class CountsInInt(Counting):
    def __init__(self):
        super().__init__()
        self.batches = 0

    def count(self):
        self.batches += 1
        return self.batches


class CountsLate(Counting):
    """In an attribute that nobody has made before."""

    def count(self):
        self.batches = getattr(self, "batches", 0) + 1
        return self.batches


class CountsInIterator(Counting):
    def __init__(self):
        super().__init__()
        self.numbers = itertools.count()

    def count(self):
        return next(self.numbers)


class CountsInGenerator(Counting):
    def __init__(self):
        super().__init__()
        self.numbers = (number for number in range(10_000))

    def count(self):
        return next(self.numbers)


class CountsInClass(Counting):
    batches = 0

    def __init__(self):
        super().__init__()
        CountsInClass.batches = 0

    def count(self):
        CountsInClass.batches += 1
        return CountsInClass.batches


class CountsInArray(Counting):
    def __init__(self):
        super().__init__()
        self.batches = np.zeros(1)

    def count(self):
        self.batches += 1
        return self.batches[0]


def counting_in_default():
    def count(seen=[]):  # noqa: B006 - the point of it
        seen.append(1)
        return len(seen)

    net = Counting()
    net.count = count
    return net


class Slotted:
    __slots__ = ("batches",)


class CountsInSlot(Counting):
    def __init__(self):
        super().__init__()
        self.slotted = Slotted()
        self.slotted.batches = 0

    def count(self):
        self.slotted.batches += 1
        return self.slotted.batches


class CountsInTensor(Counting):
    """Out of sight of ``state_dict``."""

    def __init__(self):
        super().__init__()
        self.kept = [torch.zeros(())]

    def count(self):
        self.kept[0] += 1
        return float(self.kept[0])


class CountsInBytes(Counting):
    def __init__(self):
        super().__init__()
        self.batches = bytearray(1)

    def count(self):
        self.batches[0] += 1
        return self.batches[0]


class CountsInNumbers(Counting):
    def __init__(self):
        super().__init__()
        self.batches = array.array("l", [0])

    def count(self):
        self.batches[0] += 1
        return self.batches[0]


BATCHES_SEEN = contextvars.ContextVar("BATCHES_SEEN", default=0)


class CountsInContext(Counting):
    def __init__(self):
        super().__init__()
        BATCHES_SEEN.set(0)

    def count(self):
        BATCHES_SEEN.set(BATCHES_SEEN.get() + 1)
        return BATCHES_SEEN.get()


class CountsInThread(Counting):
    def __init__(self):
        super().__init__()
        self.local = threading.local()
        self.local.batches = 0

    def count(self):
        self.local.batches += 1
        return self.local.batches


class CountsInWeak(Counting):
    def __init__(self):
        super().__init__()
        self.seen = weakref.WeakKeyDictionary({Counting: 0})

    def count(self):
        self.seen[Counting] += 1
        return self.seen[Counting]


def counting_in_closure():
    batches = 0

    def count():
        nonlocal batches
        batches += 1
        return batches

    net = Counting()
    net.count = count
    return net


def counting_in_function():
    def count():
        count.batches += 1
        return count.batches

    count.batches = 0
    net = Counting()
    net.count = functools.partial(count)
    return net


class Unfreezing(Counting):
    """Trains a layer from batch 60 on."""

    def __init__(self):
        super().__init__()
        self.one.requires_grad_(False)
        self.batches = 0

    def count(self):
        self.batches += 1
        if self.batches > 60:
            self.one.requires_grad_(True)
        return 0


class Bank(Base):
    """Compares with features of former batches, from batch 40 on."""

    def __init__(self):
        super().__init__()
        self.bank = []

    def between(self, values):
        if self.training:
            self.bank.append(values.detach().mean(0))
        return values - torch.stack(self.bank).mean(0) if len(self.bank) > 40 else values


# ------------------------------------------------------------------------------ changed by somebody else

CONFIG = SimpleNamespace(temperature=1.0)


class Tempered(Base):
    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(temperature=1.0)

    def between(self, values):
        return values / self.config.temperature


class TemperedByGlobal(Base):
    def __init__(self):
        super().__init__()
        CONFIG.temperature = 1.0

    def between(self, values):
        return values / CONFIG.temperature


class TemperedByEnvironment(Base):
    def __init__(self):
        super().__init__()
        os.environ["TEMPERATURE_OF_TESTS"] = "1"

    def between(self, values):
        return values / float(os.environ["TEMPERATURE_OF_TESTS"])


class Flagged(Base):
    """A branch on a buffer, which the graph asserts."""

    def __init__(self):
        super().__init__()
        self.register_buffer("is_late", torch.tensor(False))

    def between(self, values):
        return values * 2 if self.is_late else values


class Dropping(Base):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.1)

    def between(self, values):
        return self.drop(values)


class Patched(Base):
    scale = staticmethod(lambda values: values)

    def __init__(self):
        super().__init__()
        Patched.scale = staticmethod(lambda values: values)

    def between(self, values):
        return self.scale(values)


def cool_by_environment(_model, number):
    if number == 40:
        os.environ["TEMPERATURE_OF_TESTS"] = "2"


def raise_flag(model, number):
    if number == 40:
        model.module.is_late.fill_(True)


def drop_more(model, number):
    if number == 40:
        model.module.drop.p = 0.5


def patch(_model, number):
    if number == 40:
        Patched.scale = staticmethod(lambda values: values * 2)


def cool(model, number):
    if number % 30 == 29:
        model.module.config.temperature *= 0.5


def cool_globally(_model, number):
    if number % 30 == 29:
        CONFIG.temperature *= 0.5


def inject(model, number):
    if number == 40:
        layer, old = model.module.one, model.module.one.forward
        layer.forward = lambda values: old(values) * 2


def hook(model, number):
    if number == 40:
        model.module.one.register_forward_hook(lambda _module, _values, output: output * 2)


class Idle(Base):
    """A teacher that follows, in ``forward``, from when it is told to."""

    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(3, 3).requires_grad_(False)
        self.follows = False

    def between(self, values):
        if self.training and self.follows:
            for own, other in zip(self.one.parameters(), self.teacher.parameters(), strict=True):
                other.data.lerp_(own.data, 0.1)
        return values + self.teacher(values)


def set_going(model, number):
    if number == 40:
        model.module.follows = True


# ------------------------------------------------------------------------------- what a copy cuts


def adapted():
    """LoRA by a closure."""
    net = Base()
    layer, old = net.one, net.one.forward
    layer.weight.requires_grad_(False)
    layer.a, layer.b = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2, 3))
    layer.forward = lambda values: old(values) + values @ layer.a @ layer.b
    return net


def holding():
    """LoRA by a closure over the parameters themselves, which an exporter takes for constants."""
    net = Base()
    layer, old = net.one, net.one.forward
    a, b = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2, 3))
    layer.a, layer.b = a, b
    layer.forward = lambda values: old(values) + values @ a @ b
    return net


def holding_a_number():
    """A weight that is read as a number."""
    net = Base()
    net.scale = nn.Parameter(torch.ones(()))
    net.between = lambda values: values * float(net.scale.detach().numpy())
    return net


def tied_by_lambda():
    net = Base()
    net.between = lambda values: values @ net.one.weight.t()
    return net


class TiedByAttribute(Base):
    def __init__(self):
        super().__init__()
        self.decoder = self.one.weight.t()

    def between(self, values):
        return values @ self.decoder


class TiedByData(Base):
    def __init__(self):
        super().__init__()
        self.kept = {"decoder": self.one.weight.data}

    def between(self, values):
        return values @ self.kept["decoder"]


class Teacher(Base):
    """Learns from a running mean of itself, which is no part of it."""

    def __init__(self):
        super().__init__()
        self.teacher = [nn.Linear(3, 3)]

    def between(self, values):
        if self.training:
            with torch.no_grad():
                for own, other in zip(self.one.parameters(), self.teacher[0].parameters(), strict=True):
                    other.lerp_(own, 0.1)
        return values + self.teacher[0](values)


# ---------------------------------------------------------------------------------------------------- sizes


class BranchingOnSize(Base):
    def between(self, values):
        return -values if values.shape[0] in (2, 3) else values


# -------------------------------------------------------------------------------------- in evaluation only


class CountsEvaluations(Base):
    def __init__(self):
        super().__init__()
        self.state = {"batches": 0}

    def between(self, values):
        if self.training:
            return values
        self.state["batches"] += 1
        return values * (2 if self.state["batches"] > 20 else 1)


RIGHT = {
    "lora": adapted,
    "tied-by-lambda": tied_by_lambda,
    "held-parameters": holding,
    "held-number": holding_a_number,
}
RARE = {
    "custom-backward": CustomBackward,
    "tensor-hook": TensorHook,
    "module-hook": ModuleHook,
    "random": DroppedByRandom,
    "numpy-random": DetachedByNumPy,
    "own-generator": OwnGenerator,
}
LASTING = {
    "dict": CountsInDict,
    "global-dict": CountsInGlobalDict,
    "global": CountsInGlobal,
    "list": CountsInList,
    "int": CountsInInt,
    "late": CountsLate,
    "iterator": CountsInIterator,
    "class": CountsInClass,
    "array": CountsInArray,
    "default": counting_in_default,
    "slot": CountsInSlot,
    "closure": counting_in_closure,
    "function": counting_in_function,
    "bank": Bank,
    "bytes": CountsInBytes,
    "numbers": CountsInNumbers,
    "context": CountsInContext,
    "thread": CountsInThread,
    "weak": CountsInWeak,
}
OTHERS = {
    "generator": CountsInGenerator,
    "unfreezing": Unfreezing,
    "tensor-in-list": CountsInTensor,
    "tied-by-attribute": TiedByAttribute,
    "tied-by-data": TiedByData,
    "teacher": Teacher,
}
CHANGED = {
    "config": (Tempered, cool),
    "global-config": (TemperedByGlobal, cool_globally),
    "injected": (Base, inject),
    "hooked": (Base, hook),
    "teacher-set-going": (Idle, set_going),
    "environment": (TemperedByEnvironment, cool_by_environment),
    "flag": (Flagged, raise_flag),
    "dropout": (Dropping, drop_more),
    "patched-class": (Patched, patch),
}


def with_some_in_torture(adversaries, *everyday):
    """All of them as parameters, most of them only for ``make torture``."""
    return [
        pytest.param(made, id=name, marks=() if name in everyday or not everyday else pytest.mark.torture)
        for name, made in adversaries.items()
    ]


@pytest.fixture
def many_batches():
    """Batches of which a few have large gradients."""
    rng = np.random.default_rng(4)

    def batch(number):
        labels = rng.integers(0, 2, 8)
        scale = 30 if number % 7 == 6 else 0.3
        return {"points": (rng.normal(size=(8, 3)) * scale + labels[:, None]).astype(np.float32), "labels": labels}

    return [batch(number) for number in range(BATCHES)]


@pytest.fixture
def judge(create, many_batches, manifest):
    """Train a module, and then its first saved model on the same batches; tell the rung and whether they are equal."""

    def judge(make, change=lambda _model, _number: None, **saved_model):
        random.seed(SEED)
        np.random.seed(SEED)
        config = {"outputs": ["loss", "logits"], "saved_model": saved_model}
        model = create(make, **config)
        outputs, path, evaluated = [], None, None
        for number, batch in enumerate(many_batches):
            outputs.append(copy_tree(model.run(batch, train=True)))
            if number == FIRST_SAVE:
                path = model.save("first")
                evaluated = copy_tree(model.run(many_batches[0], train=False))
            change(model, number)
        described = manifest(path)
        if described["rung"] == "weights":
            return described, None
        restored = create(restore_from=path, **config)
        assert equal_trees(evaluated, restored.run(many_batches[0], train=False))
        if described["rung"] == "inference":
            return described, None
        rest = range(FIRST_SAVE + 1, BATCHES)
        return described, all(equal_trees(outputs[n], restored.run(many_batches[n], train=True)) for n in rest)

    return judge


@pytest.mark.parametrize("make", with_some_in_torture(RIGHT))
def test_what_only_a_copy_gets_wrong_is_restored_right(judge, make):
    """The module itself is exported and compared, so what its code refers to is what is trained."""
    described, equal = judge(make)

    assert (described["rung"], equal) == ("exported", True)


@pytest.mark.parametrize(
    "make",
    with_some_in_torture(
        {**RARE, **LASTING, **OTHERS},
        *("tensor-hook", "module-hook", "random", "own-generator", "global-dict", "list", "late", "closure", "bank"),
        *("tied-by-attribute", "tied-by-data", "generator"),
    ),
)
def test_what_acts_rarely_or_remembers_is_right_or_refused(judge, make):
    """At the first save, before it shows."""
    described, equal = judge(make, shadow=0)

    assert described["rung"] in ("inference", "weights") or equal
    assert described["reason"]


@pytest.mark.parametrize("make", with_some_in_torture({**RARE, **LASTING}, "custom-backward", "random"))
def test_without_alarms_it_would_be_accepted_and_wrong(judge, make):
    """Its outputs and gradients are right in the batches that are compared at the first save."""
    described, equal = judge(make, trust=[".*"], shadow=0)

    assert (described["rung"], equal) == ("exported", False)


@pytest.mark.parametrize("make", with_some_in_torture(LASTING, "dict", "bank"))
def test_the_shadow_alone_finds_what_lasts(judge, make):
    """Whatever stays different until the next batch that is compared."""
    described, equal = judge(make, trust=[".*"])

    assert described["rung"] == "inference", equal
    assert "the program has parted from the training that it stands for" in described["reason"]


@pytest.mark.parametrize(("make", "change"), CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("shadow", [0, 0.01])
def test_what_somebody_else_changes_is_noticed(judge, make, change, shadow):
    """By the shadow, for all saved models; without it the next save would, and until then the first one is wrong."""
    described, equal = judge(make, change, shadow=shadow)

    assert (described["rung"], equal) == (("inference", None) if shadow else ("exported", False))


def test_chance_that_nobody_can_put_back_is_no_tolerance(judge):
    """Two runs of the module differ by it, and so might a program that is wrong; it is not taken for rounding."""
    described, equal = judge(DroppedByTheSystem)

    assert (described["rung"], equal) == ("inference", None)
    assert "no generator of PyTorch's gives" in described["reason"]


class Listening(Base):
    """Looks at the gradients that the batch before has left, where several make a step."""

    def weigh(self, loss):
        return loss if self.one.weight.grad is None else loss * 0.5


@pytest.mark.parametrize("shadow", [0, 0.01])
def test_gradients_that_forward_reads_are_noticed(create, many_batches, manifest, shadow):
    """No graph knows them; only a batch that finds some shows it."""
    config = {"outputs": ["loss", "logits"], "accumulate": 2, "saved_model": {"shadow": shadow}}
    model = create(Listening, **config)
    for batch in many_batches[:4]:
        model.run(batch, train=True)
    path = model.save("first")
    for batch in many_batches[4:9]:
        model.run(batch, train=True)

    assert manifest(path)["rung"] == ("inference" if shadow else "exported")


@torch.library.custom_op("emloop_tests::clipped", mutates_args=())
def clipped(values: torch.Tensor) -> torch.Tensor:
    """The values themselves; of outliers, a smaller gradient."""
    return values.clone()


clipped.register_fake(torch.empty_like)
clipped.register_autograd(
    lambda ctx, gradient: gradient * 0.1 if is_outlier(ctx.saved_tensors[0]) else gradient,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)


class RegisteredBackward(Base):
    def between(self, values):
        return clipped(values)


def test_the_gradient_of_a_registered_operator_is_its_own(judge):
    """It is not what follows from what the operator computes."""
    described, _ = judge(RegisteredBackward, shadow=0)

    assert described["rung"] in ("inference", "weights")
    assert "emloop_tests.clipped" in described["reason"]
