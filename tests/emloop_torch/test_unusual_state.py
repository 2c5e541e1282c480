"""State in unusual places: it is kept, or said to be lost."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import dump_tree, equal_trees, load_tree  # noqa: E402
from emloop.errors import BatchError, ConfigError, StateError  # noqa: E402

from .nets import Net  # noqa: E402


def stored(model):
    """The state of a model, by way of the files of a commit."""
    return load_tree(*dump_tree(model.state_dict()))


@pytest.mark.parametrize(
    ("group", "remembered", "message"),
    [
        ({"capturable": float("nan")}, {}, "optimizer's group: the state does not fit; capturable: "),
        ({"capturable": True}, {}, "a group of the optimizer's state is capturable, and has parameters on the CPU"),
        ({"foreach": "x"}, {}, "optimizer's group: the state does not fit; foreach: "),
        ({}, {"step": True}, "step: bool instead of one number in a tensor"),
        ({}, {"step": 3}, "step: int instead of one number in a tensor"),
        ({}, {"step": torch.tensor(3j).numpy()}, "step: Tensor instead of one number in a tensor"),
    ],
)
def test_what_would_fail_in_the_next_step_is_no_state(create, batches, group, remembered, message):
    """It is refused when it is taken up, so that a resume ends in a line."""
    model = create(Net, optimizer="Adam")
    model.run(batches[0], train=True)
    state = stored(model)
    optimizer = state["training"]["optimizer"]
    optimizer["groups"][0] |= group
    optimizer["state"]["body.bias"] |= remembered

    with pytest.raises(StateError) as refused:
        create(Net, optimizer="Adam").load_state_dict(state)

    assert message in str(refused.value)


class Pair(nn.Module):
    """One network that makes points up, and another that tells them from real ones."""

    def __init__(self):
        super().__init__()
        self.maker, self.judge = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, points):
        made = self.maker(torch.randn(points.shape[0], 2))
        return {"made": made, "loss": functional.softplus(-self.judge(made))[:, 0]}


class Adversaries(emloop_torch.BaseModel):
    """Two networks with an optimizer each."""

    def create_model(self):
        return Pair()

    def create_optimizer(self):
        self.judges = optim.Adam(self.module.judge.parameters(), lr=0.01)
        return optim.Adam(self.module.maker.parameters(), lr=0.01)

    def training_step(self, batch):
        made = self.compute(batch)["made"].detach()
        self.judges.zero_grad()
        judged = functional.softplus(self.module.judge(made)) + functional.softplus(-self.module.judge(batch["points"]))
        judged.mean().backward()
        self.judges.step()
        outputs = self.compute(batch)
        self.update(outputs["loss"])
        return outputs


def test_every_optimizer_of_a_model_is_part_of_its_state(create, batches):
    """Two adversaries, each with its own, go on to the bit."""
    model = create(cls=Adversaries, inputs=["points"])
    for batch in batches[:3]:
        model.run(batch, train=True)
    resumed = create(cls=Adversaries, inputs=["points"])
    resumed.load_state_dict(stored(model))

    for batch in batches[3:]:
        assert equal_trees(model.run(batch, train=True), resumed.run(batch, train=True))
    assert equal_trees(model.state_dict(), resumed.state_dict())


def test_an_optimizer_that_cannot_be_restored_is_told(create, batches, caplog):
    """One that is made only when the training is under way; one that the state has and the model has not."""

    class Late(Adversaries):
        def create_optimizer(self):
            return optim.Adam(self.module.maker.parameters(), lr=0.01)

        def training_step(self, batch):
            if not hasattr(self, "judges"):
                self.judges = optim.Adam(self.module.judge.parameters(), lr=0.01)
            return super().training_step(batch)

    model = create(cls=Late, inputs=["points"])
    model.run(batches[0], train=True)
    model.state_dict()
    model.state_dict()

    assert caplog.text.count("Late.judges is made too late to be restored") == 1
    state = create(cls=Adversaries, inputs=["points"]).state_dict()
    with pytest.raises(StateError, match="the state has an optimizer 'judges', which Late has not"):
        create(cls=Late, inputs=["points"]).load_state_dict(state)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda _: None, r"create_optimizer of Model must return a torch\.optim\.Optimizer, got None"),
        (
            lambda model: optim.SGD([*model.module.parameters(), nn.Parameter(torch.zeros(2, 5))]),
            r"the optimizer has parameters that self\.module has not, so no state would hold them: of shape \[2, 5\]",
        ),
    ],
    ids=["none", "strange-parameters"],
)
def test_what_create_optimizer_returns_is_looked_at(create, made, message):
    """Before the first batch."""
    with pytest.raises(ConfigError, match=message):
        create(Net, cls=type("Model", (emloop_torch.BaseModel,), {"create_optimizer": made}))


class Growing(Net):
    """Remembers all points that it has seen in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(0, 3))

    def predict(self, points):
        if self.training:
            self.seen = torch.cat([self.seen, points.detach()])
        return super().predict(points - self.seen.mean(0))


class Fitted(Net):
    """Centres points by the mean of the first batch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", None)

    def predict(self, points):
        if self.mean is None:
            self.mean = points.detach().mean(0)
        return super().predict(points - self.mean)


class Spread(Net):
    """Has a buffer of one number that is seen as many."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(1).expand(3))

    def predict(self, points):
        return super().predict(points * self.scale)


@pytest.mark.parametrize("make", [Growing, Fitted, Spread])
def test_buffers_may_come_and_grow_with_the_data(create, batches, make):
    """A training that has them goes on to the bit, in a module that is as it was made."""
    model = create(make)
    for batch in batches[:3]:
        model.run(batch, train=True)
    resumed = create(make)
    resumed.load_state_dict(stored(model))

    for batch in batches[3:6]:
        assert equal_trees(model.run(batch, train=True), resumed.run(batch, train=True))
        assert equal_trees(model.run(batch, train=False), resumed.run(batch, train=False))
    assert equal_trees(model.state_dict(), resumed.state_dict())


def test_a_buffer_that_came_with_the_data_survives_a_training_without_source(create, batches):
    """And finds its way back to the source."""
    model = create(Fitted)
    model.run(batches[0], train=True)
    without = create(restore_from=model.save("best"))
    again = create(Fitted, restore_from=without.save("again"))

    for batch in batches[1:4]:
        expected = model.run(batch, train=True)
        assert equal_trees(expected, without.run(batch, train=True))
        assert equal_trees(expected, again.run(batch, train=True))


@pytest.mark.parametrize(
    ("returned", "kind"),
    [(lambda o: o["loss"], "Tensor"), (lambda o: tuple(o.values()), "tuple"), (lambda _: None, "NoneType")],
    ids=["tensor", "tuple", "none"],
)
@pytest.mark.parametrize("train", [True, False])
def test_a_module_that_returns_no_mapping_is_told_so(create, batches, returned, kind, train):
    """With what it returned instead."""

    class Other(Net):
        def forward(self, points, labels):
            return returned(super().forward(points, labels))

    with pytest.raises(BatchError, match=f"forward of the module: expected a mapping such as .*, got a {kind}"):
        create(Other).run(batches[0], train=train)


def test_outputs_of_every_dtype_become_arrays(create, batches):
    """As NumPy can hold them; sparse ones are told how to become dense."""

    class Various(Net):
        def predict(self, points):
            logits = super().predict(points)["logits"]
            pairs = torch.complex(logits, logits)
            return {"logits": logits, "conjugate": pairs.conj(), "eighths": logits.to(torch.float8_e5m2)}

        def forward(self, points, labels):
            outputs = super().forward(points, labels)
            return {**outputs, "sparse": outputs["logits"].to_sparse()}

    outputs = create(Various, outputs=["conjugate", "eighths"]).run(batches[0], train=False)
    assert [values.dtype for values in outputs.values()] == [np.complex64, np.float32]
    with pytest.raises(BatchError, match=r"output 'sparse': expected a dense tensor, got one of torch\.sparse_coo"):
        create(Various, outputs=["sparse"]).run(batches[0], train=False)


def test_what_a_killed_process_left_half_written_is_cleared_away(create, batches, tmp_path):
    """By the next save, from the run's program."""
    model = create(Net)
    model.run(batches[0], train=True)
    model.save("0")
    (tmp_path / "program" / ".tmp-killed").write_bytes(b"half")
    model.save("1")

    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_generator_of_a_module_s_own_is_said_to_be_lost(create, batches, caplog):
    """PyTorch's global ones are part of the state; this one is not."""

    class Noisy(Net):
        def __init__(self):
            super().__init__()
            self.noise = torch.Generator().manual_seed(1)

        def predict(self, points):
            return super().predict(points + torch.randn(points.shape, generator=self.noise))

    model = create(Noisy)
    for batch in batches[:2]:
        model.run(batch, train=True)
    model.state_dict()

    assert "Model changes what is no part of its state, and what a resumed run begins anew with: noise." in caplog.text
