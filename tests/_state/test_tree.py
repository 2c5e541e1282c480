"""What a state tree holds comes back to the bit, and what cannot is refused by its place."""

from __future__ import annotations

import contextlib
import enum
import json
import math
import random
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emloop._state.array_file import NATIVE, file_parts, file_size
from emloop._state.tree import copy_tree, dump_tree, equal_trees, load_tree
from emloop.errors import StateError

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.timedelta64_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(endianness="?"),
    hnp.byte_string_dtypes(endianness="?"),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
KEYS = st.text(max_size=5) | st.sampled_from(["$", "$$", "$x", "a/b", "a~1b", "~", "", "__metadata__"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**127, max_value=2**128),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.text(st.characters(categories=["Cs"]), max_size=3),
    st.binary(max_size=8),
    ARRAYS,
    ARRAYS.filter(lambda array: array.size).map(lambda array: array.reshape(-1)[0]),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def same(one, other):
    """Whether two trees are of the same types, in the same order and of the same bits, seen without the code tested."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and not isinstance(one, np.generic):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return one == other


@pytest.mark.slow
@given(TREES)
@settings(max_examples=300)
def test_a_tree_comes_back_to_the_bit(tree):
    """Types, shapes, byte orders, signs of zero, NaN, big integers, half characters and the order of keys."""
    assert same(tree, load_tree(*dump_tree(tree)))


@given(TREES)
def test_a_copy_is_what_the_files_would_give_back(tree):
    """Without the way over the files."""
    assert same(tree, copy_tree(tree))


@given(TREES, TREES)
def test_trees_are_equal_when_their_files_are(one, other):
    """So a hash of the files can stand for the state."""
    assert equal_trees(one, other) == (dump_tree(one) == dump_tree(other))
    assert equal_trees(one, copy_tree(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (1, 1.0),
        (1, True),
        ("1", 1),
        ("a", b"a"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.float32(1), np.float64(1)),
        (np.array(1.0), np.float64(1)),
        (np.zeros(2), np.zeros((1, 2))),
        (np.zeros(2), -np.zeros(2)),
        (np.zeros(2, "<i4"), np.zeros(2, ">i4")),
        ([], {}),
        ({}, None),
    ],
)
def test_what_differs_in_a_bit_is_not_equal(one, other):
    """Nor is what differs only in its type or its order."""
    assert not equal_trees(one, other)


def test_not_a_number_equals_itself():
    """A state with a NaN is equal to its own copy."""
    tree = {"best": float("nan"), "window": np.array([np.nan, 1.0])}

    assert equal_trees(tree, copy_tree(tree))


def test_a_generator_s_state_goes_on_where_it_stood():
    """PCG64 counts in 128 bits; Python's generator keeps 625 words."""
    generator = np.random.default_rng(7)
    generator.random(3)
    tree = {"numpy": generator.bit_generator.state, "python": random.Random(7).getstate()}
    loaded = load_tree(*dump_tree(tree))
    restored = np.random.default_rng()
    restored.bit_generator.state = loaded["numpy"]

    assert np.array_equal(generator.random(5), restored.random(5))
    assert [3, [*tree["python"][1]], None] == loaded["python"]


def test_extended_floats_come_back_and_equal_ones_give_equal_files():
    """The six unused bytes of an 80-bit float say nothing."""
    third = np.longdouble(1) / 3
    noisy = np.full(4 * third.nbytes, 0xAB, np.uint8).view(np.longdouble)
    noisy[:] = third
    tree, other = {"x": np.full(4, third), "z": third * 1j}, {"x": noisy, "z": third * 1j}

    assert load_tree(*dump_tree(tree))["x"].dtype == np.longdouble
    assert np.array_equal(load_tree(*dump_tree(other))["x"], np.full(4, third))
    assert dump_tree(tree) == dump_tree(other)


def test_memory_layout_does_not_matter():
    """Views, columns, reversed and read-only arrays are stored as what they show."""
    base = np.arange(24.0).reshape(4, 6)
    for view in (base.T, base[::-2], base[:, 1], np.asfortranarray(base), np.broadcast_to(base[0], (3, 6))):
        assert np.array_equal(load_tree(*dump_tree(view)), view)
        assert dump_tree(view) == dump_tree(view.copy())


def test_a_memory_map_is_an_array(tmp_path):
    """State that lives in a file is stored like any other."""
    mapped = np.memmap(tmp_path / "buffer", np.int16, "w+", shape=(3,))
    mapped[:] = [1, 2, 3]

    assert same(np.array([1, 2, 3], np.int16), load_tree(*dump_tree(mapped)))


def test_tuples_mappings_and_enumerations_come_back_as_plain_values():
    """What is not a plain list, dict, number or text is stored as one."""

    class Phase(enum.IntEnum):
        WARM_UP = 3

    class Mode(enum.StrEnum):
        MIN = "min"

    tree = {"tuple": (1, (2,)), "phase": Phase.WARM_UP, "mode": Mode.MIN, "buffer": bytearray(b"ab")}
    plain = {"tuple": [1, [2]], "phase": 3, "mode": "min", "buffer": b"ab"}

    assert same(plain, load_tree(*dump_tree(tree)))
    assert same(plain, copy_tree(tree))


def test_what_is_loaded_may_be_written_to_and_shares_nothing():
    """A hook can go on adding to the sums it gets back, and a copy does not follow the original."""
    tree = {"sums": np.zeros(3), "names": np.array(["a"])}
    for other in (load_tree(*dump_tree(tree)), copy_tree(tree)):
        other["sums"] += 1
        other["names"][0] = "b"

    assert same({"sums": np.zeros(3), "names": np.array(["a"])}, tree)


def test_the_files_can_be_read_by_others():
    """The skeleton is JSON; the arrays lie under their place's JSON pointer, as any safetensors reader shows them."""
    skeleton, arrays = dump_tree({"layers": [{"a/b": np.ones(2, np.float32)}], "step": 3})

    assert json.loads(skeleton) == {"layers": [{"a/b": {"$": "array"}}], "step": 3}
    assert list(safetensors.numpy.load(arrays)) == ["/layers/0/a~1b"]
    assert dump_tree({"step": 3})[1] is None


def cyclic():
    tree = {}
    tree["self"] = [tree]
    return tree


def nested(depth):
    tree = 0.0
    for _ in range(depth):
        tree = [tree]
    return tree


ACCEPTED = "None, bool, int, float, str, bytes, NumPy arrays and scalars, and lists and dicts of these"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [1, {2}]}, f"/a/1: a set cannot be stored; a state tree holds {ACCEPTED}"),
        (object(), f"the state itself: a object cannot be stored; a state tree holds {ACCEPTED}"),
        ({"epochs": {3: 0.5}}, "/epochs: keys must be text, got 3 (int); store a list of pairs, or the key as text"),
        ({"\ud800": 1}, "the state itself: keys must be text, got '\\ud800' (str); "),
        ({"w": np.array([object()])}, "/w: arrays of dtype object cannot be stored; store a view, or a list"),
        ({"w": np.zeros(2, "i4,f4")}, "/w: arrays of dtype [('f0', '<i4'), ('f1', '<f4')] cannot be stored; "),
        ({"w": np.ma.array([1], mask=[1])}, "/w: a numpy.ma.MaskedArray cannot be stored; make it a plain array"),
        (nested(64), f"{'/0' * 63}: nested more than 63 deep, or containing itself"),
        (cyclic(), f"{'/self/0' * 31}/self: nested more than 63 deep, or containing itself"),
    ],
)
def test_what_cannot_be_stored_is_named_by_its_place(tree, message):
    """Before anything is written; never by falling back to a pickle."""
    for function in (dump_tree, copy_tree):
        with pytest.raises(StateError) as caught:
            function(tree)
        assert str(caught.value).startswith(message)


def test_the_deepest_tree_that_is_written_can_be_read():
    """The limits of writer and reader are the same one."""
    for leaf in (float("nan"), np.zeros(1, "U3"), {}):
        tree = nested(62)
        tree[0] = leaf
        assert equal_trees(tree, load_tree(*dump_tree(tree)))
    assert equal_trees(nested(63), load_tree(*dump_tree(nested(63))))


def tensors(header):
    """A safetensors file with 8 bytes of data."""
    return struct.pack("<Q", len(header)) + header.encode() + bytes(8)


def test_the_bombs_below_are_no_tensors_only_for_what_they_promise():
    """The same bytes with an honest header are read."""
    honest = tensors('{"":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}')

    assert same(np.zeros(1, np.int64), load_tree(b'{"$":"array"}', honest))


SKELETON, TENSORS = dump_tree({"w": np.arange(3), "s": np.array(["ab"])})


@pytest.mark.parametrize(
    ("skeleton", "arrays"),
    [
        pytest.param(SKELETON, None, id="arrays-missing"),
        pytest.param(b'{"w":1}', TENSORS, id="arrays-too-many"),
        pytest.param(SKELETON, TENSORS[:-1], id="arrays-cut"),
        pytest.param(SKELETON, b"", id="arrays-empty"),
        pytest.param(SKELETON, b"\xff" * 100, id="header-huge"),
        pytest.param(SKELETON[:-3], TENSORS, id="skeleton-cut"),
        pytest.param(b"", None, id="skeleton-empty"),
        pytest.param(b"\xff", None, id="not-utf-8"),
        pytest.param(b"NaN", None, id="nan"),
        pytest.param(b"[" * 66 + b"]" * 66, None, id="deep"),
        pytest.param(b"[" * 100_000, None, id="very-deep"),
        pytest.param(b'{"$":"object"}', None, id="unknown-kind"),
        pytest.param(b'{"$":[]}', None, id="kind-no-text"),
        pytest.param(b'{"$":"int"}', None, id="no-value"),
        pytest.param(b'{"$":"int","value":"1.5"}', None, id="no-integer"),
        pytest.param(b'{"$":"int","value":3}', None, id="integer-not-as-text"),
        pytest.param(b'{"$":"text","value":"zz"}', None, id="no-text"),
        pytest.param(SKELETON.replace(b"<U2", b"<U3"), TENSORS, id="other-width"),
        pytest.param(SKELETON.replace(b"<U2", b"|O8"), TENSORS, id="objects"),
        pytest.param(SKELETON.replace(b"<U2", b"i4,i4"), TENSORS, id="structure"),
        pytest.param(SKELETON.replace(b'{"$":"array"}', b'{"$":"array","dtype":"<U1"}'), TENSORS, id="not-bytes"),
        pytest.param(
            b'{"$":"array"}', tensors('{"":{"dtype":"I64","shape":[99999999],"data_offsets":[0,8]}}'), id="bomb"
        ),
        pytest.param(
            b'{"$":"array"}', tensors('{"":{"dtype":"I64","shape":[-1],"data_offsets":[0,8]}}'), id="negative"
        ),
        pytest.param(b'{"$":"array"}', tensors('{"":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}'), id="beyond"),
    ],
)
def test_bytes_of_no_tree_are_refused(skeleton, arrays):
    """By one kind of error, whatever is wrong with them, and without allocating what they promise."""
    with pytest.raises(StateError, match="not a state tree: "):
        load_tree(skeleton, arrays)


@given(st.data())
def test_a_damaged_tree_is_a_tree_or_refused(data):
    """No changed byte, in the skeleton or in the arrays, leads to another error."""
    skeleton, arrays = bytearray(SKELETON), bytearray(TENSORS)
    part = data.draw(st.sampled_from([skeleton, arrays]))
    part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(StateError):
        dump_tree(load_tree(bytes(skeleton), bytes(arrays)))


NATIVE_ARRAYS = hnp.arrays(
    st.sampled_from(sorted(NATIVE, key=str)), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), NATIVE_ARRAYS, max_size=6))
def test_arrays_are_written_as_the_format_s_own_package_writes_them(arrays):
    """The parts make up the very bytes, and their size is known beforehand."""
    arrays.pop("__metadata__", None)
    written = b"".join(file_parts(arrays))

    assert written == safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    assert file_size(arrays) == len(written)
