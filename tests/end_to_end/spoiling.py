"""Everything that may stand in the place of a value of a commit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .ablation import Ablation, Place, drop

Change = Callable[[Any, Any], None]

ANYTHING = {
    "nothing": None,
    "true": True,
    "negative": -1,
    "beyond 64 bits": 2**70,
    "beyond 32 bits of a float": 1e300,
    "nan": float("nan"),
    "infinity": float("inf"),
    "text": "x",
    "long text": "/../" * 1000,
    "an empty list": [],
    "lists": [[1]],
    "a mapping": {"a": 1},
    "bytes": b"\x80abc",
    "an array": np.zeros(3),
}
"""What no value expects."""


def swap(owner: Any, key: Any) -> None:
    """Exchange a value with a neighbour, where there is one."""
    keys = owner if isinstance(owner, dict) else range(len(owner))
    other = next((one for one in keys if one != key), key)
    owner[key], owner[other] = owner[other], owner[key]


def becomes(value: Callable[[Any], Any]) -> Change:
    """Put in the place of a value what becomes of it."""

    def change(owner: Any, key: Any) -> None:
        owner[key] = value(owner[key])

    return change


def largest(array: Any) -> Any:
    """An array of the largest numbers that its type has."""
    kinds = {"b": lambda dtype: True, "f": lambda dtype: np.finfo(dtype).max}
    return np.full_like(array, kinds.get(array.dtype.kind, lambda dtype: np.iinfo(dtype).max)(array.dtype))


LIKE_IT: dict[type, dict[str, Callable[[Any], Any]]] = {
    np.ndarray: {
        "one element fewer": lambda a: a.reshape(-1)[:-1].copy() if a.size else np.zeros(5, a.dtype),
        "an axis more": lambda a: np.zeros((2, *a.shape), a.dtype),
        "complex": lambda a: a.astype(np.complex64),
        "half precision": lambda a: a.astype(np.float16),
        "texts": lambda a: a.astype("U9"),
        "no axis": lambda a: np.array(1),
        "not a number": lambda a: np.full(a.shape, np.nan),
        "zeros": np.zeros_like,
        "the largest": largest,
    },
    bytes: {"half": lambda b: b[: len(b) // 2], "empty": lambda b: b"", "a bit": lambda b: bytes([b[0] ^ 1]) + b[1:]},
    str: {"a letter less": lambda s: s[:-1], "NUL": lambda s: s + "\0", "escapes": lambda s: s + "\x1b[2J\n"},
    bool: {"the other": lambda b: not b},
    int: {"a float": float, "one more": lambda i: i + 1, "zero": lambda i: 0},
    list: {"one fewer": lambda v: v[:-1], "twice": lambda v: v + v, "reversed": lambda v: v[::-1]},
    dict: {
        "empty": lambda d: {},
        "one more": lambda d: {**d, "zzz": 1},
        "reversed": lambda d: dict([*d.items()][::-1]),
    },
}
"""Type of a value → what is nearly like it."""


def changes(value: Any) -> Iterator[tuple[str, Change]]:
    """Every way to spoil a value, each with a name."""
    yield from (("dropped", drop), ("swapped", swap))
    yield from ((f"{name} instead", becomes(lambda _, new=new: new)) for name, new in ANYTHING.items())
    yield from ((name, becomes(change)) for name, change in LIKE_IT.get(type(value), {}).items())


def values(tree: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value of a state tree, and the first three elements of every list."""
    yield place, tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:3]) if isinstance(tree, list) else ()
    for key, value in items:
        yield from values(value, (*place, key))


def outcomes(run: Ablation, places: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, str]]:
    """What was changed → what became of the resume, for so many resumes from commits with one changed value each."""
    draw = random.Random(seed)
    for _ in range(count):
        at = draw.choice(places)
        component = draw.choice(sorted(run.commits[at].components))
        place, value = draw.choice(list(values(run.commits[at].load(component))))
        name, change = draw.choice(list(changes(value)))
        found = run.resumed(run.commits[at], component, place, change)
        yield f"{at}: {component}/{'/'.join(map(str, place))}: {name}", found
