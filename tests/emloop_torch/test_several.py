"""Several optimizers, each for a loss and the parameters that it matches, train as a loop written by hand does."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import ConfigError, MissingVariableError, StateError  # noqa: E402

from .nets import deep  # noqa: E402

GENERATOR = {"name": "generator", "match": r"generator\..*", "loss": "generator_loss", "class": "Adam"}
CRITIC = {"name": "critic", "match": r"critic\..*", "loss": "critic_loss", "class": "SGD", "momentum": 0.9}
ADVERSARIES = {
    "optimizers": [{**GENERATOR, "learning_rate": 0.01}, {**CRITIC, "learning_rate": 0.1}],
    "outputs": ["fake", "generator_loss", "critic_loss"],
}
SPLIT = [
    {"match": [r"body\.0\.weight", r"body\.4\.weight"], "class": "Muon", "learning_rate": 0.05},
    {"match": r"(?!body\.[04]\.weight).*", "class": "AdamW", "learning_rate": 0.01},
]


class Gan(nn.Module):
    """Both losses from one forward pass; neither is kept from the other's parameters."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
        self.critic = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2), nn.Dropout(0.2), nn.Linear(4, 1))

    def forward(self, points, labels):
        fake = self.generator(torch.randn(len(points), 2))
        judged = self.critic(fake)[:, 0]
        critic_loss = functional.softplus(-self.critic(points)[:, 0]) + functional.softplus(judged)
        return {"fake": fake, "generator_loss": functional.softplus(-judged), "critic_loss": critic_loss}


class WeighedGan(Gan):
    """The critic's loss is weighed, the generator's is a mean."""

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        return {**outputs, "generator_loss": outputs["generator_loss"].mean()}


def weights_of(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def in_turn(model, batches):
    """The batches that a loop takes, with the random numbers that the model draws for each."""
    for batch in batches:
        with model._generators.use("training"):
            yield {name: torch.from_numpy(value) for name, value in batch.items()}


@pytest.mark.parametrize("every", [1, 3])
def test_two_adversaries_train_as_by_hand(create, batches, every):
    """Twenty steps to the bit; of the batches between the generator's turns nothing counts for it."""
    turns = [{**GENERATOR, "learning_rate": 0.01, "every": every}, {**CRITIC, "learning_rate": 0.1}]
    model, by_hand = (create(Gan, **{**ADVERSARIES, "optimizers": turns}) for _ in range(2))
    net, twenty = by_hand.module.train(), (batches * 2)[:20]
    of_generator = torch.optim.Adam(net.generator.parameters(), lr=0.01)
    of_critic = torch.optim.SGD(net.critic.parameters(), lr=0.1, momentum=0.9)

    losses = []
    for number, batch in enumerate(in_turn(by_hand, twenty), 1):
        outputs = net(**batch)
        net.zero_grad()
        gradients = torch.autograd.grad(
            outputs["generator_loss"].mean(), list(net.generator.parameters()), retain_graph=True
        )
        outputs["critic_loss"].mean().backward()
        for parameter, gradient in zip(net.generator.parameters(), gradients, strict=True):
            parameter.grad = gradient
        if number % every == 0:
            of_generator.step()
        of_critic.step()
        losses.append(outputs["generator_loss"].detach().numpy())
    found = [model.run(batch, train=True)["generator_loss"] for batch in twenty]

    np.testing.assert_array_equal(found, losses)
    assert_same(weights_of(net), weights_of(model.module))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_matrices_and_the_rest_train_as_by_hand(create, batches, accumulate):
    """Muon and AdamW share one loss, and gradients that are gathered over batches."""
    model, by_hand = (create(deep, optimizers=SPLIT, accumulate=accumulate, clip_gradient={"norm": 0.5}) for _ in "ab")
    net = by_hand.module.train()
    matrices = [net.body[0].weight, net.body[4].weight]
    others = [p for p in net.parameters() if not any(p is one for one in matrices)]
    optimizers = [torch.optim.Muon(matrices, lr=0.05), torch.optim.AdamW(others, lr=0.01)]

    for number, batch in enumerate(in_turn(by_hand, batches), 1):
        (net(**batch)["loss"].mean() * (1 / accumulate)).backward()
        if number % accumulate == 0:
            for own, optimizer in zip((matrices, others), optimizers, strict=True):
                nn.utils.clip_grad_norm_(own, 0.5)
                optimizer.step()
            net.zero_grad()
    for batch in batches:
        model.run(batch, train=True)

    assert_same(weights_of(net), weights_of(model.module))


def test_each_loss_is_weighed_by_its_own(create, batches):
    """As ``weights`` say, over gathered batches too; one that is the mean of its batch counts for its examples."""
    optimizers = [{**one, "class": "SGD", "momentum": 0, "learning_rate": 0.1} for one in (GENERATOR, CRITIC)]
    config = {"weights": {"critic_loss": "mask"}, "accumulate": 2, "outputs": ["critic_loss", "generator_loss"]}
    model, by_hand = (create(WeighedGan, optimizers=optimizers, **config) for _ in "ab")
    masked = [{**batch, "mask": np.arange(8) < 3 + number} for number, batch in enumerate(batches[:2])]
    net = by_hand.module.train()
    outputs = [net(**batch) for batch in in_turn(by_hand, batches[:2])]
    generator_loss = sum(each["generator_loss"] for each in outputs) / 2
    critic_loss = sum(each["critic_loss"][: 3 + number].sum() for number, each in enumerate(outputs)) / 7
    for loss, part in ((generator_loss, net.generator), (critic_loss, net.critic)):
        gradients = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        with torch.no_grad():
            for parameter, gradient in zip(part.parameters(), gradients, strict=True):
                parameter.sub_(gradient, alpha=0.1)
    for batch in masked:
        found = model.run(batch, train=True)

    assert found["generator_loss"].shape == (8,)
    for name, value in weights_of(net).items():
        torch.testing.assert_close(value, model.module.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


SCHEDULE = {"class": "ExponentialLR", "gamma": 0.9, "interval": "batch"}
GOING_ON = {
    "plain": {},
    "turns": {"optimizers": [{**GENERATOR, "every": 2}, CRITIC]},
    "gathered": {"accumulate": 2, "clip_gradient": 0.1},
    "scaled": {"precision": "fp16", "clip_gradient": {"norm": 0.1}},
    "schedules": {
        "lr_schedule": {"warmup_steps": 4},
        "optimizers": [
            {**GENERATOR, "groups": [{"match": ".*bias", "learning_rate": 0.1}]},
            {**CRITIC, "lr_schedule": SCHEDULE, "clip_gradient": {"norm": 0.01}},
        ],
    },
}


@pytest.mark.parametrize("config", GOING_ON.values(), ids=GOING_ON)
def test_it_goes_on_to_the_bit(goes_on_exactly, manifest, tmp_path, config):
    """With its source, without, and from a state, in the middle of turns and of what is gathered."""
    goes_on_exactly(Gan, **{**ADVERSARIES, **config})

    assert manifest(tmp_path / "model_best")["rung"] == "exported"


def test_one_loss_by_two_optimizers_goes_on_to_the_bit(goes_on_exactly, manifest, tmp_path):
    """The program is that of one optimizer."""
    goes_on_exactly(deep, optimizers=SPLIT)

    assert manifest(tmp_path / "model_best")["rung"] == "exported"


class Doubled(torch.autograd.Function):
    """What an exported graph would lose."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class OwnGradient(Gan):
    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        return {**outputs, **{name: Doubled.apply(outputs[name]) for name in ("generator_loss", "critic_loss")}}


def test_gradients_of_several_losses_can_be_in_the_graph(goes_on_exactly, create, manifest, tmp_path):
    """Each for its own parameters; other parameters, or one loss, need the source."""
    goes_on_exactly(OwnGradient, **ADVERSARIES)

    assert manifest(tmp_path / "model_best")["rung"] == "traced"
    other = [{**GENERATOR, "match": r"generator\.0.*"}, {**CRITIC, "match": r"(critic|generator\.2)\..*"}]
    for config in ({"optimizers": other}, {"optimizer": "Adam"}):
        with pytest.raises(ConfigError, match="without its source, by gradients that are made for optimizers of gen"):
            create(restore_from=str(tmp_path / "model_best"), **config)


def test_it_goes_on_without_source_nor_configuration(create, batches):
    """The state tells the optimizers, their losses and their turns."""
    model = create(Gan, **{**ADVERSARIES, "optimizers": [{**GENERATOR, "every": 2}, CRITIC]})
    model.run(batches[0], train=True)
    restored = create(restore_from=model.save("best"), outputs=ADVERSARIES["outputs"])

    for batch in batches[1:]:
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    assert equal_trees(model.state_dict()["training"], restored.state_dict()["training"])


def test_hooks_steer_all_rates_or_one(create):
    """``learning_rate`` is that of the first, and moves the others along."""
    model = create(Gan, **ADVERSARIES)
    model.set_variable("learning_rate", 0.02)
    model.set_variable("critic/learning_rate", 0.5)
    names = ("learning_rate", "generator/learning_rate", "critic/learning_rate")

    assert [model.get_variable(name) for name in names] == [0.02, 0.02, 0.5]
    model.set_variable("learning_rate", 0.01)
    assert [model.get_variable(name) for name in names] == [0.01, 0.01, 0.25]
    with pytest.raises(MissingVariableError, match="no variable 'judge/learning_rate'; there is 'learning_rate', 'gen"):
        model.get_variable("judge/learning_rate")


@pytest.mark.parametrize("which", ["generator_loss", "critic_loss"])
def test_a_nan_of_any_loss_is_noticed(create, batches, which):
    """And infinities of two signs are none."""

    class Broken(Gan):
        def forward(self, points, labels):
            outputs = super().forward(points, labels)
            bad = torch.where(labels.sum() == 8, torch.nan, torch.where(labels.sum() == 0, torch.inf, 0.0))
            sign = {"generator_loss": 1, "critic_loss": -1}
            return {**outputs, **{n: outputs[n] + bad * sign[n] for n in sign if n == which or not bad.isnan()}}

    model = create(Broken, **ADVERSARIES)
    for labels in (np.zeros(8, int), np.arange(8) % 2, np.ones(8, int)):
        model.run({**batches[0], "labels": labels}, train=False)

    assert int(model.first_nan()) == 3


def test_a_thawed_part_needs_somebody_who_trains_it(create, batches):
    """What is frozen need not be matched, until it is thawed."""
    optimizers = [{**GENERATOR, "match": r"generator\.2\..*"}, CRITIC]
    model = create(Gan, **{**ADVERSARIES, "optimizers": optimizers}, frozen=[r"generator\.0\..*"])
    model.run(batches[0], train=True)
    model.module.generator[0].weight.requires_grad_(True)

    with pytest.raises(ConfigError, match=r"'generator\.0\.weight' is no longer frozen, and none of them matches it"):
        model.run(batches[1], train=True)


def test_a_state_of_other_optimizers_is_refused(create, batches):
    """Its names are told, and those of the configuration."""
    model = create(Gan, **ADVERSARIES)
    model.run(batches[0], train=True)
    renamed = create(Gan, **{**ADVERSARIES, "optimizers": [{**GENERATOR, "name": "maker"}, CRITIC]})

    with pytest.raises(StateError, match="these optimizers: generator, critic; the configuration describes: maker, cr"):
        renamed.load_state_dict(copy_tree(model.state_dict()))


def test_a_training_step_of_its_own_gives_all_losses(create, batches):
    """``update`` takes them by name, and says which is missing."""

    class Stepping(emloop_torch.BaseModel):
        def create_model(self):
            return Gan()

        def training_step(self, batch):
            outputs = self.compute(batch)
            self.update({name: outputs[name] for name in list(outputs)[1:given]})
            return outputs

    stepping, plain = create(cls=Stepping, **ADVERSARIES), create(Gan, **ADVERSARIES)
    given = 3
    assert equal_trees(stepping.run(batches[0], train=True), plain.run(batches[0], train=True))
    assert_same(weights_of(stepping.module), weights_of(plain.module))
    given = 2
    with pytest.raises(MissingVariableError, match="forward gives no 'critic_loss' to learn from; it gives 'generator"):
        stepping.run(batches[0], train=True)


@pytest.mark.parametrize(
    ("optimizers", "message"),
    [
        pytest.param([], "optimizers: there is no item\n  leave it out, for one AdamW", id="empty"),
        pytest.param(["Adam", "SGD"], "optimizers[1]: another one takes the rest already", id="two rests"),
        pytest.param(["Adam", {"class": "SGD", "match": ".*"}], "optimizers[0]: the others take all", id="no rest"),
        pytest.param([{"class": "SGD", "ndim": 3}], "optimizers[0].ndim: no parameter that it matches has", id="3d"),
        pytest.param(
            [{**GENERATOR, "match": r"generator\.0\..*"}, CRITIC],
            "optimizers: none of them matches generator.2.weight, generator.2.bias\n"
            "  add them to the match of one, or to frozen if nobody is to train them",
            id="unmatched",
        ),
        pytest.param(
            [{**GENERATOR, "match": ".*"}, CRITIC],
            "optimizers[1].match: 'critic.0.weight' is matched by 'generator', too\n"
            "  each parameter belongs to one: narrow a pattern, e.g. by (?!…)",
            id="matched twice",
        ),
        pytest.param(
            [GENERATOR, {**CRITIC, "match": [r"critic\..*", "judge"]}],
            "optimizers[1].match[1]: 'judge' matches the whole name of no parameter",
            id="nothing",
        ),
        pytest.param(
            [GENERATOR, {**CRITIC, "name": "generator"}],
            "optimizers[1].name: there are two of the name 'generator'\n  give each its own name",
            id="name",
        ),
        pytest.param(
            [GENERATOR, {**CRITIC, "every": 0}], "optimizers[1].every: expected whole number >= 1", id="every"
        ),
        pytest.param(
            [GENERATOR, {**CRITIC, "clip_gradient": {"norm": 1, "value": 1}}],
            "optimizers[1].clip_gradient: expected either a value or a norm",
            id="clip",
        ),
        pytest.param(
            [GENERATOR, {**CRITIC, "lr_schedule": {"class": "StepLR"}}],
            "optimizers[1].lr_schedule: StepLR needs the argument 'step_size'",
            id="schedule",
        ),
        pytest.param([GENERATOR, {**CRITIC, "lerning_rate": 1}], "unknown argument 'lerning_rate'", id="misspelt"),
    ],
)
def test_what_is_wrong_is_told_before_the_first_batch(create, optimizers, message):
    """With the item, the parameters and the way out."""
    with pytest.raises(ConfigError) as error:
        create(Gan, **{**ADVERSARIES, "optimizers": optimizers})

    assert message in str(error.value)


def test_two_descriptions_of_a_training_are_refused(create):
    """One optimizer and several, in the configuration or in the class."""

    class Own(emloop_torch.BaseModel):
        def create_optimizer(self):
            return torch.optim.SGD(self.module.parameters())

    with pytest.raises(ConfigError, match="optimizers: there is also 'optimizer'; leave out one of the two"):
        create(Gan, **ADVERSARIES, optimizer="Adam")
    with pytest.raises(ConfigError, match="optimizers: there is also create_optimizer of Model; leave out one"):
        create(Gan, cls=Own, **ADVERSARIES)


def test_a_loss_that_is_not_there_is_named(create, batches):
    """At the first batch, with what there is."""
    model = create(Gan, **{**ADVERSARIES, "optimizers": [{**GENERATOR, "loss": "loss_g"}, CRITIC]})

    with pytest.raises(MissingVariableError, match="forward gives no 'loss_g' to learn from; it gives 'fake', 'gen"):
        model.run(batches[0], train=True)
