"""Errors of PyTorch that name neither the source nor a way out get both, as they are raised."""

from __future__ import annotations

import numpy as np
import pytest

from emloop.errors import ConfigError

torch = pytest.importorskip("torch")

F = torch.nn.functional
B = 4


class Net(torch.nn.Module):
    """Gives back what a function makes of the sources, as losses."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)
        self.table, self.conv = torch.nn.Embedding(3, 3), torch.nn.Conv2d(1, 2, 1)
        self.function = function

    def forward(self, points, labels):
        return {"loss": self.function(self, points, labels)}


def cross_entropy(net, points, labels):
    return F.cross_entropy(net.linear(points), labels, reduction="none")


@pytest.mark.parametrize(
    ("function", "points", "labels", "cure"),
    [
        pytest.param(
            lambda net, x, y: net.norm(net.linear(x)).sum(1),
            np.zeros((1, 2), np.float32),
            np.zeros(1, np.int64),
            "one value is not enough for a normalisation over the batch: leave out a last batch of one example, or of "
            "one for some process (drop_last: true where the stream is made), or choose another batch size",
            id="one-example",
        ),
        pytest.param(
            cross_entropy,
            np.zeros((B, 2), np.float32),
            np.array([0, 1, 2, 3]),
            "an index must be from 0 to the number of classes, or of rows of an embedding, less 1; "
            "labels is int64 from 0 to 3",
            id="label-out-of-range",
        ),
        pytest.param(
            lambda net, x, y: net.table(y).sum(1),
            np.zeros((B, 2), np.float32),
            np.array([-1, 1, 2, 0], np.int32),
            "an index must be from 0 to the number of classes, or of rows of an embedding, less 1; "
            "labels is int32 from -1 to 2",
            id="token-out-of-range",
        ),
        pytest.param(
            cross_entropy,
            np.zeros((B, 2), np.float32),
            np.zeros(B, np.float32),
            "an index is wanted where there are floats: give labels and tokens as integers, e.g. .astype(numpy.int64)",
            id="float-for-index",
        ),
        pytest.param(
            lambda net, x, y: net.table(x).sum((1, 2)),
            np.zeros((B, 2), np.float32),
            np.zeros(B, np.int64),
            "an index is wanted where there are floats: give labels and tokens as integers, e.g. .astype(numpy.int64)",
            id="float-for-token",
        ),
        pytest.param(
            cross_entropy,
            np.zeros((B, 2), np.int64),
            np.zeros(B, np.int64),
            "floats are wanted where there is something else: convert, e.g. .float() or .astype(numpy.float32)",
            id="integer-for-float",
        ),
        pytest.param(
            lambda net, x, y: net.conv(x).sum((1, 2, 3)),
            np.zeros((B, 1, 2, 2), np.uint8),
            np.zeros(B),
            "floats are wanted where there is something else: convert, e.g. .float() or .astype(numpy.float32)",
            id="bytes-for-float",
        ),
        pytest.param(
            cross_entropy,
            np.zeros((B, 5), np.float32),
            np.zeros(B, np.int64),
            "a layer's in_features must be the last size of what it is given: adapt it, or flatten the source",
            id="other-features",
        ),
        pytest.param(
            lambda net, x, y: net.conv(x).sum((1, 2, 3)),
            np.zeros((B, 2, 2, 1), np.float32),
            np.zeros(B, np.int64),
            "convolutions take the channels first, [B, C, H, W]: permute the source, or add the axis that lacks",
            id="channels-last",
        ),
        pytest.param(
            cross_entropy,
            np.zeros((B, 2), np.float32),
            np.zeros((B, 1), np.int64),
            "labels have an axis too many: one class index for every example, [B], e.g. labels[:, 0] or "
            "labels.argmax(1)",
            id="labels-with-an-axis",
        ),
        pytest.param(
            lambda net, x, y: F.binary_cross_entropy(net.linear(x)[:, 0] + 9, y, reduction="none"),
            np.zeros((B, 2), np.float32),
            np.zeros(B, np.float32),
            "this loss takes probabilities; of logits, take binary_cross_entropy_with_logits",
            id="logits-for-probabilities",
        ),
        pytest.param(
            lambda net, x, y: net.linear(x).detach().sum(1),
            np.zeros((B, 2), np.float32),
            np.zeros(B, np.int64),
            "the loss depends on no parameter that is trained: look for detach(), item(), no_grad() and frozen parts",
            id="no-gradient",
        ),
        pytest.param(
            lambda net, x, y: net.linear(x).sum(1) + torch.zeros(7),
            np.zeros((B, 2), np.float32),
            np.zeros(B, np.int64),
            "two shapes do not fit each other: compare those above with what forward expects; the last batch may be "
            "smaller",
            id="shapes",
        ),
    ],
)
def test_a_usual_error_comes_with_its_usual_cure(create, function, points, labels, cure):
    """The type stays PyTorch's; what was found is said."""
    model = create(lambda: Net(function))

    with pytest.raises((RuntimeError, IndexError, ValueError)) as caught:
        model.run({"points": points, "labels": labels}, train=True)

    assert caught.value.__notes__ == [cure]


def test_an_error_of_the_users_own_stays_as_it_is(create, batches):
    """No cure is invented."""

    def fail(net, x, y):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError) as caught:
        create(lambda: Net(fail)).run(batches[0], train=True)

    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(("interval", "steps", "unit"), [("batch", 3, "steps"), ("epoch", 3, "epochs")])
def test_a_schedule_at_its_end_is_told_before_the_batch(create, batches, interval, steps, unit):
    """By its key; the weights stay, so that a resume with a longer one goes on."""
    schedule = {"class": "OneCycleLR", "max_lr": 1.0, "total_steps": 3, "interval": interval}
    model = create(
        lambda: Net(lambda net, x, y: cross_entropy(net, x[:, :2], y)),
        optimizer={"class": "SGD", "learning_rate": 0.1},
        lr_schedule=schedule,
    )
    for batch in batches[: steps + (interval == "epoch")]:
        model.run(batch, train=True)
        model.end_epoch()
    before = model.state_dict()["parameters"]["linear.weight"].copy()

    with pytest.raises(ConfigError) as caught:
        model.run(batches[4], train=True)

    assert str(caught.value) == (
        f"model.lr_schedule.total_steps: OneCycleLR ends after 3 {unit}, and the training goes on\n"
        "  make it as long as the training, e.g. model.lr_schedule.total_steps=6"
    )
    assert np.array_equal(model.state_dict()["parameters"]["linear.weight"], before)
