"""Every schedule of PyTorch goes on from a state as if it had never stopped, or says beforehand that it cannot."""

from __future__ import annotations

import sys
import types

import pytest

torch = pytest.importorskip("torch")

from torch.optim import lr_scheduler  # noqa: E402

from emloop.errors import ConfigError  # noqa: E402

from .nets import deep  # noqa: E402

GROUPS = [{"match": ".*bias", "learning_rate": 0.02}]
OPTIMIZER = {"class": "SGD", "learning_rate": 0.1, "momentum": 0.9, "groups": GROUPS}
CONFIGS = {
    "step": {"class": "StepLR", "step_size": 2},
    "multi-step": {"class": "MultiStepLR", "milestones": [1, 3, 3]},
    "constant": {"class": "ConstantLR", "total_iters": 3},
    "linear": {"class": "LinearLR", "total_iters": 8},
    "exponential": {"class": "ExponentialLR", "gamma": 0.9},
    "polynomial": {"class": "PolynomialLR", "total_iters": 20, "power": 2.0},
    "cosine": {"class": "CosineAnnealingLR", "T_max": 3, "eta_min": 0.01},
    "restarts": {"class": "CosineAnnealingWarmRestarts", "T_0": 2, "T_mult": 2},
    "cyclic": {"class": "CyclicLR", "base_lr": [0.01, 0.02], "max_lr": 0.1, "step_size_up": 3, "mode": "triangular2"},
    "one-cycle": {"class": "OneCycleLR", "max_lr": [0.1, 0.2], "total_steps": 20, "three_phase": True},
    "sequential": {
        "class": "SequentialLR",
        "schedulers": [{"class": "LinearLR", "total_iters": 2}, {"class": "ExponentialLR", "gamma": 0.8}],
        "milestones": [2],
    },
    "chained": {
        "class": "ChainedScheduler",
        "schedulers": [{"class": "ConstantLR", "total_iters": 3}, {"class": "ExponentialLR", "gamma": 0.8}],
    },
}  # fmt: skip
OF_FUNCTIONS = {"LambdaLR", "MultiplicativeLR"}


@pytest.fixture
def own_schedules(monkeypatch):
    """Classes of a user's own, where a configuration finds them."""

    class Decay:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, step):
            return self.factor**step

    class ByFunction(lr_scheduler.LambdaLR):
        def __init__(self, optimizer, factor):
            super().__init__(optimizer, lambda step: factor**step)

    class ByObject(lr_scheduler.LambdaLR):
        def __init__(self, optimizer, factor):
            super().__init__(optimizer, Decay(factor))

    class Remembering(lr_scheduler.LRScheduler):
        def __init__(self, optimizer, factor):
            self.factor, self.seen = factor, []
            super().__init__(optimizer)

        def get_lr(self):
            self.seen.append(self.last_epoch)
            return [rate * self.factor ** len(self.seen) for rate in self.base_lrs]

    module = types.ModuleType("own_schedules")
    vars(module).update({cls.__name__: cls for cls in (ByFunction, ByObject, Remembering)})
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("interval", ["batch", "epoch"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_schedule_goes_on_to_the_bit(goes_on_exactly, name, interval):
    """In the middle of an epoch, whether the model's source is there or not."""
    goes_on_exactly(deep, optimizer=OPTIMIZER, lr_schedule={**CONFIGS[name], "interval": interval, "warmup_steps": 7})


@pytest.mark.parametrize("name", CONFIGS)
def test_a_schedule_goes_on_to_the_bit_from_a_rate_that_a_hook_has_set(goes_on_exactly, name):
    """The state knows it, and what follows from it."""
    goes_on_exactly(
        deep,
        lambda model: model.set_variable("learning_rate", 0.01),
        optimizer=OPTIMIZER,
        lr_schedule={**CONFIGS[name], "interval": "batch"},
    )


@pytest.mark.parametrize("name", ["ByFunction", "ByObject", "Remembering"])
def test_a_schedule_of_one_s_own_goes_on_to_the_bit(goes_on_exactly, own_schedules, name):
    """Its numbers are part of the state, its functions come from its class."""
    goes_on_exactly(
        deep, lr_schedule={"class": f"own_schedules.{name}", "factor": 0.9, "interval": "batch"}, optimizer=OPTIMIZER
    )


def test_all_schedules_are_tried():
    """But for those that a configuration cannot describe."""
    base = lr_scheduler.LRScheduler
    offered = {name for name, cls in vars(lr_scheduler).items() if isinstance(cls, type) and issubclass(cls, base)}
    tried = {config["class"] for config in CONFIGS.values()}

    assert offered - tried == {"LRScheduler", "_LRScheduler", "ReduceLROnPlateau", *OF_FUNCTIONS}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        *[
            pytest.param(
                {"class": name, **more},
                f"lr_schedule: {name} takes a function, which a configuration",
                id=f"{name}-{key}",
            )
            for name in sorted(OF_FUNCTIONS)
            for key, more in {"with": {"lr_lambda": "lambda step: 1"}, "without": {}}.items()
        ],
        pytest.param(
            {"class": "StepLR", "step_size": 1, "last_epoch": 3},
            "lr_schedule.last_epoch: leave it out",
            id="last-epoch",
        ),
        pytest.param(
            {"class": "ChainedScheduler"},
            "lr_schedule: ChainedScheduler needs the argument 'schedulers'",
            id="of-nothing",
        ),
        pytest.param(
            {**CONFIGS["sequential"], "schedulers": ["ExponentialLR"]},
            "lr_schedule.schedulers[0]: ExponentialLR needs the argument 'gamma'",
            id="of-text",
        ),
        pytest.param(
            {"class": "ChainedScheduler", "schedulers": 3}, "lr_schedule.schedulers: expected a list", id="one"
        ),
        pytest.param(
            {**CONFIGS["sequential"], "milestones": []},
            "lr_schedule: SequentialLR: Sequential Schedulers",
            id="numbers",
        ),
        pytest.param(
            {"class": "ChainedScheduler", "schedulers": [{"class": "StepLR", "stepsize": 1}]},
            "lr_schedule.schedulers[0]: unknown argument 'stepsize'\n  did you mean 'step_size'?",
            id="inner",
        ),
    ],
)
def test_what_cannot_be_described_is_refused_before_the_first_batch(create, config, message):
    """With the way out."""
    with pytest.raises(ConfigError) as error:
        create(deep, lr_schedule=config)

    assert message in str(error.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_rate_that_a_hook_has_set_stays_in_proportion(create, batches, name):
    """Half the rate now is half of what it would have been later, in every group."""
    halved, untouched = (create(deep, optimizer=OPTIMIZER, lr_schedule=proportional(name)) for _ in range(2))
    for number, batch in enumerate(batches):
        for model in (halved, untouched):
            model.run(batch, train=True)
        if number == 3:
            halved.set_variable("learning_rate", halved.get_variable("learning_rate") / 2)
        factor = 0.5 if number >= 3 else 1.0
        assert rates(halved) == pytest.approx([factor * rate for rate in rates(untouched)], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "change", "factor"),
    [
        pytest.param("one-cycle", {"max_lr": [0.2, 0.4]}, 2, id="one-cycle"),
        pytest.param("cyclic", {"base_lr": [0.02, 0.04], "max_lr": 0.2}, 2, id="cyclic"),
    ],
)
def test_a_restored_schedule_obeys_changed_rates(create, batches, name, change, factor):
    """As if it had been configured so from the start."""
    config = {**CONFIGS[name], "interval": "batch"}
    model = create(deep, optimizer=OPTIMIZER, lr_schedule=config)
    for batch in batches[:5]:
        model.run(batch, train=True)
    path = model.save("best")
    same, changed = (
        create(deep, optimizer=OPTIMIZER, lr_schedule={**config, **more}, restore_from=path) for more in ({}, change)
    )
    for batch in batches[5:]:
        for restored in (same, changed):
            restored.run(batch, train=True)
        assert rates(changed) == pytest.approx([factor * rate for rate in rates(same)])


def proportional(name):
    """A schedule by batch without a lowest rate of its own."""
    return {**{key: value for key, value in CONFIGS[name].items() if key != "eta_min"}, "interval": "batch"}


def rates(model):
    return [group["lr"] for group in model.state_dict()["training"]["optimizer"]["groups"]]
