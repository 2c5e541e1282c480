"""Data sets of the Hugging Face library, saved to disk or from its hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from emloop.declare import Streams
from emloop.errors import ConfigError

from ._ready.tables import MadeTables
from ._ready.tabular import Columns, TabularDataset

__all__ = ["HuggingFace"]


class HuggingFace(TabularDataset):
    """A data set of the library ``datasets``.

    .. code-block:: yaml

        dataset:
          class: HuggingFace
          path: data/reviews
          splits: {train: train, valid: validation}
          columns: {text: text, label: {name: label, dtype: int64}}

    Its rows become what those of :class:`Table` become.

    Needs ``pip install 'emloop[huggingface]'``.

    Args:
        path: A folder that ``save_to_disk`` wrote, or a name on the hub.
        splits: Stream → split of the data set; by default ``train`` is ``train``, or all there is.
        name: Which configuration of the data set, on the hub.
        revision: Which version, on the hub.
        columns: What a batch holds, as of a :class:`Table`.
        **kwargs: What all ready datasets take.

    Raises:
        ConfigError: If it is not there.
        MissingExtraError: If the library is not installed.
    """

    packages: ClassVar[Sequence[tuple[str, str]]] = (("datasets", "huggingface"), ("pyarrow", "huggingface"))

    streams_from: ClassVar[Sequence[Streams]] = (
        Streams("splits"),
        Streams("split", without=("stratify", "group", "seed")),
        Streams("folds", ("train",)),
        Streams("folds", ("valid",), unless=("fold", None)),
    )

    def _configure_dataset(  # type: ignore[override]
        self,
        path: str,
        splits: Mapping[str, str] | None = None,
        name: str | None = None,
        revision: str | None = None,
        columns: Columns = None,
        **kwargs: Any,
    ) -> None:
        found = self._loaded(path, name, revision)
        there = found if isinstance(found, Mapping) else {"train": found}
        self._tables, stamps = {}, {}
        for stream, split in (splits or {"train": "train"}).items():
            if split not in there:
                message = f"there is no split {split!r} in {path}; there is: {', '.join(there)}"
                raise ConfigError.about(("splits", stream) if splits else "path", message)
            part = there[split]
            self._tables[stream] = MadeTables(
                part.features.arrow_schema, partial(_batches_of, part, f"{path}, {split}")
            )
            stamps[stream] = {f"{path}, {split}": {"fingerprint": part._fingerprint}}
        self._stamps = stamps
        super()._configure_dataset(columns, **kwargs)

    def _loaded(self, path: str, name: str | None, revision: str | None) -> Any:
        import datasets  # noqa: PLC0415 - an extra

        if Path(path).is_dir():
            try:
                for file in sorted(Path(path).rglob("*.*")):
                    self.reads(file)
                return datasets.load_from_disk(path)
            except (FileNotFoundError, ValueError) as error:
                raise ConfigError.about("path", f"{path}: save_to_disk wrote no data set there: {error}") from error
        try:
            return datasets.load_dataset(path, name, revision=revision)
        except (OSError, ValueError) as error:
            hint = "without a network, name the folder that save_to_disk wrote"
            raise ConfigError.about("path", f"{path}: {str(error).splitlines()[0]}", hint) from error


def _batches_of(part: Any, table: str) -> Iterator[tuple[Any, str]]:
    for rows in part.with_format("arrow").iter(1 << 12):
        yield from ((batch, table) for batch in rows.combine_chunks().to_batches())
