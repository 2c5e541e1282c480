"""State trees as files: a JSON skeleton plus the arrays as safetensors. Never a pickle.

Trees come back bit for bit, with two exceptions: a tuple becomes a list, and any mapping a ``dict`` with its keys in
the same order. Equal trees give equal bytes, so hashes of files can stand for states.

In the skeleton, an object with the key ``$`` stands for a value that JSON lacks (a dictionary's own key that starts
with ``$`` gets another one). An array is named by its place, as a JSON pointer: ``/model/0/weight``. An array whose
dtype safetensors lacks (text, dates, complex numbers, foreign byte order) is stored as its bytes, i.e. as
``uint8 [..., itemsize]``, with the dtype in the skeleton. What is :class:`Lasting` may lie in a third file, and of what
is cut among processes each has a file with its :class:`Rows`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from emloop.errors import StateError
from emloop.types import StateTree

from .array_file import NATIVE, Arrays, file_parts
from .manifest import FileRecord, read_verified
from .strict_json import MAX_DEPTH, dump, parse

__all__ = [
    "EncodedTree",
    "Lasting",
    "Rows",
    "copy_tree",
    "dump_tree",
    "encode_components",
    "encode_tree",
    "equal_trees",
    "escape",
    "load_tree",
    "read_tree",
    "unquoted",
]

_Array = npt.NDArray[Any]

_STORABLE_KINDS = frozenset("biufcmMUS")
_DTYPE = re.compile(r"[<>|][biufcmMUS][0-9]+(\[[0-9]*[A-Za-z]+\])?")

_MAX_DEPTH = MAX_DEPTH - 1

_LONG_BITS = 1024  # Python refuses to read or write longer integers in decimal, so these are written in hexadecimal

_WORTH = 64 << 10  # bytes; what is smaller is not worth a file of its own

_ACCEPTED = "None, bool, int, float, str, bytes, NumPy arrays and scalars, and lists and dicts of these"


class Lasting(np.ndarray[Any, Any]):
    """An array of a state that stays as it is from save to save: ``array.view(Lasting)``.

    Where it is large it is kept in a file of its own, which all savings of a run share. It is compared each time, so
    that one which has changed after all costs only its space. It comes back as a plain array.
    """


class Rows(np.ndarray[Any, Any]):
    """Those rows of an array that this process has; the others follow, process by process: ``array.view(Rows)``.

    Each process writes its own. What comes back is the whole array.
    """


class EncodedTree(NamedTuple):
    """A state tree on its way to its files: the skeleton as a JSON value, the arrays by place, which are marked how."""

    skeleton: Any
    arrays: Arrays
    marked: Mapping[str, type] = {}

    def divided(self, top: str = "") -> tuple[Arrays, Arrays]:
        """The arrays that change, and the lasting ones below a place, by their places below it."""
        lasting = {place for place, kind in self.marked.items() if kind is Lasting and place.startswith(f"{top}/")}
        others = {place: array for place, array in self.arrays.items() if place not in lasting}
        return others, {place.removeprefix(top): self.arrays[place] for place in lasting}

    @property
    def rows(self) -> Arrays:
        """The arrays of which other processes have other rows."""
        return {place: self.arrays[place] for place, kind in self.marked.items() if kind is Rows}


def encode_tree(tree: StateTree) -> EncodedTree:
    """Encode a state tree; its arrays are not copied where they can be written as they are.

    Raises:
        StateError: If something in the tree cannot be stored; names the place.
    """
    arrays: dict[str, _Array] = {}
    marked: dict[str, type] = {}
    return EncodedTree(_encode(tree, "", 1, arrays, marked), arrays, marked)


def encode_components(components: Mapping[str, StateTree]) -> EncodedTree:
    """Encode several trees as one: a mapping from the component's name to its tree.

    Raises:
        StateError: If something cannot be stored; names component and place.
    """
    skeletons: dict[str, Any] = {}
    arrays: dict[str, _Array] = {}
    marked: dict[str, type] = {}
    for key, tree in _items(components, ""):
        try:
            skeletons[key], found, marks = encode_tree(tree)
        except StateError as error:
            raise StateError(f"state of {unquoted(key)}: {error}") from error
        arrays |= {f"{_top(key)}{place}": array for place, array in found.items()}
        marked |= {f"{_top(key)}{place}": kind for place, kind in marks.items()}
    return EncodedTree(skeletons, arrays, marked)


def dump_tree(tree: StateTree) -> tuple[bytes, bytes | None]:
    """Render a state tree as the contents of two files.

    Returns:
        The skeleton (JSON), and the arrays (safetensors) or ``None`` if it has none.

    Raises:
        StateError: As :func:`encode_tree`.
    """
    skeleton, arrays, _ = encode_tree(tree)
    return dump(skeleton), b"".join(file_parts(arrays)) if arrays else None


def load_tree(
    skeleton: bytes,
    arrays: bytes | None,
    component: str | None = None,
    lasting: bytes | None = None,
    top: str = "",
    rows: Sequence[bytes] = (),
) -> StateTree:
    """Rebuild a state tree from what :func:`dump_tree` returned; its arrays are writable and shared with nobody.

    Args:
        skeleton: Content of the one file.
        arrays: Content of the other.
        component: Which of several trees that :func:`encode_components` has joined; by default all of them.
        lasting: Content of the file with the lasting arrays, if there is one.
        top: The place below which these are.
        rows: Contents of the files of other processes, in order.

    Raises:
        StateError: If the bytes are not those of a state tree.
    """
    try:
        rest = {} if arrays is None else safetensors.numpy.load(arrays)
        if lasting is not None:
            rest |= {f"{top}{place}": array for place, array in safetensors.numpy.load(lasting).items()}
        _append_rows(rest, map(safetensors.numpy.load, rows))
        value, root = parse(skeleton), ""
        if component is not None:
            key = _quoted(component)
            value, root = value[key], _top(key)
            rest = {place: array for place, array in rest.items() if f"{place}/".startswith(f"{root}/")}
        tree = _decode(value, root, rest)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StateError(f"not a state tree: {error}") from error
    if rest:
        raise StateError(f"not a state tree: unreferenced arrays {', '.join(map(repr, sorted(rest)))}")
    return tree


def read_tree(
    directory: Path,
    skeleton: FileRecord,
    arrays: FileRecord | None,
    component: str | None = None,
    lasting: FileRecord | None = None,
    top: str = "",
    rows: Sequence[FileRecord] = (),
) -> StateTree:
    """Read a state tree from the files of a directory, as :func:`load_tree`; all is verified before it is parsed.

    Raises:
        CheckpointError: If a file is damaged.
        StateError: As :func:`load_tree`.
    """
    content = read_verified(directory, skeleton)
    others = [None if record is None else read_verified(directory, record) for record in (arrays, lasting)]
    return load_tree(content, others[0], component, others[1], top, [read_verified(directory, each) for each in rows])


def copy_tree(tree: StateTree) -> StateTree:
    """Copy a tree as it would come back from its files, sharing no memory with the original.

    Raises:
        StateError: As :func:`encode_tree`.
    """
    arrays: dict[str, _Array] = {}
    skeleton = _encode(tree, "", 1, arrays, {})
    return _decode(skeleton, "", {name: array.copy() for name, array in arrays.items()})


def equal_trees(one: StateTree, other: StateTree) -> bool:
    """Whether two trees are identical bit for bit, i.e. whether their files would be.

    So NaN equals NaN, ``0.0`` differs from ``-0.0``, ``1`` from ``1.0`` and ``True``, and the order of keys counts.

    Raises:
        StateError: As :func:`encode_tree`, where that is not plain to see.
    """
    return _alike(one, other) or dump_tree(one) == dump_tree(other)


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are certainly equal, which takes less than writing both."""
    kind = type(one)
    if type(other) is not kind:
        return False
    if kind is dict:
        keys = list(one)
        return keys == list(other) and set(map(type, keys)) <= {str} and all(map(_alike, one.values(), other.values()))
    if kind is np.ndarray:
        layout = one.dtype, one.shape
        return one.dtype.kind in "biuf" and layout == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
    return one is None or (kind in (bool, int, str) and bool(one == other))


def escape(key: str) -> str:
    """A key as part of a place."""
    return key.replace("~", "~0").replace("/", "~1")


def unquoted(key: str) -> str:
    """A key of the skeleton as the dictionary has it."""
    return key.removeprefix("$")


def _append_rows(arrays: dict[str, _Array], others: Iterator[dict[str, _Array]]) -> None:
    """Make arrays whole, of which other processes had the rows that follow.

    Raises:
        KeyError, ValueError: If these are of other arrays.
    """
    parts: dict[str, list[_Array]] = {}
    for each in others:
        if parts and parts.keys() != each.keys():
            raise ValueError("the processes had rows of different arrays")
        for place, own in each.items():
            parts.setdefault(place, [arrays[place]]).append(own)
    for place, found in parts.items():
        arrays[place] = np.concatenate(found)


def _encode(value: Any, place: str, depth: int, arrays: dict[str, _Array], marked: dict[str, type]) -> Any:
    """Skeleton of a value; puts its arrays into ``arrays`` by place: C-contiguous, of native dtypes."""
    # First, since NumPy's float64 is a float and its str_ a str.
    if isinstance(value, (np.ndarray, np.generic)):
        if type(value) is Rows or (type(value) is Lasting and value.nbytes >= _WORTH):
            marked[place] = type(value)
        return _encode_array(value, place, arrays)
    if isinstance(value, (bytes, bytearray)):
        arrays[place] = np.frombuffer(value, np.uint8)
        return {"$": "bytes"}
    if isinstance(value, (Mapping, list, tuple)):
        if depth == _MAX_DEPTH:
            raise StateError(f"{_quote(place)}: nested more than {_MAX_DEPTH - 1} deep, or containing itself")
        items = [
            (key, _encode(child, f"{place}/{escape(key)}", depth + 1, arrays, marked))
            for key, child in _items(value, place)
        ]
        return dict(items) if isinstance(value, Mapping) else [child for _, child in items]
    return _encode_scalar(value, place)


def _encode_scalar(value: Any, place: str) -> Any:
    # An instance of a subclass, such as a member of an enumeration, is stored as the plain value.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _LONG_BITS else {"$": "int", "value": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$": "float", "value": repr(float(value))}
    if isinstance(value, str):
        plain = str.__str__(value)
        return plain if _is_text(plain) else {"$": "text", "value": plain.encode("utf-8", "surrogatepass").hex()}
    raise StateError(f"{_quote(place)}: a {_type_name(value)} cannot be stored; a state tree holds {_ACCEPTED}")


def _items(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Children of a container, under the keys that the skeleton uses."""
    if not isinstance(value, Mapping):
        yield from ((str(index), child) for index, child in enumerate(value))
        return
    for key, child in value.items():
        if not isinstance(key, str) or not _is_text(key):
            raise StateError(
                f"{_quote(place)}: keys must be text, got {key!r} ({_type_name(key)}); "
                "store a list of pairs, or the key as text"
            )
        yield _quoted(key), child


def _encode_array(value: _Array | np.generic, place: str, arrays: dict[str, _Array]) -> dict[str, str]:
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap, Lasting, Rows):
        raise StateError(f"{_quote(place)}: a {_type_name(value)} cannot be stored; make it a plain array")
    array = np.asarray(value)
    dtype = array.dtype
    if dtype.kind not in _STORABLE_KINDS or not dtype.itemsize:
        raise StateError(f"{_quote(place)}: arrays of dtype {dtype} cannot be stored; store a view, or a list")
    tag = {"$": "array" if isinstance(value, np.ndarray) else "scalar"}
    # Unlike ascontiguousarray this keeps zero dimensions.
    array = np.asarray(array, order="C")
    if dtype in NATIVE:
        arrays[place] = array
        return tag
    arrays[place] = _without_padding(array.reshape(*array.shape, 1).view(np.uint8), dtype)
    return {**tag, "dtype": dtype.str}


def _without_padding(raw: _Array, dtype: np.dtype[Any]) -> _Array:
    """Zero the undefined bytes of 80-bit floats, so that equal numbers have equal bytes."""
    if dtype.kind not in "fc" or dtype.itemsize <= 8 * (1 + (dtype.kind == "c")) or np.finfo(dtype).nmant != 63:
        return raw
    width = dtype.itemsize // (1 + (dtype.kind == "c"))
    numbers = raw.copy().reshape(-1, width)
    numbers[:, 10:] = 0
    return numbers.reshape(raw.shape)


def _decode(value: Any, place: str, arrays: dict[str, _Array]) -> Any:
    """Rebuild a value; takes its arrays out of ``arrays``.

    Raises:
        ValueError, KeyError, TypeError: If skeleton and arrays do not match.
    """
    if isinstance(value, list):
        return [_decode(child, f"{place}/{index}", arrays) for index, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "$" in value:
        kind = value["$"]
        if kind in _FROM_TEXT:
            return _FROM_TEXT[kind](value["value"])
        if kind not in _FROM_ARRAY or place not in arrays:
            raise ValueError(f"{_quote(place)}: {kind!r} is unknown, or its array is missing")
        return _FROM_ARRAY[kind](_decode_array(arrays.pop(place), value.get("dtype")))
    return {unquoted(key): _decode(child, f"{place}/{escape(key)}", arrays) for key, child in value.items()}


def _decode_array(array: _Array, dtype_text: str | None) -> _Array:
    if not array.flags.writeable:
        array = array.copy()
    if dtype_text is None:
        return array
    if not _DTYPE.fullmatch(dtype_text):
        raise ValueError(f"{dtype_text!r} is not a dtype of a state tree")
    dtype = np.dtype(dtype_text)
    if array.dtype != np.uint8 or not dtype.itemsize or array.shape[-1:] != (dtype.itemsize,):
        raise ValueError(f"{array.dtype} {list(array.shape)} cannot be the bytes of an array of {dtype}")
    return array.view(dtype).reshape(array.shape[:-1])


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "int": lambda text: int(text, 16),
    "float": float,
    "text": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
}
_FROM_ARRAY: dict[str, Callable[[_Array], Any]] = {
    "array": lambda array: array,
    "scalar": lambda array: array[()],
    "bytes": lambda array: array.tobytes(),
}


def _quoted(key: str) -> str:
    """A dictionary's key as the skeleton has it."""
    return f"${key}" if key.startswith("$") else key


def _top(key: str) -> str:
    return f"/{escape(key)}"


def _is_text(value: str) -> bool:
    """Whether a string is valid Unicode; file names may contain lone surrogates, which JSON would join."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quote(place: str) -> str:
    return place or "the state itself"


def _type_name(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
