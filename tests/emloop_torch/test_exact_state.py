"""Whatever the configuration, training goes on from a state as if it had never stopped; or it says why not."""

from __future__ import annotations

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import emloop_torch  # noqa: E402
from emloop._state.background import HostBuffer  # noqa: E402
from emloop._state.tree import copy_tree, encode_tree, equal_trees  # noqa: E402
from emloop.datasets import StreamWrapper  # noqa: E402
from emloop.errors import SavedModelError, StateError  # noqa: E402
from emloop.saved_models import borrowing, evaluating  # noqa: E402

from .nets import Net, deep  # noqa: E402

CONFIGS = {
    "momentum": {"optimizer": {"class": "SGD", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True}},
    "adagrad": {"optimizer": {"class": "Adagrad", "learning_rate": 0.1}},
    "rmsprop": {"optimizer": {"class": "RMSprop", "centered": True}},
    "amsgrad": {"optimizer": {"class": "AdamW", "amsgrad": True, "betas": [0.8, 0.9]}},
    "groups": {"optimizer": {"class": "Adam", "groups": [{"match": r".*bias", "learning_rate": 0.1}]}},
    "accumulate": {"accumulate": 3},
    "one-cycle": {"lr_schedule": {"class": "OneCycleLR", "max_lr": 0.1, "total_steps": 20, "interval": "batch"}},
    "multi-step": {"lr_schedule": {"class": "MultiStepLR", "milestones": [1, 2], "gamma": 0.5}},
    "restarts": {"lr_schedule": {"class": "CosineAnnealingWarmRestarts", "T_0": 3, "interval": "batch"}},
    "cyclic": {"lr_schedule": {"class": "CyclicLR", "base_lr": 0.01, "max_lr": 0.1, "interval": "batch"},
               "optimizer": {"class": "SGD", "learning_rate": 0.1, "momentum": 0.9}},
    "warm-up": {"lr_schedule": {"class": "ExponentialLR", "gamma": 0.9, "warmup_steps": 9}},
    "bf16": {"precision": "bf16", "clip_gradient": {"norm": 0.1}},
    "fp16": {"precision": "fp16", "clip_gradient": 0.1, "accumulate": 2},
    "monitor": {"monitor": "Linear"},
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("by", ["state", "saved model"])
def test_training_goes_on_to_the_bit(create, batches, config, by):
    """In the middle of an epoch, of an accumulation, of a schedule."""
    model = create(deep, **config)
    stream = StreamWrapper(lambda: batches[:4], name="train")
    for _ in range(2):
        for batch in stream:
            model.run(batch, train=True, stream=stream)
        model.end_epoch()
    model.run(next(stream), train=True, stream=stream)
    if by == "state":
        other = create(deep, **config)
        other.run(batches[0], train=True)
        other.load_state_dict(copy_tree(model.state_dict()))
    else:
        other = create(deep, restore_from=model.save("best"), **config)
    assert equal_trees(model.state_dict(), other.state_dict())
    for batch in batches[5:]:
        expected, found = (one.run(batch, train=True) for one in (model, other))
        assert equal_trees(expected, found)
    assert equal_trees(model.state_dict(), other.state_dict())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_commit_borrows_the_state_and_gives_the_same(create, batches, config):
    """What is lent for the time of a copy is what others get as a copy; training changes neither afterwards."""
    model = create(deep, **config, ema={"decay": 0.9})
    for batch in batches[:3]:
        model.run(batch, train=True)
    expected, buffer = model.state_dict(), HostBuffer()
    with borrowing():
        lent = model.state_dict()
        assert np.shares_memory(lent["parameters"]["body.0.weight"], model.module.body[0].weight.detach().numpy())
        taken = buffer.copy(encode_tree(lent))
    before = encode_tree(copy_tree(expected))

    model.run(batches[3], train=True)

    assert not equal_trees(expected, model.state_dict())
    for found in (taken, encode_tree(expected)):
        assert found.skeleton == before.skeleton
        assert list(found.arrays) == list(before.arrays)
        assert all(equal_trees(found.arrays[place], before.arrays[place]) for place in found.arrays)


def test_who_changes_the_state_that_is_taken_changes_no_training(create, batches):
    """A class that overrides ``state_dict`` owns what it gets, in a commit, too."""

    class Changing(emloop_torch.BaseModel):
        def state_dict(self):
            state = super().state_dict()
            state["parameters"]["body.0.weight"][...] = 0
            return state

    model = create(deep, cls=Changing)
    model.run(batches[0], train=True)
    weight = model.module.body[0].weight.detach().clone()

    with borrowing():
        model.state_dict()

    assert torch.equal(model.module.body[0].weight, weight)


def test_numbers_that_numpy_lacks_survive(create, batches):
    """Parameters of 16 bits are kept to the bit."""
    model = create(lambda: deep().to(torch.bfloat16), outputs=["logits"])
    model.run({**batches[0], "points": batches[0]["points"].astype(float)}, train=True)
    other = create(lambda: deep().to(torch.bfloat16), outputs=["logits"])
    other.load_state_dict(copy_tree(model.state_dict()))

    for batch in batches[1:4]:
        wide = {**batch, "points": batch["points"].astype(float)}
        assert equal_trees(model.run(wide, train=True), other.run(wide, train=True))


def test_a_restored_training_obeys_a_changed_configuration(create, batches, caplog):
    """A rate that a schedule had moved moves on by the same factor; what did not change stays."""
    caplog.set_level(logging.INFO)
    schedule = {"class": "ExponentialLR", "gamma": 0.5, "interval": "batch"}
    before = {"class": "Adam", "learning_rate": 0.1, "weight_decay": 0.0}
    model = create(deep, optimizer=before, lr_schedule=schedule)
    model.run(batches[0], train=True)
    after = {"class": "Adam", "learning_rate": 0.2, "weight_decay": 0.01}
    restored = create(deep, restore_from=model.save("best"), optimizer=after, lr_schedule=schedule)

    assert restored.get_variable("learning_rate") == pytest.approx(0.1)
    (group,) = restored.state_dict()["training"]["optimizer"]["groups"]
    assert group["weight_decay"] == 0.01
    assert "learning_rate follows the configuration: 0.1 instead of 0.05" in caplog.text
    restored.run(batches[1], train=True)
    assert restored.get_variable("learning_rate") == pytest.approx(0.05)


def test_what_a_hook_has_set_survives_an_unchanged_configuration(create, batches):
    """Whoever changed the rate, it is part of the state."""
    model = create(deep)
    model.run(batches[0], train=True)
    model.set_variable("learning_rate", 0.0125)

    assert create(deep, restore_from=model.save("best")).get_variable("learning_rate") == 0.0125


def test_an_optimizer_made_by_code_is_made_again_without_the_code(create, batches):
    """Its class is PyTorch's own, and its groups are part of the state."""

    class Custom(emloop_torch.BaseModel):
        def create_optimizer(self):
            heads, others = [self.module.body[4].bias], list(self.module.body[0].parameters())
            return torch.optim.RMSprop([{"params": heads, "lr": 0.1}, {"params": others}], lr=0.01)

    model = create(deep, cls=Custom)
    model.run(batches[0], train=True)
    restored = create(restore_from=model.save("best"))

    for batch in batches[1:]:
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    assert equal_trees(model.state_dict(), restored.state_dict())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Net, "parameters: it lacks body.bias, body.weight, the model lacks body.0.bias"),
        (
            lambda: Net(torch.nn.Sequential(*list(deep().body)[:4], torch.nn.Linear(6, 3))),
            "body.4.weight: float32 [2, 6] there, float32 [3, 6] in the model",
        ),
        (lambda: deep().double(), "body.0.weight: float32 [6, 3] there, float64 [6, 3] in the model"),
    ],
    ids=["names", "shapes", "dtypes"],
)
def test_a_state_of_another_network_is_refused(create, batches, other, message):
    """And the model stays as it was."""
    model = create(deep)
    model.run(batches[0], train=True)
    wrong = create(other)
    before = copy_tree(wrong.state_dict())

    with pytest.raises(StateError) as error:
        wrong.load_state_dict(model.state_dict())
    assert message in str(error.value)
    assert equal_trees(before, wrong.state_dict())
    with pytest.raises(SavedModelError, match="the state is of another model"):
        create(other, restore_from=model.save("best"))


def test_a_state_of_another_optimizer_is_refused(create, batches):
    """It says which the two are."""
    model = create(deep)
    model.run(batches[0], train=True)

    with pytest.raises(StateError, match="the state is of the optimizer AdamW, the configuration describes SGD"):
        create(deep, optimizer={"class": "SGD"}).load_state_dict(model.state_dict())


def test_what_a_module_keeps_beside_tensors_is_part_of_the_state(create, batches):
    """As far as it says so, by ``get_extra_state``."""

    class Counting(Net):
        count = 0

        def forward(self, points, labels):
            self.count += self.training
            return super().forward(points, labels)

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    model = create(Counting)
    for batch in batches[:3]:
        model.run(batch, train=True)
    restored = create(Counting, restore_from=model.save("best"))

    assert restored.module.count == model.module.count == 3


def test_nobody_else_s_random_numbers_are_drawn(create, batches):
    """Neither does the model change what others draw, nor the other way round."""
    model, other = create(deep), create(deep)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = model.run(batches[0], train=True)
    assert torch.equal(expected, torch.rand(3))
    torch.rand(100)
    second = other.run(batches[0], train=True)
    assert equal_trees(first, second)


def test_evaluations_draw_numbers_of_their_own(create, batches):
    """Each batch others, but the same in every process; a training that evaluates more stays the same."""

    class Noisy(Net):
        def predict(self, points):
            return {"logits": self.body(points + torch.randn_like(points))}

    model, other = create(Noisy), create(Noisy)
    seen = [model.run(batches[0], train=False)["loss"] for _ in range(2)]
    assert not np.array_equal(*seen)
    assert equal_trees(seen, [other.run(batches[0], train=False)["loss"] for _ in range(2)])
    model.run(batches[0], train=False)
    assert equal_trees(model.run(batches[1], train=True), other.run(batches[1], train=True))


@pytest.mark.parametrize("by", ["the-core", "no-dataset-and-no-run"])
def test_a_model_that_is_restored_to_evaluate_makes_its_optimizer_when_it_is_asked_for(
    create, batches, monkeypatch, by
):
    """Not before; its state is handed on untouched, and training goes on to the bit all the same."""
    import emloop_torch._batches as module  # noqa: PLC0415

    made = []
    build = module.build_updates
    monkeypatch.setattr(module, "build_updates", lambda *given: made.append(1) or build(*given))
    settings = {"make": deep, "optimizer": {"class": "Adam", "learning_rate": 0.01}}
    first = create(**settings)
    for batch in batches[:4]:
        first.run(batch, train=True)
    path = first.save("half")
    made.clear()

    with evaluating(by == "the-core"):
        restored = create(**settings, restore_from=path, **({} if by == "the-core" else {"log_dir": None}))
    restored.run(batches[4], train=False)
    assert equal_trees(restored.state_dict()["training"], first.state_dict()["training"])
    assert made == []

    first.run(batches[4], train=False)
    for batch in batches[4:]:
        first.run(batch, train=True)
        restored.run(batch, train=True)
    assert made == [1]
    assert equal_trees(restored.state_dict(), first.state_dict())
