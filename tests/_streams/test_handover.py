"""A batch arrives in another process as what it was, or not at all."""

from __future__ import annotations

import os
from collections import OrderedDict
from decimal import Decimal

import numpy as np
import pytest

from emloop._streams.handover import Memory, pack, unpack

WIDE = np.arange(24.0).reshape(4, 6)


def sent(value):
    """The value on the other side, where another file object maps the same memory."""
    number = os.memfd_create("test")
    other = os.dup(number)
    try:
        return unpack(pack(value, Memory(number)), Memory(other))
    finally:
        os.close(number)
        os.close(other)


def same(one, other):
    """Equal in value and kind, arrays in dtype, shape, memory layout and whether they can be written to."""
    if isinstance(one, np.ndarray):
        flags = ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE")
        assert type(other) is np.ndarray
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert [one.flags[name] for name in flags] == [other.flags[name] for name in flags]
        if one.dtype == object:
            return all(map(same, one.flat, other.flat))
        return one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or one != one)  # NaN


ARRAYS = {
    "float32": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
    "big-endian": np.arange(5, dtype=">i4"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "half": np.array([0.1, np.nan, np.inf], np.float16),
    "text": np.array(["a", "bcd", "\N{SNOWMAN}"]),
    "bytes": np.array([b"a", b"bc"]),
    "dates": np.array(["2026-11-28"], "datetime64[D]"),
    "fields": np.array([(1, 2.5)], [("a", "u1"), ("b", "<f8")]),
    "no-examples": np.empty((0, 3), np.float32),
    "no-axis": np.array(3.5),
    "columns-first": np.asfortranarray(WIDE),
    "transposed": WIDE.reshape(2, 2, 6).transpose(2, 0, 1),
    "every-other": WIDE[:, ::2],
    "backwards": WIDE[::-1],
    "one-column": np.zeros((10, 1000))[:, 3],
    "repeated": np.broadcast_to(np.arange(3), (4, 3)),
    "read-only": np.frombuffer(b"abcd", np.uint8),
    "ragged": np.array([np.arange(2), np.arange(3)], object),
    "objects": np.array([["a", None], [1, (2.5,)]], object),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_arrives_with_dtype_shape_and_bits(name):
    """Also with its order in memory, by which a sum may differ in the last bit, and whether it can be written to."""
    array = ARRAYS[name]

    found = sent({"x": array})["x"]

    packed = name in ("backwards", "one-column")  # whose memory holds much else
    assert same(array.copy("K") if packed else array, found)
    if name in ("transposed", "every-other", "repeated"):
        assert array.strides == found.strides


@pytest.mark.parametrize(
    "value",
    [
        {"x": [1, -(2**70), 0.1, float("nan"), float("-inf"), -0.0, None, True, "a\ud800\x00", b"\x00\xff", b""]},
        {"x": (1, [(), {}], {"y": (2,)})},
        {1: "a", None: "b", (1, "c"): "d"},
        {"x": np.float32(1.5), "y": np.str_("a"), "z": np.datetime64("2026-11-28")},
        [],
        None,
    ],
    ids=["values", "nested", "keys", "scalars", "list", "nothing"],
)
def test_what_is_no_array_arrives_as_it_is(value):
    """Tuples as tuples, bytes as bytes, keys in their order."""
    assert same(value, sent(value))


class Own(dict):
    """A mapping of somebody's own."""


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Own(x=1), "test_handover.Own"),
        (OrderedDict(x=1), "collections.OrderedDict"),
        ({"x": {1, 2}}, "builtins.set"),
        ({"x": Decimal(1)}, "decimal.Decimal"),
        ({"x": np.ma.masked_array([1])}, "numpy.ma.MaskedArray"),
        ({"x": np.array([(1, "a")], [("a", "u1"), ("b", object)])}, "an array of"),
        ({"x": np.array([Decimal(1)], object)}, "decimal.Decimal"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_arrive_as_something_else_is_refused(value, told):
    """And named, so that the process that has it can keep it."""
    with pytest.raises(TypeError, match=told):
        sent(value)


def test_memory_grows_with_what_is_put_into_it_and_arrays_are_copies():
    """A batch stays what it is when the next one is written."""
    number = os.memfd_create("test")
    mine, theirs = Memory(number), Memory(number)
    found = [unpack(pack({"x": np.full(size, size)}, mine), theirs) for size in (3, 30_000, 5, 100_000)]

    assert [(3, 3), (30_000, 30_000), (5, 5), (100_000, 100_000)] == [(len(b["x"]), b["x"][-1]) for b in found]
    os.close(number)
