"""Images in folders, with their classes or with a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from emloop.declare import Positive
from emloop.errors import BatchError, ConfigError
from emloop.types import Batch

from ._ready.columns import Column, no_column
from ._ready.dataset import Examples, Paths
from ._ready.tables import FileTables, MadeTables, Tables
from ._ready.tabular import Columns, TabularDataset

__all__ = ["Images"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_MOST_NAMED = 1000
"""Images that are watched one by one; of more, only the names and sizes are."""


class Images(TabularDataset):
    """Images in a folder with a subfolder for each class; or in any folder, with a table that tells of them.

    .. code-block:: yaml

        dataset:
          class: Images
          path: data/pets
          size: [32, 32]
          dtype: float32
          split: {train: 0.8, valid: 0.2, stratify: label}

    A batch holds ``image``, ``uint8`` or ``float32 [B, H, W, C]``, and ``label``, ``int64 [B]``: the number of the
    subfolder, in the order of their names; hidden files are left out. Images of different sizes, where ``size`` is not
    given, are a list. They are read when they are asked for, with several ``main_loop.workers`` in as many processes.

    Needs ``pip install 'emloop[images]'``.

    Args:
        path: A folder, or a mapping from stream to folders.
        table: A table of a :class:`Table`'s kinds, or a mapping from stream to these, with a row for each image.
        file: Its column with the names of the images, relative to ``path``.
        columns: What a batch holds beside ``image``: sources made of the table's columns, or, without a table, of
            ``class``, the name of the subfolder.
        size: Height and width to which images are scaled.
        mode: ``L`` for grey, ``RGB``, or ``RGBA``: what ``C`` is.
        dtype: ``float32`` has values from 0 to 1 instead of 0 to 255.
        layout: ``CHW``: images are ``[B, C, H, W]``, as networks of PyTorch take them.
        mean: What to subtract from each channel of a ``float32`` image.
        std: What to divide each channel by then.
        **kwargs: What all ready datasets take.

    Raises:
        ConfigError: If a folder, a table or a class is not what it should be.
        MissingExtraError: If Pillow or PyArrow is not installed.
    """

    packages: ClassVar[Sequence[tuple[str, str]]] = (("PIL", "images"), ("pyarrow", "images"))
    sources_beside: ClassVar[Sequence[str]] = ("image",)

    def _configure_dataset(  # type: ignore[override]
        self,
        path: str | Mapping[str, str],
        table: Paths | None = None,
        file: str = "file",
        columns: Columns = None,
        size: tuple[Positive, Positive] | None = None,
        mode: Literal["L", "RGB", "RGBA"] = "RGB",
        dtype: Literal["uint8", "float32"] = "uint8",
        layout: Literal["HWC", "CHW"] = "HWC",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        for key, values in {"mean": mean, "std": std}.items():
            if values is not None and (dtype != "float32" or len(values) != len(mode)):
                raise ConfigError.about(
                    key, f"expected {len(mode)} numbers, one for each channel, and `dtype: float32`"
                )
        self._decode = partial(_decoded, size=size, mode=mode, dtype=dtype, layout=layout, mean=mean, std=std)
        self._file = file if table is not None else "file"
        roots = {
            stream: Path(root) for stream, root in (path if isinstance(path, Mapping) else {"train": path}).items()
        }
        found: dict[str, list[Path]] = {}
        for stream, root in roots.items():
            if not root.is_dir():
                raise ConfigError.about("path", f"there is no folder {root}")
            found[stream] = _images_in(root)
            for one in [root, *(found[stream] if len(found[stream]) <= _MOST_NAMED else ())]:
                self.reads(one)
        tables: dict[str, Tables] = {}
        if table is not None:
            files = self._found(table)
            tables = {stream: FileTables(paths) for stream, paths in files.items()}
            for one in tables.values():
                if file not in one.schema.names:
                    raise ConfigError.about("file", no_column(file, one.schema.names))
            default = {name: Column(name) for one in tables.values() for name in one.schema.names if name != file}
        else:
            files = {stream: [root] for stream, root in roots.items()}
            tables = {stream: _listed(root, found[stream]) for stream, root in roots.items()}
            has_classes = _has_classes(roots, found, asked=columns is None)
            default = {"label": Column("class", categories=True)} if has_classes else {}
        self._stamps = self._named(files)
        chosen = default if columns is None else columns
        self._tables, self._roots = tables, roots
        whole = dict(chosen) if isinstance(chosen, Mapping) else {name: name for name in dict.fromkeys(chosen)}
        self._is_listed = table is not None
        super()._configure_dataset({**whole, "image": Column(self._file, dtype="str")}, **kwargs)

    def _opened(self, source: str, named: Sequence[tuple[tuple[str, ...], str]]) -> Examples:
        root = self._roots.get(source) or next(iter(self._roots.values()))
        rows = super()._opened(source, named)
        for number, name in enumerate(rows.column("image") if self._is_listed else (), start=1):
            if not name or not (root / name).is_file():
                message = f"row {number} of {source} names the image {name!r}, which is not in {root}"
                raise ConfigError.about("table", message, "names are relative to `path`")
        return _Decoded(rows, root, self._decode)


def _images_in(root: Path) -> list[Path]:
    """The images below a folder, without hidden ones, as file managers and notebooks leave."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )


def _has_classes(roots: Mapping[str, Path], found: Mapping[str, Sequence[Path]], *, asked: bool) -> bool:
    """Whether images are in subfolders, which is asked for where nothing else is."""
    loose = []
    for stream, root in roots.items():
        if not found[stream]:
            known = ", ".join(sorted(_SUFFIXES))
            raise ConfigError.about("path", f"there are no images in {root}: no files that end in {known}")
        loose += [image for image in found[stream] if image.parent == root]
    if asked and loose and len(loose) < sum(map(len, found.values())):
        hint = "move it into one of them; or say `columns: []` where images have no classes"
        raise ConfigError.about("path", f"{loose[0]} lies beside folders of classes, and has none", hint)
    return not loose


class _Decoded:
    """Rows, with images in place of their files' names."""

    def __init__(self, rows: Examples, root: Path, decode: Any) -> None:
        self._rows, self._root, self._decode = rows, root, decode
        self.column = rows.column

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        batch = self._rows.batch(indices)
        images = [self._decode(self._root / name) for name in batch["image"]]
        same = all(image.shape == images[0].shape for image in images)
        stacked: Any = np.stack(images) if same else images
        return {**batch, "image": stacked}


def _decoded(
    path: Path,
    size: Sequence[int] | None,
    mode: str,
    dtype: str,
    layout: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> npt.NDArray[Any]:
    from PIL import Image  # noqa: PLC0415 - an extra

    try:
        with Image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                raise BatchError(f"{path} has pixels of more than 8 bits ({file.mode}), which {mode} would cut")
            image = file.convert(mode)
            if size is not None and image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            array: npt.NDArray[Any] = np.asarray(image).reshape(image.height, image.width, len(mode))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BatchError(f"{path} cannot be read as an image: {error}; repair it, or remove it") from error
    if dtype == "float32":
        array = array.astype(np.float32) / np.float32(255)
        array = array if mean is None else array - np.asarray(mean, np.float32)
        array = array if std is None else array / np.asarray(std, np.float32)
    return array.transpose(2, 0, 1) if layout == "CHW" else array


def _listed(root: Path, images: Sequence[Path]) -> MadeTables:
    """Images as a table of their names and classes."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    names = [image.relative_to(root) for image in images]
    texts = [[name.as_posix() for name in names], [name.parts[0] if len(name.parts) > 1 else "" for name in names]]
    batch = pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in texts], ["file", "class"])
    return MadeTables(batch.schema, partial(_once, batch, str(root)))


def _once(batch: Any, table: str) -> Iterator[tuple[Any, str]]:
    yield batch, table
