"""Recognising a batch by its digest."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._streams import describe_file, digest

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=12,
)


class Tensor:
    """A tensor as PyTorch's: with a gradient, on a device, maybe of numbers that NumPy does not know."""

    def __init__(self, values, kind="float"):
        self._values, self._kind = np.array(values, np.float32), kind

    def __array__(self, *_, **__):
        raise RuntimeError("it requires a gradient")

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Tensor(self._values)

    def numpy(self):
        if self._kind == "brain":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._values


@dataclass
class Detached:
    """Something of the user's with a tensor's names."""

    value: int

    def detach(self):
        return self.value

    def cpu(self):
        return self


class Opaque:
    """Something whose ``repr`` holds its address."""


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_any_batch_has_a_digest_that_ignores_the_order_of_its_sources(batch):
    """Nested, ragged, mixed or odd: a batch is hashed, and equal to itself built the other way round."""
    assert digest(batch) == digest(dict(reversed(batch.items())))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"x": [1]}, {"y": [1]}, id="name"),
        pytest.param({"x": [1, 2]}, {"x": [2, 1]}, id="order-of-examples"),
        pytest.param({"x": [1, 23]}, {"x": [12, 3]}, id="boundaries"),
        pytest.param({"x": ["ab", "c"]}, {"x": ["a", "bc"]}, id="text-boundaries"),
        pytest.param({"x": np.zeros(4)}, {"x": np.zeros((2, 2))}, id="shape"),
        pytest.param({"x": np.zeros(2, "f4")}, {"x": np.zeros(2, "i4")}, id="dtype"),
        pytest.param({"x": np.array([0.0])}, {"x": np.array([-0.0])}, id="negative-zero"),
        pytest.param({"x": [[1], [2, 3]]}, {"x": [[1, 2], [3]]}, id="ragged"),
        pytest.param({"x": [{"a": 1}]}, {"x": [{"a": 2}]}, id="nested"),
        pytest.param({"x": [date(2020, 1, 1)]}, {"x": [date(2020, 1, 2)]}, id="objects"),
        pytest.param({"x": np.array([1, "a"], object)}, {"x": np.array([1, "b"], object)}, id="object-array"),
        pytest.param({"x": np.longdouble([1])}, {"x": np.longdouble([2])}, id="long-double"),
        pytest.param({"x": [b"a"]}, {"x": ["a"]}, id="bytes-and-text"),
        pytest.param({}, {"x": []}, id="empty"),
        pytest.param({"x": [1, "a"]}, {"x": ["1", "a"]}, id="numbers-among-texts"),
        pytest.param({"x": np.zeros(2**18)}, {"x": np.r_[np.zeros(2**18 - 1), 1]}, id="end-of-a-large-array"),
        pytest.param({"x": np.zeros(2**18)}, {"x": np.r_[1, np.zeros(2**18 - 1)]}, id="begin-of-a-large-array"),
        pytest.param({"x": np.zeros(2**18)}, {"x": np.zeros(2**18 + 1)}, id="length-of-a-large-array"),
        pytest.param({"x": Tensor([1.0, 2.0])}, {"x": Tensor([1.0, 3.0])}, id="tensor"),
        pytest.param({"x": Detached(1)}, {"x": Detached(2)}, id="only-named-like-a-tensor"),
        pytest.param({"x": [Tensor([1.0])]}, {"x": [Tensor([2.0])]}, id="list-of-tensors"),
        pytest.param({"x": Tensor([1.0], "brain")}, {"x": Tensor([2.0], "brain")}, id="numbers-unknown-to-numpy"),
    ],
)
def test_another_batch_has_another_digest(one, other):
    """Everything that a model could notice counts."""
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            {"x": np.arange(6).reshape(2, 3)}, {"x": np.arange(6).reshape(3, 2).T.copy().T.reshape(2, 3)}, id="copy"
        ),
        pytest.param({"x": np.arange(8)[::2]}, {"x": np.array([0, 2, 4, 6])}, id="strides"),
        pytest.param({"x": np.array([np.nan])}, {"x": np.array([np.nan])}, id="nan"),
        pytest.param({"x": [Opaque()]}, {"x": [Opaque()]}, id="addresses"),
        pytest.param({"x": [{"a", "b", "c"}]}, {"x": [{"c", "b", "a"}]}, id="sets"),
        pytest.param({"x": (1, 2)}, {"x": [1, 2]}, id="tuple-and-list"),
        pytest.param(
            {"x": np.arange(2.0**18).reshape(512, 512).T},
            {"x": np.arange(2.0**18).reshape(512, 512).T.copy()},
            id="large",
        ),
    ],
)
def test_an_equal_batch_has_an_equal_digest(one, other):
    """What only looks different does not count."""
    assert digest(one) == digest(other)


def test_what_cannot_be_told_apart_ends_no_training():
    """Something that holds itself, a ``repr`` that fails: a digest is only on the side."""

    class Closed:
        def __repr__(self):
            raise ValueError("closed")

    circle, loop = [1], {}
    circle.append(circle)
    loop["parent"] = {"child": loop}

    nodes = [{"number": number} for number in range(30)]
    for node in nodes:
        node["neighbours"] = nodes

    for value in (circle, loop, nodes, Closed()):
        assert digest({"x": [value] * 2}) == digest({"x": [value] * 2})
    assert digest({"x": [Closed(), 1]}) != digest({"x": [Closed(), 2]})


def test_a_file_is_known_by_size_and_content_and_told_by_its_time(tmp_path):
    """Also beyond 64 MiB, where blocks are compared; a directory by the names and sizes of all that it holds."""
    small, large, inner = tmp_path / "small", tmp_path / "large", tmp_path / "inner"
    small.write_bytes(b"abc")
    with large.open("wb") as file:
        file.truncate(65 << 20)
    inner.mkdir()
    (inner / "one").write_bytes(b"12")
    before = [describe_file(path) for path in (small, large, inner)]

    small.write_bytes(b"abd")
    with large.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    (inner / "two").write_bytes(b"")
    after = [describe_file(path) for path in (small, large, inner)]

    assert [3, 65 << 20, 2] == [found["bytes"] for found in before] == [found["bytes"] for found in after]
    assert all(one["digest"] != other["digest"] for one, other in zip(before, after, strict=True))
    assert hashlib.sha256(b"abd").hexdigest() == after[0]["digest"]


def test_another_process_computes_the_same_digest():
    """Hash seeds and memory addresses play no part."""
    script = (
        "import numpy as np; from emloop._streams import digest\n"
        "class Opaque: pass\n"
        "Opaque.__module__ = 'somewhere'\n"
        "sets = [{'b', 'c', 'd'}, {frozenset('bcd'): {frozenset('efg')}}]\n"
        "print(digest({'x': np.arange(3.0), 'y': ['a', *sets], 'z': [Opaque(), None]}))"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60).stdout for _ in "12"
    )
    assert first == second
