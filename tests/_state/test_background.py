"""Arrays are copied at once, into memory that is there already."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._state.background import HostBuffer, size_of
from emloop._state.tree import dump_tree, encode_tree

DTYPES = ("float64", "float32", "float16", "int8", "bool", "uint64")


def state(megabytes):
    """A tree with arrays of many dtypes and shapes, an empty one and one without dimensions among them."""
    arrays = {dtype: np.arange(1000).reshape(20, 50).astype(dtype) for dtype in DTYPES}
    return {**arrays, "none": np.empty((0, 3)), "scalar": np.array(3.5), "large": np.ones(megabytes << 17)}


@pytest.mark.parametrize("megabytes", [0, 1, 8])
@pytest.mark.parametrize("prepared", [None, 0, 1, 6 << 20, 9 << 20])
def test_copies_are_equal_whatever_was_prepared(megabytes, prepared):
    """Nothing, too little, or more than enough; later changes of the arrays leave the copies as they are."""
    buffer, tree = HostBuffer(), state(megabytes)
    expected = dump_tree(tree)
    if prepared is not None:
        buffer.prepare(prepared)

    copied = buffer.copy(encode_tree(tree))
    for array in tree.values():
        array[...] = 0

    assert all(copied.arrays[f"/{name}"].dtype == array.dtype for name, array in tree.items())
    assert dump_tree({name: copied.arrays[f"/{name}"] for name in tree}) == expected


def test_what_was_prepared_is_used():
    """The first commit takes the memory that was touched for it, the next one the same."""
    buffer, encoded = HostBuffer(), encode_tree(state(8))
    buffer.prepare(size_of(encoded))
    buffer._preparing.join()
    prepared = buffer._memory

    copies = [buffer.copy(encoded).arrays["/large"] for _ in range(2)]

    assert all(np.shares_memory(copy, prepared) for copy in copies)
