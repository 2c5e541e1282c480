"""Averages that follow a training: of a part by another, and of the whole model."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import ConfigError  # noqa: E402

from .nets import deep  # noqa: E402

SGD = {"class": "SGD", "learning_rate": 0.1}
TEACHER = {"from": "student", "to": "teacher", "decay": 0.9}


def encoder():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))


class Taught(nn.Module):
    """The student foretells what the teacher, which follows it, makes of the same points under noise."""

    def __init__(self):
        super().__init__()
        self.student, self.head = encoder(), nn.Linear(2, 2)
        self.teacher = copy.deepcopy(self.student)

    def forward(self, points, labels):
        aim = self.teacher(points + 0.1 * torch.randn_like(points)).detach()
        return {"loss": (self.head(self.student(points)) - aim).square().mean(1)}


def decay_of(described, step):
    """As a formula has it."""
    if isinstance(described, float):
        return described
    start, end, steps = described["start"], described["end"], described["steps"]
    return end - (end - start) * (math.cos(math.pi * min(step / steps, 1)) + 1) / 2


@pytest.mark.parametrize("decay", [0.9, {"start": 0.5, "end": 1.0, "steps": 8}], ids=["constant", "ramp"])
@pytest.mark.parametrize("buffers", ["copy", "average", "keep"])
def test_a_teacher_follows_its_student_as_by_hand(create, batches, buffers, decay):
    """After every step, to the bit; its buffers as the configuration says; the optimizer leaves it alone."""
    config = {"optimizer": {**SGD, "weight_decay": 0.1, "momentum": 0.9}}
    model = create(Taught, ema={**TEACHER, "decay": decay, "buffers": buffers}, **config)
    by_hand = create(Taught, frozen=[], **config)
    net = by_hand.module.train()
    net.teacher.requires_grad_(False)
    trained = [*net.student.parameters(), *net.head.parameters()]
    optimizer = torch.optim.SGD(trained, lr=0.1, weight_decay=0.1, momentum=0.9)
    for step, batch in enumerate(batches):
        with by_hand._generators.use("training"):
            net(**{name: torch.from_numpy(value) for name, value in batch.items()})["loss"].mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for one, other in zip(net.student.parameters(), net.teacher.parameters(), strict=True):
                other.lerp_(one, 1 - decay_of(decay, step))
            for one, other in zip(net.student.buffers(), net.teacher.buffers(), strict=True):
                if buffers == "average" and one.is_floating_point():
                    other.lerp_(one, 1 - decay_of(decay, step))
                elif buffers != "keep":
                    other.copy_(one)
        model.run(batch, train=True)

    for name, value in net.state_dict().items():
        assert torch.equal(value, model.module.state_dict()[name]), name


@pytest.mark.parametrize(
    "config",
    [
        {"ema": TEACHER},
        {"ema": {**TEACHER, "decay": {"start": 0.5, "end": 1.0, "steps": 8}, "buffers": "average"}},
        {"ema": [{**TEACHER, "buffers": "keep"}, {"decay": 0.9}], "accumulate": 2},
        {
            "ema": TEACHER,
            "optimizers": [
                {"name": "slow", "match": r"student\..*", "class": "SGD", "every": 2},
                {"name": "fast", "match": r"head\..*", "class": "Adam"},
            ],
        },
    ],
    ids=["plain", "ramp", "with the whole", "several"],
)
def test_it_goes_on_to_the_bit(goes_on_exactly, create, batches, manifest, tmp_path, config):
    """With the source, without it, and from a state."""
    model = goes_on_exactly(Taught, **config)

    assert manifest(tmp_path / "model_best")["rung"] == "exported"
    path = model.save("last")
    others = [create(make, restore_from=path, **config) for make in (Taught, None)]
    expected = model.run(batches[0], train=False)
    for other in others:
        assert equal_trees(expected, other.run(batches[0], train=False))


@pytest.mark.parametrize("buffers", ["copy", "average"])
def test_an_evaluation_uses_the_average_of_the_whole(create, batches, buffers):
    """To the bit what a second model with the averages gives; the training is that without."""
    config = {"optimizer": SGD, "outputs": ["logits", "loss"]}
    model, plain = create(deep, ema={"decay": 0.8, "buffers": buffers}, **config), create(deep, **config)
    average = {name: value.clone() for name, value in plain.module.state_dict().items()}
    for batch in batches[:5]:
        expected, found = plain.run(batch, train=True), model.run(batch, train=True)
        assert equal_trees(expected, found)
        for name, value in plain.module.state_dict().items():
            is_parameter = name in dict(plain.module.named_parameters())
            if is_parameter or (buffers == "average" and value.is_floating_point()):
                average[name] = torch.lerp(average[name], value, 1 - 0.8)
            else:
                average[name] = value.clone()
        model.run(batches[6], train=False)
    other = create(deep, **config)
    other.module.load_state_dict(average)

    assert equal_trees(other.run(batches[7], train=False), model.run(batches[7], train=False))
    assert not equal_trees(plain.run(batches[7], train=False), model.run(batches[7], train=False))
    for name, value in plain.module.state_dict().items():
        assert torch.equal(value, model.module.state_dict()[name]), name


def test_a_saved_model_holds_the_weights_and_their_average(create, batches):
    """Restored, with its source or without, it is evaluated by the average and trained from the weights."""
    config = {"ema": {"decay": 0.8}, "optimizer": SGD, "outputs": ["logits", "loss"]}
    model = create(deep, **config)
    for batch in batches[:5]:
        model.run(batch, train=True)
    model.run(batches[6], train=False)
    path = model.save("best")
    for restored in (create(deep, restore_from=path, **config), create(restore_from=path, **config)):
        assert equal_trees(model.run(batches[6], train=False), restored.run(batches[6], train=False))
        assert equal_trees(model.state_dict(), restored.state_dict())
        state = copy_tree(model.state_dict())
        assert equal_trees(model.run(batches[7], train=True), restored.run(batches[7], train=True))
        assert equal_trees(model.run(batches[6], train=False), restored.run(batches[6], train=False))
        model.load_state_dict(state)


def test_what_is_exported_is_the_average(create, batches, tmp_path):
    """As an evaluation is."""
    pytest.importorskip("onnx")
    model = create(deep, ema={"decay": 0.8}, optimizer=SGD, outputs=["logits"])
    for batch in batches[:3]:
        model.run(batch, train=True)
    (exported,) = model.export("onnx", str(tmp_path / "exported"), [batches[4]])

    np.testing.assert_allclose(exported["logits"], model.run(batches[4], train=False)["logits"], rtol=1e-5)


def test_a_network_without_code_has_several_optimizers_and_an_average(create, batches):
    """``Supervised`` takes the same keys."""
    optimizers = [{"match": ".*weight", "class": "Muon"}, {"match": ".*bias", "class": "AdamW"}]
    net = [{"class": "Linear", "in_features": 3, "out_features": 2}]
    model = create(cls=emloop_torch.Supervised, net=net, optimizers=optimizers, ema={"decay": 0.5})
    before = [parameter.detach().clone() for parameter in model.module.parameters()]
    model.run(batches[0], train=True)

    assert not any(torch.equal(*pair) for pair in zip(before, model.module.parameters(), strict=True))


def test_an_average_can_begin_later_and_is_not_lost_silently(create, batches, caplog):
    """A resumed run that is given one begins it with its weights; one that drops it says so."""
    caplog.set_level("INFO")
    plain = create(deep, optimizer=SGD)
    plain.run(batches[0], train=True)
    model = create(deep, restore_from=plain.save("best"), optimizer=SGD, ema={"decay": 0.5})

    assert "the average of the whole model begins with the restored parameters" in caplog.text
    assert equal_trees(plain.run(batches[1], train=False), model.run(batches[1], train=False))
    create(deep, restore_from=model.save("best"), optimizer=SGD)
    assert "There is an average of the whole model, which nothing uses; model.ema would evaluate by it" in caplog.text


def test_a_teacher_that_becomes_one_later_stays_untrained(create, batches):
    """The state of before was trained as any other part, and is no reason to train it."""
    plain = create(Taught, optimizer=SGD)
    plain.run(batches[0], train=True)
    model = create(Taught, restore_from=plain.save("best"), optimizer=SGD, ema=TEACHER)

    assert not any(parameter.requires_grad for parameter in model.module.teacher.parameters())
    again = create(Taught, restore_from=model.save("best"), optimizer=SGD)
    assert all(parameter.requires_grad for parameter in again.module.teacher.parameters())


class Growing(nn.Module):
    """A buffer that grows with the training, and numbers that have no mean."""

    def __init__(self):
        super().__init__()
        self.student, self.teacher = nn.Linear(3, 2), nn.Linear(3, 2)
        for part in (self.student, self.teacher):
            part.register_buffer("bank", torch.zeros(0, 3))
            part.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, points, labels):
        if self.training:
            self.student.bank = torch.cat([self.student.bank, points[:1]])
            self.student.seen += 1
        return {"loss": functional.cross_entropy(self.student(points), labels, reduction="none")}


@pytest.mark.parametrize("buffers", ["copy", "average"])
def test_buffers_of_any_kind_follow(create, batches, buffers):
    """Of what grows, and of whole numbers, the teacher has a copy."""
    model = create(Growing, ema={**TEACHER, "buffers": buffers}, optimizer=SGD)
    for batch in batches[:3]:
        model.run(batch, train=True)

    assert torch.equal(model.module.teacher.bank, model.module.student.bank)
    assert model.module.teacher.bank is not model.module.student.bank
    assert model.module.teacher.seen == 3


class Shared(Taught):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Sequential(*self.student)


class Other(Taught):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))


@pytest.mark.parametrize(
    ("make", "ema", "message"),
    [
        pytest.param(
            Taught,
            {**TEACHER, "from": "studnt"},
            "ema.from: the module has no part 'studnt'\n  did you mean 'student'?\n  its parts: student, student.0",
            id="no part",
        ),
        pytest.param(Taught, [TEACHER, {"to": "teacher"}], "ema[1]: 'from' and 'to' belong together", id="half"),
        pytest.param(Shared, TEACHER, "ema.to: '0.weight' of 'teacher' is 'student.0.weight' itself", id="itself"),
        pytest.param(Taught, {**TEACHER, "from": "head"}, "ema.to: 'teacher' has a parameter '0.bias'", id="names"),
        pytest.param(
            Other, {**TEACHER, "from": "student.0", "to": "teacher.0"},
            "ema.to: 'bias' of 'teacher.0' is float32 [5], and that of 'student.0' float32 [4]", id="shapes",
        ),
        pytest.param(Taught, {**TEACHER, "decay": 1.5}, "ema.decay: expected number >= 0 and <= 1", id="decay"),
        pytest.param(Taught, {**TEACHER, "dekay": 1}, "ema: unknown argument 'dekay'", id="misspelt"),
        pytest.param(
            Taught, {"buffers": "keep"}, "ema.buffers: the average of the whole model has no buffers", id="keep"
        ),
        pytest.param(Taught, [{}, {}], "ema[1]: there is another average of the whole model", id="twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_averaged_is_told(create, make, ema, message):
    """Before the first batch, with the place and the way out."""
    with pytest.raises(ConfigError) as error:
        create(make, ema=ema)

    assert message in str(error.value)


class Tempered(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.inner = nn.Linear(3, 2), nn.Module()
        self.register_buffer("temperature", torch.tensor(1.0))
        self.inner.register_buffer("step", torch.zeros(1, dtype=torch.int64))

    def forward(self, points, labels):
        logits = self.body(points) / self.temperature
        return {"loss": functional.cross_entropy(logits, labels, reduction="none") + self.inner.step}


def test_hooks_steer_numbers_that_a_module_keeps_in_buffers(goes_on_exactly, create, batches, manifest, tmp_path):
    """They are part of the state, so a program that was made before still stands for the module."""

    def change(model):
        model.set_variable("temperature", model.get_variable("temperature") * 0.5)
        model.set_variable("inner.step", 3)

    model = create(Tempered)
    model.run(batches[0], train=True)
    model.save("before")
    change(model)
    assert (model.get_variable("temperature"), model.get_variable("inner.step")) == (0.5, 3.0)
    goes_on_exactly(Tempered, change=change)
    assert manifest(tmp_path / "model_best")["rung"] == "exported"
    by_hand = create(Tempered)
    by_hand.module.temperature.fill_(0.5)
    by_hand.module.inner.step.fill_(3)
    other = create(Tempered)
    change(other)
    np.testing.assert_array_equal(
        other.run(batches[0], train=True)["loss"], by_hand.run(batches[0], train=True)["loss"]
    )


class PlainlyTempered(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.temperature = nn.Linear(3, 2), 1.0

    def forward(self, points, labels):
        logits = self.body(points) / self.temperature
        return {"loss": functional.cross_entropy(logits, labels, reduction="none")}


def test_a_number_that_only_python_keeps_is_named_with_its_cure(create, batches, manifest):
    """Where a program parts from the training because of it."""
    model = create(PlainlyTempered, saved_model={"shadow": 1.0})
    model.run(batches[0], train=True)
    path = model.save("best")
    model.module.temperature = 0.5
    model.run(batches[1], train=True)

    assert manifest(path)["rung"] == "inference"
    assert manifest(path)["reason"].endswith(
        "; no graph or state holds 'temperature', which changes; "
        "register_buffer would make it part of the state, for hooks to steer"
    )


def test_a_number_that_a_buffer_cannot_hold_is_refused(create):
    """As is a name that is none of a single number; those there are, are listed."""
    model = create(Tempered)
    with pytest.raises(TypeError, match=r"'inner\.step' is a buffer of int64, which cannot hold 0\.5"):
        model.set_variable("inner.step", 0.5)
    with pytest.raises(
        KeyError, match=r"no variable 'temprature'; there is 'learning_rate', 'temperature', 'inner\.st"
    ):
        model.get_variable("temprature")
