"""A mean is a sum over a weight: losses, gradients, accumulated steps and programs, against PyTorch's own means."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import BatchError, ConfigError  # noqa: E402
from emloop.hooks import ComputeStats  # noqa: E402
from emloop.main_loop import MainLoop  # noqa: E402

SGD = {"class": "SGD", "learning_rate": 1.0}
TEXT_NET = [{"class": "Embedding", "num_embeddings": 7, "embedding_dim": 4},
            {"class": "Linear", "in_features": 4, "out_features": 3},
            {"class": "emloop_torch_test_weights.Swapped"}]  # fmt: skip
SIZES = (4, 4, 3)


class Swapped(nn.Module):
    """``[B, T, C]`` → ``[B, C, T]``, as losses of PyTorch want it."""

    def forward(self, x):
        return x.transpose(1, 2)


@pytest.fixture(autouse=True)
def _swapped_can_be_named(monkeypatch):
    import sys  # noqa: PLC0415
    import types  # noqa: PLC0415

    module = types.ModuleType("emloop_torch_test_weights")
    module.Swapped = Swapped
    monkeypatch.setitem(sys.modules, "emloop_torch_test_weights", module)


class Splits:
    """A dataset of one list of batches."""

    def __init__(self, batches):
        self.train_stream = self.valid_stream = lambda: batches


class Net(nn.Module):
    """A linear classifier whose loss is given by a function of scores and the other inputs."""

    def __init__(self, loss, outputs=1):
        super().__init__()
        self.body = nn.Linear(3, outputs)
        self._loss = loss

    def forward(self, points, labels, **others):
        return {"loss": self._loss(self.body(points), labels, **others)}


def texts(sizes=SIZES, seed=0):
    """Padded texts: labels of padding are -100; ``mask`` is false there and at some more positions."""
    rng = np.random.default_rng(seed)
    batches = []
    for number, size in enumerate(sizes):
        length = 5 + number % 2
        words = rng.integers(0, 7, (size, length))
        labels = rng.integers(0, 3, (size, length))
        labels[np.arange(length) >= rng.integers(1, length + 1, size)[:, None]] = -100
        mask = (labels >= 0) & (rng.random((size, length)) < 0.7)
        batches.append({"words": words, "labels": labels, "mask": mask})
    return batches


def points(sizes=SIZES, classes=2, seed=1):
    rng = np.random.default_rng(seed)
    return [
        {
            "points": rng.normal(size=(size, 3)).astype(np.float32),
            "labels": rng.integers(0, classes, size),
            "weight": rng.random(size).astype(np.float32) * 3,
        }
        for size in sizes
    ]


def over_all(model, batches, *names):
    """The means that ``ComputeStats`` gives of a stream, and the tensors of all batches at once."""
    seen = {}

    class Seen(ComputeStats):
        def after_epoch(self, epoch_data, epoch_id=0):
            super().after_epoch(epoch_data=epoch_data, epoch_id=epoch_id)
            seen.update({name: value["mean"] for name, value in epoch_data["valid"].items()})

    MainLoop(model, Splits(batches), [Seen(list(names))], on_unused_sources="ignore").run_evaluation("valid")
    return seen


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.module.named_parameters()}


def flat_scores(model, batches, key):
    """Scores ``[N, C]`` and labels ``[N]`` of all positions of all batches."""
    with torch.no_grad():
        scores = [model.module.net(torch.as_tensor(batch[key])) for batch in batches]
    flat = [s.transpose(1, 2).reshape(-1, s.shape[1]) if s.ndim == 3 else s for s in scores]
    return torch.cat(flat), torch.cat([torch.as_tensor(batch["labels"]).reshape(-1) for batch in batches])


def text_model(create, **config):
    return create(cls=emloop_torch.Supervised, **{
        "net": TEXT_NET, "inputs": ["words", "labels"], "metrics": ["accuracy"], "outputs": ["loss", "accuracy"],
        "optimizer": SGD} | config)  # fmt: skip


@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 7.0]], ids=["plain", "class-weights"])
@pytest.mark.parametrize("ignored", [-100, 1], ids=["padding", "a-class"])
def test_masked_texts_have_the_mean_of_their_tokens(create, weight, ignored):
    """Over all batches at once, as PyTorch's own reduction gives it; so has the accuracy."""
    loss = {"class": "CrossEntropyLoss", "ignore_index": ignored} | ({"weight": weight} if weight else {})
    batches = texts()
    for batch in batches:
        batch["labels"][batch["labels"] == -100] = ignored
    model = text_model(create, loss=loss)
    scores, labels = flat_scores(model, batches, "words")
    counts = labels != ignored
    tensor = None if weight is None else torch.tensor(weight)

    found = over_all(model, batches, "loss", "accuracy")

    expected = functional.cross_entropy(scores, labels, tensor, ignore_index=ignored)
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-5)
    right = (scores.argmax(1) == labels)[counts].float().mean()
    assert found["accuracy"] == pytest.approx(right.item(), rel=1e-5)


@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 7.0]], ids=["plain", "class-weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_batch_is_learnt_from_as_with_pytorchs_own_mean(create, weight, smoothing):
    """The gradient of a batch of masked texts."""
    loss = {"class": "CrossEntropyLoss", "label_smoothing": smoothing} | ({"weight": weight} if weight else {})
    model, batch = text_model(create, loss=loss, accumulate=2), texts()[0]
    scores = model.module.net(torch.as_tensor(batch["words"]))
    tensor = None if weight is None else torch.tensor(weight)
    mean = functional.cross_entropy(scores, torch.as_tensor(batch["labels"]), tensor, label_smoothing=smoothing)
    expected = torch.autograd.grad(mean / 2, list(model.module.parameters()))

    model.run(batch, train=True)

    for found, wanted in zip(gradients_of(model).values(), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_imbalanced_classes_count_by_their_weight(create):
    """Labels of one number for every example; a weight from YAML may be of whole numbers."""
    batches = points(classes=3, sizes=(5, 5, 2))
    loss = {"class": "CrossEntropyLoss", "weight": [1, 5, 0]}
    model = create(cls=emloop_torch.Supervised, net={"class": "Linear", "in_features": 3, "out_features": 3}, loss=loss)
    scores, labels = flat_scores(model, batches, "points")

    expected = functional.cross_entropy(scores, labels, torch.tensor([1.0, 5.0, 0.0]))
    assert over_all(model, batches, "loss")["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_several_labels_take_a_positive_weight_from_a_list(create):
    """Whose mean is over all elements, as PyTorch defines it."""
    loss = {"class": "BCEWithLogitsLoss", "pos_weight": [1.0, 2.0, 3.0]}
    batches = points()
    for batch in batches:
        batch["labels"] = (batch["points"] > 0.3).astype(np.int64)
    model = create(cls=emloop_torch.Supervised, net={"class": "Linear", "in_features": 3, "out_features": 3}, loss=loss)
    with torch.no_grad():
        scores = torch.cat([model.module.net(torch.as_tensor(batch["points"])) for batch in batches])
    target = torch.cat([torch.as_tensor(batch["labels"]) for batch in batches]).float()

    expected = functional.binary_cross_entropy_with_logits(scores, target, pos_weight=torch.tensor([1.0, 2.0, 3.0]))
    assert over_all(model, batches, "loss")["loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_a_mask_weighs_loss_and_metrics_of_described_networks(create, dtype):
    """Beside what the labels themselves leave out, whatever the mask's dtype."""
    batches = [{**batch, "mask": batch["mask"].astype(dtype)} for batch in texts()]
    model = text_model(create, weights={"loss": "mask", "accuracy": "mask"})
    scores, labels = flat_scores(model, batches, "words")
    mask = torch.cat([torch.as_tensor(batch["mask"]).reshape(-1) for batch in batches]) != 0

    found = over_all(model, batches, "loss", "accuracy")

    assert found["loss"] == pytest.approx(functional.cross_entropy(scores[mask], labels[mask]).item(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((scores.argmax(1) == labels)[mask].float().mean().item(), rel=1e-5)
    assert model.input_names == ["words", "labels", "mask"]


def elementwise(scores, labels):
    return (scores.squeeze(1) - labels).square()


def test_a_source_weighs_the_loss_of_any_module(create):
    """Also one that ``forward`` does not take; the steps of a training follow the weighted mean."""
    model = create(lambda: Net(elementwise), weights={"loss": "weight"}, optimizer=SGD)
    batch = points()[0]
    x, y, w = (torch.as_tensor(batch[name]) for name in ("points", "labels", "weight"))
    before = [p.detach().clone() for p in model.module.parameters()]
    mean = (elementwise(model.module.body(x), y) * w).sum() / w.sum()
    gradients = torch.autograd.grad(mean, list(model.module.parameters()))

    model.run(batch, train=True)

    assert model.input_names == ["points", "labels", "weight"]
    for old, gradient, new in zip(before, gradients, model.module.parameters(), strict=True):
        torch.testing.assert_close(new, old - gradient)


def test_an_output_may_be_the_weight(create):
    """And a loss of every element may have one for every element."""

    class PerToken(Net):
        def forward(self, points, labels):
            losses = (self.body(points[:, :, None].expand(-1, -1, 3)).squeeze(2) - labels[:, None]).square()
            return {"loss": losses, "counts": points > 0}

    model = create(lambda: PerToken(None), weights={"loss": "counts"}, outputs=["loss", "counts"], optimizer=SGD)
    batches = points()
    outputs = [model.run(batch, train=False) for batch in batches]
    losses = np.concatenate([o["loss"][o["counts"]] for o in outputs])

    assert over_all(model, batches, "loss")["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    model.run(batches[0], train=True)


@pytest.mark.parametrize("weighted", [False, True], ids=["by-examples", "by-a-weight"])
@pytest.mark.parametrize("clip", [None, {"norm": 0.01}, 0.02], ids=["unclipped", "norm", "value"])
@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (4, 1, 3, 2, 5), (1, 6, 6), (3,)], ids=str)
def test_accumulated_batches_are_one_large_batch(create, sizes, clip, weighted):
    """Also of different sizes, and those that are left at the end of an epoch; before they are clipped."""
    config = {"optimizer": SGD, "clip_gradient": clip, "weights": {"loss": "weight"} if weighted else {}}
    batches = points(sizes)
    small, large = (create(lambda: Net(elementwise), accumulate=n, **config) for n in (2, 1))
    windows = [batches[start : start + 2] for start in range(0, len(batches), 2)]

    for batch in batches:
        small.run(batch, train=True)
    small.end_epoch()
    for window in windows:
        large.run({name: np.concatenate([batch[name] for batch in window]) for name in window[0]}, train=True)

    for found, expected in zip(small.module.parameters(), large.module.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_equal_weights_change_no_bit(create):
    """Nor does a weight of 1 for every example, accumulated or not."""
    batches = [{**batch, "weight": np.ones(4, np.float32)} for batch in points((4,) * 7)]
    for accumulate in (1, 3):
        one, other = (
            create(lambda: Net(elementwise), accumulate=accumulate, optimizer=SGD, weights=weights)
            for weights in ({}, {"loss": "weight"})
        )
        for batch in batches:
            one.run(batch, train=True)
            other.run(batch, train=True)
        assert equal_trees(one.state_dict()["parameters"], other.state_dict()["parameters"])


@pytest.mark.parametrize("weighted", [False, True])
def test_a_window_is_resumed_to_the_bit(create, weighted):
    """Between batches of different weights."""
    config = {"optimizer": SGD, "accumulate": 4, "weights": {"loss": "weight"} if weighted else {}}
    model, other = (create(lambda: Net(elementwise), **config) for _ in range(2))
    batches = points((4, 2, 3, 1, 4, 4))
    for batch in batches[:2]:
        model.run(batch, train=True)
    other.load_state_dict(copy_tree(model.state_dict()))
    for batch in batches[2:]:
        model.run(batch, train=True)
        other.run(batch, train=True)
    model.end_epoch()
    other.end_epoch()

    assert equal_trees(model.state_dict(), other.state_dict())


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_batch_without_weight_teaches_nothing(create, order):
    """First or last among those of its step."""
    batches = points((4, 4, 4))
    batches[0]["weight"][:] = 0
    config = {"optimizer": SGD, "weights": {"loss": "weight"}}
    model, other = (create(lambda: Net(elementwise), accumulate=n, **config) for n in (3, 2))
    for index in order:
        model.run(batches[index], train=True)
        if index:
            other.run(batches[index], train=True)

    for found, expected in zip(model.module.parameters(), other.module.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_losses_of_other_floats_do_not_overflow(create, dtype):
    """Their weights may be counts that 16 bits could not sum up."""
    model = create(lambda: Net(lambda s, y: elementwise(s, y).to(dtype)), weights={"loss": "weight"}, optimizer=SGD)
    batches = points((64, 64))
    for batch in batches:
        batch["weight"] = np.full(64, 60000, np.uint16 if dtype is torch.float64 else np.int32)
        model.run(batch, train=True)

    assert all(p.isfinite().all() for p in model.module.parameters())
    assert np.isfinite(over_all(model, batches, "loss")["loss"])


@pytest.mark.parametrize("weights", [{}, {"loss": "weight"}], ids=["by-examples", "by-a-weight"])
def test_a_scalar_loss_is_the_mean_of_its_batch(create, weights):
    """Over batches of different sizes it counts by examples, or by what weighs it."""

    def mean(scores, labels, weight=None):
        losses = elementwise(scores, labels)
        return losses.mean() if weight is None else (losses * weight).sum() / weight.sum()

    inputs = ["points", "labels", *weights.values()]
    model, each = (
        create(lambda loss=loss: Net(loss), weights=weights, inputs=names, accumulate=2, optimizer=SGD)
        for loss, names in ((mean, inputs), (elementwise, ["points", "labels"]))
    )
    batches = points((4, 1, 3))

    found = over_all(model, batches, "loss")["loss"]
    assert found == pytest.approx(over_all(each, batches, "loss")["loss"], rel=1e-5)
    assert model.run(batches[0], train=False)["loss"].shape == (4,)
    for batch in batches:
        model.run(batch, train=True)
        each.run(batch, train=True)
    for one, other in zip(model.module.parameters(), each.module.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_scalar_of_a_masked_text_counts_by_its_tokens(create):
    """As the networks return it that take labels and a mask."""

    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)

        def forward(self, words, labels, mask):
            scores = self.head(self.embed(words))
            return {"loss": functional.cross_entropy(scores[mask], labels[mask]), "scores": scores}

    model = create(Language, inputs=["words", "labels", "mask"], weights={"loss": "mask"}, outputs=["loss", "scores"])
    batches = texts()
    outputs = [model.run(batch, train=False) for batch in batches]
    scores = torch.cat(
        [torch.from_numpy(o["scores"][batch["mask"]]) for o, batch in zip(outputs, batches, strict=True)]
    )
    labels = torch.cat([torch.from_numpy(batch["labels"][batch["mask"]]) for batch in batches])

    found = over_all(model, batches, "loss")["loss"]
    assert found == pytest.approx(functional.cross_entropy(scores, labels).item(), rel=1e-5)
    model.run(batches[0], train=True)


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda s, y: (s - y).square(),
            "float32 [4, 4]; "  # noqa: ISC004
            "[B, 1] and [B] broadcast to [B, B]: give prediction and target one shape, e.g. by squeeze(1)",
        ),
        (
            lambda s, y: (s - y[:, None]).square(),
            "float32 [4, 1]; loss.squeeze(1) has no such axis",
        ),
        (lambda s, y: y, "int64 [4]"),
    ],
    ids=["broadcast", "column", "integers"],
)
def test_what_is_no_loss_is_refused_with_the_first_batch(create, train, loss, message):
    """In training as in evaluation."""
    with pytest.raises(BatchError) as error:
        create(lambda: Net(loss)).run(points()[0], train=train)

    assert str(error.value) in (
        f"loss: expected a number for every example, or their mean, got {message}",
        f"loss: expected a number for every example, got {message}",
    )


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.array([1, -1, 1, 1]), "weight 'weight': expected numbers from 0 on, got -1"),
        (np.array([1, np.nan, 1, 1]), "weight 'weight': expected numbers from 0 on, got nan"),
        (np.array([1, np.inf, 1, 1]), "weight 'weight': expected numbers from 0 on, got inf"),
        (np.ones((4, 1))[:3], "loss: its weight 'weight' has the shape [3, 1], not [4]"),
    ],
)
def test_what_is_no_weight_is_refused(create, weight, message):
    """Before anything is learnt."""
    model = create(lambda: Net(elementwise), weights={"loss": "weight"})
    with pytest.raises(BatchError) as error:
        model.run({**points()[0], "weight": weight}, train=True)

    assert str(error.value) == message


class Outer(torch.autograd.Function):
    """A function whose gradient only a traced program keeps."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


@pytest.mark.parametrize("source", ["weight", "counts"], ids=["source", "output"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("rung", ["exported", "traced"])
def test_a_program_learns_with_the_same_weights(create, manifest, rung, accumulate, source):
    """To the bit, but for the order in which a traced one scales its gradients; and says what it needs."""

    class Weighing(Net):
        def forward(self, points, labels):
            scores = self.body(points)
            scores = Outer.apply(scores) if rung == "traced" else scores
            return {"loss": elementwise(scores, labels), "counts": labels + 0.5}

    config = {"optimizer": SGD, "accumulate": accumulate, "outputs": ["loss", "counts"]}
    model = create(lambda: Weighing(None), weights={"loss": source}, **config)
    batches = points((6, 4, 4, 3))
    model.run(batches[0], train=True)
    path = model.save("best")
    restored = create(restore_from=path, **config)

    assert manifest(path)["rung"] == rung, manifest(path)["reason"]
    assert manifest(path)["weights"] == restored.weights == {"loss": source}
    assert restored.input_names == model.input_names == list(manifest(path)["inputs"])
    for batch in batches[1:]:
        model.run(batch, train=True)
        restored.run(batch, train=True)
    for key in ("parameters", "training") if (rung, accumulate) != ("traced", 2) else ():
        assert equal_trees(model.state_dict()[key], restored.state_dict()[key])
    for one, other in zip(model.module.parameters(), restored.module.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_described_network_needs_no_source_for_its_weights(create, manifest):
    """The program gives what its labels and masks weigh."""
    model = text_model(create, weights={"loss": "mask"}, loss={"class": "CrossEntropyLoss", "weight": [1, 2, 3]})
    batches = texts()
    for batch in batches[:2]:
        model.run(batch, train=True)
    path = model.save("best")
    restored = create(
        restore_from=path, inputs=["words", "labels", "mask"], outputs=["loss", "accuracy"], optimizer=SGD
    )

    assert manifest(path)["rung"] == "exported"
    assert restored.output_names == ["loss", "accuracy", "loss_weight", "accuracy_weight"]
    for batch in batches[1:]:
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    assert over_all(model, batches, "loss", "accuracy") == over_all(restored, batches, "loss", "accuracy")


def test_a_program_keeps_its_weight(create):
    """Another one would be in vain."""
    model = create(lambda: Net(elementwise), weights={"loss": "weight"})
    model.run(points()[0], train=True)
    path = model.save("best")
    with pytest.raises(ConfigError) as error:
        create(restore_from=path, weights={"loss": "labels"})

    assert str(error.value) == ("weights: the model goes on without its source, where its loss is weighed by 'weight'")


def test_prediction_needs_no_weights(create):
    """There is no loss without labels."""
    trained = text_model(create, weights={"loss": "mask"})
    trained.run(texts()[0], train=True)
    restored = text_model(
        create, restore_from=trained.save("best"), inputs=["words"], outputs=["scores", "predictions"],
        weights={"loss": "mask"},
    )  # fmt: skip

    assert restored.input_names == ["words"]
    assert restored.output_names == ["scores", "predictions"]
    assert restored.weights == {}
    assert set(restored.run({"words": texts()[0]["words"]}, train=False)) == {"scores", "predictions"}


def test_a_class_says_what_weighs_its_loss(create):
    """In an attribute of its own; the configuration may say otherwise."""

    class Weighed(emloop_torch.BaseModel):
        weights = {"loss": "weight"}  # noqa: RUF012

    assert create(lambda: Net(elementwise), cls=Weighed).input_names == ["points", "labels", "weight"]
    assert create(lambda: Net(elementwise), cls=Weighed, weights={"loss": "other"}).weights == {"loss": "other"}


def test_a_step_of_your_own_is_weighed_as_well(create):
    """``update`` takes the weight of the batch that was computed last, or the one that it is given."""

    class Own(emloop_torch.BaseModel):
        given = None

        def training_step(self, batch):
            outputs = self.compute(batch)
            self.update(outputs["loss"], self.given)
            return outputs

    config = {"weights": {"loss": "weight"}, "optimizer": SGD}
    own, plain = create(lambda: Net(elementwise), cls=Own, **config), create(lambda: Net(elementwise), **config)
    for batch in points():
        own.run(batch, train=True)
        plain.run(batch, train=True)
    assert equal_trees(own.state_dict()["parameters"], plain.state_dict()["parameters"])
    own.given = torch.ones(4)
    own.run(points()[0], train=True)
    plain.run(points()[0], train=True)
    assert not equal_trees(own.state_dict()["parameters"], plain.state_dict()["parameters"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"weights": {"los": "mask"}}, "weights.los: there is no 'los' to weigh\n  did you mean 'loss'?"),
        ({"weights": ["loss"]}, "weights: expected"),
        (
            {"loss": {"class": "CrossEntropyLoss", "weight": [1, 0, 1], "label_smoothing": 0.1}},
            "loss.weight: a class of weight 0 cannot be smoothed",
        ),
        ({"loss": {"class": "CrossEntropyLoss", "weight": ["a", "b"]}}, "loss: CrossEntropyLoss:"),
    ],
)
def test_a_wrong_weight_is_told_with_its_place(create, config, message):
    """When the model is made."""
    with pytest.raises(ConfigError) as error:
        text_model(create, **config)

    assert message in str(error.value)
