"""Arrays in files, by the names of inputs and outputs.

In tables (CSV, Parquet), an input with a number for every example is a column of its name. One with more is the columns
``name[0]``, ``name[1]``, … or ``name[0][0]``, …, or one column that holds lists, as emloop's own CSV files do.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from emloop._support.files import atomic_write
from emloop._support.suggest import did_you_mean
from emloop.errors import MissingExtraError, UsageError
from emloop.hooks._text.cells import csv_text
from emloop.saved_models import Described

__all__ = ["read", "require_format", "require_readable", "write"]

_FORMATS = (".npz", ".csv", ".parquet")
_Array = npt.NDArray[Any]
_Inputs = Mapping[str, Described | None]
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def require_format(path: Path) -> None:
    """
    Raises:
        UsageError: If no format has the file's suffix.
        MissingExtraError: If the package that reads and writes it is not installed.
    """
    if path.suffix == ".parquet":
        _pyarrow()
    if path.suffix not in _FORMATS:
        raise UsageError(f"{path}: expected a file that ends in {', '.join(_FORMATS)}")


def require_readable(path: Path) -> None:
    """Find out before a model is loaded, which takes longer.

    Raises:
        UsageError: If there is no such file or folder, or no format has the file's suffix.
        MissingExtraError: As :func:`require_format`.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        require_format(path)


def read(path: Path, inputs: _Inputs) -> Iterator[tuple[Mapping[str, _Array], int | None]]:
    """Read the arrays of a file or, one after the other, of the files in a folder.

    Args:
        path: The file; or a folder with ``NAME.npy`` for every input, which are read piece by piece, or with files.
        inputs: What the model takes.

    Yields:
        Name → array, and the number of examples if it is that of all.

    Raises:
        UsageError: If a file cannot be read, or lacks an input.
    """
    if not path.is_dir():
        arrays = _READERS[path.suffix](path, inputs)
        yield arrays, max((len(array) for array in arrays.values() if array.ndim), default=None)
        return
    files = [file for file in sorted(path.iterdir()) if file.suffix in _FORMATS and not file.name.startswith(".")]
    if all((path / f"{name}.npy").is_file() for name in inputs):
        mapped = {name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in inputs}
        yield mapped, max((len(array) for array in mapped.values() if array.ndim), default=None)
    elif files:
        for file in files:
            yield _READERS[file.suffix](file, inputs), None
    else:
        wanted = ", ".join(f"{name}.npy" for name in inputs)
        raise UsageError(f"{path}: expected {wanted}, or files that end in {', '.join(_FORMATS)}")


def write(parts: Sequence[Mapping[str, _Array]], path: Path | None, screen: TextIO) -> None:
    """Write outputs, all at once or not at all.

    Args:
        parts: Outputs, batch by batch.
        path: The file; ``None``: as CSV to the screen.
        screen: The screen.
    """
    if path is not None and path.suffix == ".npz":
        atomic_write(path, _npz({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}))
        return
    columns: dict[str, _Array] = {}
    for name in parts[0]:
        array = np.concatenate([part[name] for part in parts])
        for index in np.ndindex(*array.shape[1:]):
            columns[name + "".join(f"[{number}]" for number in index)] = array[:, *index]
    if path is not None and path.suffix == ".parquet":
        arrow = _pyarrow()
        buffer = io.BytesIO()
        arrow.parquet.write_table(arrow.table(columns), buffer)
        atomic_write(path, buffer.getvalue())
        return
    text = csv_text([list(columns), *zip(*columns.values(), strict=True)])
    if path is None:
        screen.write(text)
    else:
        atomic_write(path, text)


def _read_npz(path: Path, inputs: _Inputs) -> dict[str, _Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in inputs if name not in file.files]
            if not missing:
                return {name: file[name] for name in inputs}
            there = file.files
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    hints = "".join(f"; {hint}" for hint in did_you_mean(missing[0], there))
    raise UsageError(f"{path}: no array for the input {missing[0]!r}; there is {', '.join(there) or 'nothing'}{hints}")


def _npz(arrays: Mapping[str, _Array]) -> bytes:
    # np.savez takes names as arguments, of which `file` is its own.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def _read_csv(path: Path, inputs: _Inputs) -> dict[str, _Array]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            lines = [row for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    odd = next((number for number, row in enumerate(lines, 1) if len(row) != len(header)), None)
    if odd is not None:
        raise UsageError(f"{path}: row {odd} has {len(lines[odd - 1])} cells, the header {len(header)}")
    columns = dict(zip(header, zip(*lines, strict=True) if lines else [()] * len(header), strict=True))
    return {name: _assembled(path, name, expected, columns, _parsed) for name, expected in inputs.items()}


def _read_parquet(path: Path, inputs: _Inputs) -> dict[str, _Array]:
    table = _pyarrow().parquet.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}

    def plain(path: Path, name: str, values: Sequence[Any], expected: Described | None) -> _Array:
        del path, name
        array = np.asarray(values)
        # Parquet knows no width of what is made of lists, and Python's numbers none at all.
        return array if expected is None or array.dtype.kind != expected.dtype.kind else array.astype(expected.dtype)

    return {name: _assembled(path, name, expected, columns, plain) for name, expected in inputs.items()}


def _assembled(
    path: Path, name: str, expected: Described | None, columns: Mapping[str, Sequence[Any]], convert: Any
) -> _Array:
    """An input, of its columns."""
    if name in columns:
        array: _Array = convert(path, name, columns[name], expected)
        # A column of numbers will do for an input that has one number in another axis.
        is_one = array.ndim == 1 and expected is not None and expected.shape is not None and expected.shape[1:] == (1,)
        return array[:, None] if is_one else array
    numbered = {
        tuple(map(int, re.findall(r"\d+", column[len(name) :]))): column
        for column in columns
        if column.startswith(name) and re.fullmatch(r"(\[\d+\])+", column[len(name) :])
    }
    shape = tuple(max(sizes) + 1 for sizes in zip(*numbered, strict=False)) if numbered else ()
    missing = [index for index in np.ndindex(*shape) if index not in numbered] if numbered else []
    if not numbered or missing or any(len(index) != len(shape) for index in numbered):
        raise UsageError(_no_column(path, name, expected, columns, missing))
    flat = [convert(path, numbered[index], columns[numbered[index]], expected) for index in np.ndindex(*shape)]
    return np.stack(flat, axis=1).reshape(-1, *shape)


def _no_column(path: Path, name: str, expected: Described | None, columns: Any, missing: Sequence[Any]) -> str:
    wanted = f"{name}[0], {name}[1], …"
    if expected is not None and expected.shape is not None:
        inner = [str(size - 1) if size else "…" for size in expected.shape[1:]]
        wanted = f"{name}{'[0]' * len(inner)} to {name}{''.join(f'[{last}]' for last in inner)}" if inner else name
    if missing:
        wanted = name + "".join(f"[{number}]" for number in missing[0])
    hints = "".join(f"; {hint}" for hint in did_you_mean(name, columns))
    described = "" if expected is None else f" ({expected})"
    return (
        f"{path}: no column for the input {name!r}{described}: expected {wanted}; there is {', '.join(columns)}{hints}"
    )


def _parsed(path: Path, column: str, cells: Sequence[str], expected: Described | None) -> _Array:
    """The cells of a column as what the model takes."""
    if expected is not None and expected.dtype.kind in "USOT":
        return np.array(cells, dtype=str)
    kind = "f" if expected is None else expected.dtype.kind
    values = []
    for number, cell in enumerate(cells, 1):
        try:
            if cell.startswith("["):
                values.append(json.loads(cell))
            elif kind == "b":
                values.append(_TRUTH[cell.strip().lower()])
            else:
                values.append(int(cell) if kind in "iu" else float(cell))
        except (ValueError, KeyError):
            what = {"b": "true or false", "i": "a whole number", "u": "a whole number"}.get(kind, "a number")
            raise UsageError(f"{path}: {column}, row {number}: expected {what}, got {cell!r}") from None
    try:
        # Floats as the training had them; integers are fitted as any other.
        return np.array(values, expected.dtype if expected is not None and (kind in "fb" or not values) else None)
    except ValueError as error:
        raise UsageError(f"{path}: {column}: the lists of all rows must have one length: {error}") from None


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading and writing Parquet", "tables") from error
    return pyarrow


_READERS = {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}
