"""The values of one variable, gathered batch by batch and offered example by example.

Rows are copied when they come, since a model may reuse one output buffer for all batches. Only an array on a device is
kept as it is, so that nothing waits for it; it must not change once the model has returned it. It is fetched with a
whole group of others, at the latest when somebody looks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from emloop._state.kinds import check_state
from emloop.types import StateTree

from .batches import MOST_WAITING, fetched, lives_on_device, no_examples

_PLAIN = (bool, int, float, str, bytes, type(None), np.generic)


class Examples(Sequence[Any]):
    """A sequence of examples that takes little more memory than their arrays.

    ``numpy.asarray`` makes one array of it, first axis the example, without visiting examples one by one. It equals
    every sequence with the same elements.
    """

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._count = 0
        self._waiting = 0

    def add(self, value: Any) -> None:
        """Append a batch's examples.

        Raises:
            VariableTypeError: If the value does not hold examples.
        """
        if type(value) is np.ndarray and value.ndim and not value.dtype.hasobject:
            self._parts.append(value.copy())
        elif lives_on_device(value):
            self._parts.append(value)
            self._waiting += 1
            if self._waiting == MOST_WAITING:
                self._fetch()
        else:
            self._parts.append(_copied(value))
        self._count += len(self._parts[-1])

    def _fetch(self) -> None:
        if self._waiting:
            here = (np.ndarray, list)
            arrived = fetched(part for part in self._parts if not isinstance(part, here))
            self._parts = [part if isinstance(part, here) else _copied(next(arrived)) for part in self._parts]
            self._waiting = 0

    def _can_be_joined(self) -> bool:
        """Whether the parts are arrays of one kind, so that joining them changes no example."""
        self._fetch()
        kinds = {(part.dtype, part.shape[1:]) if isinstance(part, np.ndarray) else None for part in self._parts}
        return len(kinds) == 1 and None not in kinds

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        self._fetch()
        return chain.from_iterable(self._parts)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that grows

    def __repr__(self) -> str:
        return repr(list(self))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if not self._can_be_joined():
            return np.array(list(self), dtype=dtype)
        joined = np.concatenate(self._parts)
        return joined if dtype is None else joined.astype(dtype, copy=False)

    def state(self) -> StateTree:
        """The examples as a state tree."""
        return [np.concatenate(self._parts)] if self._can_be_joined() else list(self._parts)

    def load(self, state: StateTree) -> None:
        """Replace the examples by what :meth:`state` returned."""
        self._parts = list(check_state("examples", state, [(np.ndarray, list), ...]))
        self._count = sum(map(len, self._parts))
        self._waiting = 0


def _copied(value: Any) -> npt.NDArray[Any] | list[Any]:
    """A batch's values, copied: as an array if they are one, otherwise as a list of examples."""
    if hasattr(value, "__array__"):
        rows = np.array(value)
        if rows.ndim and not rows.dtype.hasobject:
            return rows
    if not hasattr(value, "__iter__") or not getattr(value, "shape", True):
        raise no_examples(value)
    return [_copied_example(example) for example in value]


def _copied_example(example: Any) -> Any:
    if isinstance(example, _PLAIN):
        return example
    return np.array(example) if hasattr(example, "__array__") else copy.deepcopy(example)
