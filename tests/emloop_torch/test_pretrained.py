"""Networks of others: functions that make them, inputs by name, outputs as an object, adapters, parts thawed later."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import emloop_torch  # noqa: E402
from emloop._config.check import check_config  # noqa: E402
from emloop._state.random import use_seed  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop._support.trust import untrusted  # noqa: E402
from emloop.api import create_model  # noqa: E402
from emloop.errors import BatchError, ConfigError, UntrustedError  # noqa: E402

PLANTS = '''
from types import SimpleNamespace

import torch
from torch import nn


class Plan:
    def __init__(self, width=3, labels=2):
        self.width, self.labels = width, labels


class Fern(nn.Module):
    """Takes its inputs by name, as ``transformers`` would have it."""

    def __init__(self, plan):
        super().__init__()
        self.stem, self.leaves = nn.Linear(plan.width, 4), nn.Linear(4, plan.labels)

    @classmethod
    def from_plan(cls, plan, *, scale: float = 1.0):
        fern = cls(plan)
        fern.scale = scale
        return fern

    def forward(self, points=None, shift=None, labels=None):
        points = points if shift is None else points + shift
        logits = self.leaves(self.stem(points).relu())
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SimpleNamespace(loss=loss, logits=logits, hidden=None)


def grow(width: int, labels: int = 2) -> nn.Module:
    return Fern(Plan(width, labels))


def seeded(path: str):
    with open(path):
        return grow(3)


def wither(width: int):
    raise OSError("We could not connect to 'https://example.org'.\\nTry again.\\n\\nMuch more.")


def weed():
    return 3
'''
FERN = {"class": "plants.Fern.from_plan", "plan": {"class": "plants.Plan", "width": 3}}
CONFIG = """
dataset: {class: plants_data.Data}
model:
  class: emloop_torch.Supervised
  net: %s
  inputs: [points, labels]
  outputs: [loss]
"""


@pytest.fixture
def plants(tmp_path, monkeypatch):
    """A package of networks."""
    (tmp_path / "plants.py").write_text(PLANTS)
    data = "class Data:\n    def __init__(self, config): ...\n    def train_stream(self): ...\n"
    (tmp_path / "plants_data.py").write_text(data)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("plants", "plants_data"):
        sys.modules.pop(name, None)


@pytest.fixture
def supervised(create):
    """Create a network that a configuration describes."""
    return lambda net, **config: create(cls=emloop_torch.Supervised, net=net, **config)


@pytest.mark.parametrize("net", [FERN, {"class": "plants.grow", "width": 3}], ids=["class method", "function"])
def test_a_function_stands_for_a_class(plants, supervised, batches, net):
    """Its network trains as the one of the class does, with a loss for each example."""
    of_class = {"class": "plants.Fern", "plan": FERN["plan"]}
    model, other = (supervised(each, outputs=["scores", "loss"]) for each in (net, of_class))
    for batch in batches[:3]:
        found = model.run(batch, train=True)
        assert equal_trees(other.run(batch, train=True), found)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(found["scores"]), torch.from_numpy(batches[2]["labels"]), reduction="none"
    )
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("{class: plants.grow, widht: 3}", "model.net: unknown argument 'widht'"),
        ("{class: plants.grow}", "model.net: grow needs the argument 'width'"),
        ("{class: plants.grow, width: wide}", "model.net.width: expected whole number, got 'wide'"),
        ("{class: plants.Fern.from_plan, plan: {class: plants.Plan, hight: 3}}", "net.plan: unknown argument 'hight'"),
        ("{class: plants.Fern.from_plan, scale: 2}", "model.net: Fern.from_plan needs the argument 'plan'"),
        ("{class: plants.grwo, width: 3}", "plants has no 'grwo'"),
    ],
)
def test_arguments_of_functions_are_checked_before_anything_is_imported(plants, net, message):
    """By their signatures, with the place."""
    (plants / "config.yaml").write_text(CONFIG % net)

    problems = check_config(str(plants / "config.yaml"))[1]

    assert [True] == [message in f"{problem.label}: {problem.message}" for problem in problems]
    assert "plants" not in sys.modules


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"class": "plants.grow", "widht": 3}, "net: unknown argument 'widht'"),
        ("plants.weed", "net: expected what makes a torch.nn.Module, got a int"),
        (
            {"class": "plants.wither", "width": 3},
            "net: wither: We could not connect to 'https://example.org'. Try again.\n  what is not on this machine",
        ),
    ],
)
def test_what_a_function_cannot_make_is_told_in_a_line(plants, supervised, net, message):
    """Without the many lines that a package may say."""
    with pytest.raises(ConfigError) as error:
        supervised(net)

    assert message in str(error.value)
    assert "Much more" not in str(error.value)


def test_functions_are_not_called_for_a_stranger(plants, supervised):
    """Nor are objects of any class made."""
    for net in ("torch.load", {"class": "Linear", "in_features": {"class": "torch.Generator"}, "out_features": 1}):
        with untrusted(), pytest.raises(UntrustedError):
            supervised(net)


def test_inputs_are_features_by_name_and_the_rest_is_the_target(plants, supervised, batches):
    """In any order; without a target it predicts; what cannot be told is refused."""
    shifted = [{**batch, "shift": np.ones((8, 3), np.float32), "truth": batch["labels"]} for batch in batches]
    orders = (["labels", "shift", "points"], ["points", "shift", "truth"])
    models = [supervised(FERN, inputs=names, outputs=["loss", "scores"]) for names in orders]
    for batch in shifted[:3]:
        one, other = (model.run(batch, train=True) for model in models)
        assert equal_trees(one, other)
    alone = supervised(FERN, inputs=["points", "shift"], outputs=["predictions", "scores"])
    alone.module.load_state_dict(models[0].module.state_dict())
    expected = models[0].predict(shifted[3])
    assert equal_trees(expected["scores"], alone.run(shifted[3], train=False)["scores"])
    with pytest.raises(ConfigError, match=r"inputs: expected features.*\n  Fern takes: points, shift, labels"):
        supervised(FERN, inputs=["points", "truth", "labels"])


def test_a_network_may_tell_its_own_loss(plants, supervised, batches):
    """The mean of the batch, where only the network knows what it is made for."""
    importlib.import_module("plants").Fern.loss_type = "ForFerns"
    model = supervised(FERN, outputs=["loss", "scores"])
    found = model.run(batches[0], train=True)

    expected = torch.nn.functional.cross_entropy(
        *(torch.from_numpy(v) for v in (found["scores"], batches[0]["labels"]))
    )
    np.testing.assert_allclose(found["loss"], np.full(8, expected.numpy()), rtol=1e-6)
    model.module.net.forward = lambda **_: SimpleNamespace(hidden=1)
    with pytest.raises(BatchError, match="Fern gives no scores, as a tensor or as 'logits', but a SimpleNamespace"):
        model.run(batches[0], train=False)


THAWED = {"frozen": [r"net\.stem\.bias", {"match": r"net\.stem\..*", "until": 2}]}


def test_a_part_is_thawed_after_an_epoch(plants, supervised, batches):
    """Also by a training that was resumed before or after; what is frozen for good stays so."""
    model = supervised(FERN, **THAWED)
    stem = model.module.net.stem
    others = {}
    for epoch in range(1, 5):
        before = stem.weight.detach().clone()
        for number, batch in enumerate(batches[:3]):
            others |= {(epoch, number): (copy_tree(model.state_dict()), supervised(FERN, **THAWED))}
            for state, other in others.values():
                if state is not None:
                    other.load_state_dict(state)
            others = {key: (None, other) for key, (_, other) in others.items()}
            expected = model.run(batch, train=True)
            assert all(equal_trees(expected, other.run(batch, train=True)) for _, other in others.values())
        assert torch.equal(before, stem.weight) is (epoch <= 2)
        for each in (model, *(other for _, other in others.values())):
            each.end_epoch()
    assert not stem.bias.requires_grad
    for _, other in others.values():
        assert equal_trees(model.state_dict(), other.state_dict())


def test_what_a_hook_freezes_again_stays_frozen(plants, supervised, batches):
    """After a resume, too; an epoch that the configuration has brought forward counts at the next end of one."""
    model = supervised(FERN, **THAWED)
    for _ in range(2):
        model.end_epoch()
    assert model.module.net.stem.weight.requires_grad
    model.module.net.stem.weight.requires_grad_(False)
    resumed = supervised(FERN, **THAWED)
    resumed.load_state_dict(copy_tree(model.state_dict()))
    resumed.end_epoch()
    assert not resumed.module.net.stem.weight.requires_grad
    sooner = supervised(FERN, frozen=[THAWED["frozen"][0], {**THAWED["frozen"][1], "until": 1}])
    sooner.load_state_dict(copy_tree(model.state_dict()))
    sooner.end_epoch()
    assert sooner.module.net.stem.weight.requires_grad


@pytest.mark.parametrize("gone", ["package", "file"])
def test_what_made_a_network_may_be_gone_when_it_is_restored(plants, batches, caplog, gone):
    """Its program stands in for it, to evaluate and to train, and a warning says why; a fresh one is refused."""
    (plants / "seed").touch()
    names = {"inputs": ["points", "labels"], "outputs": ["loss", "predictions"]}
    net = {"class": "plants.seeded", "path": "seed"}
    config = {"model": {"class": "emloop_torch.Supervised", "net": net, "optimizer": "SGD", "device": "cpu", **names}}
    with use_seed(3):
        model = create_model(config, str(plants))
    model.run(batches[0], train=True)
    path = model.save("best")
    sys.modules.pop("plants")
    (plants / ("plants.py" if gone == "package" else "seed")).unlink()
    importlib.invalidate_caches()
    with use_seed(3):
        restored = create_model(config, str(plants / "more"), restore_from=path)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    why = "there is no module 'plants'" if gone == "package" else "seeded: [Errno 2] No such file or directory: 'seed'"
    assert warning.startswith("emloop_torch.Supervised is restored as emloop_torch.")
    assert warning.endswith(why)
    for batch in batches[1:4]:
        assert equal_trees(model.run(batch, train=False), restored.run(batch, train=False))
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    with pytest.raises(ConfigError):
        create_model(config, str(plants / "fresh"))


BERT = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
        "max_position_embeddings": 16}  # fmt: skip
GPT = {"vocab_size": 30, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
LORA = {"target_modules": ["query", "value"], "r": 2, "modules_to_save": ["classifier"]}


def transformer(purpose, config="Bert", **arguments):
    sizes = GPT if config == "GPT2" else BERT
    described = {"class": f"transformers.{config}Config", **sizes, **arguments}
    return {"class": f"transformers.AutoModelFor{purpose}.from_config", "config": described}


def texts(labels, n=6, t=5):
    rng = np.random.default_rng(n)
    mask = np.ones((n, t), np.int64)
    mask[:3, t - 2 :] = 0
    return {"input_ids": rng.integers(1, 30, (n, t)), "attention_mask": mask, "labels": labels(rng, n, t)}


PURPOSES = {
    "classes": (transformer("SequenceClassification", num_labels=3), lambda rng, n, t: rng.integers(0, 3, n)),
    "number": (
        transformer("SequenceClassification", num_labels=1),
        lambda rng, n, t: rng.normal(size=n).astype(np.float32),
    ),
    "several": (
        transformer("SequenceClassification", num_labels=3, problem_type="multi_label_classification"),
        lambda rng, n, t: rng.integers(0, 2, (n, 3)).astype(np.float32),
    ),
    "tokens": (
        transformer("TokenClassification", num_labels=3),
        lambda rng, n, t: np.where(rng.random((n, t)) < 0.4, -100, rng.integers(0, 3, (n, t))),
    ),
    "next tokens": (transformer("CausalLM", "GPT2"), lambda rng, n, t: rng.integers(0, 30, (n, t))),
}


@pytest.mark.parametrize(("net", "labels"), PURPOSES.values(), ids=PURPOSES)
def test_the_loss_of_each_example_adds_up_to_that_of_the_network(create, net, labels):
    """Weighed by what counts: for every purpose the weighted mean is what ``transformers`` computes itself."""
    pytest.importorskip("transformers")
    names = ["input_ids", "attention_mask", "labels"]
    model = create(cls=emloop_torch.Supervised, net=net, inputs=names, outputs=["loss", "scores", "predictions"])
    batch = texts(labels)
    found = model.run(batch, train=False)

    with torch.no_grad():
        expected = model.module.net.eval()(**{name: torch.as_tensor(value) for name, value in batch.items()}).loss
    weight = np.asarray(found.get("loss_weight", np.ones(6)), np.float64)
    assert found["loss"].shape == (6,)
    np.testing.assert_allclose((found["loss"] * weight).sum() / weight.sum(), expected, rtol=1e-5)


def test_adapters_are_trained_in_place_of_the_network(create, manifest):
    """Only they and the head move; resumed, restored without source, and predicting, to the bit."""
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    names = ["input_ids", "attention_mask", "labels"]
    config = {"inputs": names, "outputs": ["loss", "predictions"], "lora": LORA}
    net, labels = PURPOSES["classes"]

    def make(**more):
        return create(cls=emloop_torch.Supervised, net=net, **config, **more)

    model, batch = make(), texts(labels)
    before = {name: value.detach().clone() for name, value in model.module.named_parameters()}
    for _ in range(2):
        model.run(batch, train=True)
    moved = {name for name, value in model.module.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all("lora_" in name or "classifier" in name for name in moved)
    path = model.save("best")
    assert manifest(path)["rung"] == "exported"
    with use_seed(5):
        others = [make(restore_from=path), create(restore_from=path, **config)]
    for n in (6, 4, 1):
        expected = model.run(texts(labels, n), train=True)
        for other in others:
            assert equal_trees(expected, other.run(texts(labels, n), train=True))
    for other in others:
        assert equal_trees(model.state_dict()["parameters"], other.state_dict()["parameters"])
        assert equal_trees(model.predict(batch), other.predict(batch))


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"target_modules": ["qerry"]}, "lora: Target modules {'qerry'} not found"),
        ({**LORA, "modules_to_save": ["head"]}, "lora.modules_to_save: the model has no module 'head'"),
        ({"r": 2}, "lora: LoRA needs the argument 'target_modules'"),
        ({**LORA, "rank": 2}, "lora: unknown argument 'rank'"),
    ],
)
def test_what_is_wrong_with_adapters_is_told(create, lora, message):
    """With what the network has."""
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    with pytest.raises(ConfigError) as error:
        create(
            cls=emloop_torch.Supervised,
            net=PURPOSES["classes"][0],
            inputs=["input_ids", "labels"],
            outputs=["loss"],
            lora=lora,
        )

    assert message.replace("LoRA", "Lora") in str(error.value)


def test_a_name_without_a_network_is_told_at_once(create, monkeypatch):
    """Nothing is asked for again and again where the hub has no address."""
    pytest.importorskip("transformers")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    net = {
        "class": "transformers.AutoModelForSequenceClassification.from_pretrained",
        "pretrained_model_name_or_path": "nobody/has-this",
    }
    with pytest.raises(ConfigError) as error:
        create(cls=emloop_torch.Supervised, net=net, inputs=["input_ids", "labels"], outputs=["loss"])
    place, network, folder = str(error.value).splitlines()
    assert place.startswith("net: AutoModelForSequenceClassification.from_pretrained: We couldn't connect to ")
    assert network.startswith("  what is not on this machine needs a network: ")
    assert folder.startswith("  there is no file or directory 'nobody/has-this' in ")
    assert constants.HF_HUB_OFFLINE is False
