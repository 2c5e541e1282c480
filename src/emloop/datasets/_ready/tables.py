"""Tables in files, read batch by batch, and made into rows that can be had by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emloop.errors import ConfigError
from emloop.types import Batch

from .columns import Layout, Request
from .items import Items, Pieces

__all__ = ["FileTables", "MadeTables", "Rows", "Tables", "write_rows"]

_BATCH = 1 << 16  # rows
_BLOCK = 1 << 24  # bytes that are read at once, of text also those whose cells decide the type of a column
_NOTHING = ["", "#N/A", "N/A", "NA", "NULL", "NaN", "nan", "null"]
_ARROW = (".arrow", ".feather", ".ipc")
_TEXT = {".csv": ",", ".tsv": "\t"}


class Tables(Protocol):
    """Tables one below the other."""

    schema: Any
    """Of the first one, a ``pyarrow.Schema``."""

    def batches(self, requests: Sequence[Request]) -> Iterator[tuple[Mapping[Request, Any], str, int]]:
        """The rows, in order.

        Yields:
            Columns, each a ``pyarrow.Array``; what to call their table, and the number of the first row, from 1 on.
        """


class FileTables:
    """Tables in files.

    Args:
        paths: The files.
        delimiter: What stands between the cells of a text file; by default a tab in ``.tsv``, else a comma.

    Raises:
        ConfigError: If the first one is none, or cannot be read.
    """

    def __init__(self, paths: Sequence[Path], delimiter: str | None = None) -> None:
        self._paths, self._delimiter = paths, delimiter
        with _reading(paths[0]):
            self.schema = self._opened(paths[0])[0]
        twice = {name for name in self.schema.names if self.schema.names.count(name) > 1}
        if twice:
            raise ConfigError.about("path", f"{paths[0]} has two columns {min(twice)!r}")

    def batches(self, requests: Sequence[Request]) -> Iterator[tuple[Mapping[Request, Any], str, int]]:
        """See :class:`Tables`."""
        names = list(dict.fromkeys(name for name, _ in requests))
        for path in self._paths:
            row = 1
            with _reading(path):
                schema, read = self._opened(path)
                missing = [name for name in names if name not in schema.names]
                if missing:
                    raise ConfigError.about("path", f"{path} has no column {missing[0]!r}, as {self._paths[0]} has")
                for batch in read(names):
                    columns = {request: batch.column(request[0]) for request in requests}
                    if _suffix(path) in _TEXT:
                        columns = {
                            (name, dtype): _parsed(values, name, self._type(name, dtype), partial(_place, path, row))
                            for (name, dtype), values in columns.items()
                        }
                    yield columns, str(path), row
                    row += batch.num_rows

    def _type(self, name: str, dtype: str) -> Any:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        if not dtype:
            return self.schema.field(name).type
        return pa.string() if dtype == "str" else pa.from_numpy_dtype(np.dtype(dtype))

    def _opened(self, path: Path) -> tuple[Any, Any]:
        """The schema of a file, and what reads columns of it."""
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import csv, ipc, parquet  # noqa: PLC0415

        suffix = _suffix(path)
        if suffix == ".parquet":
            file = parquet.ParquetFile(path, pre_buffer=False)
            groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
            size = 1 + sum(group.total_byte_size for group in groups)
            rows = max(1, min(_BATCH, file.metadata.num_rows * _BLOCK // size))
            return file.schema_arrow, lambda columns: file.iter_batches(rows, columns=columns, use_threads=False)
        if suffix in _ARROW:
            reader = ipc.open_file(pa.OSFile(str(path)))
            return reader.schema, lambda columns: (
                reader.get_batch(n).select(columns) for n in range(reader.num_record_batches)
            )
        if suffix not in _TEXT:
            known = ", ".join((*_TEXT, ".parquet", *_ARROW))
            raise ConfigError.about("path", f"{path}: expected a file that ends in {known}")
        parse = csv.ParseOptions(delimiter=self._delimiter or _TEXT[suffix], newlines_in_values=True)
        opened = partial(csv.open_csv, str(path), parse_options=parse)
        with opened(read_options=csv.ReadOptions(block_size=_BLOCK, use_threads=False)) as file:
            schema = file.schema

        def read(columns: list[str]) -> Iterator[Any]:
            convert = csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string()))
            yield from opened(read_options=csv.ReadOptions(use_threads=False), convert_options=convert)

        return schema, read


class MadeTables:
    """Tables that are made as they are read.

    Args:
        schema: Of all of them.
        read: Returns batches of their rows, each a ``pyarrow.RecordBatch``, and what to call their table.
    """

    def __init__(self, schema: Any, read: Callable[[], Iterator[tuple[Any, str]]]) -> None:
        self.schema, self._read = schema, read

    def batches(self, requests: Sequence[Request]) -> Iterator[tuple[Mapping[Request, Any], str, int]]:
        """See :class:`Tables`."""
        rows: Counter[str] = Counter()
        for batch, table in self._read():
            yield {request: batch.column(request[0]) for request in requests}, table, rows[table] + 1
            rows[table] += batch.num_rows


def write_rows(tables: Tables, layout: Layout, folder: Path) -> None:
    """Convert tables into rows, in files that :class:`Rows` reads.

    Raises:
        ConfigError: If a value is not what it should be.
    """
    with (folder / "rows").open("wb") as rows, (folder / "texts").open("wb") as texts:

        def keep(data: bytes) -> int:
            start = texts.tell()
            texts.write(data)
            return start

        for columns, table, first in tables.batches(layout.requests):
            rows.write(layout.rows(columns, keep, partial(_place, table, first)).tobytes())


class Rows:
    """Rows by number, as :func:`write_rows` has written them.

    Args:
        folder: Where.
        layout: What they are.
        sources: Those of them that a batch holds.
    """

    def __init__(self, folder: Path, layout: Layout, sources: Sequence[str]) -> None:
        self._sources = sources
        dtype = layout.dtype
        self._items = Items(folder / "rows", dtype, (folder / "rows").stat().st_size // dtype.itemsize)
        self._pieces = Pieces(folder / "texts")
        self._texts = {part.source: part.dtype for part in layout.parts if part.dtype in ("str", "bytes")}

    def __len__(self) -> int:
        return len(self._items)

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        """See :class:`emloop.datasets.index_stream.BatchSource`."""
        rows = self._items[indices]
        return {name: self._values(rows, name) for name in self._sources}

    def column(self, name: str) -> Any:
        """All values of a source: an array or a list."""
        starts = range(0, len(self), _BATCH)
        parts = [self._items[np.arange(start, min(start + _BATCH, len(self)))][[name]] for start in starts]
        return self._values(np.concatenate(parts), name) if parts else []

    def _values(self, rows: npt.NDArray[Any], name: str) -> Any:
        if name not in self._texts:
            return np.ascontiguousarray(rows[name])
        pieces = (self._pieces(start, length) for start, length in rows[name].tolist())
        return [piece.decode() for piece in pieces] if self._texts[name] == "str" else list(pieces)


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _place(table: str | Path, first: int, row: int) -> str:
    return f"{table}, row {first + row}"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what is wrong with a file in one line."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        if isinstance(error, ConfigError):
            raise
        hints = ["save it as UTF-8"] if "UTF8" in str(error) else []
        raise ConfigError.about("path", f"{path} cannot be read: {str(error).splitlines()[0]}", *hints) from error


def _parsed(values: Any, name: str, wanted: Any, where: Callable[[int], str]) -> Any:
    """Cells of text as what their column holds."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import compute  # noqa: PLC0415

    if pa.types.is_string(wanted):
        return values
    values = compute.if_else(compute.is_in(values, value_set=pa.array(_NOTHING)), None, values)
    try:
        return compute.cast(values, wanted)
    except pa.ArrowInvalid:
        row, cell = next((row, cell) for row, cell in enumerate(values) if not _is_cell(cell, wanted))
        message = (
            f"{where(row)}: column {name!r} has {cell.as_py()!r}, which is no {np.dtype(wanted.to_pandas_dtype())}"
        )
        hint = f"say what the column holds: `{name}: {{dtype: str}}`, or another dtype"
        raise ConfigError.about("columns", message, hint) from None


def _is_cell(cell: Any, wanted: Any) -> bool:
    try:
        cell.cast(wanted)
    except ValueError:
        return False
    return True
