"""Modules that a ladder is easily wrong about: what they do is done without source, or not claimed to be."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from emloop._state.tree import equal_trees  # noqa: E402
from emloop.errors import BatchError  # noqa: E402

from .nets import Net  # noqa: E402
from .test_ladder import Reversed  # noqa: E402


class TwoLayers(nn.Module):
    """Two square layers in a row."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)

    def forward(self, values):
        return self.two(self.one(values).tanh())[:, :2]


def rewrapped():
    layers = TwoLayers()
    layers.two.weight = nn.Parameter(layers.one.weight)
    return Net(layers)


def transposed():
    layers = TwoLayers()
    layers.two.weight = nn.Parameter(layers.one.weight.data.t())
    return Net(layers)


def seen_as_buffer():
    layers = TwoLayers()
    layers.register_buffer("seen", layers.one.weight.data[1:])
    return Net(layers)


def tripled():
    net = Net(TwoLayers())
    net.body.two.weight.register_hook(lambda gradient: 3 * gradient)
    return net


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(rewrapped, "'body.one.weight' and 'body.two.weight' share memory", id="rewrapped"),
        pytest.param(transposed, "'body.one.weight' and 'body.two.weight' share memory", id="transposed"),
        pytest.param(seen_as_buffer, "'body.one.weight' and 'body.seen' share memory", id="seen-as-buffer"),
        pytest.param(tripled, "the parameter 'body.two.weight' has a hook of its own", id="hook"),
    ],
)
def test_learning_that_no_graph_shows_needs_the_source(create, batches, manifest, make, reason):
    """Outputs and gradients of one batch are right without it; the next steps would not be."""
    model = create(make)
    model.run(batches[0], train=True)
    path = model.save("best")

    described = manifest(path)
    assert described["rung"] == "inference"
    assert described["reason"].startswith(reason)
    restored = create(restore_from=path)
    assert equal_trees(model.run(batches[1], train=False), restored.run(batches[1], train=False))


def test_gradients_of_scaled_losses_are_not_traced(create, batches, manifest):
    """Those of 16 bits vanish where the loss is not scaled before, and a traced graph cannot know by how much."""

    class Backwards(Net):
        def predict(self, points):
            return {"logits": Reversed.apply(self.body(points))}

    rungs = []
    for precision in ("bf16", "fp16"):
        model = create(Backwards, precision=precision)
        model.run(batches[0], train=True)
        rungs.append(manifest(model.save(precision))["rung"])

    assert rungs == ["traced", "inference"]


def test_a_single_example_is_compared_too(create, batches, manifest):
    """Where the module takes one: a program that is right for several only refuses it."""

    class Singular(Net):
        def predict(self, points):
            logits = super().predict(points)["logits"]
            return {"logits": -logits if points.shape[0] == 1 else logits}

    model = create(Singular)
    model.run(batches[0], train=True)

    path = model.save("best")
    assert manifest(path)["rung"] == "exported"
    restored = create(restore_from=path, inputs=["points"], outputs=["logits"])
    several, single = ({"points": batches[0]["points"][:count]} for count in (3, 1))
    np.testing.assert_array_equal(
        restored.run(several, train=False)["logits"],
        create(Singular, restore_from=path, inputs=["points"], outputs=["logits"]).run(several, train=False)["logits"],
    )
    with pytest.raises(BatchError, match=r"holds where points\.shape\[0\] != 1"):
        restored.run(single, train=False)


def test_an_input_may_be_changed_in_place(create, batches, manifest):
    """By the module and by its program; the batch, which is the dataset's and the hooks', stays as it is."""

    class Scaling(Net):
        def predict(self, points):
            return super().predict(points.mul_(0.5))

    before = batches[0]["points"].copy()
    model = create(Scaling, outputs=["logits"])
    for train in (True, False, True, False):
        model.run(batches[0], train=train)
    assert np.array_equal(before, batches[0]["points"])
    path = model.save("best")

    assert manifest(path)["rung"] == "exported"
    restored = create(restore_from=path, outputs=["logits"])
    assert equal_trees(model.run(batches[1], train=False), restored.run(batches[1], train=False))


class Summed(nn.Module):
    """The mean of what a linear layer makes of the cells of a table, ``[B, H, W, 3]``."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, values):
        return self.linear(values.tanh()).mean((1, 2))


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([(4, 5), (6, 5), (6, 7)], id="one-after-the-other"),
        pytest.param([(1, 5), (6, 7)], id="one-is-single-at-first"),
    ],
)
def test_every_axis_that_varies_before_the_first_save_stays_free(create, manifest, sizes):
    """Also one that varies later than others, and one that begins with a single cell."""
    rng = np.random.default_rng(0)

    def table(height, width):
        values = rng.normal(size=(4, height, width, 3)).astype(np.float32)
        return {"points": values, "labels": rng.integers(0, 2, 4)}

    model = create(lambda: Net(Summed()))
    for height, width in sizes:
        model.run(table(height, width), train=True)
    path = model.save("best")

    assert manifest(path)["rung"] == "exported"
    restored = create(restore_from=path)
    for size in ((3, 9), (8, 2), (1, 1)):
        batch = table(*size)
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))


class Bag(nn.Module):
    """Scores of bags of words, whose gradients are sparse."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 2, sparse=True, padding_idx=0)

    def forward(self, points, labels):
        logits = self.words(points).sum(1)
        return {"logits": logits, "loss": functional.cross_entropy(logits, labels, reduction="none")}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"optimizer": {"class": "SparseAdam", "learning_rate": 0.1}}, id="adam"),
        pytest.param({"optimizer": {"class": "SGD", "learning_rate": 0.1, "momentum": 0.9}}, id="momentum"),
        pytest.param({"optimizer": {"class": "SGD", "learning_rate": 0.1}, "accumulate": 2}, id="accumulated"),
    ],
)
def test_sparse_gradients_are_kept_and_need_no_source(create, manifest, config):
    """A training goes on to the bit, restored in the middle of an accumulation, with the source and without."""
    rng = np.random.default_rng(0)
    batches = [{"points": rng.integers(0, 30, (8, 3)), "labels": rng.integers(0, 2, 8)} for _ in range(7)]
    model = create(Bag, **config)
    for batch in batches[:3]:
        model.run(batch, train=True)
    path = model.save("best")

    assert manifest(path)["rung"] == "exported"
    others = create(Bag, restore_from=path, **config), create(restore_from=path, **config)
    for batch in batches[3:]:
        expected = model.run(batch, train=True)
        assert all(equal_trees(expected, other.run(batch, train=True)) for other in others)
    assert all(equal_trees(model.state_dict(), other.state_dict()) for other in others)


def test_a_sparse_buffer_is_part_of_the_state(create, batches):
    """The edges of a graph, for example."""

    class Connected(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("edges", torch.tensor([[0.0, 2, 0], [0, 0, 0], [1, 0, 0]]).to_sparse())
            self.linear = nn.Linear(3, 2)

        def forward(self, values):
            return self.linear(torch.sparse.mm(self.edges, values.t()).t())

    model = create(lambda: Net(Connected()))
    model.run(batches[0], train=True)
    restored = create(lambda: Net(Connected()))
    restored.module.body.edges *= 0
    restored.load_state_dict(model.state_dict())

    assert equal_trees(model.run(batches[1], train=True), restored.run(batches[1], train=True))


def test_a_failed_export_shows_nothing_of_its_insides(create, batches, capfd, manifest):
    """The reason stands in the log and in the manifest; graphs and traces of PyTorch's own do not reach the console."""

    class Deciding(Net):
        def predict(self, points):
            logits = super().predict(points)["logits"]
            return {"logits": -logits if logits.mean() > 0 else logits}

    model = create(Deciding)
    model.run(batches[0], train=True)
    path = model.save("best")

    assert manifest(path)["rung"] == "weights"
    assert "graph" not in capfd.readouterr().err


def test_numbers_lie_in_memory_as_the_source_laid_them(create, manifest):
    """Channels last, for example: kernels round differently there."""
    rng = np.random.default_rng(0)
    batches = [
        {"points": rng.normal(size=(8, 3, 9, 9)).astype(np.float32), "labels": rng.integers(0, 2, 8)} for _ in range(4)
    ]

    def make():
        convolutions = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return Net(nn.Sequential(*convolutions).to(memory_format=torch.channels_last))

    model = create(make)
    model.run(batches[0], train=True)
    path = model.save("best")

    assert manifest(path)["extra"]["exact"] is True
    restored = create(restore_from=path)
    for batch in batches[1:]:
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    assert equal_trees(model.state_dict(), restored.state_dict())


def test_two_models_of_one_run_keep_their_own_programs(create, batches):
    """Whoever saves last, and however often."""
    makes = [Net, lambda: Net(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))]
    models = [create(make) for make in makes]
    for model in models:
        model.run(batches[0], train=True)
    for turn in ("first", "second"):
        for number, model in enumerate(models):
            path = model.save(f"{turn}_{number}")
            assert equal_trees(
                model.run(batches[1], train=False), create(restore_from=path).run(batches[1], train=False)
            )


class Weighed(Net):
    """A loss with a part whose weight is a number that others may change."""

    def __init__(self):
        super().__init__()
        self.weight = 0.0

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        return {**outputs, "loss": outputs["loss"] + self.weight * outputs["logits"].square().sum(1)}


def test_a_program_follows_what_changes_beside_the_weights(create, batches, caplog, manifest):
    """A number that grows is a constant in a program; each save evaluates by its own, and none is trained on by it."""
    model = create(Weighed)
    model.run(batches[0], train=True)
    paths = [model.save("0")]
    model.state_dict()
    assert "no part of its state" not in caplog.text
    model.module.weight = 0.5
    model.run(batches[1], train=True)
    paths.append(model.save("1"))
    expected = model.run(batches[2], train=False)["loss"]

    assert equal_trees({"loss": expected}, create(restore_from=paths[1]).run(batches[2], train=False))
    assert not equal_trees({"loss": expected}, create(restore_from=paths[0]).run(batches[2], train=False))
    said, lost = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("Saved models of Model, older ones too, cannot be trained further without its source")
    assert lost.startswith(
        "Model changes what is no part of its state, and what a resumed run begins anew with: weight."
    )
    assert [manifest(path)["rung"] for path in paths] == ["inference", "inference"]


def test_what_a_module_computes_and_keeps_is_no_loss(create, batches, caplog):
    """An attention map, a norm of old that makes its weight anew for every batch."""

    class Keeping(Net):
        def __init__(self):
            super().__init__(nn.utils.spectral_norm(nn.Linear(3, 2)))
            self.last = None

        def predict(self, points):
            self.last = super().predict(points)["logits"]
            self.all = [{"scaled": 2 * self.last}]
            return {"logits": self.last}

    caplog.set_level("INFO", "emloop_torch")
    model = create(Keeping)
    for batch in batches[:3]:
        model.run(batch, train=True)
        model.save("latest")

    assert caplog.text.count("program is 'exported', verified in") == 1
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
