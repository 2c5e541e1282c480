"""What rank 0 sees of a batch whose rows lie in several processes: columns that are gathered when somebody reads them.

``B`` is the number of examples in the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from emloop._streams.handover import as_kind
from emloop._streams.shares import Part
from emloop.errors import BatchError
from emloop.types import Batch

__all__ = ["Column", "Held", "WholeBatch", "joined", "plain"]


class Held:
    """A batch as rank 0 knows it.

    Args:
        owner: What gathers columns, and hears that nobody needs one any more.
        whole: Reads the whole batch here.
        purpose: What the batch is of, such as a stream.
    """

    __slots__ = ("number", "owner", "purpose", "whole")

    def __init__(self, owner: Owner, whole: Callable[[], Batch], purpose: Any = None) -> None:
        self.owner, self.whole, self.purpose = owner, whole, purpose
        self.number: int | None = None
        """Its number among those that were run; ``None`` before."""


class Owner(Protocol):
    """What has columns gathered."""

    def fetch(self, column: Column) -> Any:
        """The rows of all processes."""

    def released(self, number: int, name: str) -> None:
        """Called when nobody has a column any more; others may forget their rows."""


class WholeBatch(dict[str, Any]):
    """A batch for rank 0: the sources of the whole, as far as it has them, else columns.

    Args:
        part: Its own rows.
        held: The batch, for the columns.
    """

    __slots__ = ("held", "part", "whole")

    def __init__(self, part: Part, held: Held) -> None:
        columns = (
            part.whole() if part.is_read else {name: Column(held, name, own, part.rows) for name, own in part.items()}
        )
        super().__init__(columns)
        self.part, self.held, self.whole = part, held, part.whole


class Column(NDArrayOperatorsMixin):
    """A source or an output of a batch. It can be used like an array; whatever looks at values gathers them.

    Args:
        held: The batch.
        name: Name of the variable.
        own: This process's rows, the first ones.
        size: ``B``.
    """

    __slots__ = ("__weakref__", "_size", "gathered", "held", "name", "own")

    def __init__(self, held: Held, name: str, own: Any, size: int) -> None:
        self.held, self.name, self.own, self._size = held, name, own, size
        self.gathered: Any = None

    def __del__(self) -> None:
        if self.held.number is not None:
            self.held.owner.released(self.held.number, self.name)

    def __len__(self) -> int:
        return self._size

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """That of the rows, for hooks that ask ``isinstance``."""
        return type(self.own)

    @property
    def values(self) -> Any:
        """An array, a list or a tensor, as the rows are."""
        return self.held.owner.fetch(self) if self.gathered is None else self.gathered

    def keep(self, rows: Sequence[Any]) -> None:
        """Take what the other processes have sent."""
        whole = joined(self.name, [plain(self.own), *rows], self._size)
        self.gathered, self.own = as_kind(type(self.own), whole), self.own[:0]

    @property
    def shape(self) -> tuple[int, ...]:
        """``B`` and the shape of an example."""
        return (self._size, *np.shape(self.own)[1:])

    @property
    def dtype(self) -> Any:
        """That of the values."""
        return self.own.dtype if hasattr(self.own, "dtype") else np.asarray(self.values).dtype

    def is_ready(self) -> bool:
        """Whether the values are here; hooks that can wait gather those of many batches at once."""
        return self.gathered is not None

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        found = np.asarray(self.values, dtype)
        return found.copy() if copy else found

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **arguments: Any) -> Any:
        if "out" in arguments:
            arguments["out"] = tuple(map(np.asarray, arguments["out"]))
        found = getattr(ufunc, method)(
            *(np.asarray(each) if type(each) is Column else each for each in inputs), **arguments
        )
        return as_kind(type(self.own), found) if type(found) is np.ndarray else found

    @classmethod
    def __torch_function__(cls, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # PyTorch's way to be given anything for a tensor.
        return function(*_valued(args), **{key: _valued(value) for key, value in (kwargs or {}).items()})

    def __dlpack__(self, **arguments: Any) -> Any:
        return np.asarray(self.values).__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the host

    def __copy__(self) -> Any:
        return copy(self.values)

    def __reduce__(self) -> Any:
        return _itself, (self.values,)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.values, name)

    def __repr__(self) -> str:
        return repr(self.values)


def _itself(values: Any) -> Any:
    """What a column is for whoever copies or pickles it."""
    return values


def _valued(arguments: Any) -> Any:
    """Arguments of a function, with values in place of columns."""
    if type(arguments) is Column:
        return arguments.values
    return type(arguments)(map(_valued, arguments)) if type(arguments) in (list, tuple) else arguments


def plain(column: Any) -> Any:
    """A column as it travels: a list as it is, anything else as an array."""
    values = column.values if type(column) is Column else column
    return values if isinstance(values, list) else np.asarray(values)


def joined(name: str, rows: Sequence[Any], size: int) -> Any:
    """The rows of all processes as one column.

    Args:
        name: Name of the variable, for messages.
        rows: Those of each, in order; ``None`` of one that has none.
        size: How many there have to be.

    Raises:
        BatchError: If they do not go together.
    """
    found = [each for each in rows if each is not None]
    if isinstance(found[0], list):
        whole: Any = [row for each in found for row in each]
    else:
        try:
            whole = np.concatenate(found)
        except ValueError as error:
            shapes = ", ".join(str(list(np.shape(each))) for each in found)
            hint = "give all rows of a batch one shape, whichever process computes them"
            raise BatchError(f"{name!r}: the rows of the processes do not go together: {shapes}; {hint}") from error
    if len(whole) != size:
        raise BatchError(f"{name!r}: the processes have {len(whole)} rows of it, and the batch has {size}")
    return whole
