"""A model draws from random numbers of its own, whoever draws; one that draws nothing leaves the generators alone."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import equal_trees  # noqa: E402
from emloop_torch._running.drawing import _SILENT  # noqa: E402

CONFIG = {"inputs": ["points", "labels"], "outputs": ["loss"], "device": "cpu"}


class Noisy(nn.Linear):
    """Looks like a layer without random numbers."""

    def forward(self, values):
        return super().forward(values + torch.randn_like(values))


class NoisySGD(torch.optim.SGD):
    def step(self, closure=None):
        torch.rand(())
        return super().step(closure)


class NoisyDecay(torch.optim.lr_scheduler.ExponentialLR):
    def get_lr(self):
        torch.rand(())
        return super().get_lr()


class Computing(emloop_torch.Supervised):
    def compute(self, batch):
        torch.rand(())
        return super().compute(batch)


def network(*more, cls=emloop_torch.Supervised, directory=None, **config):
    first, last = ({"class": "Linear", "in_features": i, "out_features": o} for i, o in ((4, 6), (6, 3)))
    torch.manual_seed(3)
    return cls(None, directory, net=[first, "ReLU", *more, last], **CONFIG, **config)


def batch(size=5):
    rng = np.random.default_rng(size)
    return {"points": rng.normal(size=(size, 4)).astype(np.float32), "labels": rng.integers(0, 3, size)}


def draw(*given):
    torch.rand(())


def with_hook(made):
    made.module.net[1].register_forward_hook(draw)


def with_hook_for_all(made):
    return nn.modules.module.register_module_forward_pre_hook(draw)


def with_hook_on_step(made):
    made._updates.learners[0].optimizer.register_step_post_hook(draw)


def with_gradient_noise(made):
    made.module.net[0].weight.register_hook(lambda gradient: gradient + torch.randn_like(gradient))


def with_dropout(made):
    made.module.net[1] = nn.Dropout()


def with_forward(made):
    relu = made.module.net[1]
    relu.forward = lambda values: functional.relu(values + torch.randn_like(values))


def with_update(made):
    update = made.update
    made.update = lambda loss: update(loss * torch.rand(()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: network("Dropout"),
        lambda: network("RReLU"),
        lambda: network({"class": f"{__name__}.Noisy", "in_features": 6, "out_features": 6}),
        lambda: network(cls=Computing),
        lambda: network(optimizer={"class": f"{__name__}.NoisySGD", "learning_rate": 0.1}),
        lambda: network(lr_schedule={"class": f"{__name__}.NoisyDecay", "gamma": 0.9, "interval": "batch"}),
    ],
    ids=["dropout", "rrelu", "derived-layer", "derived-model", "optimizer", "schedule"],
)
def test_what_draws_from_the_start_draws_from_the_models_own_numbers(make):
    """In every batch of a phase; the numbers of others are left where they are."""
    made = make()
    others = torch.get_rng_state()

    for _ in range(3):
        own = made.state_dict()["generators"]
        made.run(batch(), train=True)
        assert not equal_trees(own, made.state_dict()["generators"])
    assert torch.equal(others, torch.get_rng_state())


@pytest.mark.parametrize("change", [with_hook, with_hook_for_all, with_hook_on_step])
def test_a_hook_may_come_at_any_time(change):
    """Also after batches that drew nothing."""
    made = network()
    made.run(batch(), train=True)
    made.run(batch(), train=True)
    own, others = made.state_dict()["generators"], torch.get_rng_state()
    handle = change(made)

    try:
        made.run(batch(), train=True)
    finally:
        if handle is not None:
            handle.remove()

    assert not equal_trees(own, made.state_dict()["generators"])
    assert torch.equal(others, torch.get_rng_state())


@pytest.mark.parametrize("change", [with_gradient_noise, with_dropout, with_forward, with_update])
def test_other_changes_count_from_the_next_phase_on(change):
    """After the end of an epoch, as hooks see it."""
    made = network()
    made.run(batch(), train=True)
    made.run(batch(), train=True)
    made.end_epoch()
    change(made)

    for _ in range(3):
        own, others = made.state_dict()["generators"], torch.get_rng_state()
        made.run(batch(), train=True)
        assert not equal_trees(own, made.state_dict()["generators"])
        assert torch.equal(others, torch.get_rng_state())


def generators_refused(made):
    """A model whose generators nobody may swap any more."""

    def refuse(purpose):
        raise AssertionError(purpose)

    made._generators.use = refuse
    return made


def swapping(made):
    """A model of which nothing is known, since there is a hook."""
    made.module.net[1].register_forward_hook(lambda *given: None)
    return made


def test_a_network_that_draws_nothing_leaves_the_generators_alone():
    """In training and in evaluation, from the second batch of a phase on, with the numbers of one that swaps them."""
    found = []
    for prepare in (generators_refused, swapping):
        made = network()
        for train in (True, False):
            made.run(batch(), train=train)
            uses, made = made._generators.use, prepare(made)
            found += [made.run(batch(size), train=train) for size in (5, 2, 1)]
            made._generators.use = uses
        found.append(made.state_dict())

    assert all(map(equal_trees, found[:7], found[7:]))


@pytest.mark.parametrize(("more", "draws"), [((), False), (("Dropout",), True)])
def test_a_restored_program_draws_as_its_graph_does(tmp_path, more, draws):
    """And of its evaluation, too, is known where there is no dropout at all."""
    made = network(*more, directory=str(tmp_path))
    made.run(batch(), train=True)
    restored = emloop_torch.BaseModel(None, None, made.save("best"), **CONFIG)

    restored.run(batch(), train=True)
    own, others = restored.state_dict()["generators"], torch.get_rng_state()
    first = restored if draws else generators_refused(restored)
    first.run(batch(), train=True)

    assert equal_trees(own, restored.state_dict()["generators"]) is not draws
    assert torch.equal(others, torch.get_rng_state())
    if not draws:
        del restored._generators.use
        restored.run(batch(), train=False)
        generators_refused(restored).run(batch(2), train=False)


def uses(layer):
    """Runs a layer, or a loss, with whatever it takes; forwards and backwards."""
    numbers = [torch.ones(shape, requires_grad=True) for shape in ((4, 4), (2, 4, 4), (2, 4, 4, 4), (2, 4, 4, 4, 4))]
    classes = torch.zeros(4, dtype=torch.int64)
    for given in [*((one,) for one in numbers), (classes,), *product(numbers[:1], (numbers[0].sigmoid(), classes))]:
        try:
            outputs = layer(*given)
        except (RuntimeError, TypeError, ValueError, IndexError):
            continue
        if outputs.requires_grad:
            outputs.sum().backward()
        return True
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", sorted(_SILENT, key=lambda cls: cls.__name__))
def test_layers_that_are_said_to_draw_nothing_draw_nothing(cls):
    """In training mode, where dropout does."""
    for given in [(), (4,), (2,), (4, 4), (4, 4, 4), (4, 4, 1), (1, (2, 2))]:
        try:
            layer = cls(*given)
        except (RuntimeError, TypeError, ValueError, AssertionError):
            continue
        before = torch.get_rng_state()
        if uses(layer):
            assert torch.equal(before, torch.get_rng_state())
            return
    pytest.skip("takes something else")


# -- modules of one's own ---------------------------------------------------------------------------------------------


class Own(nn.Module):
    """Scores of one's own; the rest is the same for all."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
        self.rate = 0.5

    def predict(self, points):
        return {"logits": self.score(points)}

    def forward(self, points, labels):
        outputs = self.predict(points)
        return {**outputs, "loss": functional.cross_entropy(outputs["logits"], labels, reduction="none")}

    def score(self, points):
        return self.layer(points)


def scaled(values, by=2.0):
    return torch.tanh(values) * by


def shaken(values):
    return values + torch.randn_like(values)


class Deep(Own):
    def score(self, points):
        parts = [layer(self.layer(points)).relu() for layer in self.layers]
        return scaled(torch.stack(parts).mean(dim=0)) * self.rate + super().score(points).detach()


class Nested(Own):
    def __init__(self):
        super().__init__()
        self.inner = Deep()

    def score(self, points):
        return self.inner.score(points)


class Dropping(Own):
    def score(self, points):
        return functional.dropout(self.layer(points), self.rate)


class Helped(Own):
    def score(self, points):
        return shaken(self.layer(points))


class InPlace(Own):
    def score(self, points):
        return self.layer(points) + torch.zeros(3).normal_()


class Holding(Own):
    def __init__(self):
        super().__init__()
        self.change = shaken

    def score(self, points):
        return self.change(self.layer(points))


class ByName(Own):
    def score(self, points):
        return self.layer(points) + getattr(torch, "ra" + "nd")(3)


class Inside(Own):
    def __init__(self):
        super().__init__()
        self.inner = Helped()

    def score(self, points):
        return self.inner.score(points)


class Starting(Own):
    def score(self, points):
        self.layer.reset_parameters()
        return self.layer(points)


class Shadowing(Own):
    def relu(self, values):
        return shaken(values)

    def score(self, points):
        return self.relu(self.layer(points))


class Called(Own):
    def __call__(self, **given):
        torch.rand(())
        return super().__call__(**given)


def closing_over(value):
    class Closed(Own):
        def score(self, points):
            return self.layer(points) + (value if isinstance(value, float) else value(3))

    return Closed


def model_of(module):
    torch.manual_seed(3)
    return type("Model", (emloop_torch.BaseModel,), {"create_model": lambda _: module()})(None, None, **CONFIG)


@pytest.mark.parametrize("module", [Own, Deep, Nested, closing_over(2.0)])
def test_a_module_whose_code_draws_nothing_leaves_the_generators_alone(module):
    """As far as all names in its code tell, those of its helpers and of what it consists of included."""
    made = model_of(module)
    for train in (True, False):
        made.run(batch(), train=train)
        uses, made = made._generators.use, generators_refused(made)
        made.run(batch(2), train=train)
        made._generators.use = uses


@pytest.mark.parametrize(
    "module",
    [Dropping, Helped, InPlace, Holding, ByName, Inside, Starting, Shadowing, Called, closing_over(torch.rand)],
)
def test_a_module_whose_code_may_draw_draws_from_the_models_own_numbers(module):
    """In every batch, however it comes to draw."""
    made = model_of(module)
    others = torch.get_rng_state()

    for _ in range(3):
        own = made.state_dict()["generators"]
        made.run(batch(), train=True)
        assert not equal_trees(own, made.state_dict()["generators"])
    assert torch.equal(others, torch.get_rng_state())
