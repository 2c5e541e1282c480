"""Rules say which parameters an optimizer, a decay and a share of the learning rate are for."""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from emloop._state.tree import equal_trees  # noqa: E402
from emloop.errors import ConfigError  # noqa: E402

from .nets import deep  # noqa: E402

MATRICES = [
    {"match": ".*weight", "ndim": 2, "class": "Muon", "learning_rate": 0.05},
    {"class": "AdamW", "learning_rate": 0.01},
]
ADAMW = {"class": "AdamW", "learning_rate": 0.01, "weight_decay": 0.5}


class Tower(nn.Module):
    """Numbered layers between a first and a last one; a normalisation has two axes."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.first = nn.Linear(3, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.norm, self.head = nn.LayerNorm([2, 2]), nn.Linear(4, 2)

    def forward(self, points, labels):
        values = self.first(points * self.scale)
        for layer in self.layers:
            values = values + layer(values).tanh()
        scores = self.head(self.norm(values.reshape(-1, 2, 2)).flatten(1))
        return {"scores": scores, "loss": functional.cross_entropy(scores, labels, reduction="none")}


def trained(model, batches):
    for batch in batches:
        model.run(batch, train=True)
    return {name: value.detach().clone() for name, value in model.module.named_parameters()}


def by_hand(create, batches, optimizer_of, make=Tower):
    """What a loop of one's own makes of the same net."""
    net = create(make).module.train()
    optimizer = optimizer_of(net)
    for batch in batches:
        net.zero_grad()
        net(**{name: torch.from_numpy(value) for name, value in batch.items()})["loss"].mean().backward()
        optimizer.step()
    return dict(net.named_parameters())


def assert_same(expected, found):
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_one_takes_the_matrices_and_another_the_rest(create, batches, goes_on_exactly):
    """As if both named every parameter; what goes on does so to the bit."""
    named = [
        {**MATRICES[0], "match": [r"body\.0\.weight", r"body\.4\.weight"]},
        {**MATRICES[1], "match": r"(?!body\.[04]\.weight).*"},
    ]
    models = [create(deep, optimizers=described) for described in (named, MATRICES, MATRICES[::-1])]
    one, *others = (trained(model, batches[:4]) for model in models)
    for other in others:
        assert_same(one, other)
    goes_on_exactly(deep, optimizers=MATRICES)


def test_biases_and_normalisations_do_not_decay(create, batches):
    """By one word, as two groups written by hand; a group keeps its own decay for what is left of it."""

    def optimizer_of(net):
        spared = {"scale", "norm.weight", *(name for name, _ in net.named_parameters() if name.endswith("bias"))}
        kept = [p for n, p in net.named_parameters() if n not in spared]
        groups = [{"params": [p for n, p in net.named_parameters() if n in spared], "weight_decay": 0.0}]
        return torch.optim.AdamW([*groups, {"params": kept}], lr=0.01, weight_decay=0.5)

    expected = by_hand(create, batches, optimizer_of)
    assert_same(expected, trained(create(Tower, optimizer={**ADAMW, "no_decay": True}), batches))
    groups = [{"match": r"head\..*", "weight_decay": 0.2}]
    model = create(Tower, optimizer={**ADAMW, "no_decay": True, "groups": groups})
    decays = {n: group["weight_decay"] for group in model.state_dict()["training"]["optimizer"]["groups"]
              for n in group["names"]}  # fmt: skip
    assert [0.2, 0.0, 0.5, 0.0] == [
        decays[name] for name in ("head.weight", "head.bias", "first.weight", "norm.weight")
    ]


@pytest.mark.parametrize("described", [0.5, {"rate": 0.5, "match": r"layers\.(\d+)\..*"}], ids=["found", "named"])
def test_layers_far_from_the_output_learn_more_slowly(create, batches, described):
    """By the distance: head and norm as configured, the last layer half of it, what is before the first a sixteenth."""
    depths = {"scale": 4, "first": 4, "layers.0": 3, "layers.1": 2, "layers.2": 1, "norm": 0, "head": 0}

    def optimizer_of(net):
        groups = [
            {"params": [p for n, p in net.named_parameters() if n.startswith(prefix)], "lr": 0.01 * 0.5**depth}
            for prefix, depth in depths.items()
        ]
        return torch.optim.AdamW(groups, weight_decay=0.5)

    model = create(Tower, optimizer={**ADAMW, "layer_decay": described})
    assert_same(by_hand(create, batches, optimizer_of), trained(model, batches))
    assert model.get_variable("learning_rate") == 0.01


RULES = {
    "all of them": {"optimizer": {**ADAMW, "no_decay": True, "layer_decay": 0.5,
                                  "groups": [{"match": r"head\..*", "learning_rate": 0.1}]}},
    "of two": {"optimizers": [{**MATRICES[0], "layer_decay": 0.5}, {**MATRICES[1], "no_decay": True}]},
    "scheduled": {
        "optimizer": {**ADAMW, "layer_decay": 0.5},
        "lr_schedule": {"class": "OneCycleLR", "max_lr": 0.1, "total_steps": 20, "interval": "batch"},
    },
}  # fmt: skip


@pytest.mark.parametrize("config", RULES.values(), ids=RULES)
def test_rules_go_on_to_the_bit(goes_on_exactly, create, manifest, tmp_path, config):
    """With the source, without it, and from a state; without it, new rules find the same parameters."""
    model = goes_on_exactly(Tower, **config)

    assert manifest(tmp_path / "model_best")["rung"] == "exported"
    for rules in (each for each in RULES.values() if each.keys() & {"optimizer"} == config.keys() & {"optimizer"}):
        described = create(Tower, **rules), create(restore_from=model.save("last"), **rules)
        groups = [one._updates.learners[0].optimizer.param_groups for one in described]
        shapes = [[[tuple(p.shape) for p in group["params"]] for group in each] for each in groups]
        assert shapes[0] == shapes[1]


def test_a_schedule_that_names_a_rate_keeps_the_ratio_of_the_groups(create, batches):
    """``max_lr`` is that of the last group, as ``learning_rate`` is."""
    schedule = {"class": "OneCycleLR", "max_lr": 0.4, "total_steps": 10, "interval": "batch", "pct_start": 0.5}
    model = create(Tower, optimizer={**ADAMW, "layer_decay": 0.5}, lr_schedule=schedule)
    trained(model, batches[:5])

    rates = [group["lr"] for group in model.state_dict()["training"]["optimizer"]["groups"]]
    np.testing.assert_allclose([rate / rates[-1] for rate in rates], [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
    assert rates[-1] > 0.3


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"class": "Rprop", "no_decay": True}, "optimizer.no_decay: Rprop has no weight_decay to spare anything from"),
        ({**ADAMW, "layer_decay": 0}, "optimizer.layer_decay: expected number > 0 and <= 1"),
        (
            {**ADAMW, "layer_decay": {"rate": 0.5, "match": r"layers\..*"}},
            "optimizer.layer_decay.match: expected one group that is a number, got () of 'layers.0.weight'",
        ),
        ({**ADAMW, "groups": [{"ndim": 2.5}]}, "optimizer.groups[0].ndim: expected whole number >= 0"),
        ({**ADAMW, "groups": [{"nidm": 2}]}, "optimizer.groups[0]: unknown argument 'nidm'; did you mean 'ndim'?"),
        ({**ADAMW, "groups": [{"match": ".*", "ndim": 2}, {"ndim": 2}]}, "optimizer.groups[1]: the groups before it"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told(create, described, message):
    """With its place and what there is."""
    with pytest.raises(ConfigError) as error:
        create(Tower, optimizer=described)

    assert message.replace("; did", "\n  did") in str(error.value)


@pytest.mark.parametrize(("make", "there"), [(deep, "body"), (None, "several sequences of numbered parts: one, two")])
def test_layers_that_nobody_can_tell_are_to_be_named(create, make, there):
    """Where nothing is numbered, or two parts are alike."""

    def twins():
        net = Tower()
        net.one, net.two = (nn.ModuleList(nn.Linear(1, 1) for _ in range(4)) for _ in "ab")
        return net

    if make is None:
        with pytest.raises(ConfigError, match=r"layer_decay: the model has several sequences .*: one\., two\."):
            create(twins, optimizer={**ADAMW, "layer_decay": 0.5})
    else:
        assert there in str(list(create(make, optimizer={**ADAMW, "layer_decay": 0.5}).state_dict()["parameters"]))


LION = '''
import torch


class Lion(torch.optim.Optimizer):
    """The sign of a mean of gradients."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                slow, fast = group["betas"]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(mean.lerp(p.grad, 1 - slow).sign(), alpha=-group["lr"])
                mean.lerp_(p.grad, 1 - fast)
'''


@pytest.fixture(params=["site-packages", "project"])
def lions(request, tmp_path, monkeypatch):
    """A package that has an optimizer: installed, or of the project itself."""
    place = tmp_path / request.param
    place.mkdir()
    (place / "lions.py").write_text(LION)
    monkeypatch.syspath_prepend(place)
    yield request.param
    sys.modules.pop("lions", None)


def test_an_optimizer_of_others_goes_on_to_the_bit(lions, create, batches, manifest):
    """By its full name, with rules; without the model's source if it is in an installed package."""
    described = {
        "class": "lions.Lion",
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "no_decay": True,
        "betas": [0.8, 0.9],
    }
    model = create(Tower, optimizer=described)
    trained(model, batches[:4])
    path = model.save("best")
    others = [create(Tower, restore_from=path, optimizer=described)]
    if lions == "site-packages":
        assert manifest(path)["rung"] == "exported"
        others += [create(restore_from=path, optimizer=described), create(restore_from=path)]
    else:
        assert "is trained by lions.Lion" in manifest(path)["reason"]
    for batch in batches[4:]:
        expected = model.run(batch, train=True)
        for other in others:
            assert equal_trees(expected, other.run(batch, train=True))
    for other in others:
        assert equal_trees(model.state_dict()["training"], other.state_dict()["training"])


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_an_equal_average_is_that_of_pytorch(create, batches, buffers):
    """``AveragedModel`` of the ends of the epochs from ``start`` on; before, evaluations use the weights themselves."""
    config = {"optimizer": {"class": "SGD", "learning_rate": 0.1}, "outputs": ["logits", "loss"]}
    model, plain = create(deep, swa={"start": 2, "buffers": buffers}, **config), create(deep, **config)
    average = torch.optim.swa_utils.AveragedModel(plain.module, use_buffers=buffers == "average")
    for epoch in range(1, 5):
        for batch in batches[:3]:
            assert equal_trees(plain.run(batch, train=True), model.run(batch, train=True))
            model.run(batches[7], train=False)
        plain.end_epoch()
        model.end_epoch()
        if epoch >= 2:
            average.update_parameters(plain.module)
        other = create(deep, **config)
        other.module.load_state_dict((average.module if epoch >= 2 else plain.module).state_dict())
        if epoch >= 2 and buffers == "copy":
            for name, value in plain.module.named_buffers():
                other.module.get_buffer(name).copy_(value)
        assert equal_trees(other.run(batches[7], train=False), model.run(batches[7], train=False)), epoch
    path = model.save("best")
    for make in (deep, None):
        restored = create(make, restore_from=path, swa={"start": 2, "buffers": buffers}, **config)
        assert equal_trees(model.run(batches[7], train=False), restored.run(batches[7], train=False))


def test_an_equal_average_goes_on_to_the_bit(goes_on_exactly, create, batches):
    """Amid an epoch, before its start and after; one that is asked for later begins with the next epoch's end."""
    model = goes_on_exactly(deep, swa=2, outputs=["loss", "logits"])
    later = create(deep, restore_from=create(deep).save("plain"), swa=1)
    expected = later.run(batches[0], train=False)
    later.end_epoch()
    assert equal_trees(expected, later.run(batches[0], train=False))
    assert model.state_dict()["averaged"] == 3
    with pytest.raises(ConfigError, match="swa: there is another average of the whole model"):
        create(deep, swa=2, ema={"decay": 0.9})
