"""Arrays in files: ``.npy`` and ``.npz``."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError
from emloop.types import Batch

from ._ready.dataset import Examples, Paths, ReadyDataset
from ._ready.items import Items

__all__ = ["Arrays"]

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


_DAMAGED = ValueError, OSError, EOFError, SyntaxError, zipfile.BadZipFile, zlib.error, tokenize.TokenError


class Arrays(ReadyDataset):
    """Arrays whose first axis is the example.

    .. code-block:: yaml

        dataset:
          class: Arrays
          path: {train: data/train.npz, valid: data/valid.npz}
          columns: {images: x, labels: y}
          batch_size: 64

    They are mapped into memory, so they may be larger than it; only those in a compressed ``.npz`` file are read whole.
    A batch holds the examples of each, with the array's dtype. Arrays of objects are refused, since reading them would
    run code.

    Args:
        path: A ``.npz`` file, a ``.npy`` file (the array has its name), a pattern such as ``data/*.npy``, or a list; or
            a mapping from stream to these.
        columns: Source → name of an array, or a list of arrays; by default each array is a source.
        **kwargs: What all ready datasets take.

    Raises:
        ConfigError: If a file or an array is not what it should be.
    """

    sources_from: ClassVar[str] = "columns"

    def _configure_dataset(  # type: ignore[override]
        self, path: Paths, columns: Sequence[str] | Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        self._files = self._found(path)
        self._columns = columns
        self._sources = list(self._files)
        super()._configure_dataset(**kwargs)

    def _opened(self, source: str, named: Sequence[tuple[tuple[str, ...], str]]) -> Examples:
        there: dict[str, Any] = {}
        for path in self._files[source]:
            for name, array in _arrays_in(path).items():
                if name in there:
                    raise ConfigError.about("path", f"{path} holds an array {name!r}, as another file does")
                there[name] = array
        chosen = self._columns if self._columns is not None else list(there)
        sources = dict(chosen) if isinstance(chosen, Mapping) else {name: name for name in chosen}
        wanted = [(("columns", key), name) for key, name in sources.items()]
        for keys, name in [*wanted, *((keys, name) for keys, name in named if name not in sources)]:
            if name not in there:
                message = f"there is no array {name!r} in {self._files[source][0]}; there is: {', '.join(there)}"
                raise ConfigError.about(keys, message, *did_you_mean(name, there))
        arrays = {key: there[name] for key, name in sources.items()}
        lengths = {sources[key]: len(array) for key, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise ConfigError.about("path", f"all arrays must have the same number of examples: {found}")
        if not arrays:
            raise ConfigError.about("columns", "expected an array, or several, got none")
        return _Columns(arrays, there)


class _Columns:
    """Arrays side by side."""

    def __init__(self, arrays: Mapping[str, Any], others: Mapping[str, Any]) -> None:
        self._arrays, self._others = arrays, others

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        return {name: array[indices] for name, array in self._arrays.items()}

    def column(self, name: str) -> Any:
        array = self._arrays.get(name, self._others.get(name))
        return array[np.arange(len(self))]


def _arrays_in(path: Path) -> dict[str, Any]:
    """The arrays of a file, by name.

    Raises:
        ConfigError: If it holds none, or one that cannot be read.
    """
    try:
        if path.suffix == ".npy":
            return {path.stem: _array_at(path, 0)}
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            return {name: _member(path, member) for name, member in members.items()}
    except _DAMAGED as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError.about("path", f"{path} cannot be read: {error}") from error
    raise ConfigError.about("path", f"{path}: expected a file that ends in .npy or .npz")


def _member(path: Path, member: zipfile.ZipInfo) -> Any:
    if member.compress_type != zipfile.ZIP_STORED:
        with np.load(path, allow_pickle=False) as file:
            return file[member.filename.removesuffix(".npy")]
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
    beyond = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return _array_at(path, member.header_offset + 30 + beyond)


def _array_at(path: Path, offset: int) -> Any:
    """An array whose header begins somewhere in a file."""
    with path.open("rb") as file:
        file.seek(offset)
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"version {version} of the format")
        shape, is_fortran, dtype = _READERS[version](file)
        start = file.tell()
    if dtype.hasobject:
        raise ValueError("it holds objects, and reading these would run code; save numbers or texts")
    if not shape:
        raise ValueError("it holds a single number, without an axis of examples")
    if is_fortran and len(shape) > 1:
        return np.memmap(path, dtype, "r", start, shape, "F").view(np.ndarray)
    return Items(path, dtype, shape[0], shape[1:], start)
