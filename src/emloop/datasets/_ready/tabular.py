"""The base of datasets whose examples are the rows of tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError

from .columns import Column, Layout, layout_of, no_column, specified
from .dataset import Examples, ReadyDataset
from .tables import Rows, Tables, write_rows

__all__ = ["Columns", "TabularDataset"]

Columns = Sequence[str] | Mapping[str, str | Sequence[str] | Column] | None
"""Columns that are sources, or source → what it is made of; ``None``: each column is a source."""


class TabularDataset(ReadyDataset):
    """What reads :class:`Tables`; a subclass opens them, and says where their rows are kept."""

    _tables: Mapping[str, Tables]
    """Source → its tables; set by subclasses beforehand."""

    def _configure_dataset(self, columns: Columns = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Lay out the rows; the arguments are those of the class."""
        tables = self._tables
        # Classes are those of the training, so that another table does not change what their numbers mean.
        first = tables.get("train") or next(iter(tables.values()))
        self._specified = specified(columns, first.schema.names)
        self._layout = layout_of(self._specified, first.schema, partial(_values, first))
        classes = {
            part.source: part.categories for part in self._layout.parts if part.categories and part.place is None
        }
        named = [name for name in classes if len(classes) == 1 or name in ("label", "labels")]
        self._classes = list(map(str, classes[named[0]])) if len(named) == 1 else None
        self._sources = list(tables)
        super()._configure_dataset(**kwargs)

    @abstractmethod
    def _folder(self, source: str, layout: Layout, make: Callable[[Path], None]) -> Path:
        """The folder that holds the rows of a source; made if it has to be."""

    def _opened(self, source: str, named: Sequence[tuple[tuple[str, ...], str]]) -> Examples:
        tables, layout = self._tables[source], self._layout
        there = tables.schema.names
        hidden = {}
        for keys, name in named:
            if isinstance(self._specified.get(name, Column()).name, str):
                continue
            if name not in there:
                raise ConfigError.about(keys, no_column(name, there), *did_you_mean(name, there))
            hidden[name] = Column(name)
        lacking = [part.column for part in layout.parts if part.column not in there]
        if lacking:
            raise ConfigError.about("path", f"{source}: {no_column(lacking[0], there)}")
        more = layout_of(hidden, tables.schema, partial(_values, tables)).parts
        whole = Layout((*(part for part in layout.parts if part.source not in hidden), *more))
        return Rows(self._folder(source, whole, partial(write_rows, tables, whole)), whole, layout.sources)


def _values(tables: Tables, column: str) -> Iterator[Any]:
    for columns, _, _ in tables.batches([(column, "")]):
        yield columns[column, ""]
