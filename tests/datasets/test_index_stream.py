"""Batches by number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._streams import StreamWrapper
from emloop.datasets import IndexStream
from emloop.errors import BatchError, UsageError


class Files:
    """Examples that are read when they are asked for; knows which were."""

    def __init__(self, count):
        self._count = count
        self.read = []

    def __len__(self):
        return self._count

    def batch(self, indices):
        assert indices.dtype == np.int64
        self.read += indices.tolist()
        return {"x": indices * 10}


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.integers(1, 50), st.integers(1, 60), st.booleans(), st.booleans())
def test_every_example_comes_exactly_once(count, batch_size, shuffled, drop_last):
    """In batches of the size asked for, of which only the last may be smaller, or is left out."""
    if drop_last and count < batch_size:
        batch_size = count
    stream = IndexStream({"x": np.arange(count)}, batch_size, rng=rng() if shuffled else None, drop_last=drop_last)
    batches = [batch["x"] for batch in stream]
    seen = np.concatenate(batches)

    assert len(batches) == len(stream)
    assert all(len(batch) == batch_size for batch in batches[: -1 if not drop_last else None])
    assert len(seen) == (count // batch_size * batch_size if drop_last else count)
    assert len(set(seen.tolist())) == len(seen)
    assert shuffled or seen.tolist() == list(range(len(seen)))


def test_columns_stay_together():
    """A batch has the same examples in every column; an array stays one, anything else becomes a list."""
    stream = IndexStream(
        {"n": np.arange(10), "square": [n * n for n in range(10)], "name": tuple("abcdefghij")}, 3, rng=rng()
    )
    for batch in stream:
        assert isinstance(batch["n"], np.ndarray)
        assert isinstance(batch["square"], list)
        assert batch["square"] == (batch["n"] ** 2).tolist()
        assert "".join(batch["name"]) == "".join("abcdefghij"[n] for n in batch["n"])


def test_the_order_is_a_function_of_the_generator():
    """Equal generators give equal orders, others others; what is read, and in which order, plays no part."""
    one, same, other = (IndexStream({"x": np.arange(100)}, 7, rng=rng(seed)) for seed in (0, 0, 1))
    backwards = [same[index]["x"].tolist() for index in reversed(range(len(same)))]
    assert [batch["x"].tolist() for batch in one] == backwards[::-1]
    assert one.order.tolist() != other.order.tolist()


def test_a_batch_is_a_copy():
    """A model that writes into its input changes no later pass."""
    columns = {"x": np.arange(4)}
    IndexStream(columns, 2)[0]["x"][:] = -1
    assert columns["x"].tolist() == [0, 1, 2, 3]


def test_batches_are_had_by_any_index():
    """From the end, by NumPy integers and by slices; beyond the end there is nothing."""
    stream = IndexStream({"x": np.arange(5)}, 2)
    assert stream[-1]["x"].tolist() == [4]
    assert stream[np.int64(1)]["x"].tolist() == [2, 3]
    assert [batch["x"].tolist() for batch in stream[1:]] == [[2, 3], [4]]
    with pytest.raises(IndexError, match="batch 3 of 3"):
        stream[3]


def test_examples_are_read_when_their_batch_is_asked_for():
    """A source of one's own is asked for whole batches, and for no others."""
    source = Files(10)
    stream = IndexStream(source, 4)
    assert source.read == []
    assert stream[1]["x"].tolist() == [40, 50, 60, 70]
    assert source.read == [4, 5, 6, 7]


def test_resuming_reads_nothing_before_the_position():
    """The stream is exact: it goes on at any batch without reading those before."""
    first = StreamWrapper(lambda: IndexStream(Files(20), 4, rng=rng()))
    expected = [batch["x"].tolist() for batch in first]
    for _ in range(3):
        next(first)
    source = Files(20)
    second = StreamWrapper(lambda: IndexStream(source, 4, rng=rng()))
    second.load_state_dict(first.state_dict())

    assert second.level == "exact"
    assert [batch["x"].tolist() for batch in second] == expected[3:]
    assert len(source.read) == 8


def test_an_index_error_of_the_source_is_no_end():
    """A broken source fails instead of shortening the pass."""

    class Broken(Files):
        def batch(self, indices):
            if indices[0]:
                raise IndexError("row 4 of 3")
            return super().batch(indices)

    with pytest.raises(IndexError, match="row 4 of 3"):
        list(IndexStream(Broken(8), 4))


class Labelled:
    """A column that is indexed by labels, as pandas' are."""

    def __init__(self, values):
        self._values = values

    def __len__(self):
        return len(self._values)

    def __getitem__(self, label):
        raise KeyError(label)

    def to_numpy(self):
        return np.array(self._values)


def test_a_column_of_a_data_frame_is_taken_by_position():
    """Labels do not mix rows up."""
    assert IndexStream({"x": Labelled([5, 6, 7])}, 2)[1]["x"].tolist() == [7]


@pytest.mark.parametrize(
    ("source", "arguments", "error", "message"),
    [
        ({"x": [1, 2], "y": [1]}, {}, BatchError, "the same number of examples: 'x' has 2, 'y' has 1"),
        ({"x": []}, {}, BatchError, "the source has no examples"),
        ({}, {}, BatchError, "the source has no examples"),
        ({"x": [1]}, {"batch_size": 2, "drop_last": True}, BatchError, "has 1 examples, not enough for one batch of 2"),
        ({"x": [1]}, {"batch_size": 0}, UsageError, "batch_size: expected a number of examples, at least 1, got 0"),
        ({"x": [1]}, {"batch_size": 2.0}, UsageError, r"batch_size: expected .*, got 2\.0"),
        (
            {"x": [1]},
            {"rng": 42},
            UsageError,
            r"rng: expected a numpy.random.Generator such as self.rng\('train'\), got int 42",
        ),
        ([1, 2], {}, UsageError, r"an object with __len__ and batch\(indices\), got list"),
    ],
)
def test_what_cannot_be_cut_into_batches_is_refused(source, arguments, error, message):
    """When the stream is made, not in the middle of a pass; every one of these is a ``ValueError``."""
    assert issubclass(error, ValueError)
    with pytest.raises(error, match=message):
        IndexStream(source, **{"batch_size": 1, **arguments})
