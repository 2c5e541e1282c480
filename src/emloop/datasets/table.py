"""Tables in files: CSV, Parquet, Arrow."""

from __future__ import annotations

from typing import Any

from emloop.errors import ConfigError

from ._ready.dataset import Paths
from ._ready.tables import FileTables
from ._ready.tabular import Columns, TabularDataset

__all__ = ["Table"]


class Table(TabularDataset):
    """Rows of tables, as large as the disk.

    .. code-block:: yaml

        dataset:
          class: Table
          path: data/people.csv
          columns:
            features: {name: [age, income], dtype: float32, missing: 0}
            label: {name: class, categories: [poor, rich]}
          split: {train: 0.8, valid: 0.2, stratify: label}
          batch_size: 64

    A batch holds an array ``[B]`` of numbers, truth values or dates, ``[B, columns]`` for a list of columns, and
    ``[B, n]`` for a column of lists of ``n`` numbers; of texts, and of bytes, a list.

    The columns that are needed are converted once, and kept in ``~/.cache/emloop/data`` (or ``$EMLOOP_CACHE``) as long
    as the files stay as they are; so a table may be larger than the memory, and any batch is read as fast as any other.
    Whatever is wrong with a cell is told before the training begins.

    Needs ``pip install 'emloop[tables]'``.

    Args:
        path: A file that ends in ``.csv``, ``.tsv``, ``.parquet``, ``.arrow`` or ``.feather`` (of texts, also with
            ``.gz`` behind), a pattern such as ``data/part-*.parquet``, or a list; or a mapping from stream to these.
        columns: Source → name of a column, list of names, or a mapping of ``name``, ``dtype``, ``categories`` and
            ``missing``; or a list of columns. By default each column is a source.
        delimiter: What stands between the cells of a text file; by default a tab in ``.tsv``, else a comma.
        **kwargs: What all ready datasets take.

    Raises:
        ConfigError: If a file, a column or a cell is not what it should be.
        MissingExtraError: If PyArrow is not installed.
    """

    def _configure_dataset(  # type: ignore[override]
        self, path: Paths, columns: Columns = None, delimiter: str | None = None, **kwargs: Any
    ) -> None:
        if delimiter is not None and len(delimiter.encode()) != 1:
            raise ConfigError.about("delimiter", f"expected one character, got {delimiter!r}")
        files = self._found(path)
        self._tables = {source: FileTables(paths, delimiter) for source, paths in files.items()}
        self._stamps, self._read_as = self._named(files), [delimiter]
        super()._configure_dataset(columns, **kwargs)
