"""Every key of the section ``model`` does what it says, or says what is wrong with it."""

from __future__ import annotations

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from emloop import AbstractHook  # noqa: E402
from emloop._state.tree import equal_trees  # noqa: E402
from emloop.errors import ConfigError, MissingVariableError, SavedModelError  # noqa: E402
from emloop.main_loop import MainLoop  # noqa: E402

from .nets import Net, constant, deep  # noqa: E402
from .test_ladder import Reversed, layer  # noqa: E402

SGD = {"class": "SGD", "learning_rate": 0.5}


class Splits:
    """A dataset whose streams are lists of batches."""

    def __init__(self, train, valid=()):
        self.train_stream = lambda: train
        self.valid_stream = lambda: valid


class Rates(AbstractHook):
    """Writes down the learning rate after every training batch and every epoch."""

    stateless = True

    def __init__(self, model):
        super().__init__()
        self._model = model
        self.of_batches = []
        self.of_epochs = []

    def after_batch(self, stream_name, batch_data):
        if self._main_loop.is_training:
            self.of_batches.append(self._model.get_variable("learning_rate"))

    def after_epoch(self, epoch_id, epoch_data):
        self.of_epochs.append(self._model.get_variable("learning_rate"))


def train(model, batches, **options):
    return [model.run(batch, train=True, **options) for batch in batches]


def weights(model):
    return {name: value.detach().clone() for name, value in model.module.named_parameters()}


def gradients(batch):
    """Gradients of the constant net for a batch."""
    net = constant()
    points, labels = (torch.from_numpy(batch[name]) for name in ("points", "labels"))
    net(points, labels)["loss"].mean().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def test_an_optimizer_is_described_by_class_and_arguments(create, batches):
    """One step of gradient descent is what it is by hand."""
    model = create(constant, optimizer=SGD)
    before, expected = weights(model), gradients(batches[0])
    train(model, batches[:1])

    for name, value in weights(model).items():
        torch.testing.assert_close(value, before[name] - 0.5 * expected[name])


def test_without_an_optimizer_it_is_adamw(create):
    """With PyTorch's own defaults."""
    assert create(deep).state_dict()["training"]["optimizer"]["class"] == "AdamW"
    assert create(deep).get_variable("learning_rate") == pytest.approx(1e-3)


def test_parameter_groups_are_matched_by_the_whole_name(create, batches):
    """The first group that matches takes a parameter; the rest has the optimizer's own values."""
    groups = [{"match": r"body\.4\.bias", "learning_rate": 0.0}, {"match": r"body\.4\..*", "weight_decay": 0.25}]
    model = create(deep, optimizer={**SGD, "groups": groups})
    state = model.state_dict()["training"]["optimizer"]["groups"]

    assert [group["names"] for group in state[:2]] == [["body.4.bias"], ["body.4.weight"]]
    assert [group["lr"] for group in state] == [0.0, 0.5, 0.5]
    assert [group["weight_decay"] for group in state] == [0, 0.25, 0]
    before = weights(model)
    train(model, batches[:2])
    after = weights(model)
    assert torch.equal(after["body.4.bias"], before["body.4.bias"])
    assert not torch.equal(after["body.4.weight"], before["body.4.weight"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": {"class": "Adm"}}, "optimizer: unknown optimizer 'Adm'\n  did you mean 'Adam'?"),
        ({"optimizer": {"learning_rate": 1}}, "optimizer: there is no 'class'\n  name one: {class: Name,"),
        ({"optimizer": {"class": "Adam", "lr": 1}}, "optimizer: unknown argument 'lr'"),
        ({"optimizer": {"class": "Adam", "beta": 1}}, "unknown argument 'beta'\n  did you mean 'betas'?"),
        ({"optimizer": {"class": "SGD", "learning_rate": -1}}, "optimizer: SGD: Invalid learning rate: -1"),
        ({"optimizer": {"class": "LBFGS"}}, "optimizer: LBFGS evaluates the model several times"),
        ({"optimizer": {"class": "torch.nn.Linear"}}, "optimizer: torch.nn.Linear is no Optimizer"),
        ({"optimizer": {"class": "no.such.Thing"}}, "optimizer: no.such.Thing leads nowhere: there is no module 'no'"),
        ({"optimizer": {**SGD, "groups": [{"match": "bodi.*"}]}}, "'bodi.*' matches the whole name of no parameter"),
        ({"optimizer": {**SGD, "groups": [{"learning_rate": 1}, {}]}}, "groups[1]: the groups before it take all"),
        ({"optimizer": {**SGD, "groups": [{"match": "("}]}}, "optimizer.groups[0].match: expected a regular"),
        (
            {"optimizer": {**SGD, "groups": [{"match": ".*", "momentom": 1}]}},
            "unknown argument 'momentom'\n  did you mean 'momentum'?",
        ),
        (
            {"optimizer": {**SGD, "groups": [{"match": ".*"}, {"match": ".*"}]}},
            "optimizer.groups[1].match: the groups before it take all parameters",
        ),
        ({"lr_schedule": {"class": "CosineAnealingLR"}}, "did you mean 'CosineAnnealingLR'?"),
        ({"lr_schedule": {"class": "StepLR"}}, "lr_schedule: StepLR needs the argument 'step_size'"),
        ({"lr_schedule": {"class": "StepLR", "step_size": 1, "interval": "week"}}, "got 'week'"),
        ({"lr_schedule": {"clas": "StepLR"}}, "lr_schedule: unknown argument 'clas'\n  did you mean 'class'?"),
        ({"lr_schedule": {"warmup_steps": -1}}, "lr_schedule.warmup_steps: expected whole number >= 0, got -1"),
        ({"lr_schedule": {"class": "ReduceLROnPlateau"}}, "the hook DecayLROnPlateau"),
        ({"clip_gradient": -1}, "clip_gradient: expected number > 0 or mapping or null, got -1"),
        ({"clip_gradient": {"norm": 1, "value": 1}}, "clip_gradient: expected either a value or a norm"),
        ({"clip_gradient": {"nrm": 1}}, "clip_gradient: unknown argument 'nrm'\n  did you mean 'norm'?"),
        ({"accumulate": 0}, "accumulate: expected whole number >= 1, got 0"),
        ({"precision": "bf61"}, "precision: expected one of 'fp32', 'tf32', 'bf16', 'fp16', got 'bf61'"),
        ({"device": "gpu"}, "device: expected one of 'auto', 'cpu', 'cuda', 'mps' or cuda:1 and the like, got 'gpu'"),
        ({"device": "cuda:99"}, "device: cuda:99 is not there; PyTorch sees"),
        ({"deterministic": "yes"}, "deterministic: expected true or false, got 'yes'"),
        ({"compile": {"moode": "x"}}, "compile: unknown argument 'moode'\n  did you mean 'mode'?"),
        ({"frozen": ["bod"]}, "frozen: 'bod' matches the whole name of no parameter\n  parameters: body.0.weight"),
        ({"frozen": [".*"]}, "frozen: no parameter is left to train"),
        ({"monitor": "Liner"}, "monitor: there is no module 'Liner'\n  did you mean 'Linear'?"),
        ({"profile": {"keep": 0}}, "profile.keep: expected whole number >= 1, got 0"),
        ({"profile": {"kep": 1}}, "profile: unknown argument 'kep'\n  did you mean 'keep'?"),
        ({"saved_model": {"source_free": "must"}}, "saved_model.source_free: expected one of 'auto'"),
        ({"saved_model": {"sourcefree": "off"}}, "did you mean 'source_free'?"),
        ({"distributed": {"strategy": "zero"}}, "distributed.strategy: expected one of 'ddp', 'fsdp', got 'zero'"),
        ({"distributed": {"wrap": ["Linear"]}}, "distributed.wrap: this is for the strategy fsdp, and there is ddp"),
        ({"inputs": ["points", "lables"]}, "inputs: forward takes no 'lables', and forward needs 'labels' as well"),
        ({"inputs": ["points", "lables"]}, "did you mean 'labels'?"),
        ({"init_from": {"paths": "x"}}, "init_from: unknown argument 'paths'\n  did you mean 'path'?"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_what_would_be_right(create, config, message):
    """Before the first batch."""
    with pytest.raises(ConfigError) as error:
        create(deep, **config)

    assert message in str(error.value)


def test_all_mistakes_that_need_no_module_come_at_once(create):
    """One run tells them all."""
    with pytest.raises(ConfigError) as error:
        create(deep, precision="x", accumulate=0, clip_gradient=-1, distributed={"timeout": 0})

    assert len(error.value.problems) == 4


def rates_of(optimizer, scheduler, steps):
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_a_schedule_per_batch_is_that_of_pytorch(create, batches):
    """Step by step."""
    schedule = {"class": "CosineAnnealingLR", "T_max": 7, "interval": "batch"}
    model = create(deep, optimizer=SGD, lr_schedule=schedule)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.5)
    expected = rates_of(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7), 7)

    found = []
    for batch in batches[:7]:
        found.append(model.get_variable("learning_rate"))
        train(model, [batch])

    assert found == pytest.approx(expected)


@pytest.mark.parametrize("epoch_size", [None, 2], ids=["of-a-pass", "of-two-batches"])
def test_a_schedule_per_epoch_counts_epochs(create, batches, epoch_size):
    """Whatever their length, and whatever a pass is; a hook at the end of an epoch sees the rate that the epoch had."""
    model = create(deep, optimizer=SGD, lr_schedule={"class": "ExponentialLR", "gamma": 0.5})
    rates = Rates(model)
    dataset = Splits(train=batches[:3], valid=batches[3:])
    MainLoop(
        model, dataset, [rates], extra_streams=["valid"], epochs_count=3, fixed_epoch_size=epoch_size
    ).run_training()

    assert rates.of_batches == [0.5] * (epoch_size or 3) + [0.25] * (epoch_size or 3) + [0.125] * (epoch_size or 3)
    assert rates.of_epochs == [0.5, 0.5, 0.25, 0.125]


def test_what_is_left_of_an_accumulation_makes_a_step_at_the_end_of_the_epoch(create, batches):
    """Its gradient is the mean over the batches that are left."""
    model = create(constant, optimizer=SGD, accumulate=4)
    before = weights(model)
    MainLoop(model, Splits(train=batches[:3]), epochs_count=1, skip_zeroth_epoch=True).run_training()

    each = [gradients(batch)["body.weight"] for batch in batches[:3]]
    torch.testing.assert_close(weights(model)["body.weight"], before["body.weight"] - 0.5 * sum(each) / 3)
    assert model.state_dict()["training"]["accumulated"]["batches"] == 0


def test_a_warm_up_scales_single_steps(create, batches):
    """The rate itself, as hooks and schedules see it, is untouched."""
    model = create(constant, optimizer=SGD, lr_schedule={"warmup_steps": 4})
    before, expected = weights(model), gradients(batches[0])
    train(model, batches[:1])

    torch.testing.assert_close(weights(model)["body.bias"], before["body.bias"] - 0.5 / 4 * expected["body.bias"])
    assert model.get_variable("learning_rate") == 0.5


@pytest.mark.parametrize(("clip", "kind"), [(0.01, "value"), ({"value": 0.01}, "value"), ({"norm": 0.01}, "norm")])
def test_gradients_are_clipped_by_value_or_norm(create, batches, clip, kind):
    """A bare number is a value."""
    model = create(constant, optimizer={"class": "SGD", "learning_rate": 1.0}, clip_gradient=clip)
    before = weights(model)
    train(model, batches[:1])

    steps = {name: before[name] - value for name, value in weights(model).items()}
    if kind == "value":
        assert max(float(step.abs().max()) for step in steps.values()) == pytest.approx(0.01, rel=1e-4)
    else:
        norm = torch.cat([step.flatten() for step in steps.values()]).norm()
        assert float(norm) == pytest.approx(0.01, rel=1e-4)


def test_accumulated_batches_make_one_step(create, batches):
    """That of the mean of their gradients; none before the last of them."""
    model = create(constant, optimizer=SGD, accumulate=4)
    before = weights(model)
    train(model, batches[:3])
    assert equal_trees({n: v.numpy() for n, v in before.items()}, {n: v.numpy() for n, v in weights(model).items()})
    train(model, batches[3:4])

    each = [gradients(batch)["body.weight"] for batch in batches[:4]]
    torch.testing.assert_close(weights(model)["body.weight"], before["body.weight"] - 0.5 * sum(each) / 4)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_less_precision_computes_nearly_the_same(create, batches, precision):
    """Parameters and outputs keep 32 bits."""
    exact, coarse = create(constant), create(constant, precision=precision)
    expected, found = (model.run(batches[0], train=True)["loss"] for model in (exact, coarse))

    assert found.dtype == np.float32
    assert {value.dtype for value in weights(coarse).values()} == {torch.float32}
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert (precision == "tf32") == equal_trees(found, expected)


def test_a_compiled_model_trains_and_is_saved_as_any_other(create, batches, manifest):
    """Names of parameters stay what they were."""
    plain, compiled = create(deep), create(deep, compile={"backend": "aot_eager"})
    for batch in batches[:4]:
        expected, found = plain.run(batch, train=True), compiled.run(batch, train=True)
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)

    assert list(weights(compiled)) == list(weights(plain))
    assert manifest(compiled.save("best"))["rung"] == "exported"


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    "make", [deep, lambda: layer(lambda _, values: Reversed.apply(values))], ids=["exported", "traced"]
)
def test_a_compiled_model_goes_on_without_its_source(create, batches, make):
    """With the graphs of the saved model, whatever kind they are of."""
    model = create(make)
    model.run(batches[0], train=True)
    path = model.save("best")
    plain, compiled = create(restore_from=path), create(restore_from=path, compile={"backend": "aot_eager"})
    for batch in batches[:3]:
        expected, found = plain.run(batch, train=True), compiled.run(batch, train=True)
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)


def test_deterministic_algorithms_can_be_asked_for(create):
    """For the whole process."""
    try:
        create(deep, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_frozen_parameters_are_not_trained(create, batches):
    """Neither changed nor known to the optimizer."""
    model = create(deep, frozen=[r"body\.0\..*"])
    before = weights(model)
    train(model, batches)

    changed = [name for name, value in weights(model).items() if not torch.equal(value, before[name])]
    assert changed == ["body.1.weight", "body.1.bias", "body.4.weight", "body.4.bias"]


def test_a_model_can_begin_with_what_fits_of_another(create, batches, caplog, tmp_path):
    """A report says what was taken and what was not; renamed parts find their places."""
    origin = create(deep, log_dir=tmp_path)
    train(origin, batches)
    path = origin.save("best")
    caplog.set_level(logging.INFO)
    model = create(lambda: Net(torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Linear(6, 3))), init_from=path)
    assert torch.equal(weights(model)["body.0.weight"], weights(origin)["body.0.weight"])
    assert "of another shape: body.1.weight ([6] there, [3, 6] here), body.1.bias ([6] there, [3] here)" in caplog.text

    renamed = {"path": path, "rename": {r"body\.4\.(.*)": r"body.1.\1", r"body\.1\..*": "unused"}}
    model = create(lambda: Net(torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Linear(6, 2))), init_from=renamed)
    assert torch.equal(weights(model)["body.1.bias"], weights(origin)["body.4.bias"])

    with pytest.raises(ConfigError, match=r"init_from: nothing in .* has a name and shape of this model"):
        create(lambda: Net(torch.nn.Bilinear(3, 3, 2)), init_from={"path": path, "rename": {".*": "x"}})
    with pytest.raises(ConfigError, match=r"init_from\.rename\.body: 'body' matches the whole name of no parameter"):
        create(deep, init_from={"path": path, "rename": {"body": "head"}})


def test_a_restored_model_ignores_what_it_once_began_with(create, batches):
    """The other model may be gone by then."""
    model = create(deep)
    train(model, batches[:2])
    restored = create(deep, restore_from=model.save("best"), init_from="gone")

    assert equal_trees(model.state_dict()["parameters"], restored.state_dict()["parameters"])


def test_signals_inside_of_the_network_can_be_monitored(create, batches):
    """By type or name, in training and evaluation: a mean and a variance for every example."""
    model = create(deep, monitor="Linear")
    assert model.output_names == ["loss", "signal_mean", "signal_variance"]
    for train_it in (True, False):
        outputs = model.run(batches[0], train=train_it)
        assert outputs["signal_mean"].shape == outputs["signal_variance"].shape == (8,)

    single = create(lambda: Net(torch.nn.Identity()), monitor="body", inputs=["points"], outputs=[])
    outputs = single.run(batches[0], train=False)
    np.testing.assert_allclose(outputs["signal_mean"], batches[0]["points"].mean(1), rtol=1e-5)
    np.testing.assert_allclose(outputs["signal_variance"], batches[0]["points"].var(1), rtol=1e-4)


def test_every_so_many_batches_are_profiled(create, batches, tmp_path):
    """The newest traces are kept."""
    model = create(deep, profile={"every": 3, "keep": 2})
    train(model, batches)

    assert [path.name for path in sorted((tmp_path / "profile").iterdir())] == [
        "trace-00000009.json",
        "trace-00000012.json",
    ]


def test_the_learning_rates_of_groups_keep_their_ratio(create, batches):
    """A hook sets one number; a schedule goes on from there."""
    groups = [{"match": r"body\.0\..*", "learning_rate": 0.05}]
    model = create(
        deep,
        optimizer={**SGD, "groups": groups},
        lr_schedule={"class": "ExponentialLR", "gamma": 0.5, "interval": "batch"},
    )
    model.set_variable("learning_rate", 0.25)
    train(model, batches[:1])

    assert [g["lr"] for g in model.state_dict()["training"]["optimizer"]["groups"]] == pytest.approx([0.0125, 0.125])


def test_source_free_saved_models_can_be_required_or_switched_off(create, batches, manifest, caplog):
    """``require`` refuses to save what needs its source; ``off`` saves time."""

    class Moody(Net):
        def predict(self, points):
            return {"logits": self.body(points if points.sum() > 0 else -points)}

    model = create(Moody, saved_model={"source_free": "require"})
    train(model, batches[:1])
    with pytest.raises(SavedModelError, match=r"source_free is 'require', but Model cannot do without its source"):
        model.save("best")
    quick = create(deep, saved_model={"source_free": "off"})
    train(quick, batches[:1])
    described = manifest(quick.save("best"))
    assert (described["rung"], described["reason"]) == ("weights", "saved_model.source_free is off")


def test_an_unknown_output_is_told_with_those_that_there_are(create, batches):
    """And the one that was probably meant."""
    with pytest.raises(
        MissingVariableError, match=r"gives no 'logit'; it gives 'logits', 'loss'; did you mean 'logits'"
    ):
        create(deep, outputs=["logit"]).run(batches[0], train=False)
