"""What a batch may be, and what outputs are."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.tree import equal_trees  # noqa: E402
from emloop.errors import BatchError, ConfigError, MissingVariableError  # noqa: E402
from emloop_torch._tensors.transfers import LazyArray  # noqa: E402

from .nets import Net, deep  # noqa: E402


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "form",
    [
        lambda points: points.astype(np.float64),
        lambda points: points.tolist(),
        lambda points: [list(row) for row in points],
        read_only,
        np.asfortranarray,
        lambda points: points[::-1][::-1],
        lambda points: points.astype(">f4"),
        torch.from_numpy,
    ],
    ids=["double", "list", "list-of-scalars", "read-only", "fortran", "strided", "big-endian", "tensor"],
)
def test_numbers_in_any_form_are_the_same_numbers(create, batches, form):
    """Doubles become what the parameters are."""
    expected, found = create(deep), create(deep)
    other = {**batches[0], "points": form(batches[0]["points"])}

    assert equal_trees(expected.run(batches[0], train=True), found.run(other, train=True))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (["a", "b"], "points: expected numbers, got an array of <U1"),
        ([[1.0], [1.0, 2.0]], "points: the examples of a batch must have one shape"),
    ],
)
def test_what_is_no_array_of_numbers_is_no_input(create, points, message):
    """The error names the source."""
    with pytest.raises(BatchError) as error:
        create(deep).run({"points": points, "labels": [0, 1]}, train=False)

    assert message in str(error.value)


def returning(outputs):
    """A net that returns something else."""

    class Other(Net):
        def forward(self, points, labels):
            return outputs(super().forward(points, labels))

    return Other


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        (lambda o: {**o, "x": o["loss"].mean()}, BatchError, "output 'x': expected 8 values, one for every example"),
        (lambda o: {**o, "x": o["loss"][:3]}, BatchError, "output 'x': expected 8 values"),
        (lambda o: {**o, "x": 3.0}, BatchError, "output 'x': expected a tensor, got float"),
        (lambda o: {"x": o["loss"]}, MissingVariableError, "forward gives no 'loss' to learn from; it gives 'x'"),
        (
            lambda o: {"x": o["logits"], "loss": o["logits"]},
            BatchError,
            "loss: expected a number for every example",
        ),
    ],
)
def test_an_output_that_breaks_its_contract_is_named(create, batches, outputs, error, message):
    """With its shape."""
    with pytest.raises(error) as raised:
        create(returning(outputs), outputs=["x"]).run(batches[0], train=True)

    assert message in str(raised.value)


def test_an_output_that_is_a_buffer_does_not_change_later(create, batches):
    """It is copied; what is computed anew is not."""

    class Moving(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(8))

        def forward(self, points, labels):
            self.mean.add_(1)
            return {**super().forward(points, labels), "mean": self.mean}

    model = create(Moving, outputs=["mean"])
    first = model.run(batches[0], train=True)["mean"]
    model.run(batches[1], train=True)

    np.testing.assert_array_equal(first, np.ones(8))


def test_half_precision_outputs_become_floats(create, batches):
    """NumPy has no bfloat16."""
    model = create(deep, precision="bf16", outputs=["logits"])

    assert model.run(batches[0], train=False)["logits"].dtype == np.float32


def test_a_lazy_array_is_an_array_for_everybody():
    """Its shape is known at once; its values come when asked for."""
    values = np.arange(12.0).reshape(4, 3)
    lazy = LazyArray(torch.from_numpy(values))

    assert (lazy.shape, lazy.ndim, len(lazy), lazy.dtype) == ((4, 3), 2, 4, np.float64)
    np.testing.assert_array_equal(lazy, values)
    np.testing.assert_array_equal(np.asarray(lazy, np.float32), values.astype(np.float32))
    np.testing.assert_array_equal(list(lazy), list(values))
    np.testing.assert_array_equal(lazy[1:], values[1:])
    copied = np.array(lazy)
    copied[:] = 0
    np.testing.assert_array_equal(lazy, values)
    assert repr(lazy) == "LazyArray(shape=(4, 3), dtype=float64)"


class Delivery:
    """A copy that somebody else makes at some time."""

    def __init__(self):
        self._made = threading.Event()
        self.waited = []
        self.others_may_work = False

    def query(self):
        return self._made.is_set()

    def synchronize(self):
        self.waited.append(self.others_may_work)
        assert self._made.wait(30)

    @contextmanager
    def allow(self):
        self.others_may_work = True
        yield
        self.others_may_work = False

    def make(self, host, values):
        host.copy_(torch.tensor(values))
        self._made.set()


def test_an_output_on_its_way_is_waited_for_once_and_lets_others_work_meanwhile():
    """Its shape and type are known at once; only whoever asks for a value waits, and the stream may read ahead then."""
    host, delivery = torch.zeros(3), Delivery()
    lazy = LazyArray(host, delivery, delivery.allow())

    assert (lazy.shape, lazy.dtype, len(lazy), lazy.is_ready()) == ((3,), np.float32, 3, False)
    assert delivery.waited == []

    threading.Thread(target=delivery.make, args=(host, [1.0, 2.0, 3.0])).start()

    assert [float(value) for value in lazy] == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(lazy, [1.0, 2.0, 3.0])
    assert lazy.is_ready()
    assert delivery.waited == [True]


def test_on_the_cpu_there_is_nothing_to_prefetch(create, batches):
    """Inputs are the batch's own memory, outputs are plain arrays."""
    model = create(deep)

    assert model.prefetch(batches[0]) is None
    assert type(model.run(batches[0], train=True)["loss"]) is np.ndarray


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: None, "create_model of Model must return a torch.nn.Module, got None"),
        (lambda: Net(nn.LazyLinear(2)), "body.weight has no size yet"),
    ],
)
def test_what_create_model_returns_is_looked_at(create, made, message):
    """A forgotten return is told at once."""
    with pytest.raises(ConfigError, match=message):
        create(made)


def test_create_model_may_ask_the_dataset(batches):
    """For sizes that only the data knows."""

    class Data:
        num_classes = 5

    class Model(emloop_torch.BaseModel):
        def create_model(self):
            return Net(nn.Linear(3, self.dataset.num_classes))

    model = Model(Data(), None, inputs=["points"], outputs=["logits"], device="cpu")

    assert model.run(batches[0], train=False)["logits"].shape == (8, 5)


def test_a_class_without_create_model_says_what_to_do(create):
    """Override it, or take the class that needs none."""
    with pytest.raises(
        ConfigError, match=r"override create_model, or describe the network by emloop_torch\.Supervised"
    ):
        create()


def test_to_predict_is_not_to_train(create, batches):
    """Where the labels are missing, training is refused."""
    model = create(deep, inputs=["points"], outputs=["logits"])
    model.run(batches[0], train=False)

    with pytest.raises(ConfigError, match=r"inputs: \['points'\] are enough to predict, not to train; add the labels"):
        model.run(batches[0], train=True)


def test_what_is_no_batch_or_lacks_a_source_is_told_by_name(create, batches):
    """And what it has instead."""
    model = create(deep)

    with pytest.raises(MissingVariableError, match="the batch has no 'labels'; it has 'points'"):
        model.run({"points": batches[0]["points"]}, train=False)
    with pytest.raises(BatchError, match="expected a mapping of source names to examples, got list"):
        model.run(list(batches[0].values()), train=False)
