"""The base of datasets whose examples are the rows of tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError

from .columns import Column, Layout, layout_of, no_column, specified
from .dataset import Examples, ReadyDataset
from .kept import kept
from .tables import Rows, Tables, write_rows

__all__ = ["Columns", "TabularDataset"]

Columns = Sequence[str] | Mapping[str, str | Sequence[str] | Column] | None
"""Columns that are sources, or source → what it is made of; ``None``: each column is a source."""


class TabularDataset(ReadyDataset):
    """What reads :class:`Tables`, which a subclass opens."""

    packages: ClassVar[Sequence[tuple[str, str]]] = (("pyarrow", "tables"),)
    sources_from: ClassVar[str] = "columns"

    _tables: Mapping[str, Tables]
    """Source → its tables; set by subclasses beforehand, as is the following."""

    _stamps: Mapping[str, Mapping[str, Mapping[str, Any]]] = {}
    """Source → path → what tells whether it has changed; without it, rows are not kept for other processes."""

    _read_as: Sequence[Any] = ()
    """What else rows depend on, as JSON."""

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
        stamps = self._stamps.get(source, {})
        said = f"Converting {', '.join(os.path.relpath(path) for path in stamps) or source}"
        folder = kept(stamps, [*self._read_as, whole.described()], partial(write_rows, tables, whole), said)
        return Rows(folder, whole, layout.sources)

    def _named(self, files: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, Mapping[str, Any]]]:
        """What tells whether files have changed that were named to the run."""
        found = {source: {os.path.abspath(path) for path in paths} for source, paths in files.items()}  # noqa: PTH100
        return {source: {path: self.named_files[path] for path in sorted(paths)} for source, paths in found.items()}


def _values(tables: Tables, column: str) -> Iterator[Any]:
    for columns, _, _ in tables.batches([(column, "")]):
        yield columns[column, ""]
