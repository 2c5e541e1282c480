"""Every optimizer of PyTorch goes on from a state as if it had never stopped, or says beforehand that it cannot."""

from __future__ import annotations

from functools import wraps

import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.optim.optimizer import (  # noqa: E402
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import emloop_torch  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import ConfigError, SavedModelError, StateError  # noqa: E402

from .nets import Net, constant, deep  # noqa: E402

CONFIGS = {
    "adadelta": {"class": "Adadelta", "learning_rate": 0.1},
    "adafactor": {"class": "Adafactor", "learning_rate": 0.1},
    "adagrad": {"class": "Adagrad", "lr_decay": 0.1, "initial_accumulator_value": 0.1},
    "adam": {"class": "Adam", "maximize": True},
    "adam-fused": {"class": "Adam", "fused": True},
    "adamax": {"class": "Adamax", "betas": [0.8, 0.9]},
    "adamw": {"class": "AdamW", "amsgrad": True, "foreach": True},
    "asgd": {"class": "ASGD", "t0": 3},
    "muon": {"class": "Muon", "groups": [{"match": r"body\.0\..*", "learning_rate": 0.1}]},
    "nadam": {"class": "NAdam", "weight_decay": 0.1, "decoupled_weight_decay": True},
    "radam": {"class": "RAdam"},
    "rmsprop": {"class": "RMSprop", "centered": True, "momentum": 0.9},
    "rprop": {"class": "Rprop", "etas": [0.4, 1.3], "step_sizes": [1e-5, 10]},
    "sgd": {"class": "SGD", "momentum": 0.9, "dampening": 0.1, "fused": True},
    "sparse-adam": {"class": "SparseAdam", "learning_rate": 0.1},
}


def matrices():
    """A net whose parameters are matrices, all of them."""
    return Net(nn.Sequential(nn.Linear(3, 6, bias=False), nn.Tanh(), nn.Linear(6, 2, bias=False)))


class Table(nn.Module):
    """A table whose gradients are sparse."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Embedding(8, 2, sparse=True)

    def forward(self, points, labels):
        rows = (points.abs() * 2).long().clamp(0, 7)
        return {"loss": functional.cross_entropy(self.scores(rows).sum(1), labels, reduction="none")}


MADE = {"muon": matrices, "sparse-adam": Table}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_optimizer_goes_on_to_the_bit(goes_on_exactly, manifest, tmp_path, name):
    """In the middle of an epoch, whether its source is there or not."""
    goes_on_exactly(MADE.get(name, deep), optimizer=CONFIGS[name])

    assert manifest(tmp_path / "model_best")["rung"] == "exported"


def spoilt(values):
    """What is remembered of a parameter, less one key, with one more, and with another shape, dtype or type."""
    for key, value in values.items():
        yield {other: of_other for other, of_other in values.items() if other != key}
        yield {**values, key: "?"}
        if getattr(value, "ndim", 0):
            yield {**values, key: value[..., None]}
            yield {**values, key: value.astype("float64")}
    yield {**values, "more": 1.0}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_state_that_is_not_whole_is_refused(create, batches, name):
    """Not in the first step, and without a change of what is there."""
    model = create(MADE.get(name, deep), optimizer=CONFIGS[name])
    for batch in batches[:3]:
        model.run(batch, train=True)
    state = model.state_dict()
    parameters = state["training"]["optimizer"]["state"]
    some = next(name for name, values in parameters.items() if values)
    for values in spoilt(parameters[some]):
        changed = copy_tree(state)
        changed["training"]["optimizer"]["state"][some] = values
        with pytest.raises(StateError, match=f"the optimizer's state of '{some}' has "):
            model.load_state_dict(changed)
    del (changed := copy_tree(state))["training"]["optimizer"]["state"][some]
    with pytest.raises(StateError, match="the optimizer's state and its groups are of different parameters"):
        model.load_state_dict(changed)

    assert equal_trees(state, model.state_dict())
    model.load_state_dict(state)
    assert equal_trees(state, model.state_dict())


def test_a_configuration_that_needs_more_than_the_state_has_is_refused(create, batches):
    """``amsgrad`` needs what only steps with it remember; momentum can begin at any time."""
    model = create(deep, optimizer="Adam")
    model.run(batches[0], train=True)
    with pytest.raises(StateError, match=r"Adam cannot go on as the configuration describes it now.* 'max_exp_avg_sq'"):
        create(deep, optimizer={"class": "Adam", "amsgrad": True}).load_state_dict(model.state_dict())

    plain = create(deep, optimizer={"class": "SGD", "learning_rate": 0.1})
    plain.run(batches[0], train=True)
    moving = create(deep, optimizer={"class": "SGD", "learning_rate": 0.1, "momentum": 0.9})
    moving.load_state_dict(plain.state_dict())
    moving.run(batches[1], train=True)


def test_a_model_is_evaluated_where_its_own_optimizer_is_gone(create, batches, caplog, monkeypatch):
    """Its outputs do not depend on it; training says that it needs the source."""

    class Own(optim.SGD):
        pass

    class Model(emloop_torch.BaseModel):
        def create_model(self):
            return deep()

        def create_optimizer(self):
            return Own(self.module.parameters(), lr=0.1, momentum=0.9)

    monkeypatch.setattr(Own, "__module__", "gone")
    model = create(cls=Model)
    model.run(batches[0], train=True)
    restored = create(restore_from=model.save("best"))

    assert "the optimizer gone." in caplog.text
    assert "cannot be made again: optimizer: gone" in caplog.text
    assert equal_trees(model.run(batches[1], train=False), restored.run(batches[1], train=False))
    with pytest.raises(SavedModelError, match="without its source this model has no 'train' view"):
        restored.run(batches[1], train=True)
    again = create(restore_from=restored.save("again"))
    assert equal_trees(model.run(batches[1], train=False), again.run(batches[1], train=False))


def test_all_optimizers_are_tried():
    """LBFGS alone is not for training batch by batch."""
    offered = {cls for cls in vars(optim).values() if isinstance(cls, type) and issubclass(cls, optim.Optimizer)}
    tried = {getattr(optim, config["class"]) for config in CONFIGS.values()}

    assert offered - tried == {optim.Optimizer, optim.LBFGS}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"class": "LBFGS"}, "optimizer: LBFGS evaluates the model several times in a step", id="closure"),
        pytest.param({"class": "Muon"}, "optimizer: Muon: Muon only supports 2D parameters", id="shapes"),
        pytest.param(
            {"class": "Adam", "differentiable": True}, "optimizer.differentiable: nobody differentiates", id="graph"
        ),
        pytest.param(
            {"class": "Adam", "capturable": True}, "optimizer.capturable: this is for devices other", id="device"
        ),
        pytest.param(
            {"class": "SGD", "groups": [{"match": ".*bias", "differentiable": True}]},
            "optimizer.groups[0].differentiable: nobody differentiates",
            id="group",
        ),
    ],
)
def test_what_cannot_step_is_refused_before_the_first_batch(create, config, message):
    """With the reason in one line."""
    with pytest.raises(ConfigError) as error:
        create(deep, optimizer=config)

    assert message in str(error.value)


def test_gradients_of_the_wrong_kind_are_named_before_the_first_step(create, batches):
    """Nothing knows them before; the parameters are left as they were."""
    model = create(deep, optimizer={"class": "SparseAdam"})
    before = [parameter.clone() for parameter in model.module.parameters()]
    with pytest.raises(
        ConfigError, match=r"sparse gradients only, and that of 'body\.0\.weight' is dense\n  take Adam"
    ):
        model.run(batches[0], train=True)

    assert all(torch.equal(*pair) for pair in zip(before, model.module.parameters(), strict=True))


def test_an_optimizer_may_have_its_own_way_to_forget_gradients(create, batches):
    """Its ``zero_grad`` is called; that of PyTorch is only imitated."""

    class Keeping(optim.SGD):
        def zero_grad(self, set_to_none=True):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad.mul_(0.5)

    class Model(emloop_torch.BaseModel):
        def create_model(self):
            return constant()

        def create_optimizer(self):
            return Keeping(self.module.parameters(), lr=0.1)

    model, module = create(cls=Model), constant()
    optimizer = Keeping(module.parameters(), lr=0.1)
    for batch in batches[:3]:
        model.run(batch, train=True)
        module(**{name: torch.from_numpy(values) for name, values in batch.items()})["loss"].mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    assert all(map(torch.equal, model.module.parameters(), module.parameters()))


@pytest.mark.parametrize("schedule", [None, {"class": "ExponentialLR", "gamma": 0.9, "interval": "batch"}])
def test_whoever_looks_at_the_steps_sees_them(create, batches, monkeypatch, schedule):
    """Hooks of an optimizer or of all, what stands in place of its step or its class's, and profilers."""
    model = create(deep, lr_schedule=schedule)
    (optimizer,) = model._optimizers
    seen = []
    model.run(batches[0], train=True)

    hooks = [
        optimizer.register_step_pre_hook(lambda *_: seen.append("before")),
        optimizer.register_step_post_hook(lambda *_: seen.append("after")),
        register_optimizer_step_pre_hook(lambda *_: seen.append("before any")),
        register_optimizer_step_post_hook(lambda *_: seen.append("after any")),
    ]
    for _ in range(4):
        model.run(batches[0], train=True)
        hooks.pop(0).remove()
    model.run(batches[0], train=True)
    assert seen == [
        *("before any", "before", "after", "after any"),
        *("before any", "after", "after any"),
        *("before any", "after any"),
        "after any",
    ]

    with torch.profiler.profile() as profiler:
        model.run(batches[0], train=True)
    assert "Optimizer.step#AdamW.step" in {event.key for event in profiler.key_averages()}

    step = optimizer.step
    monkeypatch.setattr(optimizer, "step", wraps(step)(lambda: (seen.append("own"), step())))
    model.run(batches[0], train=True)
    assert seen.pop() == "own"


def test_a_step_in_place_of_a_class_s_is_taken(create, batches, monkeypatch):
    """However much it pretends to be the class's."""
    model, seen = create(deep), []
    model.run(batches[0], train=True)
    step = optim.AdamW.step
    monkeypatch.setattr(optim.AdamW, "step", wraps(step)(lambda self: (seen.append("class's"), step(self))))

    model.run(batches[0], train=True)

    assert seen == ["class's"]
