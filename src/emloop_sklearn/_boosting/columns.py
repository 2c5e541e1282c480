"""Named columns of a batch as the table that an estimator learns from, with names and categories kept.

Numbers stay numbers; ``None`` among them is missing (NaN). Text is made a category for estimators that split by
categories themselves; a pipeline gets it as it is, for its own encoders. The categories are those of the first fit, in
order: what comes later and is none of them counts as missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, MissingExtraError
from emloop.saved_models import require_sources
from emloop.types import Batch

__all__ = ["Columns"]

_Array = npt.NDArray[Any]
_NUMBERS, _TEXT = "numbers", "text"
_NUMERIC = "biuf"
_MISSING = ("None", "nan", "NaT", "<NA>")


class Columns:
    """The columns of a table, by name.

    Args:
        names: Names of the sources, each ``[B]``, in the order of the columns.
        categories: Names of those that are categories, whatever their values are; ``None``: those that hold text.

    Raises:
        MissingExtraError: If pandas is not installed.
    """

    def __init__(self, names: Sequence[str], categories: Sequence[str] | None) -> None:
        if importlib.util.find_spec("pandas") is None:
            raise MissingExtraError("a model of named columns", "boosting")
        self._pandas = importlib.import_module("pandas")  # which takes long, and few models need
        self.names = tuple(names)
        self._chosen = categories
        self._kinds: dict[str, str] = {}
        self._categories: dict[str, _Array] = {}

    def read(self, batch: Batch) -> dict[str, _Array]:
        """The columns of a batch: numbers of any dtype, or texts as objects, of which NaN is missing.

        Raises:
            BatchError: If a source has no single value for every example, mixes text and numbers, or holds other things
                than before.
            MissingVariableError: If a source is lacking.
        """
        require_sources(batch, self.names)
        read = {name: _read(name, batch[name]) for name in self.names}
        for name, column in read.items():
            kind = self._kinds.get(name)
            if kind is not None and kind != _kind(column) and not _is_missing(column).all():
                example = column[~_is_missing(column)][0]
                raise BatchError(f"column {name!r}: expected {kind}, as it was trained with, got {example!r}")
        return read

    def learn(self, columns: Mapping[str, _Array]) -> None:
        """Find the kinds of columns and their categories, once."""
        if self._kinds:
            return
        for name, column in columns.items():
            self._kinds[name] = _kind(column)
            if name in self._chosen if self._chosen is not None else self._kinds[name] == _TEXT:
                self._categories[name] = np.unique(column[~_is_missing(column)])

    def frame(self, columns: Mapping[str, _Array]) -> Any:
        """The columns as a data frame, ``B`` rows."""
        return self._pandas.DataFrame({name: self._cast(name, column) for name, column in columns.items()})

    def _cast(self, name: str, column: _Array) -> Any:
        categories = self._categories.get(name)
        if categories is None:
            return self._pandas.Series(column, dtype=column.dtype)
        codes = np.full(len(column), -1)
        present = ~_is_missing(column)
        if len(categories):
            nearest = np.minimum(np.searchsorted(categories, column[present]), len(categories) - 1)
            codes[present] = np.where(categories[nearest] == column[present], nearest, -1)
        return self._pandas.Categorical.from_codes(codes, categories=categories)

    def state(self) -> dict[str, Any]:
        """What :meth:`learn` has found, as a state tree."""
        return {
            "kinds": dict(self._kinds),
            "categories": {name: item.tolist() for name, item in self._categories.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self._kinds = dict(state["kinds"])
        self._categories = {
            name: np.array(values, object if self._kinds[name] == _TEXT else None)
            for name, values in state["categories"].items()
        }


def _read(name: str, values: Any) -> _Array:
    try:
        column = np.asarray(values)
    except ValueError as error:
        raise BatchError(f"column {name!r}: expected one value for every example: {error}") from error
    column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
    if column.ndim != 1:
        raise BatchError(f"column {name!r}: expected one value for every example, got {list(column.shape)}")
    if column.dtype.kind in _NUMERIC:
        return column
    if column.dtype.kind not in "OUT":
        raise BatchError(f"column {name!r}: expected numbers or text, got {column.dtype}")
    # NumPy makes text of whatever stands beside text in a list.
    return _of_objects(
        name, column.astype(object) if isinstance(values, np.ndarray) else np.array(list(values), object)
    )


def _of_objects(name: str, column: _Array) -> _Array:
    missing = _is_missing(column)
    present = column[~missing]
    texts = [isinstance(value, str) for value in present]
    if not any(texts):
        try:
            return np.array([np.nan if gone else value for value, gone in zip(column, missing, strict=True)], float)
        except (TypeError, ValueError) as error:
            raise BatchError(f"column {name!r}: expected numbers or text, got {present[0]!r}") from error
    if not all(texts):
        odd = present[texts.index(False)]
        raise BatchError(f"column {name!r} mixes text and other things: {present[texts.index(True)]!r} and {odd!r}")
    filled = column.copy()
    filled[missing] = np.nan
    return filled


def _kind(column: _Array) -> str:
    return _TEXT if column.dtype == object else _NUMBERS


def _is_missing(column: _Array) -> npt.NDArray[np.bool_]:
    if column.dtype == object:
        return np.array(
            [value is None or (str(value) in ("nan", "<NA>") and not isinstance(value, str)) for value in column]
        )
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
